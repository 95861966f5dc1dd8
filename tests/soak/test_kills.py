"""Kill -9 of any process at a random instant: afterwards the store is sound and nothing runs, is mounted or is locked."""

from __future__ import annotations

import contextlib
import os
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

ROUNDS = int(os.environ.get("DOCKERLAB_SOAK_ROUNDS", "200"))
DEEDS = (
    "docker run --rm busybox sh -c 'echo x > /x; sleep 0.05'",
    "docker run --name c{n} busybox touch /f; docker commit c{n} image:{n}; docker rm c{n}",
    "printf 'FROM busybox\\nRUN echo {n} > /n\\nRUN sleep 0.05\\n' > D{n}; docker build -q -f D{n} -t built:{n} .; docker rmi built:{n}",
    "docker system prune -f",
    "docker run -d --name r{n} --restart always busybox sleep 0.05; sleep 0.4; docker update --restart no r{n}; docker stop -t 0 r{n}; docker rm -f r{n}",
    "docker run -d --name h{n} --init -m 50m -v v{n}:/v --tmpfs /t --health-cmd 'test -e /v' --health-interval 100ms busybox sleep 3; docker exec h{n} sh -c 'echo x > /v/f; sleep 0.1';"
    " docker pause h{n}; docker unpause h{n}; docker cp h{n}:/v/f f{n}; docker rm -f h{n}; docker volume rm v{n}",
    "docker network create n{n}; docker run -d --name w{n} --network n{n} -p 127.0.0.1::80 --restart on-failure:1 busybox httpd -f -p 80; docker run --rm --network n{n} busybox wget -qO- http://w{n}/;"
    " docker network disconnect n{n} w{n}; docker network connect --alias x n{n} w{n}; docker exec w{n} true; docker rm -f w{n}; docker network rm n{n}",
    "docker run -d --name p{n} -P --expose 80 --expose 53/udp busybox sleep 3; docker run --rm --link p{n}:x busybox ping -c 1 x; docker run --rm --network container:p{n} busybox true;"
    " docker port p{n}; docker stop -t 0 p{n}; docker start p{n}; docker rm -f p{n}; docker network prune -f",
    "docker run -d --name d{n} busybox sleep 3; docker rename d{n} e{n}; docker restart -t 0 e{n}; docker stop -t 0 e{n}; docker rm e{n}",
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


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("served", ["1", "0"], ids=["command server", "ordinary path"])
def test_killed_anywhere_the_store_stays_sound(tmp_path: Path, runtime: Path, served: str) -> None:
    if os.geteuid() == 0 and not shutil.which("nft"):
        pytest.skip("there is no nft to see with whether a table of rules was left behind: apt-get install nftables")
    home = tmp_path / "home"
    env = {**os.environ, "DOCKERLAB_HOME": str(home), "XDG_RUNTIME_DIR": str(runtime), "DOCKERLAB_SERVER": served, "DOCKERLAB_NETWORK": "bridge"}
    write_shim(tmp_path / "bin" / "docker")
    env["PATH"] = f"{tmp_path / 'bin'}:{env['PATH']}"
    subprocess.run(["docker", "run", "--rm", "busybox", "true"], env=env, check=True)
    chance, before = random.Random(0), traces()
    for number in range(ROUNDS):
        deed = chance.choice(DEEDS).format(n=number)
        process = subprocess.Popen(["sh", "-c", deed], env=env, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        time.sleep(chance.uniform(0.02, 0.6))
        running = relatives(home, runtime)
        if running:
            try:
                os.kill(chance.choice(running), signal.SIGKILL)
            except ProcessLookupError:
                pass
        process.wait(30)
        if number % 10 == 9:
            done = subprocess.run(["docker", "system", "check"], env=env, capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"round {number}: {deed}\n{done.stdout}{done.stderr}"
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
