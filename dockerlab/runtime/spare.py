"""A process forked ahead, to become the parent of the next container's program.

A fork takes a millisecond, and what is written to for the first time after one has to be copied page by page: that takes longer than the deed. So it is done while nobody waits.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn, Protocol

from dockerlab.linux import syscalls
from dockerlab.linux.pages import Copies
from dockerlab.runtime import wire

__all__ = ["Parent", "Spare"]


class Parent(Protocol):
    """What a spare process becomes: `supervisor.Supervisor`, as far as it is one. `settled` is done once the program runs."""

    settled: Callable[[], object]

    def stand_in(self, supervisor: int) -> None:
        """Makes ready to be the parent of a program that the process `supervisor` sees through."""

    def be_parent(self, sync: socket.socket, status_out: int, theirs: list[int], folders: list[Path]) -> NoReturn:
        """Is it."""


class Spare:
    """A child of the process that makes this; `made` gives the parent for a request, `foreign` descriptors are none of its business, `copies` are those of parents.

    It ends with that process, and when this is closed.
    """

    def __init__(self, made: Callable[[dict[str, Any]], Parent], foreign: Sequence[int], copies: Copies) -> None:
        self._line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self._ours, owner = True, os.getpid()
        self._pid = os.fork()
        if self._pid == 0:
            self._line.close()
            for descriptor in foreign:
                os.close(descriptor)
            try:
                _wait(theirs, owner, made, copies)
            finally:
                os._exit(0)
        theirs.close()

    def promise(self, request: dict[str, Any]) -> None:
        """Tells for which request it will be needed, so that it reads what that needs."""
        with contextlib.suppress(OSError):
            wire.send(self._line, request)

    def take(self, descriptors: Sequence[int], folders: Sequence[Path]) -> int:
        """Has it begin: descriptors are the socket to the supervisor, where the exit code is written to, and the program's own. Gives its pid, 0 where it was killed."""
        try:
            wire.send(self._line, {"folders": [str(folder) for folder in folders]}, descriptors)
        except OSError:
            self.close()
            return 0
        self._line.close()
        self._ours = False
        return self._pid

    def close(self) -> None:
        """Lets it go, where it was not needed, and takes leave of it: not every host has somebody who does that for orphans."""
        if self._ours:
            self._ours = False
            self._line.close()
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self._pid, 0)


def _wait(line: socket.socket, owner: int, made: Callable[[dict[str, Any]], Parent], copies: Copies) -> None:
    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != owner:
        return
    copies.alone()
    copies.ahead(line)
    request, _ = wire.receive(line)
    if request is None:
        return
    parent = made(request)
    parent.settled = copies.note
    parent.stand_in(owner)
    wanted, descriptors = wire.receive(line)
    line.close()
    if wanted is None:
        return
    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, 0)  # from now on it ends in good order, and the program with it
    sync, status, *theirs = descriptors
    parent.be_parent(socket.socket(fileno=sync), status, theirs, [Path(folder) for folder in wanted["folders"]])
