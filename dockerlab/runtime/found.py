"""What a call's path led to, held open while the call is answered."""

from __future__ import annotations

import os

__all__ = ["Found"]


class Found:
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

    def __enter__(self) -> Found:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.fd)
        if self._folder >= 0:
            os.close(self._folder)
