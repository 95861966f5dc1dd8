"""What a container may use: docker's flags, its daemon's rules for them, and the runtime specification's words."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from dockerlab.errors import InvalidRequest

__all__ = ["Resources"]

_LEAST_MEMORY = 6 << 20
_MORE = "look at `docker run --help` for the flag"


@dataclass(frozen=True, slots=True)
class Resources:
    """Limits by the names of docker's flags: bytes, microseconds, processors times 10⁹; what is 0, "" or None is not limited."""

    memory: int = 0
    memory_swap: int = 0
    memory_reservation: int = 0
    memory_swappiness: int | None = None
    nano_cpus: int = 0
    cpu_shares: int = 0
    cpu_period: int = 0
    cpu_quota: int = 0
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    pids_limit: int = 0

    def checked(self) -> Resources:
        """Gives these, once docker's daemon would take them; raises InvalidRequest."""
        for broken, words in self._rules():
            if broken:
                raise InvalidRequest(words, hint=_MORE)
        _available(self.cpuset_cpus, "/sys/devices/system/cpu/online", "cpus", "CPUs")
        _available(self.cpuset_mems, "/sys/devices/system/node/online", "mems", "memory nodes")
        return self

    def _rules(self) -> list[tuple[bool, str]]:
        count = os.cpu_count() or 1
        return [
            (0 < self.memory < _LEAST_MEMORY, "Minimum memory limit allowed is 6MB"),
            (0 < self.memory_swap < self.memory, "Minimum memoryswap limit should be larger than memory limit, see usage"),
            (not self.memory and self.memory_swap > 0, "You should always set the Memory limit when using Memoryswap limit, see usage"),
            (0 < self.memory_reservation < _LEAST_MEMORY, "Minimum memory reservation allowed is 6MB"),
            (0 < self.memory < self.memory_reservation, "Minimum memory limit can not be less than memory reservation limit, see usage"),
            (bool(self.nano_cpus and self.cpu_period), "Conflicting options: Nano CPUs and CPU Period cannot both be set"),
            (bool(self.nano_cpus and self.cpu_quota), "Conflicting options: Nano CPUs and CPU Quota cannot both be set"),
            (not 0 <= self.nano_cpus <= count * 10**9, f"Range of CPUs is from 0.01 to {count}.00, as there are only {count} CPUs available"),
            (bool(self.cpu_period and not 1000 <= self.cpu_period <= 1000000), "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)"),
            (0 < self.cpu_quota < 1000, "CPU cfs quota can not be less than 1ms (i.e. 1000)"),
        ]

    def described(self) -> dict[str, Any]:
        """Gives the part `linux.resources` of a runtime specification; {} for no limit."""
        memory = {"limit": self.memory, "swap": self.swap if self.memory else 0, "reservation": self.memory_reservation}
        quota, period = (self.nano_cpus // 10000, 100000) if self.nano_cpus else (self.cpu_quota, self.cpu_period)
        cpu = {"shares": self.cpu_shares, "quota": quota, "period": period, "cpus": self.cpuset_cpus, "mems": self.cpuset_mems}
        parts: dict[str, Any] = {name: {key: value for key, value in part.items() if value} for name, part in (("memory", memory), ("cpu", cpu))}
        if self.memory_swappiness is not None:
            parts["memory"]["swappiness"] = self.memory_swappiness
        if self.pids_limit > 0:
            parts["pids"] = {"limit": self.pids_limit}
        return {name: part for name, part in parts.items() if part}

    @property
    def swap(self) -> int:
        """Memory and swap together in bytes, -1 for no limit; unless it is named, twice the memory."""
        return self.memory_swap or 2 * self.memory

    def kept(self) -> dict[str, Any]:
        """Gives the limits that are set, as a container keeps them."""
        return {each.name: value for each in fields(self) if (value := getattr(self, each.name)) != each.default}


def _available(wanted: str, file: str, name: str, what: str) -> None:
    if not wanted:
        return
    for part in wanted.split(","):
        if not re.fullmatch("[0-9]+(-[0-9]+)?", part):
            raise InvalidRequest(f"Invalid value {wanted} for cpuset {name}: invalid format: {part}", hint="write 0-3, or 0,2")
    try:
        there = Path(file).read_text().strip()
    except OSError:
        there = "0"
    if not _numbers(wanted) <= _numbers(there):
        raise InvalidRequest(f"Requested {what} are not available - requested {wanted}, available: {there}", hint=f"this machine has {there}")


def _numbers(text: str) -> set[int]:
    return {number for part in text.split(",") for first, _, last in [part.partition("-")] for number in range(int(first), int(last or first) + 1)}
