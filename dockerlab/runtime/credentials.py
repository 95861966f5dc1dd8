"""Who each process of a container believes to be, where the kernel knows one user only; credentials(7), setresuid(2).

Everything begins as the container's own user. A change is kept by process, and a process that is not known yet is what its parent is.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace

from dockerlab.linux import processes

__all__ = ["Credentials", "Processes", "may", "with_group_call", "with_user_call"]

UNCHANGED = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Credentials:
    """Real, effective and saved ids, the supplementary groups, and whether root's rights outlive a change of user until execve (PR_SET_KEEPCAPS)."""

    ruid: int
    euid: int
    suid: int
    rgid: int
    egid: int
    sgid: int
    groups: tuple[int, ...]
    keeps: bool = False

    @classmethod
    def of(cls, uid: int, gid: int, groups: tuple[int, ...]) -> Credentials:
        """Gives those of a fresh login."""
        return cls(uid, uid, uid, gid, gid, gid, groups)

    @property
    def root(self) -> bool:
        """Whether it may what root may."""
        return self.euid == 0 or self.keeps


def with_user_call(name: str, ids: tuple[int, ...], old: Credentials) -> Credentials | None:
    """Gives what setuid, setreuid or setresuid makes of `old`; None where it may not."""
    chosen = _chosen(name, ids, (old.ruid, old.euid, old.suid), free=old.root)
    return None if chosen is None else replace(old, ruid=chosen[0], euid=chosen[1], suid=chosen[2])


def with_group_call(name: str, ids: tuple[int, ...], old: Credentials) -> Credentials | None:
    """The same for setgid, setregid and setresgid."""
    chosen = _chosen(name, ids, (old.rgid, old.egid, old.sgid), free=old.root)
    return None if chosen is None else replace(old, rgid=chosen[0], egid=chosen[1], sgid=chosen[2])


def _chosen(name: str, ids: tuple[int, ...], old: tuple[int, int, int], *, free: bool) -> tuple[int, int, int] | None:
    real, _, saved = old
    if name in ("setuid", "setgid"):
        if free:
            return ids[0], ids[0], ids[0]
        return (real, ids[0], saved) if ids[0] in (real, saved) else None
    if not free and any(wanted not in (*old, UNCHANGED) for wanted in ids):
        return None
    if not free and len(ids) == 2 and ids[0] not in (real, old[1], UNCHANGED):
        return None
    new = [have if wanted == UNCHANGED else wanted for wanted, have in zip(ids, old, strict=False)]
    if len(new) == 3:
        return new[0], new[1], new[2]
    # setreuid: the saved id follows the effective one where the real one was set, or the effective one is another than the real one was.
    follows = ids[0] != UNCHANGED or (ids[1] != UNCHANGED and ids[1] != real)
    return new[0], new[1], new[1] if follows else saved


def may(who: Credentials, uid: int, gid: int, mode: int, wanted: int) -> bool:
    """Tells whether mode bits let somebody do what is wanted (4 read, 2 write, 1 run or pass through); path_resolution(7)."""
    if who.root:
        return True
    shift = 6 if who.euid == uid else 3 if gid == who.egid or gid in who.groups else 0
    return (mode >> shift) & wanted == wanted


_SAME = 0.02  # seconds in which a number cannot have come to another process: all others would have to be used up before


class Processes:
    """The credentials of all processes of one container."""

    def __init__(self, first: Credentials) -> None:
        self.first = first
        self._known: dict[int, tuple[str, Credentials]] = {}
        self._recent: dict[int, tuple[float, int]] = {}  # by thread: when it was looked up, and its process

    def of(self, pid: int) -> Credentials:
        """Gives those of a process, by any of its threads."""
        if not self._known:
            return self.first
        now = time.monotonic()
        seen, process = self._recent.get(pid, (0.0, 0))
        if now - seen > _SAME or process not in self._known:
            process = self._looked_up(pid)
            if len(self._recent) > 4096:
                self._recent.clear()
            self._recent[pid] = now, process
        known = self._known.get(process)
        return known[1] if known else self.first

    def _looked_up(self, pid: int) -> int:
        """Gives the number of the process that a thread belongs to, whose credentials are known from now on; 0 for none."""
        passed = []
        found = self.first
        for _ in range(64):
            process, parent, began = _status(pid)
            known = self._known.get(process)
            if known and known[0] == began:
                found = known[1]
                break
            if process == 0:
                break
            passed.append((process, began))
            pid = parent
        for process, began in passed:
            self._known[process] = began, found
        return passed[0][0] if passed else process

    def set(self, pid: int, new: Credentials) -> None:
        """Notes a change."""
        process, _, began = _status(pid)
        if process:
            self._known[process] = began, new
        if len(self._known) > 4096:
            self._known = {pid: entry for pid, entry in self._known.items() if os.path.exists(f"/proc/{pid}")}


def _status(pid: int) -> tuple[int, int, str]:
    """Gives (process, its parent, when it began); (0, 0, "") for none. A number alone may be another process's by now; proc(5)."""
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            lines = file.read(512).split(b"\n")
        fields = dict(line.split(b":\t", 1) for line in lines if b":\t" in line)
        process = int(fields[b"Tgid"])
        return process, int(fields[b"PPid"]), processes.stat(process)[19].decode()
    except (OSError, KeyError, ValueError, IndexError):
        return 0, 0, ""
