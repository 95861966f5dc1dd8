"""What a running container uses: as its control group counts it, else as its processes do."""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dockerlab.linux import cgroups, processes, resources

if TYPE_CHECKING:
    from dockerlab.engine.container import Container

__all__ = ["Sample", "sample"]

_PAGE, _TICK = os.sysconf("SC_PAGE_SIZE"), 10**9 // os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Sample:
    """One look: when (seconds of the monotonic clock), processor time in nanoseconds, memory and its limit in bytes, processes, bytes read from and written to disks since the start,
    and bytes that came from its networks and went there.
    """

    taken: float
    cpu: int
    memory: int
    limit: int
    pids: int
    read: int
    written: int
    received: int = 0
    sent: int = 0

    def percent_since(self, before: Sample) -> float:
        """Gives the processor time since an earlier look, 100 for one processor that was busy all the time."""
        passed = self.taken - before.taken
        return max(self.cpu - before.cpu, 0) / passed / 10**7 if passed > 0 else 0.0


def sample(container: Container) -> Sample:
    """Gives what a container uses at this moment, nothing where it does not run."""
    if not container.state.running:
        return Sample(time.monotonic(), 0, 0, 0, 0, 0, 0)
    group = container.record.host.get("cgroup", "")
    found = resources.used(cgroups.folders(group)) if group else _by_processes(container.processes())
    most = os.sysconf("SC_PHYS_PAGES") * _PAGE
    limit = min(found.get("limit", most), container.resources.memory or most, most)
    return Sample(time.monotonic(), found.get("cpu", 0), found.get("memory", 0), limit, found.get("pids", 0), found.get("read", 0), found.get("written", 0), *_by_links(container))


def _by_links(container: Container) -> tuple[int, int]:
    """Gives the bytes that came in and went out by the links of a network namespace of its own; proc(5), /proc/PID/net/dev."""
    state, received, sent = container.state, 0, 0
    if state.networks:
        with contextlib.suppress(OSError), open(f"/proc/{state.pid}/net/dev") as file:
            for line in file.read().splitlines()[2:]:
                name, _, counts = line.partition(":")
                if name.strip() != "lo":
                    received, sent = received + int(counts.split()[0]), sent + int(counts.split()[8])
    return received, sent


def _by_processes(pids: list[int]) -> dict[str, int]:
    """Adds up what proc(5) tells of each process: `stat` (utime, stime and those of children that have ended), `statm`, and `io` where it may be read."""
    found = dict.fromkeys(("cpu", "memory", "pids", "read", "written"), 0)
    for pid in pids:
        with contextlib.suppress(OSError, IndexError):
            fields = processes.stat(pid)
            memory = processes.anonymous(pid)
            found["cpu"] += sum(map(int, fields[11:15])) * _TICK
            found["pids"] += int(fields[17])
            found["memory"] += memory
        with contextlib.suppress(OSError), open(f"/proc/{pid}/io") as file:
            words = dict(line.split(": ") for line in file.read().splitlines())
            found["read"] += int(words["read_bytes"])
            found["written"] += int(words["write_bytes"])
    return found
