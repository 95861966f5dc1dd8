"""The same for a container's rights, its devices, its log and its size."""

from __future__ import annotations

import pytest

from tests.compat.conftest import Both
from tests.compat.saying import plain, same

pytestmark = [pytest.mark.needs_docker, pytest.mark.timeout(240)]

_MOUNTS = ("mkdir s p; mount -t tmpfs s s; mount --make-shared s; mount -t tmpfs p p; mount --make-private p",)
# A mount made inside that is seen outside: where the engine is the host's root.
SHARED = (*_MOUNTS, *(f"docker run --rm -v $PWD/s:/x:{word} busybox sh -c 'grep \" /x \" /proc/self/mountinfo | grep -o shared'" for word in ("shared", "rshared", "rshared,ro")),
          "mkdir s/in; docker run -d --name m -v $PWD/s:/x:rshared busybox sleep 100 | wc -c; mount -t tmpfs t s/in; touch s/in/f; docker exec m ls /x/in; umount s/in; docker exec m ls /x/in",
          "docker run -v $PWD/p:/x:rshared --name n busybox true", "docker inspect -f '{{.State.Status}} {{.State.ExitCode}} {{.State.Error}}' n", "docker start n", "umount s p")  # fmt: skip
RIGHTS = [
    same("namespaces of another", "docker run -d --name one busybox sleep 100", "docker run -d --name two --ipc shareable busybox sh -c 'echo hi > /dev/shm/f; sleep 100'", "sleep 0.5",
         "docker run --rm --ipc container:two busybox cat /dev/shm/f", "docker run --rm --ipc container:nosuch busybox true", "docker run --rm --ipc container: busybox true",
         "docker run --rm --pid container: busybox true", "docker run --rm --pid container:nosuch busybox true", "docker run --rm --pid container:one busybox ps | grep -c 'sleep 100'",
         "docker create --name idle busybox true | wc -c", "docker run --rm --pid container:idle busybox ps", "docker run --rm --ipc container:idle busybox ps",
         "docker inspect -f '{{.HostConfig.PidMode}} {{.HostConfig.IpcMode}}' two"),
    same("privileges", "docker run --rm --privileged -u 1000 busybox grep CapEff /proc/self/status", "docker create --privileged --name pv busybox | wc -c",
         "docker inspect -f '{{.HostConfig.Privileged}}' pv",
         "docker run --rm --security-opt seccomp=/nope busybox true", "docker run --rm --security-opt foo busybox true", "docker run --rm --security-opt foo=bar busybox true",
         "docker run --rm --security-opt no-new-privileges=foo busybox true",
         "echo '{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[{\"names\":[\"mkdir\",\"mkdirat\"],\"action\":\"SCMP_ACT_ERRNO\"}]}' > p.json",
         "docker run --rm --security-opt seccomp=p.json busybox mkdir /x", "docker create --name so --security-opt seccomp=p.json --security-opt no-new-privileges busybox true | wc -c",
         "docker inspect -f '{{json .HostConfig.SecurityOpt}}' so", "docker run --rm --security-opt apparmor=unconfined busybox true", "docker run --rm --security-opt label=disable busybox true"),
    same("devices", "docker run --rm --device /dev/null:/dev/nn busybox sh -c 'ls -l /dev/nn | cut -c 1-10; echo x > /dev/nn'", "docker run --rm --device /dev/nosuch busybox true",
         "docker run --rm --device /etc/passwd busybox true", *(f"docker run --rm --device {word} busybox true" for word in ("/dev/null:/dev/a:foo", "/dev/null:a", "a:b:c:d", "''", "/dev/null:rw")),
         "docker create --name dv --device /dev/null:/dev/nn:r busybox | wc -c", "docker inspect -f '{{json .HostConfig.Devices}}' dv"),
    same("logs that are limited", "docker run --rm --log-driver none busybox echo hi", "docker run -d --log-driver none --name l2 busybox echo hi", "docker logs l2",
         "docker run --rm --log-driver foo busybox true",
         *(f"docker run --rm --log-opt {word} busybox true" for word in ("foo=bar", "max-size=foo", "max-size=1k --log-opt max-file=0", "max-file=3", "max-file=x --log-opt max-size=1k")),
         "docker create --name l3 --log-opt max-size=2k --log-opt max-file=2 busybox | wc -c", "docker inspect -f '{{json .HostConfig.LogConfig}}' l3",
         "docker run -d --name l5 --log-driver local busybox echo hi | wc -c", "sleep 0.5; docker logs l5", "docker inspect -f '{{.HostConfig.LogConfig.Type}}' l5"),
    same("mounts that travel", *_MOUNTS, "docker run --rm -v $PWD/s:/x:slave busybox sh -c 'grep \" /x \" /proc/self/mountinfo | grep -o master'",
         "docker run --rm --mount type=bind,src=$PWD/s,dst=/x,bind-propagation=rslave busybox sh -c 'grep \" /x \" /proc/self/mountinfo | grep -c shared'",
         "docker run --rm -v $PWD/p:/x:private busybox sh -c 'grep \" /x \" /proc/self/mountinfo | grep -c master'", "docker run --rm -v $PWD/p:/x:rslave busybox true",
         *(f"docker create --name m -v {word} busybox | wc -c; docker inspect -f '{{{{range .Mounts}}}}{{{{.Mode}}}} {{{{.Propagation}}}} {{{{.RW}}}} {{{{end}}}}' m; docker rm m" for word in (
             "$PWD/s:/x:slave", "$PWD/s:/x:rprivate,ro", "$PWD/s:/x:ro,rslave", "$PWD/s:/x:rw", "$PWD/s:/x", "vo:/x:ro", "vo:/x", "/x", "vo:/x:rshared", "vo:/x:private", "$PWD/s:/x:shared,slave")),
         "docker create --name m --mount type=bind,src=$PWD/s,dst=/x,bind-propagation=slave,readonly --mount type=volume,src=vo,dst=/v,readonly --mount type=tmpfs,dst=/t,tmpfs-size=1m,tmpfs-mode=700 "
         "--mount dst=/e,volume-nocopy,volume-label=a=b busybox | wc -c", "docker inspect -f '{{json .HostConfig.Mounts}}' m",
         "docker inspect -f '{{range .Mounts}}{{.Type}} {{.Destination}} {{.Mode}} {{.RW}} {{.Propagation}}|{{end}}' m | tr '|' '\n' | sort",
         "docker run --rm --mount type=bind,src=$PWD/s,dst=/x,bind-propagation=wrong busybox true", "umount s p"),
    same("sizes", "docker run --name sz busybox sh -c 'dd if=/dev/zero of=/f bs=1000 count=50' 2>/dev/null; docker ps -as --filter name=sz --format '{{.Size}}'",
         "docker ps -as -f name=sz | sed -n 1p | tr -s ' '",
         "docker inspect -s sz -f '{{.SizeRw}} {{.SizeRootFs}}'", "docker container inspect --size sz -f '{{.SizeRw}}'", "docker inspect -s busybox -f '{{.Size}}'"),
]  # fmt: skip


@pytest.mark.parametrize("lines", RIGHTS)
def test_docker_says_the_same(both: Both, lines: tuple[str, ...]) -> None:
    theirs, ours = both(lines)
    assert "\n".join(plain(ours, theirs=False)) == "\n".join(plain(theirs, theirs=True))


# What a device may be used for is held where there are control groups.
DEVICES = tuple(
    f"docker run --rm --device /dev/fuse:/dev/way:{mode} busybox sh -c 'exec 2>&1; (: < /dev/way) && echo read; (: >> /dev/way) && echo written; true' 2>&1" for mode in ("r", "w", "rw", "m")
)  # fmt: skip


@pytest.mark.parametrize("tier", ["root"])
@pytest.mark.parametrize("lines", [pytest.param(SHARED, id="mounts"), pytest.param(DEVICES, id="devices")])
def test_what_needs_the_host_s_root(both: Both, lines: tuple[str, ...]) -> None:
    theirs, ours = both(lines)
    assert "\n".join(plain(ours, theirs=False)) == "\n".join(plain(theirs, theirs=True))
