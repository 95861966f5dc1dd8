"""What happened in a store, one line an event, by whoever made it happen: `docker events` reads it.

A line is written by one write(2) to a file opened for appending, so those of several processes do not mix. Of old events the last two megabytes or less are kept.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

import msgspec

__all__ = ["Event", "Journal"]

_MOST = 1 << 20


class Event(msgspec.Struct, frozen=True):
    """Something that happened: when (nanoseconds since 1970), to what kind of thing, what, to which one, and more about it, as docker names these."""

    time: int
    type: str
    action: str
    id: str
    attributes: dict[str, str] = {}


class Journal:
    """The file `events`, and `events.old` before it."""

    def __init__(self, home: Path) -> None:
        self._path, self._old = home / "events", home / "events.old"

    def note(self, type: str, action: str, ident: str, attributes: Mapping[str, str]) -> None:
        """Adds an event; on a full disk, or in a store that is gone, there is none."""
        line = msgspec.json.encode(Event(time.time_ns(), type, action, ident, dict(attributes))) + b"\n"
        with contextlib.suppress(OSError):
            descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.write(descriptor, line)
                full = os.fstat(descriptor).st_size > _MOST
            finally:
                os.close(descriptor)
            if full:
                os.rename(self._path, self._old)

    def read(self, more: Callable[[], bool] = lambda: False) -> Iterator[Event]:
        """Yields what is on disk, oldest first; at the end `more` is asked, which may wait, whether to look again."""
        for path in (self._old, self._path):
            with contextlib.ExitStack() as held:
                # While it is open nothing else gets its inode number.
                file = held.enter_context(open(path, "rb")) if path.exists() else None
                yield from _events(file)
                while path == self._path:
                    if (file and os.fstat(file.fileno()).st_ino) != _inode(path):
                        yield from _events(file)  # what was added just before it became the old one
                        held.close()
                        file = held.enter_context(open(path, "rb")) if path.exists() else None
                    elif not more():
                        yield from _events(file)  # what came in the meantime
                        break
                    yield from _events(file)


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except OSError:
        return None


def _events(file: BinaryIO | None) -> Iterator[Event]:
    """Yields the events that are left in a file, up to the last whole line."""
    while file and (line := file.readline()):
        if not line.endswith(b"\n"):
            file.seek(-len(line), os.SEEK_CUR)
            return
        with contextlib.suppress(msgspec.DecodeError):  # a line that a full disk has cut
            yield msgspec.json.decode(line, type=Event)
