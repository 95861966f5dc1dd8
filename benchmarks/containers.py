"""A container's life beside the real docker's: exec, stop and rm, many at once, lists, output, and what a monitor costs while nothing happens."""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from dockerlab.engine import Container, Engine
from dockerlab.linux import processes
from dockerlab.runtime.descendants import parent

__all__ = ["Place", "lives"]

POLITE = ("sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.01; done")
MANY, LISTED = 50, 500
Client = Sequence[str]


class Place(Protocol):
    """What is needed of a benchmark's run."""

    folder: Path
    rounds: int

    @property
    def env(self) -> dict[str, str]:
        """What every client is given."""

    @property
    def cli(self) -> tuple[str, ...]:
        """Our command line."""

    def engine(self, name: str) -> Engine:
        """Gives an engine of this process; the store of the command line is named `home`."""

    def do(self, *words: str, data: bytes | None = None) -> None:
        """Runs a command that has to succeed."""

    def add(self, what: str, ours: float, theirs: float, target: float | None, *, rate: bool = False) -> None:
        """Keeps a row."""


def lives(place: Place) -> None:
    """Adds all rows; busybox is in both stores."""
    both = (place.cli, ("docker",))
    for client in both:
        place.do(*client, "run", "-d", "--net", "host", "--name", "calm", "busybox", "sleep", "1000")
    containers = place.engine("home").containers
    calm = containers.get("calm")
    warm, ours, theirs = (
        _median(place, place.rounds, act) for act in (lambda: calm.exec_run(["true"]), *(lambda client=client: place.do(*client, "exec", "calm", "true") for client in both))  # type: ignore[misc]
    )
    place.add("exec true, warm API", warm, theirs, 0.3)
    place.add("the same from a shell", ours, theirs, None)
    warm = _median(place, place.rounds, lambda: _end(containers.get("polite")), lambda: _begin(place, place.cli))
    ours, theirs = (_median(place, place.rounds, lambda client=client: _ended(place, client), lambda client=client: _begin(place, client)) for client in both)  # type: ignore[misc]
    place.add("stop and rm of one that listens, warm API", warm, theirs, 0.3)
    place.add("the same from a shell", ours, theirs, None)
    place.add(f"{MANY} containers started at once", *(_at_once(place, client) for client in both), 0.5)
    place.add("1 GB of attached output, against 200 MB/s", _attached(place, place.cli), 5.0, 1)
    place.add("the same, against docker", _attached(place, place.cli), _attached(place, ("docker",)), None)
    place.add("100 MB of logged output", *(_logged(place, client) for client in both), 1)
    _idle(place)
    for client in both:
        place.do(*client, "rm", "-f", "calm")
    for number in range(LISTED):
        place.do(*place.cli, "create", "--name", f"listed{number}", "busybox", "true")
    place.add(f"ps -a with {LISTED} containers, warm, against 40 ms", _median(place, place.rounds, lambda: place.do(*place.cli, "ps", "-a")), 0.04, 1)


def _median(place: Place, rounds: int, act: Callable[[], object], before: Callable[[], object] = lambda: None) -> float:
    times = []
    for number in range(rounds + 1):
        before()
        begin = time.perf_counter()
        act()
        if number:
            times.append(time.perf_counter() - begin)
    return statistics.median(times)


def _begin(place: Place, client: Client) -> None:
    place.do(*client, "run", "-d", "--net", "host", "--name", "polite", "busybox", *POLITE)
    time.sleep(0.1)


def _end(container: Container) -> None:
    container.stop()
    container.remove()


def _ended(place: Place, client: Client) -> None:
    place.do(*client, "stop", "polite")
    place.do(*client, "rm", "polite")


def _at_once(place: Place, client: Client) -> float:
    names = [f"many{number}" for number in range(MANY)]
    begin = time.perf_counter()
    started = [
        subprocess.Popen([*client, "run", "-d", "--net", "host", "--name", name, "busybox", "sleep", "100"], env=place.env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) for name in names
    ]
    if any(process.wait() for process in started):
        raise RuntimeError(f"{client[0]} did not start {MANY} containers at once")
    taken = time.perf_counter() - begin
    place.do(*client, "rm", "-f", *names)
    return taken


def _attached(place: Place, client: Client) -> float:
    words = [*client, "run", "--rm", "--net", "host", "busybox", "dd", "if=/dev/zero", "bs=1M", "count=1000"]

    def act() -> None:
        with subprocess.Popen(words, env=place.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
            assert process.stdout is not None
            size = 0
            while data := process.stdout.read(1 << 20):
                size += len(data)
            if size != 1000 << 20:
                raise RuntimeError(f"{size} bytes of {1000 << 20} came")

    return _median(place, 2, act)


def _logged(place: Place, client: Client) -> float:
    script = "yes 'a line of a log, as long as they are' | head -c 100000000"

    def act() -> None:
        place.do(*client, "run", "-d", "--net", "host", "--name", "talks", "busybox", "sh", "-c", script)
        place.do(*client, "wait", "talks")

    return _median(place, 2, act, lambda: subprocess.run([*client, "rm", "-f", "talks"], env=place.env, capture_output=True, check=False))


def _idle(place: Place) -> None:
    """What stands around a container that does nothing: our monitor and the parent of its program; containerd's shim."""
    program = int(subprocess.run([*place.cli, "inspect", "-f", "{{.State.Pid}}", "calm"], env=place.env, capture_output=True, check=True).stdout)
    above = parent(program)
    ours = [above, parent(above)]
    theirs = parent(int(subprocess.run(["docker", "inspect", "-f", "{{.State.Pid}}", "calm"], env=place.env, capture_output=True, check=True).stdout))
    place.add("private memory beside an idle container (MB)", sum(map(_private, ours)) / 1000, _private(theirs) / 1000, 1)
    before = sum(map(_ticks, ours))
    time.sleep(10)
    place.add("processor time beside an idle container in 10 s", (sum(map(_ticks, ours)) - before) / os.sysconf("SC_CLK_TCK"), 10.0, 0.001)


def _private(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(("Private_Clean", "Private_Dirty")))


def _ticks(pid: int) -> int:
    return sum(map(int, processes.stat(pid)[11:13]))
