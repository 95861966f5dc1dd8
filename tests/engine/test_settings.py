"""What `run` may be told about limits, groups, names and signals, in every tier."""

from __future__ import annotations

import time

import pytest

from dockerlab.engine import Container, Engine, RunOptions
from dockerlab.errors import ContainerError, InvalidRequest


def said(engine: Engine, script: str, **options: object) -> str:
    out: list[bytes] = []
    container = engine.containers.run("busybox", ["sh", "-c", script], RunOptions(rm=True, **options), stdout=out.append)  # type: ignore[arg-type]
    assert container.exit_code == 0
    return b"".join(out).decode()


def begun(engine: Engine, script: str, **options: object) -> Container:
    container = engine.containers.create("busybox", ["sh", "-c", script], RunOptions(**options))  # type: ignore[arg-type]
    container.start(detach=True).close()
    next(iter(container.logs(follow=True)))
    return container


def test_limits_hold_for_the_program_and_for_those_of_exec(engine: Engine) -> None:
    assert said(engine, "ulimit -n; ulimit -Hn; ulimit -c", ulimit=(("nofile", 100, 200), ("core", 0, 0))) == "100\n200\n0\n"
    container = begun(engine, "echo ready; sleep 300", ulimit=(("nofile", 64, 64),))
    assert container.exec_run(["sh", "-c", "ulimit -n"]).output == b"64\n"
    with pytest.raises(ContainerError, match="error setting rlimit type 7: "):
        said(engine, "true", ulimit=(("nofile", 10**12, 10**12),))


def test_more_groups(engine: Engine) -> None:
    assert said(engine, "id -G; id -Gn 2>/dev/null | grep -c daemon", group_add=("daemon", "77")) == "0 1 77\n1\n"
    assert said(engine, "id -G", user="5:6", group_add=("88",)) == "6 88\n"
    container = begun(engine, "echo ready; sleep 300", group_add=("88",))
    assert container.exec_run(["id", "-G"]).output == b"0 88\n"
    with pytest.raises(ContainerError, match="Unable to find group nosuch: no matching entries in group file"):
        said(engine, "true", group_add=("nosuch",))


def test_names_of_other_hosts_and_who_is_asked_for_them(engine: Engine) -> None:
    assert said(engine, "grep -e mirror -e six /etc/hosts", add_host=(("mirror", "10.1.2.3"), ("six", "::1"))) == "10.1.2.3\tmirror\n::1\tsix\n"
    chosen = {"dns": ("1.2.3.4", "5.6.7.8"), "dns_search": ("a.b", "c"), "dns_option": ("ndots:2",)}
    assert said(engine, "cat /etc/resolv.conf", **chosen) == "search a.b c\nnameserver 1.2.3.4\nnameserver 5.6.7.8\noptions ndots:2\n"


def test_it_stops_by_its_own_signal_and_after_its_own_time(engine: Engine) -> None:
    container = begun(engine, "trap 'echo usr; exit 3' USR1; echo ready; while :; do sleep 0.05; done", stop_signal="USR1")
    container.stop()
    assert container.state.exit_code == 3
    deaf = begun(engine, "trap '' TERM; echo ready; while :; do sleep 0.05; done", stop_timeout=0)
    begin = time.monotonic()
    deaf.stop()
    assert deaf.state.exit_code == 137 and time.monotonic() - begin < 5
    with pytest.raises(InvalidRequest, match="Invalid signal: FOO"):
        engine.containers.create("busybox", (), RunOptions(stop_signal="FOO"))
