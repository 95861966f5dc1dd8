"""Restart policies and `--init`, in every tier."""

from __future__ import annotations

import os
import signal
import threading
import time

import msgspec
import pytest

from dockerlab.engine import Container, Engine, RunOptions
from dockerlab.engine.containers import Attach
from dockerlab.errors import InUse, InvalidArgument, InvalidRequest
from tests.conftest import gone, until


def begun(engine: Engine, script: str, **options: object) -> Container:
    container = engine.containers.create("busybox", ["sh", "-c", script], RunOptions(**options))  # type: ignore[arg-type]
    container.start(detach=True).close()
    return container


def said(container: Container) -> bytes:
    return b"".join(data for _, _, data in container.logs())


def test_a_container_begins_again_as_often_as_its_policy_says(engine: Engine) -> None:
    container = begun(engine, "echo x >> /f; wc -l < /f; exit 3", restart="on-failure:2")
    until(lambda: container.state.status == "exited")
    assert (container.state.restarts, container.state.exit_code, said(container)) == (2, 3, b"1\n2\n3\n")
    container.start(detach=True).close()
    until(lambda: container.state.status == "exited" and said(container).endswith(b"6\n"))
    assert container.state.restarts == 2  # a person's start counts from the beginning


def test_who_looks_on_leaves_at_the_first_end(engine: Engine) -> None:
    container = engine.containers.create("busybox", ["sh", "-c", "echo x; sleep 0.2; exit 4"], RunOptions(restart="always"))
    source, sink = os.pipe()
    session = container.start(Attach(None, sink, sink))
    os.close(sink)
    heard: list[bytes] = []
    with open(source, "rb"):
        assert container.watch(session, {source: heard.append}) == 4
    assert heard == [b"x\n"]
    until(lambda: container.state.restarts > 0)
    container.stop()
    assert container.state.status == "exited"


def test_stop_is_the_end_even_between_two_starts(engine: Engine) -> None:
    container = begun(engine, "exit 4", restart="always")
    until(lambda: container.state.restarts > 2 and container.state.status == "restarting")
    assert container.state.alive and not container.state.running and [c.id for c in engine.containers.list()] == [container.id]
    for refused in (container.pause, container.processes, lambda: container.exec(["true"]), lambda: container.start(detach=True)):
        with pytest.raises((InvalidRequest, InUse)):
            refused()
    with pytest.raises(InvalidArgument, match="You cannot attach to a restarting container"):
        container.attach(Attach())
    with pytest.raises(InUse, match="You cannot remove a restarting container"):
        container.remove()
    monitor = container.state.monitor
    container.stop()
    assert container.state.status == "exited" and gone(monitor)
    count = container.state.restarts
    time.sleep(0.5)
    assert container.state.restarts == count
    container.start(detach=True).close()
    until(lambda: container.state.restarts > 1)
    container.remove(force=True)
    assert not engine.containers.list(all=True)


def test_a_signal_that_is_not_the_stop_signal_does_not_end_it_for_good(engine: Engine) -> None:
    script = "trap 'exit 7' USR1; echo ready; while :; do sleep 0.05; done"
    container, other = (begun(engine, script, restart=policy, stop_signal="TERM") for policy in ("always", "unless-stopped"))
    for each in (container, other):
        until(lambda each=each: b"ready" in said(each))  # type: ignore[misc]
        each.kill(signal.SIGUSR1)
    until(lambda: container.state.restarts == 1 and other.state.status == "exited")
    container.kill()
    until(lambda: container.state.status == "exited")
    assert (container.state.restarts, other.state.restarts) == (1, 0)


def test_a_start_more_takes_nothing_more(engine: Engine) -> None:
    container = begun(engine, "sleep 0.01", restart="always")
    until(lambda: container.state.restarts > 0)
    folder = f"/proc/{container.state.monitor}/fd"
    if not os.access(folder, os.R_OK):
        pytest.skip("where the launcher lives in a user namespace nobody outside may look at a monitor's files")

    def between() -> int:
        count = container.state.restarts
        until(lambda: container.state.restarts > count and container.state.status == "restarting")
        time.sleep(0.1)  # the end is noted first, and what belonged to the program is closed then
        return len(os.listdir(folder))

    first = between()
    assert min([between() for _ in range(3)][1:]) <= first + 1  # one may be on its way at the moment of counting


def test_waiting_ends_with_each_end(engine: Engine) -> None:
    container = begun(engine, "sleep 0.3; exit 5", restart="always")
    codes: list[int] = []
    waiting = [threading.Thread(target=lambda: codes.append(container.wait(timeout=10))) for _ in range(3)]
    for thread in waiting:
        thread.start()
    for thread in waiting:
        thread.join(10)
    assert codes == [5, 5, 5]


def test_resume_starts_what_a_reboot_has_ended(engine: Engine) -> None:
    wanted = [begun(engine, "sleep 60", restart=policy) for policy in ("always", "unless-stopped", "on-failure")]
    others = [begun(engine, "sleep 60"), engine.containers.create("busybox", ["true"], RunOptions(restart="always"))]
    stopped = begun(engine, "sleep 60", restart="unless-stopped")
    stopped.stop(timeout=0)
    for container in (*wanted, others[0]):
        state = container.state
        os.kill(state.monitor, signal.SIGKILL)
        assert gone(state.pid)
    began, failed = engine.system.resume()
    assert {c.name for c in began} == {c.name for c in wanted} and not failed
    assert all(container.state.status == "running" for container in wanted) and not others[0].state.alive and not stopped.state.alive
    assert engine.system.resume() == ([], [])


def test_resume_tells_what_does_not_start(engine: Engine) -> None:
    container = begun(engine, "sleep 60", restart="always")
    container.stop(timeout=0)
    path = container.folder / "bundle" / "config.json"
    path.write_bytes(path.read_bytes().replace(b'"sh"', b'"nope"'))
    began, failed = engine.system.resume()
    assert not began and [(c.name, error.exit_code) for c, error in failed] == [(container.name, 127)]


def test_an_init_passes_signals_on_and_takes_leave_of_orphans(engine: Engine) -> None:
    container = begun(engine, "trap 'exit 9' TERM; (sleep 0.1 &); echo ready; while :; do sleep 0.05; done", init=True)
    until(lambda: b"ready" in said(container))
    pids = any(namespace["type"] == "pid" for namespace in msgspec.json.decode((container.folder / "bundle" / "config.json").read_bytes())["linux"].get("namespaces", ()))
    time.sleep(0.4)
    if pids and engine.capabilities.fresh_proc:  # elsewhere /proc inside is the host's
        stats = container.exec_run(["sh", "-c", "cat /proc/[0-9]*/stat | cut -d' ' -f3; tr '\\0' ' ' < /proc/1/cmdline"]).output.decode()
        assert "Z" not in stats.splitlines() and "/sbin/docker-init -- sh -c trap" in stats
        peeked = container.exec_run(["sh", "-c", "head -c 9 /proc/1/exe; ls /proc/1/fd/; head -c 1 /proc/1/mem; cat /proc/1/environ"]).output.decode()
        assert "ELF" not in peeked and str(engine.home) not in peeked
    container.stop()
    assert container.state.exit_code == 9
    if pids:  # PRoot tells that a signal has ended its program, and not which
        assert begun(engine, "kill -9 $$", init=True).wait() == 137
