"""The thin client and the command server behind it do what the ordinary path does."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from dockerlab.cli import client
from dockerlab.version import __version__
from tests.cli.conftest import ROOT, Shim, serving, until
from tests.conftest import gone, notes


def test_the_first_command_leaves_a_server_behind(cold: Shim) -> None:
    first = cold("version", "--format", "{{.Client.Version}}")
    assert until(cold.warm)
    second = cold("version", "--format", "{{.Client.Version}}")
    assert (first.returncode, first.stdout, first.stderr) == (second.returncode, second.stdout, second.stderr) == (0, first.stdout, "")


def test_a_terminal_that_is_not_there(shim: Shim) -> None:
    done = shim("run", "-it", "busybox", "true")
    assert (done.returncode, done.stderr.splitlines()[0]) == (1, "the input device is not a TTY")


def test_a_worker_says_what_it_has_written_to(shim: Shim) -> None:
    if not os.access("/proc/self/pagemap", os.R_OK) or os.geteuid():
        pytest.skip("this user may not look into another process")

    def noted() -> bool:
        time.sleep(0.1)
        return shim("volume", "ls").returncode == 0 and all(notes(shim.servers()[0]))

    assert until(noted)


def test_none_is_left_where_it_is_not_wanted(cold: Shim) -> None:
    assert cold("version", DOCKERLAB_SERVER="0").returncode == 0
    time.sleep(0.5)
    assert cold.servers() == []


def test_streams_folder_environment_and_exit_code_pass(shim: Shim) -> None:
    (shim.folder / "env").write_text("FROM_FILE=x\n")
    done = shim("run", "-i", "--rm", "-e", "MINE", "--env-file", "env", "busybox", "sh", "-c", 'cat; echo $MINE $FROM_FILE; echo err >&2; exit 42', stdin="typed\n", MINE="yours")
    assert (done.returncode, done.stdout, done.stderr) == (42, "typed\nyours x\n", "err\n")


def test_the_compiled_client_starts_no_interpreter_when_a_server_runs(shim: Shim) -> None:
    seen = shim("version", PYTHONVERBOSE="1").stderr  # an interpreter would tell what it imports
    assert ("import " in seen) == ("/client " not in shim.program.read_text().partition("\n")[0])
    assert "import " in shim("version", PYTHONVERBOSE="1", DOCKERLAB_SERVER="0").stderr


def test_what_a_client_is_given_passes_as_it_is(shim: Shim) -> None:
    odd = ["run", "--rm", "-e", "A", "-e", "B=", "busybox", "sh", "-c", 'printf "%s|" "$A" "$B" "$@"', "x", "", "a b", "é\n", "x" * 100_000]
    done = subprocess.run([shim.program, *odd], env=shim.env | {"A": "ü=\n", "B": "\udcfe"}, cwd=shim.folder, capture_output=True, stdin=subprocess.DEVNULL, timeout=60, check=False)
    if b"lets nobody start a container" in done.stderr:
        pytest.skip(done.stderr.decode())
    assert done.stdout.decode() == "ü=\n|||a b|é\n|" + "x" * 100_000 + "|", done.stderr


def test_closed_descriptors_and_a_folder_that_is_gone(shim: Shim) -> None:
    (shim.folder / "gone").mkdir()
    for words in ("<&- >&- 2>&-", "<&-", "2>&-"):
        assert subprocess.run(["sh", "-c", f"{shim.program} version {words}"], env=shim.env, capture_output=True, timeout=20, check=False).returncode == 0
    for word, code in (("version", 0), ("build .", 1)):
        done = subprocess.run(["sh", "-c", f"cd gone; rmdir ../gone; {shim.program} {word}"], env=shim.env, cwd=shim.folder, capture_output=True, text=True, timeout=20, check=False)
        assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stderr
        (shim.folder / "gone").mkdir()


def test_a_hangup_that_is_ignored_stays_so(shim: Shim) -> None:
    line = f"trap '' HUP; exec {shim.program} run --rm busybox sh -c 'echo up; sleep 3'"
    process = subprocess.Popen(["sh", "-c", line], env=shim.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    if (first := process.stdout.readline()) != "up\n":
        assert first == "" and process.wait(10)
        pytest.skip("this host lets nobody start a container")
    process.send_signal(signal.SIGHUP)
    time.sleep(0.3)
    assert process.poll() is None
    process.kill()
    process.communicate(timeout=10)


def test_errors_are_the_same(shim: Shim) -> None:
    for words in (["run", "--badflag", "busybox"], ["nosuchverb"], ["rm", "nosuch"], ["run", "--rm", "busybox", "/no/such"]):
        warm, ordinary = shim(*words), shim(*words, DOCKERLAB_SERVER="0")
        assert (warm.returncode, warm.stdout, warm.stderr) == (ordinary.returncode, ordinary.stdout, ordinary.stderr)
        assert warm.returncode


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_reaches_the_program(shim: Shim, number: int) -> None:
    process = shim.popen("run", "--rm", "--name", "s1", "busybox", "sh", "-c", "trap 'echo got; exit 5' INT TERM; echo up; while :; do sleep 0.1; done")
    assert process.stdout is not None and process.stdout.readline() == b"up\n"
    time.sleep(0.5)  # the program may be up before its client watches it
    process.send_signal(number)
    out, _ = process.communicate(timeout=20)
    assert (process.returncode, out) == (5, b"got\n")


def test_a_killed_client_takes_its_container_along(shim: Shim) -> None:
    process = shim.popen("run", "--rm", "--name", "k1", "busybox", "sh", "-c", "echo up; sleep 100")
    assert process.stdout is not None and process.stdout.readline() == b"up\n"
    process.kill()
    process.communicate(timeout=10)
    assert until(lambda: shim("ps", "-aq").stdout == "")


def test_a_closed_reader_ends_the_program(shim: Shim) -> None:
    done = subprocess.run(["bash", "-c", f"{shim.program} run --rm busybox yes | head -1"], env=shim.env, capture_output=True, text=True, timeout=20, check=False)
    assert done.stdout == "y\n"
    assert until(lambda: shim("ps", "-aq").stdout == "")


def test_another_version_another_mask_another_folder_are_not_served(shim: Shim) -> None:
    place = shim.servers()[0]
    with_mask = subprocess.run(["sh", "-c", f"umask 027; {shim.program} version"], env=shim.env, capture_output=True, check=False, timeout=20)
    assert with_mask.returncode == 0
    os.chmod(place.parent, 0o755)
    assert not shim.warm()
    assert shim("version").returncode == 0
    os.chmod(place.parent, 0o700)
    assert shim.warm()


def test_a_server_whose_files_changed_makes_room_for_another(tmp_path: Path, runtime: Path) -> None:
    shutil.copytree(ROOT / "dockerlab", tmp_path / "lib" / "dockerlab", ignore=shutil.ignore_patterns("__pycache__"))
    env = {**os.environ, "DOCKERLAB_HOME": str(tmp_path / "home"), "XDG_RUNTIME_DIR": str(runtime), "DOCKERLAB_SERVER": "1", "PYTHONPATH": str(tmp_path / "lib")}

    def version() -> str:
        code = "from dockerlab.cli.client import main; main()"
        words = [sys.executable, "-c", code, "version", "--format", "{{.Client.Version}}"]
        return subprocess.run(words, env=env, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=20).stdout

    first = version()
    assert until(lambda: bool(list(runtime.glob("dockerlab-*/*-*-*[0-9a-f]"))))
    time.sleep(0.3)
    path = tmp_path / "lib" / "dockerlab" / "version.py"
    path.write_text(path.read_text().replace(first.strip(), "9.9.9"))
    assert version() == "9.9.9\n"
    assert until(lambda: version() == "9.9.9\n")


def test_a_server_that_is_killed_is_said(shim: Shim) -> None:
    process = shim.popen("run", "--rm", "--name", "k2", "busybox", "sh", "-c", "echo up; sleep 100")
    assert process.stdout is not None and process.stdout.readline() == b"up\n"
    server = serving(shim)
    os.kill(server, signal.SIGKILL)
    assert gone(server)
    _, err = process.communicate(timeout=10)
    assert process.returncode == 125 and b"command server" in err
    assert until(lambda: shim("ps", "-aq").stdout == "")


@pytest.mark.parametrize("told", [b"", b"cold", b"exit\x89"])
def test_what_no_server_has_taken_is_done_all_the_same(cold: Shim, told: bytes) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", cold.env["XDG_RUNTIME_DIR"])
        place = Path(client.address())
    place.parent.mkdir(mode=0o700, exist_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(place))
        listener.listen(1)

        def end() -> None:
            line, _ = listener.accept()
            place.unlink()  # it was its last
            with line:
                line.recv(1 << 16)
                line.send(told)

        server = threading.Thread(target=end)
        server.start()
        done = cold("version", "--format", "{{.Client.Version}}")
        server.join()
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, __version__, "")


def test_a_worker_that_is_killed_before_it_begins_is_not_missed(shim: Shim) -> None:
    shim("version")
    server = serving(shim)
    children = Path(f"/proc/{server}/task/{server}/children")
    assert until(lambda: len(children.read_text().split()) == 1)
    worker = int(children.read_text())
    os.kill(worker, signal.SIGSTOP)
    process = shim.popen("version", "--format", "{{.Client.Version}}")
    time.sleep(0.3)  # it has its work now, and cannot begin
    assert process.poll() is None
    os.kill(worker, signal.SIGKILL)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out.decode().strip(), err) == (0, __version__, b"")
    assert serving(shim) == server
