"""The processes below another; and an end for them where no pid namespace brings it, prctl(2), PR_SET_CHILD_SUBREAPER."""

from __future__ import annotations

import contextlib
import os
import signal
import time

from dockerlab.linux import processes

__all__ = ["below", "children", "end", "end_in", "parent"]


def end() -> None:
    """Kills all that was started from here, by whomever: an orphan becomes a child of this process, which is their subreaper."""
    while found := children(os.getpid()):
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for pid in found:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)


def end_in(namespace: str) -> None:
    """Kills all processes of a namespace, as proc(5) links to it (`mnt:[4026531840]`): who is orphaned in another's pid namespace is nobody's here."""
    kind = namespace.partition(":")[0]
    for _ in range(100):
        found = [int(name) for name in os.listdir("/proc") if name.isdigit() and _link(name, kind) == namespace]
        if not found:
            return
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.005)


def _link(pid: str, kind: str) -> str:
    try:
        return os.readlink(f"/proc/{pid}/ns/{kind}")
    except OSError:
        return ""


def children(pid: int) -> list[int]:
    """Gives the children of a process; proc(5)."""
    return _families().get(pid, [])


def below(pid: int) -> list[int]:
    """Gives the children of a process and all of theirs."""
    families, found, left = _families(), [], [pid]
    while left:
        inner = families.get(left.pop(), [])
        found += inner
        left += inner
    return found


def parent(pid: int) -> int:
    """Gives the parent of a process; proc(5), stat field 4. Raises OSError, IndexError where it has ended."""
    return int(processes.stat(pid)[1])


def _families() -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError, IndexError):
                found.setdefault(parent(int(name)), []).append(int(name))
    return found
