"""Namespaces of the host's, names and settings of the kernel: what a container is given, in every tier that can."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dockerlab.engine import Engine, RunOptions
from dockerlab.errors import ContainerError, DockerlabError, InvalidRequest


def said(engine: Engine, script: str, **options: object) -> str:
    out: list[bytes] = []
    engine.containers.run("busybox", ["sh", "-c", script], RunOptions(**options), stdout=out.append)  # type: ignore[arg-type]
    return b"".join(out).decode()


def spec_of(engine: Engine, **options: object) -> str:
    container = engine.containers.create("busybox", ["true"], RunOptions(**options))  # type: ignore[arg-type]
    return (container.folder / "bundle" / "config.json").read_text()


def test_the_host_keeps_its_name(engine: Engine) -> None:
    before = os.uname()
    assert said(engine, "hostname; echo $HOSTNAME; cat /etc/hostname", uts="host").split() == [before.nodename] * 3
    with pytest.raises(InvalidRequest, match="conflicting options: hostname and the UTS mode"):
        said(engine, "true", uts="host", hostname="x")
    named = said(engine, "hostname; cat /proc/sys/kernel/domainname || true", hostname="hh", domainname="d.e")
    if '"uts"' in spec_of(engine):
        assert named.startswith("hh\n") and ("d.e" in named) is (engine.capabilities.mounts or "proot" in engine.capabilities.tier)
    assert os.uname().nodename == before.nodename and Path("/proc/sys/kernel/domainname").read_text().strip() != "d.e"


def test_processes_of_the_host(engine: Engine) -> None:
    container = engine.containers.create("busybox", ["sh", "-c", "sleep 61 & sleep 62"], RunOptions(pid="host"))
    container.start(detach=True).close()
    if engine.capabilities.mounts:
        assert str(os.getpid()) in container.exec_run(["ls", "/proc"]).output.decode().split()
    assert container.exec_run(["echo", "in"]).output == b"in\n"
    below = container.processes()
    container.stop(timeout=0)
    assert below and not any(os.path.exists(f"/proc/{pid}") for pid in below)


def test_memory_between_processes(engine: Engine) -> None:
    if not engine.capabilities.mounts:
        pytest.skip("without mounts /dev/shm is a folder of the container's, whatever is asked for")
    name = f"dockerlab-{os.getpid()}"
    Path(f"/dev/shm/{name}").write_text("host\n")
    try:
        assert said(engine, f"cat /dev/shm/{name}", ipc="host") == "host\n"
        assert said(engine, f"ls /dev/shm; mount | grep -c /dev/shm || true; test -e /dev/shm/{name} || echo none", ipc="none").endswith("0\nnone\n")
        assert said(engine, "ls -A /dev/shm") == ""
    finally:
        os.unlink(f"/dev/shm/{name}")
    with pytest.raises(InvalidRequest, match="Invalid IPC mode: foo"):
        said(engine, "true", ipc="foo")


def test_a_score_for_when_memory_runs_out(engine: Engine) -> None:
    container = engine.containers.create("busybox", ["sleep", "60"], RunOptions(oom_score_adj=500))
    container.start(detach=True).close()
    assert Path(f"/proc/{container.state.pid}/oom_score_adj").read_text() == "500\n"
    with pytest.raises(InvalidRequest, match="range for oom score adj"):
        said(engine, "true", oom_score_adj=2000)


def test_settings_of_the_kernel(engine: Engine) -> None:
    with pytest.raises(ContainerError, match='sysctl "net.ipv4.ip_forward" not allowed in host network namespace'):
        said(engine, "true", sysctl={"net.ipv4.ip_forward": "1"})
    if not engine.capabilities.namespaces:
        return
    before = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()
    try:
        seen = said(engine, "cat /proc/sys/net/ipv4/ip_unprivileged_port_start || true", network="none", sysctl={"net.ipv4.ip_unprivileged_port_start": "80"})
    except DockerlabError as error:
        pytest.skip(f"this host refuses it: {error.message}")
    assert seen == ("80\n" if engine.capabilities.mounts else "")
    assert Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text() == before
    with pytest.raises(ContainerError, match="open /proc/sys/net/foo: no such file or directory") as caught:
        said(engine, "true", network="none", sysctl={"net.foo": "1"})
    assert caught.value.exit_code == 127


def test_platforms_and_images_that_are_not_here(engine: Engine) -> None:
    own = engine.images.resolve("busybox").config
    assert said(engine, "echo ok", platform=f"{own.os}/{own.architecture}", pull="never") == "ok\n"
    with pytest.raises(InvalidRequest, match="does not match the specified platform: wanted linux/s390x"):
        said(engine, "true", platform="linux/s390x")
    with pytest.raises(DockerlabError, match="No such image: alpine"):
        engine.containers.create("alpine", ["true"], RunOptions(pull="never"))
