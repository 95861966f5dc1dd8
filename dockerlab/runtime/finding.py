"""What the arguments of a call name, found from outside: always something of the container that asks, whatever it renames meanwhile."""

from __future__ import annotations

import errno
import os

from dockerlab.layers import owners
from dockerlab.linux import syscalls
from dockerlab.linux.notify import Asked, read_text
from dockerlab.runtime.arguments import AT_FDCWD, EMPTY_PATH, NOFOLLOW

__all__ = ["INSIDE", "File", "Finder"]

# Another process's directory descriptors lead here: what is answered must be the container's own files, whatever /proc offers.
INSIDE = syscalls.RESOLVE_IN_ROOT | syscalls.RESOLVE_NO_MAGICLINKS
_BELOW = syscalls.RESOLVE_BENEATH | syscalls.RESOLVE_NO_MAGICLINKS


class File:
    """An open descriptor, and where its name stands where that is needed for a note; with `kept` it stays open."""

    __slots__ = ("_folder", "_kept", "_status", "fd", "named", "path")

    def __init__(self, descriptor: int, named: str, folder: int = -1, *, kept: bool = False) -> None:
        self.fd, self.named, self._folder, self._kept, self.path = descriptor, named, folder, kept, ""
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
        if not self._kept:
            os.close(self.fd)
        if self._folder >= 0:
            os.close(self._folder)


class Finder:
    """Finds for one container. `root`: where all its processes stay once they are there, since none may chroot(2); "" where they may."""

    def __init__(self, root: str = "") -> None:
        self._place, self._root = root, -1

    def close(self) -> None:
        """Lets go of the root: nobody of this container asks any more."""
        if self._root >= 0:
            os.close(self._root)
            self._root = -1

    def opened(self, asked: Asked, folder: int, address: int, flags: int, path: bytes = b"") -> File:
        """Gives what a call's arguments name: `address` 0, or an empty path with AT_EMPTY_PATH, means the descriptor itself; `path` where it is read already."""
        path = path or (read_text(asked.pid, address) if address else b"")
        if not path:
            if folder == AT_FDCWD or (address and not flags & EMPTY_PATH):
                raise FileNotFoundError
            return File(os.open(f"/proc/{asked.pid}/fd/{folder}", os.O_PATH | os.O_CLOEXEC), "")
        return self.resolved(asked, folder, path, flags)

    def found(self, asked: Asked, folder: int, address: int, flags: int) -> File:
        """The same, with its path as this process sees it."""
        file = self.opened(asked, folder, address, flags)
        file.path = os.readlink(f"/proc/self/fd/{file.fd}")
        return file

    def resolved(self, asked: Asked, folder: int, path: bytes, flags: int) -> File:
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
        with self.root(asked.pid) as root:
            return _named(root.fd, path, how, INSIDE)

    def root(self, pid: int) -> File:
        """Gives the root of a process."""
        if self._root >= 0:
            return File(self._root, "", kept=True)
        root = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        if self._place and os.readlink(f"/proc/self/fd/{root}") == self._place:
            self._root = root
        return File(root, "", kept=self._root >= 0)


def _named(base: int, path: bytes, how: int, resolve: int) -> File:
    found = syscalls.openat2(base, path, how, resolve=resolve)
    file = File(found, "")
    if owners.takes_notes(file.status.st_mode):
        return file
    parent, _, name = path.rstrip(b"/").rpartition(b"/")
    folder = syscalls.openat2(base, parent or (b"/" if path.startswith(b"/") else b"."), os.O_PATH, resolve=resolve)
    return File(found, f"/proc/self/fd/{folder}/{os.fsdecode(name)}", folder)
