"""What a control group may use, on version 1 and 2; cgroups(7), runtime-spec config-linux.md "Control groups"."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

__all__ = ["apply", "oom_kills", "used"]

Files = list[tuple[str, str]]


def apply(folders: Iterable[Path], resources: Mapping[str, Any]) -> list[str]:
    """Limits the group that has these folders; gives the names of the limits that no hierarchy knows. Raises OSError for a value that the kernel refuses."""
    places = list(folders)
    unknown = []
    for name, choices in _wanted(resources).items():
        try:
            known = any(_written(places, files) for files in choices)
        except PermissionError:  # what devices are used for is the first user namespace's to say
            if name != "use of devices":
                raise
            known = False
        if not known:
            unknown.append(name)
    return unknown


def _written(places: list[Path], files: Files) -> bool:
    for place in places:
        if all((place / name).exists() for name, _ in files):
            for name, value in files:
                (place / name).write_text(value)
            return True
    return False


def _wanted(resources: Mapping[str, Any]) -> dict[str, tuple[Files, ...]]:
    """Gives each limit as the files of version 1, and those of version 2."""
    memory, cpu = resources.get("memory", {}), resources.get("cpu", {})
    wanted: dict[str, tuple[Files, ...]] = {}
    if "limit" in memory:
        limit, swap = str(memory["limit"]), memory.get("swap", 0)
        alone = ([("memory.limit_in_bytes", limit)], [("memory.max", limit)])
        # The limit of memory alone must at no time be above that of memory and swap.
        first = [("memory.memsw.limit_in_bytes", "-1"), *alone[0], ("memory.memsw.limit_in_bytes", str(swap))]
        second = [*alone[1], ("memory.swap.max", "max" if swap < 0 else str(max(swap - memory["limit"], 0)))]
        wanted["memory"] = (*((first, second) if swap else ()), *alone)
    if "reservation" in memory:
        wanted["memory reservation"] = ([("memory.soft_limit_in_bytes", str(memory["reservation"]))], [("memory.low", str(memory["reservation"]))])
    if "swappiness" in memory:
        wanted["memory swappiness"] = ([("memory.swappiness", str(memory["swappiness"]))],)
    if "shares" in cpu:
        weight = 1 + (max(cpu["shares"], 2) - 2) * 9999 // 262142
        wanted["CPU shares"] = ([("cpu.shares", str(cpu["shares"]))], [("cpu.weight", str(weight))])
    if "quota" in cpu or "period" in cpu:
        period, quota = cpu.get("period") or 100000, cpu.get("quota") or -1
        first = [("cpu.cfs_quota_us", "-1"), ("cpu.cfs_period_us", str(period)), ("cpu.cfs_quota_us", str(quota))]
        wanted["CPU time"] = (first, [("cpu.max", f"{quota if quota > 0 else 'max'} {period}")])
    for key, name in (("cpus", "processors"), ("mems", "memory nodes")):
        if key in cpu:
            wanted[name] = ([(f"cpuset.{key}", cpu[key])],)
    if "pids" in resources:
        limit = resources["pids"]["limit"]
        wanted["processes"] = ([("pids.max", str(limit) if limit > 0 else "max")],)
    if denied := resources.get("devices"):
        wanted["use of devices"] = ([("devices.deny", rule) for rule in denied],)
    return wanted


def oom_kills(folders: Iterable[Path]) -> int:
    """Gives how many processes of the group the kernel has killed because its memory was used up."""
    count = 0
    for folder in folders:
        for name in ("memory.events", "memory.oom_control"):
            with contextlib.suppress(OSError):
                words = (folder / name).read_text().split()
                count += dict(zip(words[::2], map(int, words[1::2]), strict=False)).get("oom_kill", 0)
    return count


def used(folders: Iterable[Path]) -> dict[str, int]:
    """Gives what the group uses now: `cpu` in nanoseconds so far, `memory` (without the file cache that could go at once), `limit`, `pids`, `read` and `written` in bytes so far."""
    found: dict[str, int] = {}
    for folder in folders:
        for read in (_memory, _cpu, _pids, _blocks):
            with contextlib.suppress(OSError, ValueError, KeyError):
                found |= read(folder)
    return found


def _table(file: Path) -> dict[str, int]:
    return {name: int(value) for name, value in (line.split() for line in file.read_text().splitlines())}


def _memory(folder: Path) -> dict[str, int]:
    if (folder / "memory.current").exists():
        limit = (folder / "memory.max").read_text().strip()
        return {"memory": max(int((folder / "memory.current").read_text()) - _table(folder / "memory.stat")["inactive_file"], 0), **({} if limit == "max" else {"limit": int(limit)})}
    stat = _table(folder / "memory.stat")
    return {"memory": max(int((folder / "memory.usage_in_bytes").read_text()) - stat["total_inactive_file"], 0), "limit": stat["hierarchical_memory_limit"]}


def _cpu(folder: Path) -> dict[str, int]:
    if (folder / "cpuacct.usage").exists():
        return {"cpu": int((folder / "cpuacct.usage").read_text())}
    return {"cpu": _table(folder / "cpu.stat")["usage_usec"] * 1000}


def _pids(folder: Path) -> dict[str, int]:
    return {"pids": int((folder / "pids.current").read_text())}


def _blocks(folder: Path) -> dict[str, int]:
    read = written = 0
    if (folder / "io.stat").exists():
        for line in (folder / "io.stat").read_text().splitlines():
            words = dict(word.partition("=")[::2] for word in line.split()[1:])
            read, written = read + int(words.get("rbytes", 0)), written + int(words.get("wbytes", 0))
        return {"read": read, "written": written}
    for line in (folder / "blkio.throttle.io_service_bytes").read_text().splitlines():
        kind, _, value = line.partition(" ")[2].partition(" ")
        read, written = read + int(value) * (kind == "Read"), written + int(value) * (kind == "Write")
    return {"read": read, "written": written}
