"""One program more in a running container, in every tier: what it sees, whose it is, how it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tty
from collections.abc import Iterator

import pytest

from dockerlab.engine import Container, Engine, ExecOptions, RunOptions
from dockerlab.engine.options import Attach
from dockerlab.errors import ExecError, InvalidRequest
from dockerlab.runtime import descendants
from tests.conftest import gone, until


@pytest.fixture
def running(engine: Engine) -> Iterator[Container]:
    yield begun(engine)


def begun(engine: Engine, script: str = "while :; do sleep 0.1; done", **options: object) -> Container:
    container = engine.containers.create("busybox", ["sh", "-c", script], RunOptions(**options))  # type: ignore[arg-type]
    container.start(detach=True).close()
    return container


def sh(container: Container, script: str, **options: object) -> tuple[int, str]:
    code, output = container.exec_run(["sh", "-c", script], ExecOptions(**options))  # type: ignore[arg-type]
    return code, output.decode()


def test_it_is_in_the_same_container(running: Container) -> None:
    assert sh(running, "echo seen > /f; hostname; exit 7") == (7, f"{running.short_id if running._engine.capabilities.namespaces else os.uname().nodename}\n")
    assert sh(running, "cat /f") == (0, "seen\n")
    assert [str(change) for change in running.diff()] == ["A /f"]
    assert running.state.status == "running"


def test_it_gets_what_the_container_has_and_what_is_added(engine: Engine) -> None:
    container = begun(engine, env={"A": "1", "B": "2"}, workdir="/tmp")
    assert sh(container, "pwd; echo $A $B $C $HOME", env={"B": "3", "C": "4"}) == (0, "/tmp\n1 3 4 /root\n")
    assert sh(container, "pwd", workdir="/etc") == (0, "/etc\n")


def test_it_runs_as_who_is_asked_for(running: Container) -> None:
    # Where a host gives one id, `nobody` inside is held to that user's rights by other means than the kernel's own ids.
    code, output = sh(running, "id -u; touch /root/f 2>/dev/null || echo refused; touch /tmp/f && echo made", user="nobody")
    assert (code, output) == (0, "65534\nrefused\nmade\n")
    with pytest.raises(ExecError, match="unable to find user nosuch"):
        running.exec_run(["true"], ExecOptions(user="nosuch"))


def test_a_container_of_another_user_gets_programs_of_that_user(engine: Engine) -> None:
    container = begun(engine, user="nobody")
    assert sh(container, "id -u; touch /etc/f 2>/dev/null || echo refused") == (0, "65534\nrefused\n")
    assert sh(container, "id -u; touch /etc/f && echo made", user="root") == (0, "0\nmade\n")
    if engine.capabilities.namespaces:  # elsewhere Landlock shuts signals in
        assert sh(container, "kill -0 1") == (0, "")


def test_owners_are_the_ones_that_the_container_gave(running: Container) -> None:
    sh(running, "touch /a; chown 12:34 /a")
    assert sh(running, "stat -c %u:%g /a; touch /b; stat -c %u:%g /b") == (0, "12:34\n0:0\n")


def test_what_cannot_be_started_says_why(running: Container) -> None:
    for words, reason in ((["/nope"], 'exec: "/nope": stat /nope: no such file or directory'), (["nope"], 'exec: "nope": executable file not found in \\$PATH'),
                          (["/etc"], 'exec: "/etc": permission denied')):  # fmt: skip
        with pytest.raises(ExecError, match=f"^OCI runtime exec failed: exec failed: unable to start container process: {reason}: unknown$") as caught:
            running.exec_run(words)
        assert caught.value.exit_code == 126
    with pytest.raises(ExecError, match="chdir to cwd"):
        running.exec_run(["true"], ExecOptions(workdir="/no/such"))
    assert sh(running, "ls /no 2>/dev/null || echo none") == (0, "none\n")
    running.kill()
    running.wait()
    with pytest.raises(InvalidRequest, match="is not running"):
        running.exec_run(["true"])


def test_input_output_and_errors_stay_apart_and_whole(running: Container) -> None:
    reader, feed = os.pipe()
    out_in, out = os.pipe()
    err_in, err = os.pipe()
    session = running.exec(["sh", "-c", "cat; echo failed >&2"], None, Attach(reader, out, err))
    for descriptor in (reader, out, err):
        os.close(descriptor)
    data = os.urandom(1 << 20)
    child = os.fork()
    if child == 0:
        os.close(out_in)
        with open(feed, "wb") as file:
            file.write(data)
        os._exit(0)
    os.close(feed)
    streams: dict[int, bytearray] = {out_in: bytearray(), err_in: bytearray()}
    assert running.watch(session, {source: streams[source].extend for source in streams}) == 0
    os.waitpid(child, 0)
    assert bytes(streams[out_in]) == data and bytes(streams[err_in]) == b"failed\n"
    assert b"".join(data for _, _, data in running.logs()) == b""
    for descriptor in streams:
        os.close(descriptor)


def test_what_it_leaves_behind_lives_until_the_container_ends(running: Container) -> None:
    assert sh(running, "sleep 300 & sleep 301 & exit 5")[0] == 5
    if running._engine.capabilities.tier == "proot":  # under which nothing outlives its tracer
        assert not any("sleep 30" in command(pid) for pid in running.processes())
        return
    until(lambda: len([pid for pid in running.processes() if "sleep 30" in command(pid)]) >= 2)
    left = running.processes()
    running.remove(force=True)
    assert all(gone(pid) for pid in left)


def command(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/cmdline") as file:
            return file.read().replace("\0", " ")
    except OSError:
        return ""


def test_it_ends_with_the_container(running: Container) -> None:
    session = running.exec(["sleep", "300"], detach=True)
    running.kill()
    while "exit" not in (message := session.next()):
        pass
    assert message == {"exit": 137}
    session.close()


def test_a_supervisor_that_is_killed_takes_its_program_along_and_nothing_else(running: Container) -> None:
    session = running.exec(["sleep", "300"], None, Attach())
    pid = next(pid for pid in running.processes() if "sleep 300" in command(pid))
    parent = descendants.parent(pid)
    while descendants.parent(parent) != running.state.monitor:
        parent = descendants.parent(parent)
    os.kill(parent, signal.SIGKILL)
    assert gone(pid) and session.next() == {"exit": 137}
    session.close()
    assert running.state.status == "running" and sh(running, "echo well") == (0, "well\n")
    until(lambda: all(state(child) != "Z" for child in descendants.children(running.state.monitor)))


def state(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def test_who_goes_away_ends_an_attached_program_and_leaves_a_detached_one(running: Container) -> None:
    running.exec(["sleep", "300"], None, Attach()).close()
    running.exec(["sleep", "301"], detach=True).close()
    until(lambda: not any("sleep 300" in command(pid) for pid in running.processes()))
    assert any("sleep 301" in command(pid) for pid in running.processes())


def test_nothing_of_the_monitor_is_open_in_it(running: Container) -> None:
    if not running._engine.capabilities.mounts:
        pytest.skip("this tier has no /proc inside")
    assert sh(running, "ls /proc/self/fd") == (0, "0\n1\n2\n3\n")  # the last one is ls(1)'s own


def test_a_terminal_is_one(running: Container) -> None:
    master, slave = os.openpty()
    tty.setraw(slave)
    session = running.exec(["sh", "-c", "test -t 0 && test -t 1 && test -t 2 && echo $TERM"], ExecOptions(tty=True), Attach(slave, slave, None))
    os.close(slave)
    said: list[bytes] = []
    assert running.watch(session, {}) == 0
    said.append(os.read(master, 1000))
    assert b"".join(said) == b"xterm\r\n"
    os.close(master)


def test_many_at_once(running: Container) -> None:
    code = "import sys; from dockerlab.engine import Engine; e = Engine(sys.argv[1], without=tuple(sys.argv[3].split(',')) if sys.argv[3] else ()); " \
           "print(e.containers.get(sys.argv[2]).exec_run(['sh', '-c', 'echo $(( 6 * 7 ))']))"  # fmt: skip
    engine = running._engine
    words = [sys.executable, "-c", code, str(engine.home), running.id, ",".join(engine._without)]
    begun = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for _ in range(6)]
    assert {child.communicate(timeout=60)[0] for child in begun} == {"ExecResult(exit_code=0, output=b'42\\n')\n"}
