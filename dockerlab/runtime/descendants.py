"""The processes below this one, where no pid namespace ends them together; prctl(2), PR_SET_CHILD_SUBREAPER."""

from __future__ import annotations

import contextlib
import os
import signal

__all__ = ["children", "end"]


def end() -> None:
    """Kills all that was started from here, by whomever: an orphan becomes a child of this process, which is their subreaper."""
    while found := children(os.getpid()):
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for pid in found:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)


def children(parent: int) -> list[int]:
    """Gives the children of a process; proc(5)."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError, IndexError), open(f"/proc/{name}/stat", "rb") as file:
                if int(file.read().rpartition(b")")[2].split()[1]) == parent:
                    found.append(int(name))
    return found
