"""A hold lasts as long as its process, and the gate keeps who removes and who takes hold apart."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO

import pytest

from dockerlab.store.holds import Holds

CODE = """
import sys, time
from pathlib import Path
from dockerlab.store.holds import Holds
with Holds(Path(sys.argv[1])).begin() as hold:
    hold.add("sha256:1")
    hold.add("sha256:2")
    hold.add("sha256:1")
    print("held", flush=True)
    time.sleep(100)
"""


def test_what_is_held_is_told_until_the_block_ends(tmp_path: Path) -> None:
    holds = Holds(tmp_path)
    with holds.closed() as held:
        assert held == set()
    with holds.begin() as one, Holds(tmp_path).begin() as other:
        one.add("a")
        other.add("b")
        with holds.closed() as held:
            assert held == {"a", "b"}
    with holds.closed() as held:
        assert held == set()
    assert os.listdir(tmp_path / "holds") == []


def test_a_build_that_ends_while_somebody_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    holds, real = Holds(tmp_path), fcntl.flock
    with holds.begin() as hold:
        hold.add("a")

        def ended_just_now(file: IO[str], how: int) -> None:
            if how & fcntl.LOCK_NB:
                for path in (tmp_path / "holds").iterdir():
                    path.unlink()
            real(file, how)

        monkeypatch.setattr(fcntl, "flock", ended_just_now)
        with holds.closed() as held:
            assert held == {"a"}
    monkeypatch.undo()
    with holds.closed() as held:
        assert held == set()


def test_a_killed_process_holds_nothing(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", CODE, str(tmp_path)], stdout=subprocess.PIPE) as child:
        assert child.stdout and child.stdout.readline() == b"held\n"
        holds = Holds(tmp_path)
        with holds.closed() as held:
            assert held == {"sha256:1", "sha256:2"}
        child.send_signal(signal.SIGKILL)
    with holds.closed() as held:
        assert held == set()
    assert os.listdir(tmp_path / "holds") == []


def test_nobody_takes_hold_while_somebody_removes(tmp_path: Path) -> None:
    holds, taken = Holds(tmp_path), threading.Event()

    def take() -> None:
        with other.taking() as hold:
            hold("a")
            taken.set()

    with Holds(tmp_path).begin() as other:
        _nobody_meanwhile(holds, take, taken)


def test_nobody_begins_while_somebody_removes(tmp_path: Path) -> None:
    holds, taken = Holds(tmp_path), threading.Event()

    def take() -> None:
        with Holds(tmp_path).begin():
            taken.set()

    _nobody_meanwhile(holds, take, taken)


def _nobody_meanwhile(holds: Holds, take: Callable[[], None], taken: threading.Event) -> None:
    with holds.closed():
        taker = threading.Thread(target=take)
        taker.start()
        assert not taken.wait(0.2)
    taker.join()
    assert taken.is_set()
