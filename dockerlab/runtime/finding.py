"""What the arguments of a call name, found from outside: always something of the container that asks, whatever it renames meanwhile."""

from __future__ import annotations

import errno
import os

from dockerlab.layers import owners
from dockerlab.linux import syscalls
from dockerlab.linux.notify import Asked, read_text
from dockerlab.runtime.arguments import AT_FDCWD, EMPTY_PATH, NOFOLLOW

__all__ = ["INSIDE", "File", "found", "inside", "opened", "resolved"]

# Another process's directory descriptors lead here: what is answered must be the container's own files, whatever /proc offers.
INSIDE = syscalls.RESOLVE_IN_ROOT | syscalls.RESOLVE_NO_MAGICLINKS
_BELOW = syscalls.RESOLVE_BENEATH | syscalls.RESOLVE_NO_MAGICLINKS


class File:
    """An open descriptor, and where its name stands where that is needed for a note."""

    __slots__ = ("_folder", "_status", "fd", "named", "path")

    def __init__(self, descriptor: int, named: str, folder: int = -1) -> None:
        self.fd, self.named, self._folder, self.path = descriptor, named, folder, ""
        self._status: os.stat_result | None = None

    @property
    def status(self) -> os.stat_result:
        """What stat(2) says of it, asked once."""
        if self._status is None:
            self._status = os.fstat(self.fd)
        return self._status

    def __enter__(self) -> File:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.fd)
        if self._folder >= 0:
            os.close(self._folder)


def opened(asked: Asked, folder: int, address: int, flags: int, path: bytes = b"") -> File:
    """Gives what a call's arguments name: `address` 0, or an empty path with AT_EMPTY_PATH, means the descriptor itself; `path` where it is read already."""
    path = path or (read_text(asked.pid, address) if address else b"")
    if not path:
        if folder == AT_FDCWD or (address and not flags & EMPTY_PATH):
            raise FileNotFoundError
        return File(os.open(f"/proc/{asked.pid}/fd/{folder}", os.O_PATH | os.O_CLOEXEC), "")
    return resolved(asked, folder, path, flags)


def found(asked: Asked, folder: int, address: int, flags: int) -> File:
    """The same, with its path as this process sees it."""
    file = opened(asked, folder, address, flags)
    file.path = os.readlink(f"/proc/self/fd/{file.fd}")
    return file


def resolved(asked: Asked, folder: int, path: bytes, flags: int) -> File:
    """Gives what a path means to the process that asks."""
    how = os.O_PATH | (os.O_NOFOLLOW if flags & NOFOLLOW else 0)
    if not path.startswith(b"/"):
        base = os.open(f"/proc/{asked.pid}/cwd" if folder == AT_FDCWD else f"/proc/{asked.pid}/fd/{folder}", os.O_PATH | os.O_CLOEXEC)
        with File(base, "") as start:
            try:
                return _named(start.fd, path, how, _BELOW)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
            place = os.readlink(f"/proc/self/fd/{base}")
        path = os.fsencode(place.removeprefix(os.readlink(f"/proc/{asked.pid}/root").rstrip("/"))) + b"/" + path
    with File(inside(asked.pid), "") as root:
        return _named(root.fd, path, how, INSIDE)


def _named(base: int, path: bytes, how: int, resolve: int) -> File:
    found = syscalls.openat2(base, path, how, resolve=resolve)
    file = File(found, "")
    if owners.takes_notes(file.status.st_mode):
        return file
    parent, _, name = path.rstrip(b"/").rpartition(b"/")
    folder = syscalls.openat2(base, parent or (b"/" if path.startswith(b"/") else b"."), os.O_PATH, resolve=resolve)
    return File(found, f"/proc/self/fd/{folder}/{os.fsdecode(name)}", folder)


def inside(pid: int) -> int:
    """Gives a descriptor of a process's root."""
    return os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
