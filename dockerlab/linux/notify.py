"""Calls that a seccomp filter reports to another process, which lets the kernel do them or answers them itself; seccomp_unotify(2).

What the caller points to may change while it is looked at, so this is a way to help programs along and never a wall.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import struct
from typing import NamedTuple

from dockerlab.linux import syscalls

__all__ = ["Asked", "Listener", "read_memory", "read_text"]

_RECEIVE, _SEND, _VALID, _ADD_FD, _SET_FLAGS = 0xC0502100, 0xC0182101, 0x40082102, 0x40182103, 0x40082104
_NOTIFICATION = struct.Struct("=QIIiIQ6Q")  # struct seccomp_notif with its struct seccomp_data
_ANSWER = struct.Struct("=QqiI")  # struct seccomp_notif_resp
_DESCRIPTOR = struct.Struct("=QIIII")  # struct seccomp_notif_addfd
_CONTINUE, _ADD_AND_SEND, _SYNC_WAKE_UP = 1, 2, 1
_PATH_MAX = 4096


class Asked(NamedTuple):
    """One call that waits: its number on this machine, its six arguments, and the thread that makes it."""

    id: int
    pid: int
    number: int
    args: tuple[int, ...]


class Listener:
    """The end where reported calls arrive. A caller that was killed meanwhile needs no answer, and gets none."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        # With this, who asks and who answers take turns on one processor: five times as fast where the kernel knows it (6.6).
        with contextlib.suppress(OSError):
            fcntl.ioctl(descriptor, _SET_FLAGS, _SYNC_WAKE_UP)

    def next(self) -> Asked | None:
        """Gives the next call that waits, or None where its caller has been killed. Raises OSError when nobody is left to listen to."""
        buffer = bytearray(_NOTIFICATION.size)
        try:
            fcntl.ioctl(self.descriptor, _RECEIVE, buffer)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.EINTR):
                return None
            raise
        ident, pid, _, number, _, _, *args = _NOTIFICATION.unpack(buffer)
        return Asked(ident, pid, number, tuple(args))

    def let_go(self, asked: Asked) -> None:
        """Lets the kernel do the call."""
        self._send(asked, 0, 0, _CONTINUE)

    def answer(self, asked: Asked, value: int = 0) -> None:
        """Makes the call return `value` without being done."""
        self._send(asked, value, 0, 0)

    def refuse(self, asked: Asked, number: int) -> None:
        """Makes the call fail with an errno."""
        self._send(asked, 0, -number, 0)

    def give(self, asked: Asked, descriptor: int, *, close_on_exec: bool) -> None:
        """Makes the call return a new descriptor for what `descriptor` is open for."""
        message = _DESCRIPTOR.pack(asked.id, _ADD_AND_SEND, descriptor, 0, os.O_CLOEXEC if close_on_exec else 0)
        with contextlib.suppress(FileNotFoundError):
            fcntl.ioctl(self.descriptor, _ADD_FD, bytearray(message))

    def waits(self, asked: Asked) -> bool:
        """Tells whether the caller still is the one that asked: its number may be another's by now."""
        try:
            fcntl.ioctl(self.descriptor, _VALID, struct.pack("=Q", asked.id))
        except OSError:
            return False
        return True

    def write(self, asked: Asked, address: int, data: bytes) -> None:
        """Writes into the caller's memory, if it still waits: a number whose process was killed may be a process of the host by now. Raises OSError."""
        memory = os.open(f"/proc/{asked.pid}/mem", os.O_RDWR | os.O_CLOEXEC)
        try:
            if not self.waits(asked):
                raise ProcessLookupError
            os.pwrite(memory, data, address)
        finally:
            os.close(memory)

    def _send(self, asked: Asked, value: int, error: int, flags: int) -> None:
        try:
            fcntl.ioctl(self.descriptor, _SEND, _ANSWER.pack(asked.id, value, error, flags))
        except FileNotFoundError:  # it was killed meanwhile
            return


def read_text(pid: int, address: int) -> bytes:
    """Gives the bytes up to the next NUL in another process's memory; raises OSError (EFAULT, ENAMETOOLONG)."""
    found = b""
    while len(found) < _PATH_MAX:
        # A page at a time: the next one may not be there.
        block = read_memory(pid, address + len(found), min(4096 - (address + len(found)) % 4096, 256 if not found else 4096))
        if not block:
            raise OSError(errno.EFAULT, os.strerror(errno.EFAULT))
        text, end, _ = block.partition(b"\0")
        found += text
        if end:
            return found
    raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))


def read_memory(pid: int, address: int, size: int) -> bytes:
    """Gives bytes of another process's memory; raises OSError."""
    try:
        return syscalls.process_vm_readv(pid, address, size)
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.EPERM):
            raise
    # Some filters, docker's of old among them, know this call as a debugger's.
    memory = os.open(f"/proc/{pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.pread(memory, size, address)
    finally:
        os.close(memory)
