"""The files that this process was made from, to be known again."""

from __future__ import annotations

import contextlib
import os
import sys

from dockerlab.linux import syscalls

__all__ = ["Sources"]


class Sources:
    """The package's modules that are imported by now; once one has changed they are never again what they were.

    The kernel tells when something changes in their folders, inotify(7). Where it cannot, or where they are links to somewhere else, each is looked at each time.
    """

    def __init__(self) -> None:
        names = [module.__file__ for name, module in sys.modules.items() if name.startswith("dockerlab") and module.__file__]
        self.watch = -1
        self._changed = False
        with contextlib.suppress(OSError):  # this user has too many, or the kernel has none
            if not any(map(os.path.islink, names)):
                self.watch = syscalls.inotify({os.path.dirname(name) for name in names}, syscalls.IN_CHANGED)
        self._files = {name: os.stat(name).st_mtime_ns for name in names}

    def same(self, *, every: bool = False) -> bool:
        """Tells whether all are what they were, with `every` also where the kernel tells of nothing: another machine may write to what both have, or somebody by another name."""
        self._changed = self._changed or ((every or self._news()) and not self._looked())
        return not self._changed

    def _news(self) -> bool:
        try:
            return self.watch < 0 or bool(os.read(self.watch, 1 << 16))
        except BlockingIOError:
            return False

    def _looked(self) -> bool:
        with contextlib.suppress(OSError):
            return all(os.stat(name).st_mtime_ns == time for name, time in self._files.items())
        return False
