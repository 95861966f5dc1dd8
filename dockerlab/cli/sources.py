"""The files that this process was made from, to be known again."""

from __future__ import annotations

import contextlib
import os
import sys

from dockerlab.linux import syscalls

__all__ = ["Sources"]


class Sources:
    """The package's modules that are imported by now. The kernel tells when something changes beside them (inotify(7)); where it cannot, each is looked at each time."""

    def __init__(self) -> None:
        names = [module.__file__ for name, module in sys.modules.items() if name.startswith("dockerlab") and module.__file__]
        self.watch = -1
        with contextlib.suppress(OSError):  # this user has too many, or the kernel has none
            self.watch = syscalls.inotify({os.path.dirname(name) for name in names}, syscalls.IN_CHANGED)
        self._files = {name: os.stat(name).st_mtime_ns for name in names}

    def same(self, *, every: bool = False) -> bool:
        """Tells whether all are what they were, with `every` also where the kernel tells of nothing: another machine may write to what both have."""
        return not (every or self._news()) or self._looked()

    def _news(self) -> bool:
        try:
            return self.watch < 0 or bool(os.read(self.watch, 1 << 16))
        except BlockingIOError:
            return False

    def _looked(self) -> bool:
        with contextlib.suppress(OSError):
            return all(os.stat(name).st_mtime_ns == time for name, time in self._files.items())
        return False
