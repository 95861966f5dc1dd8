"""Pages of memory that processes forked one after another write to, copied before anybody waits for them.

After fork(2) parent and child share all pages, and the kernel copies each when it is first written to: a thousand times a fault and a copy, which takes an
interpreter longer than what it does. The processes that a warm one forks write to the same pages, so one that is done tells which, and the next asks for its
copies ahead.
"""

from __future__ import annotations

import array
import contextlib
import ctypes
import mmap
import os
import resource
import select
import struct
from collections.abc import Iterator
from typing import Protocol

from dockerlab.linux import syscalls

__all__ = ["Copies"]

_SIZE = mmap.PAGESIZE
_PAIR = struct.Struct("=QQ")
_ROOM = 1 << 16  # bytes
_MOST = 2048  # pages that are copied ahead
_NEWS = 100  # faults
_OWN = 1 << 56  # the page is nobody else's; proc_pid_pagemap(5)


class HasFileno(Protocol):
    """A socket, say."""

    def fileno(self) -> int:
        """Gives its descriptor."""


class Copies:
    """What the processes forked from the one that makes this have written to, in memory that they all share.

    Does nothing on kernels before 5.14 (madvise(2), MADV_POPULATE_WRITE), and where this process may not read its own pagemap.
    """

    def __init__(self) -> None:
        self._shared = mmap.mmap(-1, _ROOM)
        self._able = syscalls.populate(ctypes.addressof(ctypes.c_char.from_buffer(self._shared)), _ROOM)
        self._files: tuple[int, int] | None = None
        self._before: int | None = None

    def ahead(self, door: HasFileno) -> None:
        """Copies what those before this process have written to; ends early once somebody asks at `door`. After that it may `note`, also where it sees another /proc by then."""
        if not self._able or _asked(door):
            return
        self._files = _opened()
        for start, end in self._known():
            if _asked(door):
                return
            syscalls.populate(start, end - start)
        self._before = _faults()

    def alone(self) -> None:
        """Has what this process forks from now on no part in it: who gets at a container's first process shall not write what others read."""
        self._shared.madvise(mmap.MADV_DONTFORK)

    def note(self) -> None:
        """Has those that come later copy what this process has written to, if they would not."""
        if self._files is None:
            return
        maps, pagemap = self._files
        self._files = None
        with contextlib.ExitStack() as stack:
            stack.callback(os.close, maps)
            stack.callback(os.close, pagemap)
            known = list(self._known())
            if known and (self._before is None or _faults() - self._before < _NEWS):
                return
            regions = _regions(maps)
            pages = set(_own(regions, pagemap))
            both = pages.union(page for start, end in known for page in range(start, end, _SIZE))
        if len(both) <= _MOST:
            pages = both
        pairs = list(_ranges(sorted(pages)[:_MOST], {start for start, _ in regions}))[: _ROOM // _PAIR.size - 1]
        self._shared[:] = b"".join(_PAIR.pack(*pair) for pair in pairs).ljust(_ROOM, b"\0")

    def _known(self) -> Iterator[tuple[int, int]]:
        left = _MOST * _SIZE
        for start, end in _PAIR.iter_unpack(self._shared[:]):
            left -= end - start
            if not start or end <= start or left < 0:  # half of what somebody noted who was killed
                break
            yield start, end


def _asked(door: HasFileno) -> bool:
    return bool(select.select([door], [], [], 0)[0])


def _faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def _opened() -> tuple[int, int] | None:
    try:
        pagemap = os.open("/proc/self/pagemap", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    return os.open("/proc/self/maps", os.O_RDONLY | os.O_CLOEXEC), pagemap


def _regions(maps: int) -> list[tuple[int, int]]:
    """Gives (start, end) of what is private and may be written to."""
    with open(maps, "rb", closefd=False) as file:  # as bytes: a codec would be looked for below a root that may be a container's
        lines = [line.split(maxsplit=2) for line in file]
    return [(int(start, 16), int(end, 16)) for where, rights, _ in lines if rights == b"rw-p" for start, _, end in (where.partition(b"-"),)]


def _own(regions: list[tuple[int, int]], pagemap: int) -> Iterator[int]:
    """Yields the addresses of the pages that no other process has."""
    for start, end in regions:
        facts = array.array("Q", os.pread(pagemap, (end - start) // _SIZE * 8, start // _SIZE * 8))
        yield from (start + number * _SIZE for number, fact in enumerate(facts) if fact & _OWN)


def _ranges(pages: list[int], borders: set[int]) -> Iterator[tuple[int, int]]:
    """Yields (start, end) of pages that lie side by side in one region: another process may lack the one below."""
    start = end = 0
    for page in pages:
        if page != end or page in borders:
            if end:
                yield start, end
            start = page
        end = page + _SIZE
    if end:
        yield start, end
