"""Stop, kill, wait, restart, rename: by signals that the program sees, in every tier."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from dockerlab.engine import Container, Engine, RunOptions
from dockerlab.errors import AlreadyExists, ContainerError, InvalidRequest, NotFound
from dockerlab.linux import signals
from tests.conftest import until

LISTENS = "trap 'echo term; exit 7' TERM; trap 'echo user' USR1; echo ready; while :; do sleep 0.05; done"


def begun(engine: Engine, script: str = LISTENS, **options: object) -> Container:
    container = engine.containers.create("busybox", ["sh", "-c", script], RunOptions(**options))  # type: ignore[arg-type]
    container.start(detach=True).close()
    until(lambda: b"ready" in said(container))
    return container


def said(container: Container) -> bytes:
    return b"".join(data for _, _, data in container.logs())


def test_stop_asks_and_then_insists(engine: Engine) -> None:
    polite = begun(engine)
    polite.stop()
    assert (polite.state.status, polite.state.exit_code) == ("exited", 7) and said(polite).endswith(b"term\n")
    polite.stop()  # what does not run is stopped
    deaf = begun(engine, "trap '' TERM; echo ready; while :; do sleep 0.05; done")
    begin = time.monotonic()
    deaf.stop(timeout=0.5)
    assert deaf.state.exit_code == 137 and time.monotonic() - begin < 5


def test_signals_reach_the_program(engine: Engine) -> None:
    container = begun(engine)
    container.kill(signals.number("USR1"))
    until(lambda: b"user" in said(container))
    assert container.state.status == "running"
    container.kill()
    assert container.wait() == 137
    with pytest.raises(InvalidRequest, match=f"Cannot kill container: {container.name}: Container {container.id} is not running"):
        container.kill()


def test_wait_hears_the_end_of_a_container_that_is_removed(engine: Engine) -> None:
    container = begun(engine, "echo ready; sleep 0.4; exit 5", rm=True)
    codes: list[int] = []
    waiting = [threading.Thread(target=lambda: codes.append(container.wait())) for _ in range(3)]
    for thread in waiting:
        thread.start()
    for thread in waiting:
        thread.join(10)
    assert codes == [5, 5, 5]
    with pytest.raises(TimeoutError):
        begun(engine).wait(timeout=0.2)
    for left in engine.containers.list():
        left.remove(force=True)


def test_who_waits_and_goes_away_leaves_nothing_in_the_monitor(engine: Engine) -> None:
    container = begun(engine)
    for _ in range(5):
        with pytest.raises(TimeoutError):
            container.wait(timeout=0.01)
    folder = f"/proc/{container.state.monitor}/fd"
    if os.access(folder, os.R_OK):  # where the launcher lives in a user namespace nobody outside may look
        before = len(os.listdir(folder))
        for _ in range(20):
            with pytest.raises(TimeoutError):
                container.wait(timeout=0.01)
        assert len(os.listdir(folder)) < before + 5  # the last ones may be under way still
    container.stop()
    assert container.state.exit_code == 7


def test_restart_keeps_what_the_container_wrote(engine: Engine) -> None:
    container = begun(engine, "echo x >> /f; echo ready; trap 'exit 0' TERM; while :; do sleep 0.05; done", rm=True)
    container.restart()
    until(lambda: said(container).count(b"ready") == 2)
    assert [str(change) for change in container.diff()] == ["A /f"]
    container.stop()
    until(lambda: not engine.containers.list(all=True))  # --rm holds for the last end


def test_processes_of_a_container_are_its_own(engine: Engine) -> None:
    container, other = begun(engine, "sleep 50 & (sleep 51 & ); echo ready; wait"), begun(engine, "echo ready; exec sleep 52")
    until(lambda: len(container.processes()) > 2)
    words = [Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")[-1] for pid in container.processes()]
    assert {b"50", b"51"} <= set(words) and b"52" not in words
    for left in (container, other):
        left.remove(force=True)
    with pytest.raises(InvalidRequest, match="is not running"):
        engine.containers.create("busybox", ["true"]).processes()


def test_rename(engine: Engine) -> None:
    one, other = engine.containers.create("busybox", ["true"], RunOptions(name="one")), engine.containers.create("busybox", ["true"], RunOptions(name="other"))
    one.rename("two")
    assert engine.containers.get("two").id == one.id and one.name == "two"
    with pytest.raises(NotFound):
        engine.containers.get("one")
    with pytest.raises(AlreadyExists, match='The container name "/other" is already in use'):
        one.rename("other")
    with pytest.raises(InvalidRequest):
        other.rename("not a name")
    assert sorted(c.name for c in engine.containers.list(all=True)) == ["other", "two"]


def test_a_rename_that_was_killed_is_swept(engine: Engine) -> None:
    container = engine.containers.create("busybox", ["true"], RunOptions(name="one"))
    stale = engine.container_store.names / "two"
    stale.write_text(container.id)
    assert engine.system.check() == [] and stale.exists(), "it may be at work still"
    os.utime(stale, (0, 0))
    assert [c.name for c in engine.containers.list(all=True)] == ["one"]
    assert engine.system.check() == [] and not stale.exists() and engine.containers.get("one").id == container.id


@pytest.mark.parametrize(("word", "number"), [("TERM", 15), ("sigkill", 9), ("9", 9), ("RTMIN", 34), ("SIGRTMIN+3", 37), ("RTMAX", 64), ("rtmax-2", 62)])
def test_signal_names(word: str, number: int) -> None:
    assert signals.number(word) == number


@pytest.mark.parametrize("word", ["", "0", "65", "FOO", "RTMIN+31", "RTMAX-31", "-9", "\u0663"])
def test_words_that_are_no_signal(word: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        signals.number(word)


def test_a_launcher_that_has_just_ended_is_no_failure(engine: Engine) -> None:
    for _ in range(3):
        assert engine.containers.run("busybox", ["true"]).exit_code == 0
        engine.world.stop()


def test_a_start_says_why_it_failed_and_whether_somebody_removed_the_container(engine: Engine) -> None:
    container = engine.containers.create("busybox", ["true"])
    engine.containers.get(container.id).remove()
    with pytest.raises(InvalidRequest, match="marked for removal and cannot be started"):
        container.start(detach=True)
    with pytest.raises(ContainerError, match="nosuch"):
        engine.containers.create("busybox", ["nosuch"], RunOptions(rm=True)).start(detach=True)
