"""The same for networks, names and published ports."""

from __future__ import annotations

import pytest

from tests.compat.conftest import Both
from tests.compat.saying import plain, same

pytestmark = [pytest.mark.needs_docker, pytest.mark.timeout(240)]

_SERVER = "busybox sh -c 'mkdir /srv; echo hello > /srv/index.html; httpd -f -p 80 -h /srv'"
_INET = "grep -E ' eth|inet ' | sed 's/ *inet/inet/; s/^[0-9]*: //; s/@.*//; s/ scope.*//'"

NETWORKS = [
    same("a peer by what it calls itself", "docker network create n1 | wc -c", "docker run -d --net n1 --name c1 -h somehost busybox sleep 60 | wc -c",
         "docker run --rm --net n1 busybox ping -c1 -W1 somehost | grep -c 'bytes from'", "docker rm -f c1; docker network rm n1"),
    same("networks", "docker network create lab | wc -c", "docker network create lab", "docker network create", "docker network create a b", "docker network create --label a=b --internal n2 | wc -c",
         "docker network create -d host n3", "docker network create -d nosuch n3", "docker network create host", "docker network create default", "docker network create ''",
         "docker network ls --format '{{.Name}} {{.Driver}} {{.Scope}} {{.IPv6}} {{.Internal}} {{.Labels}}'", "docker network ls | head -n 1", "docker network ls -f nosuch=1",
         "docker network ls -f driver=bridge -f name=la --format '{{.Name}}'", "docker network ls -f label=a --format '{{.Name}}'", "docker network ls -f type=custom --format '{{.Name}}'",
         "docker network ls -f type=x", "docker network ls -f dangling=true --format '{{.Name}}'", "docker network ls -q --no-trunc | wc -c", "docker network ls extra",
         "docker network inspect nosuch", "docker network inspect -f '{{.Name}} {{.Driver}} {{.Scope}} {{.Internal}} {{json .Labels}} {{json .Containers}}' lab n2 nosuch",
         "docker network inspect", "docker network rm", "docker network rm nosuch", "docker network rm bridge", "docker network rm nosuch lab bridge", "docker network rm -f nosuch",
         "docker network foo", "docker network", "docker network rm --help", "docker network prune --help", "docker network disconnect --help",
         "docker inspect --type network nosuch", "docker inspect -f '{{.Driver}}' host"),
    same("subnets", "docker network create --subnet 10.77.0.0/24 --gateway 10.77.0.254 --ip-range 10.77.0.128/25 n2 | wc -c", "docker network inspect -f '{{json .IPAM}}' n2",
         "docker network create --subnet 10.77.0.0/24 n3", "docker network create --subnet 10.77 n3", "docker network create --gateway 1.2.3.4 q", "docker network create --ip-range 1.2.3.0/24 q",
         "docker network create --subnet 1.2.3.0/24 --gateway 1.2.4.4 q", "docker network create --subnet 1.2.3.0/24 --ip-range 1.2.4.0/25 q", "docker network create --label =foo q",
         f"docker run --rm --network n2 busybox ip addr | {_INET}", f"docker run --rm --network n2 --ip 10.77.0.9 busybox ip addr | {_INET}",
         "docker run --rm --network name=n2,alias=q,ip=10.77.0.8 busybox tail -n 1 /etc/hosts",
         "docker run --rm --network n2 --ip 10.78.0.9 busybox true 2>&1 | cut -c 1-70", "docker run --rm --ip 172.17.0.9 busybox true",
         "docker network create lab | wc -c", "docker run --rm --network lab --ip 172.18.0.9 busybox true", "docker run --rm --network n2 --ip foo busybox true"),
    same("odd addresses", *(f"docker network create --subnet {word} odd | wc -c; docker network rm odd" for word in (
             "10.77.0.0/24 --gateway 10.77.0.255", "10.77.0.0/24 --gateway 10.77.0.0", "10.77.0.0/31", "10.77.0.0/32", "10.77.0.0/30", "127.0.0.0/8")),
         "docker network create --subnet 10.77.0.0/24 n2 | wc -c", *(f"docker run --rm --network n2 --ip 10.77.0.{last} busybox true" for last in (0, 1, 255)),
         "docker run -d --name a1 busybox sleep 100 | wc -c", *(f"docker network connect --ip {word} n2 a1" for word in ("zz", "::1", "999.1.1.1", "10.77.0.0", "10.78.0.1")),
         "docker network connect n2 a1", "docker network connect n2 a1", *(f"docker ps -q --filter {word}" for word in ("expose=0-99999999", "publish=5-1", "publish=1-999999")),
         "docker run --rm --network $'name=n2,alias=x\ny' busybox true", "docker network create ' '"),
    same("members", "docker network create lab | wc -c", "docker network create --subnet 10.77.0.0/24 --internal n2 | wc -c",
         "docker run -d --name web --network lab --network-alias w1 busybox sleep 100", "docker run -d --name web2 --network lab busybox sleep 100",
         "docker network inspect lab -f '{{range .Containers}}{{.Name}} {{.IPv4Address}} {{.MacAddress}}{{println}}{{end}}' | sort", "docker network rm lab",
         "docker network connect lab web", "docker network connect nosuch web", "docker network connect lab nosuch", "docker network connect --alias zz --ip 10.77.0.200 n2 web",
         "docker network connect host web", "docker network connect none web", "docker network connect bridge web", f"docker exec web ip addr | {_INET}",
         "docker exec web ip route | cut -d ' ' -f 1-5",
         "docker exec web tail -n 3 /etc/hosts", "docker exec web cat /etc/resolv.conf", "docker exec web nslookup web2 | grep -A1 Name", "docker exec web2 ping -c 1 -q w1 | head -n 1",
         "docker exec web2 ping -c 1 -q zz", "docker network disconnect lab web", "docker network disconnect lab web", "docker exec web ip route | cut -d ' ' -f 1-5",
         "docker inspect web -f '{{range $k, $v := .NetworkSettings.Networks}}{{$k}} {{$v.IPAddress}} {{$v.IPPrefixLen}} {{$v.Gateway}} {{$v.MacAddress}}{{println}}{{end}}'",
         "docker inspect web -f '{{.NetworkSettings.IPAddress}} {{.NetworkSettings.Gateway}} {{.HostConfig.NetworkMode}}'", "docker ps --format '{{.Names}} {{.Networks}}' -f name=web2",
         "docker ps --format '{{.Names}}' --filter network=lab", "docker network disconnect nosuch web",
         "docker stop -t 0 web; docker network disconnect bridge web; docker network disconnect bridge web",
         "docker start web; docker ps --format '{{.Names}} {{.Networks}}' -f name=web2", "docker network prune -f", "docker rm -f web web2", "docker network prune -f", "docker network prune -f",
         "docker network prune -f --filter foo=1"),
    same("modes", "docker run --rm busybox tail -n 1 /etc/hosts | cut -c 1-4", f"docker run --rm --network none busybox ip addr | {_INET}", "docker run --rm --network none busybox cat /etc/hosts",
         "docker run --rm --network nosuch busybox true", "docker create --name c1 --network nosuch busybox true", "docker start c1", "docker network create nosuch | wc -c", "docker start c1",
         "docker run --rm --network host --network-alias x busybox true", "docker run --rm --network-alias x busybox true", "docker run -d --name web --hostname hh busybox sleep 100",
         f"docker run --rm --network container:web busybox ip addr | {_INET}", "docker run --rm --network container:web -p 80:80 busybox true",
         "docker run --rm --network container:web busybox hostname",
         "docker run --rm --network container:web --hostname x busybox true", "docker run --rm --network container:web --expose 9 busybox true",
         "docker run --rm --network container:web --dns 1.2.3.4 busybox true", "docker run --rm --network container:web --add-host a:1.2.3.4 busybox true",
         "docker run --rm --network container:web --link web busybox true", "docker run --rm --network container: busybox true", "docker run --rm --network container:nosuch busybox true",
         "docker run --rm --network container:web busybox tail -n 1 /etc/hosts", "docker stop -t 0 web; docker run --rm --network container:web busybox true",
         "docker create --name c4 --network none busybox true", "docker network connect bridge c4", "docker network disconnect none c4", "docker network connect bridge c4",
         "docker network disconnect bridge c4", "docker inspect c4 -f '{{.HostConfig.NetworkMode}} {{json .NetworkSettings.Networks}}'",
         "docker run --rm --sysctl net.ipv4.ip_unprivileged_port_start=0 busybox cat /proc/sys/net/ipv4/ip_unprivileged_port_start"),
    same("ports", "docker run -d --name p1 -p 18080:80 -p 127.0.0.1:18081:81/udp -p 19000-19002:9000-9002 -p 9003:9003 --expose 70 busybox sleep 100", "docker ps --format '{{.Ports}}'",
         "docker port p1",
         "docker port p1 80", "docker port p1 80/udp", "docker port p1 81/udp", "docker port p1 foo", "docker port nosuch", "docker port", "docker port --help",
         "docker inspect p1 -f '{{json .NetworkSettings.Ports}} {{json .HostConfig.PortBindings}} {{json .Config.ExposedPorts}}'",
         "docker run --name p2 -p 18080:80 busybox true", "docker ps -a --format '{{.Names}} {{.Status}}' -f name=p2 | cut -c 1-10", "docker rm p2",
         "docker run --name p2 -d -P --expose 80 --expose 70-71/udp busybox sleep 100", "docker port p2 | wc -l", "docker inspect p2 -f '{{.HostConfig.PublishAllPorts}}'",
         "docker stop -t 0 p1; docker port p1; docker ps -a --format '{{.Names}} {{.Ports}}' -f name=p1",
         "docker inspect p1 -f '{{json .NetworkSettings.Ports}}'", "docker run --rm --network host -p 8085:80 busybox true", "docker run --rm --network none -p 8085:80 busybox true",
         *(f"docker run --rm -p {word} busybox true" for word in (
             "foo", "80:foo", "1.2.3:80:80", "99999:80", "80/xx", "18180-18181:80", "9000-9001:80-82", "published=18085,target=80,protocol=tcp", "''", ":", "::80", ":80", "127.0.0.1::80",
         "[::1]:18066:80",
             "a:b:c:d", "81-80:80", "0:80", "80 -p 80/udp", "target=80")),
         "docker run --rm --expose x busybox true"),
    same("a server that is reached", f"docker run -d --name web -p 127.0.0.1:18080:80 {_SERVER}", "sleep 1; curl -s http://127.0.0.1:18080/",
         "docker run --rm --link web busybox wget -qO- http://web/",
         "docker restart -t 0 web; sleep 1; curl -s http://127.0.0.1:18080/", "docker rm -f web; curl -s http://127.0.0.1:18080/"),
    same("links", "docker run -d --name db -e A=1 -e B='x y' --expose 5432 --expose 53/udp --expose 8000-8003 busybox sleep 100",
         "docker run --rm --name lk --link db --link db:da-ta busybox sh -c 'tail -n 3 /etc/hosts | sort; env | grep -v HOSTNAME | sort'", "docker run --rm --link nosuch busybox true",
         "docker run --rm --link db:a:b busybox true", "docker run --rm --network host --link db busybox true", "docker network create lab | wc -c",
         "docker run -d --name web2 --network lab busybox sleep 100",
         "docker run --rm --network lab --link web2:yy busybox sh -c 'tail -n 1 /etc/hosts; env | grep -c YY; nslookup yy | grep -A1 Name'",
         "docker create --name lk --link db:data busybox true", "docker inspect lk -f '{{json .HostConfig.Links}}'", "docker run --rm --link web2 busybox true | cut -c 1-90",
         "docker stop -t 0 db", "docker start lk"),
]  # fmt: skip

@pytest.mark.parametrize("lines", NETWORKS)
def test_docker_says_the_same(both: Both, lines: tuple[str, ...]) -> None:
    theirs, ours = both(lines)
    assert "\n".join(plain(ours, theirs=False)) == "\n".join(plain(theirs, theirs=True))

