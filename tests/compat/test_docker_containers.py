"""The same for what happens to containers once they have begun: their life, their settings, their files."""

from __future__ import annotations

import pytest

from tests.compat.conftest import Both
from tests.compat.saying import bug, plain, same

pytestmark = [pytest.mark.needs_docker, pytest.mark.timeout(180)]

_LOOP = "sh -c 'trap \"exit 7\" TERM; trap \"echo user\" USR1; while :; do sleep 0.05; done'"


def _typed(keys: str, line: str) -> str:
    """The line in a terminal where somebody types."""
    return f"export SHELL=/bin/bash; export -f docker 2>/dev/null; (sleep 1.5; printf '{keys}'; sleep 0.5) | script -qec '{line}' /dev/null"


LIFECYCLE = [
    # A map that Go has not made prints as map[] and as null; ours prints <no value> in a template.
    bug("volumes without labels", "docker volume create data", "docker run --rm -v data:/d busybox", "docker volume inspect -f '{{.Options}}' data", reason="a nil map of Go"),
    same("volumes", "docker volume create data", "docker volume create data", "docker volume create --label course=yes --label v=1 other", "docker volume create | wc -c",
          "docker volume create 'a b'",
          "docker volume ls | head -n 1", "docker volume ls -q -f name=dat -f name=oth", "docker volume ls --format '{{.Name}} {{.Driver}} {{.Scope}} {{.Labels}}' -f label=course",
          "docker volume ls -f label=course=no", "docker volume ls -f nosuch=1", "docker volume ls -q -f driver=local -f name=data",
          "docker volume ls --format json -f name=data | sed 's/\"Mountpoint[^,]*,//'",
          "docker volume inspect nosuch", "docker volume inspect other data | grep -v Mountpoint", "docker volume inspect -f '{{.Name}} {{.Scope}}' data other nosuch",
          "docker volume create", "docker volume create a b", "docker volume inspect", "docker volume rm"),
    same("volumes in use", "docker run --name c1 -v data:/d busybox sh -c 'echo kept > /d/f'", "docker volume rm data", "docker rm c1",
          "docker volume ls -q -f dangling=true -f name=data", "docker run --rm -v data:/d busybox cat /d/f", "docker volume rm nosuch data",
          "docker volume rm -f nosuch", "docker volume ls -q -f name=data",
          "docker volume ls -f dangling=maybe", "docker volume rm --help", "docker volume inspect nosuch data"),
    same("stop", f"docker run -d --name c1 busybox {_LOOP}", "sleep 1; docker stop c1", "docker ps -a --format '{{.Names}} {{.State}}'", "docker inspect -f '{{.State.ExitCode}}' c1",
          "docker stop c1", "docker stop nosuch c1", "docker stop", "docker stop -t x c1", "docker start c1", "docker container stop -t 0 c1", "docker stop --help"),
    same("stop of what does not listen", "docker run -d --name c1 busybox sleep 50", "docker stop -t 1 c1", "docker inspect -f '{{.State.ExitCode}}' c1",
          "printf 'FROM busybox\nSTOPSIGNAL USR1\n' > Dockerfile; docker build -qt s . 2>/dev/null", f"docker run -d --name c2 s {_LOOP}", "sleep 1; docker stop -t 1 c2", "docker logs c2"),
    same("kill", f"docker run -d --name c1 busybox {_LOOP}", "sleep 1; docker kill -s USR1 c1", "sleep 1; docker logs c1", "docker kill --signal sigterm c1", "docker wait c1", "docker kill c1",
          "docker kill nosuch", "docker start c1", "docker kill -s FOO c1", "docker kill -s 99 c1", "docker kill -s 9 c1 nosuch", "docker wait c1", "docker kill --help", "docker kill"),
    same("wait", "docker run -d --name c1 busybox sh -c 'sleep 1; exit 5'", "docker wait c1", "docker wait c1 nosuch c1",
          "docker run -d --rm --name c2 busybox sh -c 'sleep 2; exit 6'", "docker wait c2",
          "docker create --name c3 busybox", "docker wait", "docker wait --help"),
    same("restart", "docker run --name c1 busybox sh -c 'echo x >> /f; wc -l /f'", "docker restart c1", "docker wait c1; docker logs c1",
          f"docker run -d --rm --name c2 busybox {_LOOP}", "docker restart -t 5 c2",
          "docker ps --format '{{.Names}} {{.State}}'", "docker stop c2; sleep 1; docker ps -a --format '{{.Names}}'", "docker restart nosuch", "docker restart --help"),
    same("top", "docker run -d --name c1 busybox sh -c 'sleep 50 & (sleep 51 & ); wait'", "sleep 1; docker top c1 | wc -l", "docker top c1 -o pid,args | awk '{print $2, $3, $4, $5}' | sort",
          "docker top c1 -eo pid,comm,stat | cut -c20- ", "docker top c1 -o comm", "docker top c1 --nope 2>&1 | head -n 1 | cut -c 1-40", "docker top nosuch", "docker kill c1", "docker top c1",
          "docker top", "docker top --help"),
    same("exec", "docker run -d --name c1 -e A=1 -l x=y -w /tmp busybox sleep 50", "docker exec c1 sh -c 'pwd; id; echo $A $PATH $HOME; hostname | wc -c; exit 7'",
          "docker exec c1 sh -c 'grep Cap /proc/self/status; grep -i seccomp: /proc/self/status'", "docker exec c1 /nope", "docker exec c1 nope", "docker exec c1 /etc",
          "docker exec -w /var -u nobody -e A=2 -e B c1 sh -c 'pwd; id; echo $A $HOME'", "docker exec -u 12:34 c1 id", "docker exec -u nosuch c1 id", "docker exec -w /made/here c1 pwd",
          "docker exec -w rel c1 pwd", "docker exec -d c1 touch /made", "sleep 1; docker exec c1 ls /made; docker diff c1", "echo abc | docker exec -i c1 cat", "echo abc | docker exec c1 cat",
          "docker exec c1 sh -c 'echo out; echo err >&2' 2>/dev/null", "docker exec -t c1 sh -c 'tty; echo $TERM'", "docker exec -d c1 sh -c 'sleep 40 & sleep 41'", "sleep 1; docker top c1 -o comm",
          "docker logs c1", "docker exec c1 sh -c 'kill -9 $$'", "docker exec nosuch true", "docker exec c1"),
    same("pause", "docker run -d --name c1 busybox sh -c 'i=0; while :; do i=$((i+1)); echo $i > /n; sleep 0.05; done'", "docker pause c1", "docker ps --format '{{.Names}} {{.State}}'",
          "docker inspect -f '{{.State.Status}} {{.State.Running}} {{.State.Paused}}' c1", "docker pause c1", "docker start c1", "docker exec c1 true",
          "docker attach c1", "docker rm c1", "docker commit c1 x | wc -c", "docker top c1 -o comm | sort -u", "docker unpause c1", "docker unpause c1", "docker ps --format '{{.Names}} {{.State}}'",
          "docker pause nosuch c1", "docker kill c1", "docker wait c1", "docker pause c1", "docker unpause c1 nosuch", "docker start c1", "docker pause c1", "docker stop -t 1 c1",
          "docker ps -a --format '{{.Names}} {{.State}}'", "docker start c1; docker pause c1; docker restart -t 1 c1", "docker pause c1; docker rm -f c1", "docker pause", "docker pause --help",
          "docker unpause --help"),
    same("attach", "docker run -d --name c1 busybox sh -c 'sleep 1; echo out; exit 3'", "docker attach c1", "docker attach c1", "docker attach nosuch",
          "docker create --name c2 busybox", "docker attach c2", "docker run -di --name c3 busybox sh -c 'read a; echo got $a; read b; echo and $b; exit 4'",
          "(echo one; echo two; sleep 1) | docker attach c3", "docker logs c3",
          "docker attach", "docker attach --help"),
    same("detach keys", _typed(r"\020\021", "docker run -it --name c1 busybox cat"), "docker ps --format '{{.Names}}'", _typed(r"\020\021", "docker attach c1"),
          _typed(r"\020\021", "docker exec -it c1 cat"), _typed("xyz", "docker attach --detach-keys x,y c1"), "docker exec --detach-keys ctrl-1 -t c1 true", "docker attach c1 < /dev/null",
          "docker kill c1", _typed("q", "docker start -ai --detach-keys q c1"), "docker ps --format '{{.Names}}'"),
    same("logs that go on", "docker run -d --name c1 busybox sh -c 'echo a; sleep 1; echo b >&2; printf c; sleep 1; echo d; exit 3'", "docker logs -f c1", "docker logs -f --tail 1 c1",
          "docker logs --since 1m c1",
          "docker logs --since 99999999999 c1", "docker logs --since 2099-01-01 c1", "docker logs --until 2020-01-01T10:11 c1", "docker logs --since foo c1", "docker logs --until 10:11 c1",
          "docker logs --since 1700000000.5 -n 1 c1",
          "docker logs --details -n 1 c1", "docker create --name c2 busybox", "docker logs -f c2",
          "docker run -d --name c3 busybox sh -c 'for i in 1 2 3 4 5 6; do echo $i; sleep 0.3; done'", "sleep 1; docker logs -f --tail 0 c3 | tail -n 1", "docker logs -f nosuch",
          "docker logs --help"),
    same("exec where it cannot", "docker create --name c1 busybox", "docker exec c1 true", "docker run --name c2 busybox", "docker exec c2 true", "docker exec -it c2 sh", "docker exec",
          "docker run -d --name c3 --read-only --cap-drop all busybox sleep 50", "docker exec c3 touch /x", "docker exec c3 grep Cap /proc/self/status",
          "docker exec c3 sh -c 'kill -9 1'", "sleep 1; docker inspect -f '{{.State.ExitCode}}' c3"),
    same("restart policies", *(f"docker create --restart {word} --name c1 busybox" for word in ("foo", "on-failure:x", "on-failure:-1", "on-failure:2:3", "always:3", "always --rm", ":3")),
          "docker create --restart '' --name c1 busybox", "docker inspect -f '{{json .HostConfig.RestartPolicy}}' c1", "docker create --restart no --rm --name c2 busybox",
          "docker run --restart on-failure:2 --name c3 busybox sh -c 'echo x; exit 3'",
          "sleep 2; docker logs c3; docker inspect -f '{{.RestartCount}} {{.State.Status}} {{.State.ExitCode}} {{json .HostConfig.RestartPolicy}}' c3", "docker ps -a --filter name=c3",
          "docker run -d --restart always --name c4 busybox sh -c 'exit 4'", "sleep 8; docker ps --filter name=c4",
          "docker inspect -f '{{.State.Status}} {{.State.ExitCode}} {{.State.Restarting}} {{.State.Running}} {{.State.Pid}}' c4", "docker exec c4 true",
          "docker attach c4", "docker pause c4", "docker rm c4",
          "docker ps --filter status=restarting -q | wc -l", "docker stop c4", "docker ps -a --filter name=c4", "docker start c4", "docker rm -f c4",
          "docker run -d --restart unless-stopped --name c5 busybox sleep 50", "docker kill c5", "sleep 0.5; docker ps -a --filter name=c5",
          "docker run -d --restart always --stop-signal TERM --name c6 busybox sh -c 'trap \"exit 7\" USR1; while :; do sleep 0.05; done'",
          "sleep 1; docker kill -s USR1 c6; sleep 1.5; docker inspect -f '{{.RestartCount}} {{.State.Status}}' c6", "docker stop -t 0 c6; docker inspect -f '{{.State.Status}}' c6",
          "docker run -d --restart always --name c7 busybox nope", "docker ps -a --filter name=c7"),
    same("an init", "docker run --rm --init busybox ps -o ppid,args", "docker run --rm --init busybox sh -c 'exit 5'", "docker run --rm --init busybox sh -c 'kill -9 $$'",
          "docker run -d --init --name c1 busybox sleep 50", "docker inspect -f '{{.HostConfig.Init}} {{.Path}} {{.Args}}' c1", "docker top c1 -o args", "docker stop c1",
          "docker inspect -f '{{.State.ExitCode}}' c1", "docker run --rm --init -u 33 busybox sh -c 'grep -E \"Uid|CapEff\" /proc/1/status'", "echo typed | docker run -i --rm --init busybox cat",
          "docker run --rm --init -t busybox sh -c 'tty; ps -o ppid,args'", "docker run --rm --init busybox sh -c '(sleep 0.1 &) ; sleep 0.5; ps | grep -c Z'",
          _typed(r"\003", "docker run --init -it --name c2 busybox sleep 50"), "docker inspect -f '{{.State.ExitCode}}' c2"),
    same("health", "docker run -d --name c1 --health-cmd 'test -e /ok' --health-interval 1s --health-retries 2 --health-timeout 5s busybox sleep 100",
          "docker inspect -f '{{json .Config.Healthcheck}} {{json .State.Health}}' c1", "docker ps --format '{{.Names}} {{.State}}' -f health=starting", "docker ps",
          "sleep 4; docker ps", "docker inspect -f '{{.State.Health.Status}} {{with index .State.Health.Log 0}}{{.ExitCode}} {{json .Output}}{{end}}' c1",
          "docker exec c1 touch /ok; sleep 2; docker ps", "docker ps -q -f health=healthy | wc -l", "docker ps -q -f health=foo", "docker stop -t 0 c1",
          "docker inspect -f '{{.State.Health.Status}}' c1", *(f"docker create --name c2 {words} busybox && docker inspect -f '{{{{json .Config.Healthcheck}}}}' c2 && docker rm c2" for words in (
          "--health-cmd x --no-healthcheck", "--health-interval 1us", "--health-interval -1s", "--health-retries -1", "--health-timeout 1us --health-cmd x", "--health-interval 5s",
          "--no-healthcheck", "--health-cmd none", "--health-start-period 1us --health-cmd x", "--health-interval x")),
          "printf 'FROM busybox\nHEALTHCHECK --interval=1s --retries=1 CMD exit 3\n' > Dockerfile; docker build -qt h . 2>/dev/null", "docker run -d --name c3 h sleep 50", "sleep 3; docker ps",
          "docker run -d --name c4 --no-healthcheck h sleep 50", "docker ps -q -f health=none | wc -l", "docker run -d --name c5 --health-cmd true h sleep 50",
          "docker inspect -f '{{json .Config.Healthcheck}}' c5"),
    same("events", "sleep 1.5; date +%s > since; docker run --rm -l a=b --name c1 -v data:/d busybox true", "docker tag busybox foo:1; docker rmi foo:1; docker volume create v2; docker volume rm v2",
          "docker create --name c2 busybox; docker rename c2 c3; docker cp since c3:/x; docker cp c3:/bin/sh - > /dev/null", "docker commit -m why c3 ci; docker export c3 > /dev/null",
          "docker start c3; docker wait c3; docker rm c3",
          "docker run -d --name c4 busybox sleep 50; docker exec c4 true; docker exec c4 sh -c 'exit 3'; docker top c4 > /dev/null; docker pause c4; docker unpause c4",
          "docker update --cpu-shares 3 c4; docker restart -t 0 c4; docker kill -s USR1 c4; docker stop -t 0 c4; docker rm c4", "docker rmi ci; docker volume rm data",
          "sleep 1; docker events --since $(cat since) --until 0s | sed 's/^[^ ]*Z //'", *(f"docker events --since $(cat since) --until 0s {words} | wc -l" for words in (
          "-f event=die", "-f type=image", "-f container=c4", "-f image=busybox", "-f label=a", "-f label=a=b", "-f label=x", "-f volume=v2", "-f scope=local", "-f event=nope",
          "-f event=exec_create", "-f event=die -f event=start", "-f event=die -f container=c4", "-f daemon=x")),
          "docker events --since $(cat since) --until 0s -f event=create --format json | sed -E 's/\"time.*//'",
          "docker events --since $(cat since) --until 0s -f container=c4 --format '{{.Action}} {{.Type}} {{.Actor.Attributes.name}} {{.Scope}} {{.From}} {{.Status}}'",
          "docker events --since x", "docker events --until x", "docker events a", "docker events -f foo",
          "(sleep 2; docker run --rm --name c5 busybox true) & docker events -f container=c5 --until $(($(date +%s)+8)) | sed 's/^[^ ]*Z //'"),
    same("rename", "docker create --name c1 busybox", "docker create --name c2 busybox", "docker rename c1 c3", "docker ps -a --format '{{.Names}}'", "docker rename c3 c2", "docker rename nosuch x1",
          "docker rename c3 c3", "docker rename c3 'a b'", "docker rename c3 /c4", "docker ps -a --format '{{.Names}}'", "docker rename c4", "docker rename c4 ''", "docker rename --help"),
]  # fmt: skip


_TREE = ("mkdir -p /d/sub; echo f > /d/f; echo s > /d/sub/s; ln -s f /d/link; ln -s sub /d/dlink; ln -s /nope /d/dangling; ln -s /etc /d/abs; chown 12:34 /d/sub/s; "
         "chmod 4755 /d/sub/s; sleep 500")  # fmt: skip
_HERE = "mkdir -p sub; echo local > l; echo s > sub/s; ln -s l lk; ln -s sub dk; chown 5:6 sub/s; chmod 4755 sub/s; mkfifo ff"
_SEEN = "ls -lnR /x1 /d /n1 /n2 /n3 /n4 /k1 /k2 /k3 /k4 /k5 /arch /fifo /nope 2>&1 | awk '{print $1,$3,$4,$5,$9,$10,$11}' | grep -v -e total -e '^d'"
_LIMITS = ("{{with .HostConfig}}{{.Memory}} {{.MemorySwap}} {{.MemoryReservation}} {{.NanoCpus}} {{.CpuShares}} {{.CpuPeriod}} {{.CpuQuota}} {{.CpusetCpus}} {{.CpusetMems}} "
           "{{json .PidsLimit}}{{end}}")  # fmt: skip
FLAGS = [
    same("limits", *(f"docker run --rm --ulimit {word} busybox sh -c 'ulimit -n; ulimit -Hn; ulimit -c'" for word in ("core=0", "nofile=100:200", "nofile=50")),
          *(f"docker run --rm --ulimit {word} busybox true" for word in ("foo", "nofile", "nofile=a", "nofile=2:1", "nofile=1:2:3", "foo=1")),
          "docker run -d --name c1 --ulimit nofile=33 busybox sleep 50", "docker exec c1 sh -c 'ulimit -n'", "docker inspect -f '{{json .HostConfig.Ulimits}}' c1"),
    same("hosts and resolver", *(f"docker run --rm --net none --add-host {word} busybox grep -v -e ocalhost -e ip6- -e 127.0.1.1 /etc/hosts" for word in ("a:1.2.3.4", "b=5.6.7.8", "c:::1", "a",
          "b:1.2")),
          *(f"docker run --rm --net none --dns {word} busybox cat /etc/resolv.conf" for word in ("1.2.3.4", "::1", "1.2", "foo")),
          "docker run --rm --net none --dns 1.2.3.4 --dns 5.6.7.8 --dns-search a.b --dns-search c --dns-option ndots:2 --dns-opt rotate busybox cat /etc/resolv.conf",
          "docker run --rm --net none --dns-search . busybox cat /etc/resolv.conf", "docker run --rm --net none --dns-search 'a b' busybox true",
          "docker create --name c1 --add-host a:1.2.3.4 --dns 1.1.1.1 busybox", "docker inspect -f '{{json .HostConfig.ExtraHosts}} {{json .HostConfig.Dns}}' c1"),
    same("what it may use", *(f"docker create --name c1 {words} busybox && docker inspect -f '{_LIMITS}' c1 && docker rm c1" for word in (
          "-m 10m", "-m 4m", "-m 10x", "-m 1.5g", "--memory-reservation 20m -m 10m", "--memory-swap 5m -m 10m", "--memory-swap 50m", "--memory-swap -1 -m 10m", "--cpus 0.5", "--cpus x",
          "--cpus 99", "--cpus 0.0001", "--cpus 1.0000000001", "--cpu-shares 512", "-c 1", "--pids-limit 10", "--pids-limit -1", "--pids-limit x", "--cpuset-cpus 0", "--cpuset-cpus 0-99",
          "--cpuset-cpus x", "--cpu-period 100000 --cpu-quota 50000", "--cpu-period 1", "--cpu-quota 1", "--cpus 1 --cpu-quota 50000", "--memory-swappiness 101", "--cpuset-mems 0",
          "--cpuset-mems 5", "-m 0", "-m -1", "-m 1..5m", "-m ''") for words in [word]),
          "docker run --rm -m 20m busybox tail /dev/zero", "docker run --name c2 -m 20m busybox tail /dev/zero",
          "docker inspect -f '{{.State.OOMKilled}} {{.State.ExitCode}} {{.State.Status}}' c2"),
    same("update", "docker run -d --name c1 busybox sleep 100", "docker update --memory-swap 50m -m 40m c1", "docker update c1", "docker update --cpus 0.5 --pids-limit 50 --restart always c1",
          f"docker inspect -f '{_LIMITS}' c1", "docker inspect -f '{{.HostConfig.RestartPolicy.Name}}' c1", "docker update nosuch --cpus 1", "docker update --cpus 99 c1",
          "docker update --restart foo c1", "docker update --restart on-failure:x c1",
          "docker update -m 60m c1", "docker update -m 5m c1", "docker update -m x c1", "docker stop -t 0 c1", "docker update --cpus 1 c1 nosuch",
          "docker create --rm --name c2 busybox", "docker update --restart always c2", "docker update", "docker container update --cpu-shares 3 c1"),
    same("stats", "docker run -d --name c1 -m 40m busybox sleep 100", "docker create --name c2 busybox", "docker stats --no-stream nosuch", "docker stats --no-stream c1 | head -n 1 | tr -s ' '",
          "docker stats --no-stream c2", "docker stats --no-stream --format '{{.Container}} {{.Name}} {{.CPUPerc}} {{.PIDs}} {{.NetIO}}' c1", "docker stats --no-stream -a --format '{{.Name}}'",
          "docker stats --no-stream --format '{{.ID}}'", "docker stats --no-stream --no-trunc --format '{{.ID}}' c1", "docker stats --no-stream --format '{{.MemUsage}}' c1 | sed 's/.*\\///'",
          "docker stats --no-stream --format json c2", "docker stats --no-stream --format 'table {{.Name}}\\t{{.PIDs}}' c1 c2",
          "docker stop -t 0 c1", "docker stats --no-stream"),
    same("groups", "docker run --rm --group-add daemon --group-add 77 busybox id", "docker run --rm --group-add nosuch busybox id", "docker run --rm -u 5 --group-add daemon busybox id",
          "docker run -d --name c1 --group-add 88 busybox sleep 50", "docker exec c1 id", "docker exec -u nobody c1 id"),
    same("ports that are exposed", "docker run --rm --expose foo busybox true", "docker create --expose 80 --expose 90-92/udp --name c1 busybox",
          "docker inspect -f '{{json .Config.ExposedPorts}}' c1"),
    same("how it stops", "docker run --stop-signal FOO busybox true", f"docker run -d --stop-signal USR1 --stop-timeout 1 --name c1 busybox {_LOOP}",
          "docker inspect -f '{{.Config.StopSignal}} {{.Config.StopTimeout}}' c1", "sleep 1; docker stop c1", "docker logs c1", "docker inspect -f '{{.State.ExitCode}}' c1",
          "docker run --stop-timeout x busybox true"),
    same("what is attached", "docker run --rm -a stdout busybox sh -c 'echo o; echo e >&2'", "docker run --rm -a STDERR busybox sh -c 'echo o; echo e >&2'", "docker run -a foo busybox true",
          "echo in | docker run --rm -a stdin -a stdout -i busybox cat"),
    same("files of ids and labels", "docker run --cidfile cid --rm busybox true; wc -c cid", "docker run --cidfile cid busybox true", "ls",
          "printf 'a=1\\n#c\\nb\\n' > lf; docker create --name c1 --label-file lf -l a=2 busybox true", "docker inspect -f '{{json .Config.Labels}}' c1",
          "printf '=x\\n' > bad; docker run --label-file bad busybox",
          "docker run --label-file nope busybox true"),
]  # fmt: skip
COPIES = [
    same("copies out", _HERE, f"docker run -d --name c1 busybox sh -c '{_TREE}'", "sleep 1", "docker cp c1:/d/f .", "docker cp c1:/d/f new", "docker cp c1:/d/f nodir/", "docker cp c1:/d/f nodir/x",
          "docker cp c1:/d/f sub", "docker cp c1:/d/f sub/", "docker cp c1:/d/f l/", "docker cp c1:/d out", "docker cp c1:/d sub", "docker cp c1:/d/. flat", "docker cp c1:/d/. sub",
          "docker cp c1:/d l", "docker cp c1:/d/ tr", "docker cp c1:/d nodir2/", "docker cp c1:/d nodir3/x", "docker cp c1:/d/link a1", "docker cp -L c1:/d/link a2", "docker cp c1:/d/dlink a3",
          "docker cp c1:/d/dlink/ a4", "docker cp c1:/d/dlink/. a5", "docker cp -L c1:/d/dlink a6", "docker cp c1:/d/dangling a7", "docker cp -L c1:/d/dangling a8", "docker cp c1:/d/abs/passwd a11",
          "docker cp c1:/nope x", "docker cp nosuch:/x y", "docker cp a b", "docker cp c1:/a c1:/b", "docker cp c1:d/f rel", "docker cp c1:/d/f", "docker cp c1:/d/f dk", "docker cp c1:/d/f lk",
          "docker exec c1 ln -s ../../up /d/out; docker cp c1:/d/out sub", "docker cp c1:/d - | tar tvn --numeric-owner | awk '{print $1,$2,$3,$6,$7,$8}'", "docker cp c1:/d/. - | tar tn | sort",
          "docker cp c1:/d/f - | tar tn", "docker cp c1:/proc/version v", "docker cp c1:/etc/hostname - | tar tn", "find . | sort | xargs ls -ldn | awk '{print $1,$3,$4,$9,$10,$11}'",
          "docker stop -t 0 c1; docker cp c1:/d/sub/s after; cat after", "docker cp", "docker cp --help"),
    same("copies in", _HERE, f"docker run -d --name c1 busybox sh -c '{_TREE}'", "sleep 1", "docker cp l c1:/x1", "docker cp l c1:/nodir/ 2>&1 | grep -v level=", "docker cp l c1:/nodir/x",
          "docker cp l c1:/d/sub",
          "docker cp l c1:/d/dlink", "docker cp l c1:/d/link", "docker cp l c1:/d/f/ 2>&1 | grep -v level=", "docker cp l c1:/d/dangling", "docker cp sub c1:/n1", "docker cp sub c1:/d",
          "docker cp sub/. c1:/n2",
          "docker cp sub/. c1:/d/sub", "docker cp sub c1:/d/f 2>&1 | grep -v level=", "docker cp sub c1:/nodir/y", "docker cp sub c1:/n3/", "docker cp sub/ c1:/n4", "docker cp lk c1:/k1",
          "docker cp -L lk c1:/k2",
          "docker cp dk c1:/k3",
          "docker cp dk/ c1:/k4", "docker cp -L dk c1:/k5", "docker cp nope c1:/x", "docker cp l/ c1:/x", "docker cp -a sub c1:/arch", "docker cp l c1: 2>&1 | grep -v level=",
          "docker cp sub c1:/d/abs/inetc",
          "tar cf - l sub | docker cp - c1:/d/sub", "tar czf - l | docker cp - c1:/d/sub", "tar cf - l | docker cp - c1:/d/f", "tar cf - l | docker cp - c1:/nodir", "docker cp ff c1:/fifo",
          "mkdir conflict conflict/f; docker cp conflict/. c1:/d 2>&1 | cut -c 1-100", f"docker exec c1 sh -c \"{_SEEN.replace('$', chr(92) + '$')}\"", "docker diff c1 | sort",
          "docker exec c1 ls -ld /etc/inetc | cut -c 1-10"),
    same("copies into what does not run", _HERE, "docker create --name c1 -v /nv busybox", "docker cp sub c1:/made", "docker cp sub c1:/nv",
          "docker cp c1:/made - | tar tvn --numeric-owner | awk '{print $1,$2,$3,$6}'",
          "docker cp c1:/nv n; find n", "docker diff c1 | sort", "docker start -a c1", "docker cp c1:/made/s -  | tar tn",
          "docker run -d --name c2 --read-only -v /vol -v /tmp:/ro:ro busybox sleep 100", "docker cp l c2:/x", "docker cp l c2:/vol/x", "docker cp l c2:/ro/x", "docker cp c2:/vol/x back; cat back",
          "docker stop -t 0 c2; docker cp c2:/vol/x back2; cat back2", "docker cp l c2:/x", "docker export c1 | tar tn made"),
]  # fmt: skip


@pytest.mark.parametrize("lines", [*LIFECYCLE, *FLAGS, *COPIES])
def test_docker_says_the_same(both: Both, lines: tuple[str, ...]) -> None:
    theirs, ours = both(lines)
    assert "\n".join(plain(ours, theirs=False)) == "\n".join(plain(theirs, theirs=True))
