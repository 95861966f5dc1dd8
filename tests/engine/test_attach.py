"""Looking at a container that runs: more than one, and what their going away does; pause and unpause."""

from __future__ import annotations

import os
import select
import signal
import time

import pytest

from dockerlab.engine import Container, Engine, RunOptions
from dockerlab.engine.options import Attach
from dockerlab.errors import InUse, InvalidArgument, InvalidRequest
from dockerlab.runtime.world import Session
from tests.conftest import gone, until


def begun(engine: Engine, script: str, **options: object) -> Container:
    container = engine.containers.create("busybox", ["sh", "-c", script], RunOptions(**options))  # type: ignore[arg-type]
    container.start(detach=True).close()
    return container


def looking(container: Container) -> tuple[Session, int, int]:
    """Gives a session, where to type, and where to read."""
    (reader, feed), (source, sink) = os.pipe(), os.pipe()
    session = container.attach(Attach(reader, sink, sink))
    os.close(reader)
    os.close(sink)
    assert "started" in session.next()
    return session, feed, source


def test_several_look_and_type_until_the_end(engine: Engine) -> None:
    container = begun(engine, "read a; echo got $a; read b; echo and $b; exit 4", interactive=True)
    one, type_one, read_one = looking(container)
    two, type_two, read_two = looking(container)
    os.write(type_one, b"first\n")
    assert os.read(read_two, 100) == b"got first\n"
    os.close(type_one)
    one.close()
    os.write(type_two, b"second\n")
    assert container.watch(two, {}) == 4 and os.read(read_two, 100) == b"and second\n"
    assert os.read(read_one, 100) == b"got first\n"
    assert b"".join(data for _, _, data in container.logs()) == b"got first\nand second\n"
    for descriptor in (type_two, read_one, read_two):
        os.close(descriptor)


def test_a_prompt_is_drawn_anew(engine: Engine) -> None:
    """Whoever comes to a shell that waits sees its prompt, though their window is as large as the last one's was."""
    container = begun(engine, "exec sh", interactive=True, tty=True, env={"PS1": "here> "})
    for _ in range(2):
        session, feed, source = looking(container)
        session.resize(24, 80)
        seen = b""
        while b"here> " not in seen:
            assert select.select([source], [], [], 5)[0], seen
            seen += os.read(source, 1000)
        os.write(feed, b"stty size\n")
        while b"24 80" not in seen:
            assert select.select([source], [], [], 5)[0], seen
            seen += os.read(source, 1000)
        session.close()
        os.close(feed)
        os.close(source)
    container.kill()


def test_who_looks_and_goes_away_ends_nothing(engine: Engine) -> None:
    container = begun(engine, "while :; do echo x; sleep 0.01; done")
    folder = f"/proc/{container.state.monitor}/fd"
    seen = os.access(folder, os.R_OK)  # where the launcher lives in a user namespace nobody outside may look
    before = len(os.listdir(folder)) if seen else 0
    for _ in range(5):
        session, feed, source = looking(container)
        os.read(source, 1)
        session.close()
        os.close(feed)
        os.close(source)
    until(lambda: not seen or len(os.listdir(folder)) <= before + 1)
    assert container.state.status == "running"
    session, feed, source = looking(container)
    session.signal(signal.SIGKILL)
    assert container.watch(session, {source: lambda data: None}) == 137
    os.close(feed)
    os.close(source)
    with pytest.raises(InvalidArgument, match="You cannot attach to a stopped container, start it first"):
        container.attach(Attach())


def test_a_container_without_stdin_takes_none(engine: Engine) -> None:
    container = begun(engine, "sleep 0.5; cat; echo end")
    session, feed, source = looking(container)
    said: list[bytes] = []
    assert container.watch(session, {source: said.append}) == 0 and b"".join(said) == b"end\n"
    os.close(feed)
    os.close(source)


COUNTS = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.02; done"


def count(container: Container) -> int:
    return sum(data.count(b"\n") for _, _, data in container.logs())


def test_what_is_paused_stands_still_and_goes_on(engine: Engine) -> None:
    container = begun(engine, COUNTS)
    until(lambda: count(container) > 2)
    container.pause()
    assert container.state.status == "paused"
    time.sleep(0.1)  # what was written before may still be carried
    stood = count(container)
    time.sleep(0.3)
    assert count(container) == stood
    with pytest.raises(InvalidRequest, match="is already paused"):
        container.pause()
    with pytest.raises(InvalidRequest, match="is paused, unpause the container before exec"):
        container.exec(["true"])
    with pytest.raises(InvalidRequest, match="cannot start a paused container, try unpause instead"):
        container.start()
    with pytest.raises(InUse, match="cannot remove a paused container"):
        container.remove()
    with pytest.raises(InvalidArgument, match="You cannot attach to a paused container"):
        container.attach(Attach())
    assert container in engine.containers.list() or container.id in [c.id for c in engine.containers.list()]
    container.unpause()
    assert container.state.status == "running"
    until(lambda: count(container) > stood + 2)
    with pytest.raises(InvalidRequest, match="is not paused"):
        container.unpause()


def test_what_is_paused_can_be_ended(engine: Engine) -> None:
    container = begun(engine, COUNTS)
    container.pause()
    container.kill()
    assert container.wait(timeout=10) == 137 and container.state.status == "exited"
    container.start(detach=True).close()
    container.pause()
    container.stop(timeout=0.2)
    assert container.state.exit_code == 137
    container.start(detach=True).close()
    container.pause()
    container.remove(force=True)
    assert engine.containers.list(all=True) == []


def test_programs_of_exec_are_paused_with_it(engine: Engine) -> None:
    container = begun(engine, "sleep 300", interactive=True)
    container.exec(["sh", "-c", "while :; do echo x >> /n; sleep 0.02; done"], detach=True).close()
    until(lambda: container.exec_run(["cat", "/n"]).output.count(b"x") > 2)
    container.pause()
    pids = container.processes()
    time.sleep(0.1)
    before = [cpu(pid) for pid in pids]
    time.sleep(0.4)
    assert [cpu(pid) for pid in pids] == before and len(pids) >= 2
    container.unpause()
    until(lambda: [cpu(pid) for pid in pids] != before)


def cpu(pid: int) -> int:
    """How often a process gave up its processor of its own will, or was made to."""
    try:
        with open(f"/proc/{pid}/status") as file:
            return sum(int(line.split()[1]) for line in file if "ctxt_switches" in line)
    except FileNotFoundError:
        return 0


@pytest.mark.parametrize("first", ["monitor", "parent"])
def test_a_kill_while_it_is_paused_leaves_nothing(engine: Engine, first: str) -> None:
    container = begun(engine, COUNTS)
    container.pause()
    state, pids = container.state, container.processes()
    with open(f"/proc/{state.pid}/stat") as file:
        parent = int(file.read().rpartition(")")[2].split()[1])
    os.kill(state.monitor if first == "monitor" else parent, signal.SIGKILL)
    if first == "parent":
        until(lambda: container.state.status == "exited")
    else:
        assert gone(state.monitor)
    container.remove(force=True)
    assert all(gone(pid) for pid in pids)
