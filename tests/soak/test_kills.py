"""Kill -9 of any process, a notebook's kernel among them, at a random instant: afterwards the store is sound and nothing runs, is mounted or is locked."""

from __future__ import annotations

import contextlib
import os
import queue
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from dockerlab.commands.system import write_shim
from dockerlab.engine import Engine
from dockerlab.linux import cgroups

jupyter_client = pytest.importorskip("jupyter_client")

ROUNDS = int(os.environ.get("DOCKERLAB_SOAK_ROUNDS", "200"))
DEEDS = (  # one command in a line: for a shell, and for a cell of a transcript
    "docker run --rm busybox sh -c 'echo x > /x; sleep 0.05'",
    "docker run --name c{n} busybox touch /f\ndocker commit c{n} image:{n}\ndocker rm c{n}",
    "printf 'FROM busybox\\nRUN echo {n} > /n\\nRUN sleep 0.05\\n' > D{n}\ndocker build -q -f D{n} -t built:{n} .\ndocker rmi built:{n}",
    "docker system prune -f",
    "docker run -d --name r{n} --restart always busybox sleep 0.05\nsleep 0.4\ndocker update --restart no r{n}\ndocker stop -t 0 r{n}\ndocker rm -f r{n}",
    "docker run -d --name h{n} --init -m 50m -v v{n}:/v --tmpfs /t --health-cmd 'test -e /v' --health-interval 100ms busybox sleep 3\ndocker exec h{n} sh -c 'echo x > /v/f; sleep 0.1'\n"
    "docker pause h{n}\ndocker unpause h{n}\ndocker cp h{n}:/v/f f{n}\ndocker rm -f h{n}\ndocker volume rm v{n}",
    "docker network create n{n}\ndocker run -d --name w{n} --network n{n} -p 127.0.0.1::80 --restart on-failure:1 busybox httpd -f -p 80\n"
    "docker run --rm --network n{n} busybox wget -qO- http://w{n}/\n"
    "docker network disconnect n{n} w{n}\ndocker network connect --alias x n{n} w{n}\ndocker exec w{n} true\ndocker rm -f w{n}\ndocker network rm n{n}",
    "docker run -d --name p{n} -P --expose 80 --expose 53/udp busybox sleep 3\ndocker run --rm --link p{n}:x busybox ping -c 1 x\ndocker run --rm --network container:p{n} busybox true\n"
    "docker port p{n}\ndocker stop -t 0 p{n}\ndocker start p{n}\ndocker rm -f p{n}\ndocker network prune -f",
    "docker run -d --name d{n} busybox sleep 3\ndocker rename d{n} e{n}\ndocker restart -t 0 e{n}\ndocker stop -t 0 e{n}\ndocker rm e{n}",
)


def relatives(home: Path, runtime: Path) -> list[int]:
    """Gives every process that works for this store."""
    found = []
    for pid in (int(name) for name in os.listdir("/proc") if name.isdigit()):
        try:
            text = Path(f"/proc/{pid}/cmdline").read_bytes() + Path(f"/proc/{pid}/environ").read_bytes()
        except OSError:
            continue
        if pid != os.getpid() and (os.fsencode(home) in text or os.fsencode(runtime) in text):
            found.append(pid)
    return found


def switches(runtime: Path) -> list[int]:
    """Gives the processes that hold this engine's networks: the switch, and what carries them outside."""
    found = []
    for pid in (int(name) for name in os.listdir("/proc") if name.isdigit()):
        try:
            held = [os.readlink(f"/proc/{pid}/fd/{name}") for name in os.listdir(f"/proc/{pid}/fd")]
        except OSError:
            continue
        if any(link.startswith(str(runtime)) and "/network-" in link for link in held):
            found.append(pid)
    return found


def traces() -> set[str]:
    """Gives what networks leave on a host where they leave something: links, tables of rules, sockets of the switch."""
    if os.geteuid():
        return set()  # who is not root can make nothing there, and cannot tell whose it is
    links = {name for name in os.listdir("/sys/class/net") if name.startswith(("dl-", "dlh-", "dlv-"))}
    done = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=False)
    return links | {line for line in done.stdout.splitlines() if " dl" in line}


def hanging(pids: list[int]) -> str:
    """Gives what each process waits for: its parent, its command, its system call and what it has open."""
    told = []
    for pid in pids:
        place = Path(f"/proc/{pid}")
        try:
            held = {name: os.readlink(place / "fd" / name) for name in os.listdir(place / "fd")}
            parent, words = (place / "stat").read_text().rpartition(")")[2].split()[1], (place / "cmdline").read_bytes()[-80:]
            told.append(f"{pid} below {parent}: {words!r} in {(place / 'syscall').read_text().strip()} with {held}")
        except OSError as error:
            told.append(f"{pid}: {error}")
    return "\n".join(told)


def prepare(folder: Path, runtime: Path, served: str) -> tuple[random.Random, dict[str, str]]:
    """Gives the chance that chooses, and the environment of an engine of its own that has busybox."""
    if os.geteuid() == 0 and not shutil.which("nft"):
        pytest.skip("there is no nft to see with whether a table of rules was left behind: apt-get install nftables")
    env = {**os.environ, "DOCKERLAB_HOME": str(folder / "home"), "XDG_RUNTIME_DIR": str(runtime), "DOCKERLAB_SERVER": served, "DOCKERLAB_NETWORK": "bridge"}
    write_shim(folder / "bin" / "docker")
    env["PATH"] = f"{folder / 'bin'}:{env['PATH']}"
    subprocess.run(["docker", "run", "--rm", "busybox", "true"], env=env, check=True)
    return random.Random(0), env


def kill(chance: random.Random, running: list[int]) -> None:
    if running:
        with contextlib.suppress(ProcessLookupError):
            os.kill(chance.choice(running), signal.SIGKILL)


def check(env: dict[str, str], when: str) -> None:
    done = subprocess.run(["docker", "system", "check"], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{when}\n{done.stdout}{done.stderr}"


def nothing_left(home: Path, runtime: Path, env: dict[str, str], before: set[str]) -> None:
    """Ends what still runs, and finds no mount, cgroup, process, link, rule or lock of it."""
    engine = Engine(home)
    for left in engine.containers.list():
        if left.record.host["restart"] or left.state.status == "paused":  # whoever would have ended it was killed
            left.stop(timeout=0)
    deadline = time.monotonic() + 10
    while engine.containers.list() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert engine.containers.list() == []
    for container in engine.containers.list(all=True):
        container.remove(force=True)
        assert not cgroups.folders(f"dockerlab/{container.id}")
    assert str(home) not in Path("/proc/mounts").read_text()
    assert engine.system.check() == []
    engine.world.stop()
    for pid in set(relatives(home, runtime)) - set(switches(runtime)):  # a launcher whose place another one took waits ten minutes for work
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 20
    while (left_behind := switches(runtime)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert left_behind == [], hanging(left_behind)
    if not switches(Path("/")):  # else some of it may be another engine's
        while not traces() <= before and time.monotonic() < deadline:  # the kernel takes namespaces apart one after another
            time.sleep(0.1)
        assert traces() <= before, "a link, or a table of rules, was left behind"
    subprocess.run(["docker", "run", "--rm", "busybox", "true"], env=env, check=True)


class Notebook:
    """A kernel with the extension loaded; another takes the place of one that was killed."""

    def __init__(self, env: dict[str, str], folder: Path) -> None:
        self._env, self._folder = env, folder
        self.start()

    def start(self) -> None:
        self._manager, self._client = jupyter_client.manager.start_new_kernel(kernel_name="python3", env=self._env, cwd=str(self._folder))
        self.begin("%load_ext dockerlab")
        self.wait(30)

    def revive(self) -> None:
        if not self._manager.is_alive():
            self.end()
            self.start()

    @property
    def pid(self) -> int:
        return int(self._manager.provisioner.pid)

    def begin(self, cell: str) -> None:
        """Sends a cell and waits for nothing."""
        self._asked = self._client.execute(cell)

    def wait(self, seconds: float) -> None:
        """Returns when the cell has ended, or the kernel."""
        deadline = time.monotonic() + seconds
        while self._manager.is_alive():
            try:
                message = self._client.get_iopub_msg(timeout=0.1)
            except queue.Empty:
                assert time.monotonic() < deadline, "a cell hangs"
                continue
            if message["parent_header"].get("msg_id") == self._asked and message["content"].get("execution_state") == "idle":
                return

    def end(self) -> None:
        self._client.stop_channels()
        self._manager.shutdown_kernel(now=True)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("served", ["1", "0"], ids=["command server", "ordinary path"])
def test_killed_anywhere_the_store_stays_sound(tmp_path: Path, runtime: Path, served: str) -> None:
    chance, env, before = *prepare(tmp_path, runtime, served), traces()
    for number in range(ROUNDS):
        deed = chance.choice(DEEDS).format(n=number)
        process = subprocess.Popen(["sh", "-c", deed], env=env, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        time.sleep(chance.uniform(0.02, 0.6))
        kill(chance, relatives(tmp_path / "home", runtime))
        process.wait(30)
        if number % 10 == 9:
            check(env, f"round {number}: {deed}")
    nothing_left(tmp_path / "home", runtime, env, before)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_a_kernel_killed_anywhere_leaves_the_store_sound(tmp_path: Path, runtime: Path) -> None:
    chance, env, before = *prepare(tmp_path, runtime, "1"), traces()
    notebook, kernels = Notebook({**env, "PYTHONPATH": str(Path(__file__).parents[2])}, tmp_path), 0
    cells = [*(f"%%docker\n{deed}" for deed in DEEDS), "%container run -it --rm busybox sleep 1"]
    try:
        for number in range(ROUNDS):
            notebook.revive()
            cell = chance.choice(cells).format(n=number)
            notebook.begin(cell)
            time.sleep(chance.uniform(0.02, 0.6))
            kernels += (the_kernel := chance.random() < 0.5)
            kill(chance, [notebook.pid] if the_kernel else relatives(tmp_path / "home", runtime))
            notebook.wait(30)
            if number % 10 == 9:
                check(env, f"round {number}: {cell}")
    finally:
        notebook.end()
    print(f"{kernels} of {ROUNDS} rounds killed the kernel itself")
    nothing_left(tmp_path / "home", runtime, env, before)
