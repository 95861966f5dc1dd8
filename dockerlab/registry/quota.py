"""How much a registry may hold: counts of bytes that all its processes and threads share."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from dockerlab.registry.protocol import refusal
from dockerlab.store.files import locked

__all__ = ["Tally"]

_BELIEVED = 5.0  # seconds that a count is believed


class Tally:
    """Bytes that are added to under a lock, and counted anew every few seconds: what is in the file `place` is a memory and no authority."""

    def __init__(self, place: Path, most: int, count: Callable[[], int]) -> None:
        self._place, self._most, self._count = place, most, count

    @contextlib.contextmanager
    def adding(self, size: int, refused: str, make_room: Callable[[], object] = lambda: None) -> Iterator[None]:
        """Holds the count for the block, in which so many bytes more are stored; raises DENIED with `refused` where they are too many, even after `make_room`."""
        with locked(self._place.with_name(f"{self._place.name}.lock")):
            known = self._known()
            if known is None or known + size > self._most:
                known = self._count()
                if known + size > self._most and make_room():
                    known = self._count()
                self._note(known)
            if known + size > self._most:
                raise refusal("DENIED", {"quota": self._most, "used": known}, message=refused)
            yield
            self._note(known + size, counted=False)

    def _known(self) -> int | None:
        try:
            self._when, bytes_ = map(float, self._place.read_text().split())
        except (OSError, ValueError):
            return None
        return int(bytes_) if 0 <= time.time() - self._when < _BELIEVED else None

    def _note(self, known: int, *, counted: bool = True) -> None:
        self._when = time.time() if counted else self._when
        with contextlib.suppress(OSError):  # a disk that is full bounds more than a quota does
            self._place.write_text(f"{self._when} {known}")
