"""Workers of the command server that stay for another command line, and what they keep of one."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dockerlab.cli.worker import TOLD, stays
from dockerlab.linux import processes
from tests.cli.conftest import ROOT, Shim, serving, until


def idle(shim: Shim) -> list[int]:
    """Gives the workers that have told the end of a command line: one that stays, and those that are about to end."""
    server = serving(shim)
    return [pid for pid in map(int, Path(f"/proc/{server}/task/{server}/children").read_text().split()) if processes.name(pid) == TOLD]


def stayed(shim: Shim) -> int:
    """Gives the only worker that has stayed after a command line."""
    assert shim("ps").returncode == 0
    assert until(lambda: len(idle(shim)) == 1)
    return idle(shim)[0]


@contextlib.contextmanager
def silent() -> Iterator[str]:
    """Gives the name of an image in a registry that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}/a"


def test_which_command_lines() -> None:
    assert stays(b"2\0/\0" b"2\0docker\0ps\0A=b\0")
    assert not stays(b"2\0/\0" b"2\0docker\0run\0ps\0")
    for cut in (b"", b"2", b"2\0/\0" b"1\0docker\0", b"2\0/\0" b"1\0docker\0ps=\0"):
        assert not stays(cut)


def test_one_stays_and_serves_again(shim: Shim) -> None:
    first = stayed(shim)
    for words in (["images"], ["ps", "-a"], ["inspect", "nosuch"], ["ps", "--badflag"]):
        warm, ordinary = shim(*words), shim(*words, DOCKERLAB_SERVER="0")
        assert (warm.returncode, warm.stdout, warm.stderr) == (ordinary.returncode, ordinary.stdout, ordinary.stderr)
        assert until(lambda: idle(shim) == [first]), words


def test_it_keeps_no_folder_no_environment_and_no_store(shim: Shim, tmp_path: Path) -> None:
    (shim.folder / "Dockerfile").write_text("FROM scratch\nLABEL a=b\n")
    shim("build", "-t", "mine", ".")
    worker = stayed(shim)
    assert "mine" in shim("images").stdout
    assert "mine" not in shim("images", DOCKERLAB_HOME=str(tmp_path / "another")).stdout
    assert "mine" in shim("images").stdout
    assert until(lambda: idle(shim) == [worker])
    assert os.readlink(f"/proc/{worker}/cwd") == "/"
    assert {os.readlink(f"/proc/{worker}/fd/{number}") for number in range(3)} == {os.devnull}


def test_a_store_that_is_named_from_a_folder(shim: Shim) -> None:
    """The environment is the same, and means another store."""
    found = []
    for name in ("one", "two", "one"):
        (shim.folder / name).mkdir(exist_ok=True)
        env = shim.env | {"DOCKERLAB_HOME": "store"}
        if not found:
            (shim.folder / name / "Dockerfile").write_text("FROM scratch\nLABEL a=b\n")
            subprocess.run([shim.program, "build", "-q", "-t", "mine", "."], env=env, cwd=shim.folder / name, check=True, capture_output=True, timeout=30)
        found.append(subprocess.run([shim.program, "images", "-q"], env=env, cwd=shim.folder / name, check=True, capture_output=True, timeout=30).stdout)
    assert found[0] and found == [found[0], b"", found[0]]


def test_no_environment_is_none(shim: Shim) -> None:
    """Also for a worker that has not had another before: the server's is somebody's."""
    code = "import os; from dockerlab.cli.worker import Worker; Worker(None, None)._surround(b'/', []); print(dict(os.environ))"
    done = subprocess.run([sys.executable, "-c", code], env=shim.env | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout == "{}\n"


def test_a_store_that_was_taken_away_is_made_again(shim: Shim) -> None:
    worker = stayed(shim)
    shutil.rmtree(shim.env["DOCKERLAB_HOME"])
    done = shim("ps")
    assert (done.returncode, done.stderr) == (0, "")
    assert until(lambda: idle(shim) == [worker])


def test_one_that_is_killed_is_not_missed(shim: Shim) -> None:
    worker = stayed(shim)
    os.kill(worker, signal.SIGKILL)
    again = stayed(shim)
    assert again != worker
    assert stayed(shim) == again


def test_one_that_is_killed_with_work_that_it_has_not_begun(shim: Shim) -> None:
    worker, server = stayed(shim), serving(shim)
    os.kill(worker, signal.SIGSTOP)
    process = shim.popen("ps", "-q")
    time.sleep(0.3)  # it has its work now
    os.kill(worker, signal.SIGKILL)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (0, b"", b""), "the ordinary path has done it"
    assert serving(shim) == server


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_client_that_ends_takes_its_work_along(shim: Shim, number: int) -> None:
    worker = stayed(shim)
    with silent() as name:
        process = shim.popen("pull", name)
        assert until(lambda: processes.name(worker) != TOLD)
        process.send_signal(number)
        process.communicate(timeout=10)
        assert process.returncode == {signal.SIGKILL: -9, signal.SIGTERM: 143, signal.SIGINT: 130}[signal.Signals(number)]
        assert until(lambda: processes.name(worker) == ""), "nothing of it is left for another"
    assert shim("ps").returncode == 0


def test_a_rehearsal_that_fails_ends_no_worker(shim: Shim) -> None:
    os.rename(f"{shim.servers()[0]}.rehearsal", shim.folder / "gone")
    assert shim("version").returncode == 0
    server = serving(shim)
    children = Path(f"/proc/{server}/task/{server}/children")
    assert until(lambda: len(children.read_text().split()) == 1)  # it has forked the next one
    waiting = children.read_text()
    time.sleep(0.3)  # that one has tried by now
    assert children.read_text() == waiting


def test_several_at_once(shim: Shim) -> None:
    shim("ps")
    said: list[str] = []
    threads = [threading.Thread(target=lambda: said.append(shim("images", "-q").stdout)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(said) == 8 and len(set(said)) == 1
    assert until(lambda: len(idle(shim)) == 1), "one is enough"


def test_what_could_not_be_written_is_not_the_next_ones(shim: Shim) -> None:
    stayed(shim)
    for place in ("/dev/full", "&-"):
        subprocess.run(["sh", "-c", f"{shim.program} images >{place} 2>{place}"], env=shim.env, check=False, timeout=20)
        done = shim("images")
        assert (done.returncode, done.stderr) == (0, "") and len(done.stdout.splitlines()) == 1, "the head of an empty table"
