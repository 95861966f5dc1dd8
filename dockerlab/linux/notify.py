"""Calls that a seccomp filter reports to another process before the kernel does them; seccomp_unotify(2).

Whoever listens here only looks: each call goes on as if nobody had been told.
"""

from __future__ import annotations

import errno
import fcntl
import struct
from dataclasses import dataclass

__all__ = ["Asked", "let_go", "next_call"]

_RECEIVE, _SEND = 0xC0502100, 0xC0182101
_NOTIFICATION = struct.Struct("=QIIiIQ6Q")  # struct seccomp_notif with its struct seccomp_data
_ANSWER = struct.Struct("=QqiI")  # struct seccomp_notif_resp
_CONTINUE = 1


@dataclass(frozen=True, slots=True)
class Asked:
    """One call that waits: its number on this machine, its six arguments, and the process that makes it."""

    id: int
    pid: int
    number: int
    args: tuple[int, ...]


def next_call(listener: int) -> Asked | None:
    """Gives the next call that waits, or None where its process has been killed meanwhile. Raises OSError when nobody is left to listen to."""
    buffer = bytearray(_NOTIFICATION.size)
    try:
        fcntl.ioctl(listener, _RECEIVE, buffer)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.EINTR):
            return None
        raise
    ident, pid, _, number, _, _, *args = _NOTIFICATION.unpack(buffer)
    return Asked(ident, pid, number, tuple(args))


def let_go(listener: int, asked: Asked) -> None:
    """Lets the kernel do the call; a process that is gone needs no answer."""
    try:
        fcntl.ioctl(listener, _SEND, bytearray(_ANSWER.pack(asked.id, 0, 0, _CONTINUE)))
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise
