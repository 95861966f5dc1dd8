"""Limits: by the kernel where the host gives control groups, else by a watcher; in every tier."""

from __future__ import annotations

import time

import pytest

from dockerlab.engine import Container, Engine, RunOptions
from dockerlab.engine.measuring import sample
from dockerlab.engine.resources import Resources
from dockerlab.errors import InvalidRequest
from tests.conftest import until

# Doubles a string until it is too much, and stays there for a watcher to see.
HUNGRY = "a=0123456789; while [ ${#a} -lt 200000000 ]; do a=$a$a; done; sleep 30"
BOMB = "for i in 1 2 3 4 5 6 7 8 9; do sleep 30 & done; wait"


def begun(engine: Engine, script: str, **limits: object) -> Container:
    container = engine.containers.create("busybox", ["sh", "-c", script], RunOptions(resources=Resources(**limits)))  # type: ignore[arg-type]
    container.start(detach=True).close()
    return container


def test_too_much_memory_is_the_end(engine: Engine) -> None:
    told: list[bytes] = []
    container = engine.containers.run("busybox", ["sh", "-c", HUNGRY], RunOptions(resources=Resources(memory=30 << 20)), stderr=told.append)
    state = container.state
    assert (container.exit_code, state.exit_code, state.oom_killed) == (137, 137, True)
    assert (b"went beyond its limit of memory" in b"".join(told)) is not engine.capabilities.cgroups
    calm = engine.containers.run("busybox", ["sh", "-c", "sleep 0.3"], RunOptions(resources=Resources(memory=30 << 20)))
    assert calm.exit_code == 0 and not calm.state.oom_killed


def test_too_many_processes(engine: Engine) -> None:
    told: list[bytes] = []
    container = engine.containers.run("busybox", ["sh", "-c", BOMB], RunOptions(resources=Resources(pids_limit=5)), stderr=told.append)
    if engine.capabilities.cgroups:
        assert b"can't fork: Resource temporarily unavailable" in b"".join(told) and container.exit_code == 2
    else:
        assert b"went beyond its limit of processes" in b"".join(told) and container.exit_code == 137
    assert not container.state.oom_killed


def test_limits_may_be_changed_while_it_runs(engine: Engine) -> None:
    container = begun(engine, f"while ! [ -e /go ]; do sleep 0.05; done; {HUNGRY}", memory=500 << 20)
    container.update({"memory": 20 << 20, "memory_swap": 40 << 20}, restart="on-failure:1")
    again = engine.containers.get(container.id)
    assert again.resources == Resources(memory=20 << 20, memory_swap=40 << 20) and again.record.host["restart"] == "on-failure:1"
    assert container.exec_run(["touch", "/go"]).exit_code == 0
    until(lambda: container.state.restarts == 1)  # it ended, and what `update` said holds for the policy as well
    container.remove(force=True)
    stopped = engine.containers.create("busybox", ["true"])
    stopped.update({"pids_limit": 9})
    assert engine.containers.get(stopped.id).resources.pids_limit == 9


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"memory": 4 << 20}, "Minimum memory limit allowed is 6MB"),
        ({"memory": 10 << 20, "memory_swap": 5 << 20}, "Minimum memoryswap limit should be larger"),
        ({"memory_swap": 50 << 20}, "You should always set the Memory limit"),
        ({"nano_cpus": 999 * 10**9}, "Range of CPUs is from 0.01 to"),
        ({"nano_cpus": 10**9, "cpu_quota": 50000}, "Nano CPUs and CPU Quota cannot both be set"),
        ({"cpu_period": 1}, "CPU cfs period can not be less"),
        ({"cpuset_cpus": "x"}, "Invalid value x for cpuset cpus: invalid format: x"),
        ({"cpuset_cpus": "0-999"}, "Requested CPUs are not available - requested 0-999"),
    ],
)
def test_what_the_daemon_refuses(limits: dict[str, object], said: str) -> None:
    with pytest.raises(InvalidRequest, match=said):
        Resources(**limits).checked()  # type: ignore[arg-type]


def test_more_memory_than_the_swap_that_was_set(engine: Engine) -> None:
    container = engine.containers.create("busybox", ["true"], RunOptions(resources=Resources(memory=10 << 20, memory_swap=20 << 20)))
    with pytest.raises(InvalidRequest, match="update the memoryswap at the same time"):
        container.update({"memory": 30 << 20})


def test_what_a_container_uses_is_counted(engine: Engine) -> None:
    busy, calm = begun(engine, "while :; do :; done"), begun(engine, "sleep 60 & sleep 60")
    until(lambda: len(calm.processes()) >= 2)
    before = [sample(each) for each in (busy, calm)]
    time.sleep(1)
    after = [sample(each) for each in (busy, calm)]
    shares = [b.percent_since(a) for a, b in zip(before, after, strict=True)]
    assert shares[0] > 20 and shares[1] < 20
    assert after[1].pids >= 2 and 0 < after[1].memory < after[1].limit
    calm.stop(timeout=0)
    assert (sample(calm).memory, sample(calm).pids) == (0, 0)


def test_a_group_holds_the_container_alone(engine: Engine) -> None:
    if not engine.capabilities.cgroups:
        pytest.skip("this tier has no control groups")
    container = begun(engine, "exec sleep 60")
    until(lambda: sample(container).pids == 1)
    script = "cd /sys/fs/cgroup; cat pids.current pids/pids.current 2>/dev/null; mkdir x 2>&1; echo 0 > cgroup.procs || echo 0 > pids/cgroup.procs"
    told = container.exec_run(["sh", "-c", script]).output
    assert told.count(b"Read-only file system") >= 2 and b"\n" in told
    container.remove(force=True)
