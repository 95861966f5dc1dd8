"""Rights that a container is given, or that are another's: --privileged, --device, seccomp profiles, namespaces of another container, in every tier."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from dockerlab.engine import Container, Engine, RunOptions
from dockerlab.engine.options import Device
from dockerlab.errors import ContainerError, InvalidRequest, NotFound, NotSupportedHere
from dockerlab.linux import capabilities, syscalls
from dockerlab.store.containers import started_at
from tests.conftest import until

pytestmark = pytest.mark.files

_NO_MKDIR = json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}]})


def said(engine: Engine, script: str, **options: object) -> str:
    out: list[bytes] = []
    engine.containers.run("busybox", ["sh", "-c", script], RunOptions(**options), stdout=out.append, stderr=out.append)  # type: ignore[arg-type]
    return b"".join(out).decode()


def started(engine: Engine, script: str = "sleep 100", **options: object) -> Container:
    container = engine.containers.create("busybox", ["sh", "-c", script], RunOptions(**options))  # type: ignore[arg-type]
    container.start(detach=True).close()
    return container


def seccomp(text: str) -> int:
    return int(re.search(r"Seccomp:\s+(\d)", text)[1])  # type: ignore[index]


def test_a_filter_of_one_s_own(engine: Engine) -> None:
    assert "not supported" in said(engine, "mkdir /x; echo still here", seccomp=_NO_MKDIR).lower()
    if engine.capabilities.mounts:
        assert seccomp(said(engine, "grep Seccomp: /proc/self/status", seccomp="unconfined")) == (0 if engine.capabilities.owners else 2)
    with pytest.raises(InvalidRequest, match="decoding seccomp profile failed"):
        said(engine, "true", seccomp="{}")


def test_no_filter_still_knows_owners(engine: Engine) -> None:
    """Where the host gives one id, owners are the engine's affair, whatever filter a person wants."""
    assert said(engine, "touch /f && chown 5:6 /f && stat -c '%u %g' /f", seccomp="unconfined") == "5 6\n"


def test_privileged(engine: Engine) -> None:
    text = said(engine, "grep Cap /proc/self/status; mkdir -p /mnt; mount -t tmpfs x /mnt && echo mounted; ls /dev | wc -l", privileged=True)
    if not engine.capabilities.mounts:
        assert "mounted" not in text
        return
    held = int(re.search(r"CapEff:\s+(\w+)", text)[1], 16)  # type: ignore[index]
    ours = int(re.search(r"CapBnd:\s+(\w+)", Path("/proc/self/status").read_text())[1], 16)  # type: ignore[index]
    assert held == int(re.search(r"CapBnd:\s+(\w+)", text)[1], 16) == held & ours  # type: ignore[index]
    if not ours & capabilities.mask(["CAP_SYS_ADMIN"]):
        return  # as in a container of docker's: nobody gives more than they have
    assert "mounted" in text and held & capabilities.mask(["CAP_SYS_ADMIN"])
    plain = said(engine, "mkdir -p /mnt; mount -t tmpfs x /mnt && echo mounted; cat /proc/sys/kernel/hostname > /dev/null; echo 1 > /proc/sys/vm/drop_caches || echo shut")
    assert "mounted" not in plain and "shut" in plain
    assert said(engine, "grep CapEff /proc/self/status", privileged=True, user="7").split()[1] == "0" * 16


def test_devices(engine: Engine) -> None:
    wanted = (Device("/dev/null", "/dev/nothing"),)
    if not engine.capabilities.mounts:
        with pytest.raises(NotSupportedHere, match="no device"):
            said(engine, "true", device=wanted)
        return
    assert said(engine, "ls -l /dev/nothing | cut -c 1; echo x > /dev/nothing && echo taken", device=wanted) == "c\ntaken\n"
    if engine.capabilities.cgroups and os.path.exists("/sys/fs/cgroup/devices") and os.path.exists("/dev/fuse"):
        script = "(: < /dev/way) 2>&- && echo read; (: >> /dev/way) 2>&- && echo written"
        for mode, seen in (("r", "read\n"), ("w", "written\n"), ("rw", "read\nwritten\n")):
            assert said(engine, script, device=(Device("/dev/fuse", "/dev/way", mode),)) == seen
        assert said(engine, "echo x > /dev/nothing && echo taken", device=(Device("/dev/null", "/dev/nothing", "r"),)) == "taken\n", "docker lets everybody use it"
    for source, code in (("/dev/nosuch", 127), ("/etc/passwd", 125)):
        with pytest.raises(ContainerError, match=f'error gathering device information while adding custom device "{source}"') as failed:
            said(engine, "true", device=(Device(source, "/dev/x"),))
        assert failed.value.exit_code == code


def test_memory_that_is_shared(engine: Engine) -> None:
    if not engine.capabilities.mounts:
        pytest.skip("without mounts /dev/shm is a folder of each container's own")
    donor = started(engine, "echo hi > /dev/shm/f; sleep 100", name="donor", ipc="shareable")
    other = started(engine, "sleep 100", ipc="container:donor")
    assert donor.exec_run(["sh", "-c", "until test -e /dev/shm/f; do :; done"]).exit_code == 0
    assert other.exec_run(["cat", "/dev/shm/f"]).output == b"hi\n"
    assert other.exec_run(["sh", "-c", "echo back > /dev/shm/g"]).exit_code == 0 and donor.exec_run(["cat", "/dev/shm/g"]).output == b"back\n"
    assert donor.exec_run(["readlink", "/proc/self/ns/ipc"]).output == other.exec_run(["readlink", "/proc/self/ns/ipc"]).output


def test_processes_that_are_shared(engine: Engine) -> None:
    if not engine.capabilities.namespaces:
        with pytest.raises(NotSupportedHere, match="no PID namespace of its own"):
            said(engine, "true", pid="container:donor")
        return
    donor = started(engine, "sleep 4321", name="donor")
    if engine.capabilities.mounts:
        assert "sleep 4321" in said(engine, "ps", pid="container:donor")
    guest = started(engine, "sleep 100 & sleep 100", pid="container:donor")
    assert said(engine, "kill -0 1 && echo seen", pid="container:donor") == "seen\n"
    inside = guest.processes()
    guest.stop(timeout=0)
    assert len(inside) >= 2
    until(lambda: not any(map(started_at, inside)))  # but as zombies of the donor's first process
    assert donor.state.status == "running"
    again = engine.containers.create("busybox", ["true"], RunOptions(pid="container:donor"))
    donor.remove(force=True)
    with pytest.raises((InvalidRequest, NotFound)):
        again.start()


def test_what_is_no_container(engine: Engine) -> None:
    if not engine.capabilities.namespaces:
        pytest.skip("this tier has no namespaces")
    with pytest.raises(NotFound, match="No such container: nosuch"):
        said(engine, "true", ipc="container:nosuch")
    engine.containers.create("busybox", ["true"], RunOptions(name="idle"))
    with pytest.raises(InvalidRequest, match="is not running"):
        said(engine, "true", pid="container:idle")


def test_the_log_that_is_limited(engine: Engine) -> None:
    container = engine.containers.run("busybox", ["sh", "-c", "i=0; while [ $i -lt 300 ]; do echo line $i; i=$((i+1)); done"], RunOptions(log_opt={"max-size": "1k", "max-file": "3"}))
    lines = b"".join(data for _, _, data in container.logs()).decode().splitlines()
    assert lines[-1] == "line 299" and lines == [f"line {n}" for n in range(300 - len(lines), 300)] and 60 < len(lines) < 200
    assert sorted(path.name for path in Path(container.folder).glob("log*")) == ["log", "log.1", "log.2"]
    silent = engine.containers.run("busybox", ["echo", "hi"], RunOptions(log_driver="none"))
    with pytest.raises(InvalidRequest, match="configured logging driver does not support reading"):
        list(silent.logs())


def test_a_limited_log_that_is_followed(engine: Engine) -> None:
    container = started(engine, "i=0; while [ $i -lt 200 ]; do echo line $i; i=$((i+1)); usleep 2000; done", log_opt={"max-size": "1k", "max-file": "2"})
    lines = b"".join(data for _, _, data in container.logs(follow=True)).decode().splitlines()
    assert lines == [f"line {n}" for n in range(200)]


@pytest.mark.skipif(syscalls.MACHINE not in ("x86_64", "aarch64"), reason="no filter for this machine")
@pytest.mark.parametrize("tier", ["root"])
def test_sizes(engine: Engine) -> None:
    container = engine.containers.run("busybox", ["dd", "if=/dev/zero", "of=/f", "bs=1000", "count=50"])
    own, whole = container.size()
    assert own == 50000 and whole == own + container.image.size
