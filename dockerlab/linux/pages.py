"""Pages of memory that processes forked one after another write to, copied before anybody waits for them.

After fork(2) parent and child share all pages, and the kernel copies each when it is first written to: a thousand times a fault and a copy, which takes an
interpreter longer than what it does. The processes that a warm one forks write to the same pages, so the first tells which, and the next asks for its copies ahead.
"""

from __future__ import annotations

import array
import mmap
import os
import resource
import struct
from collections.abc import Callable, Iterator

from dockerlab.linux import syscalls

__all__ = ["Copies"]

_SIZE = mmap.PAGESIZE
_ROOM, _LARGEST = 1 << 16, 1 << 26  # bytes: of the note, of pages side by side
_PAIR = struct.Struct("=QQ")
_OWN = 1 << 56  # the page is nobody else's; proc_pid_pagemap(5)
_NEWS = 100  # faults


class Copies:
    """What the processes forked from the one that makes this have written to, in memory that they all share."""

    def __init__(self) -> None:
        self._shared = mmap.mmap(-1, _ROOM)
        self._before: int | None = None
        self._files: tuple[int, int] | None = None

    def ahead(self, wanted: Callable[[], bool]) -> None:
        """Copies what those before this process have written to; ends early once it is `wanted`. Does nothing on kernels before 5.14; madvise(2), MADV_POPULATE_WRITE."""
        for start, end in self._known():
            if wanted():
                return
            syscalls.populate(start, end - start)
        self._before = _faults()

    def prepare(self) -> None:
        """Makes the first `note` possible for a process that will not see its own /proc by then."""
        if not next(self._known(), None):
            self._files = _opened()

    def note(self) -> None:
        """Has those that come later copy what this process has written to, if they would not. Does nothing where the kernel does not tell what that is."""
        known = list(self._known())
        if known and (self._before is None or _faults() - self._before < _NEWS):
            return
        files = self._files or _opened()
        if files is None:
            return
        maps, pagemap = files
        pages = {page for start, end in known for page in range(start, end, _SIZE)}
        pages.update(_own(maps, pagemap))
        pairs = list(_ranges(sorted(pages)))[: _ROOM // _PAIR.size - 1]
        self._shared[:] = b"".join(_PAIR.pack(*pair) for pair in pairs).ljust(_ROOM, b"\0")

    def _known(self) -> Iterator[tuple[int, int]]:
        for start, end in _PAIR.iter_unpack(self._shared[:]):
            if not start or not 0 < end - start <= _LARGEST:  # half of what somebody noted who was killed
                break
            yield start, end


def _faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def _opened() -> tuple[int, int] | None:
    try:
        return os.open("/proc/self/maps", os.O_RDONLY | os.O_CLOEXEC), os.open("/proc/self/pagemap", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None


def _own(maps: int, pagemap: int) -> Iterator[int]:
    """Yields the addresses of the private pages that no other process has."""
    with open(maps, encoding="ascii", errors="replace", closefd=False) as file:
        lines = [line.split(maxsplit=2) for line in file]
    for where, rights, _ in lines:
        if rights != "rw-p":
            continue
        start, end = (int(word, 16) for word in where.split("-"))
        facts = array.array("Q", os.pread(pagemap, (end - start) // _SIZE * 8, start // _SIZE * 8))
        yield from (start + number * _SIZE for number, fact in enumerate(facts) if fact & _OWN)


def _ranges(pages: list[int]) -> Iterator[tuple[int, int]]:
    """Yields (start, end) of pages that lie side by side."""
    start = end = 0
    for page in pages:
        if page != end:
            if end:
                yield start, end
            start = page
        end = page + _SIZE
    if end:
        yield start, end
