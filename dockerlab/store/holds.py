"""What work under way needs and nothing else refers to: held by its process, so that no `prune` takes it away, and free once that has ended, however it did. flock(2).

One gate is open to all who take hold and closed by who removes: in between neither sees half of what the other does.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from dockerlab.store.files import explain, locked

__all__ = ["Hold", "Holds"]


class Hold:
    """What one piece of work has taken hold of: a file with an id a line, locked for as long as it goes on."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor, self._known = descriptor, set[str]()

    def add(self, ident: str) -> None:
        """Holds an image or a container by its id; on a full disk it is not held, which the work itself will say."""
        if ident not in self._known:
            self._known.add(ident)
            with contextlib.suppress(OSError):
                os.write(self._descriptor, f"{ident}\n".encode())


class Holds:
    """The folder `holds`, one file for each build that goes on."""

    def __init__(self, home: Path) -> None:
        self._folder, self._gate = home / "holds", home / "holds.lock"

    @contextlib.contextmanager
    def begin(self) -> Iterator[Hold]:
        """Gives a hold, which lasts for the block."""
        with explain(self._folder), self.open():
            self._folder.mkdir(exist_ok=True)
            descriptor, path = tempfile.mkstemp(dir=self._folder)
            with contextlib.suppress(OSError):  # a file system that keeps no locks
                fcntl.flock(descriptor, fcntl.LOCK_SH)
        try:
            yield Hold(descriptor)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            os.close(descriptor)

    def open(self) -> contextlib.AbstractContextManager[bool]:
        """Keeps the gate open for the block: nothing is removed between finding that something is here and taking hold of it."""
        return locked(self._gate, shared=True)

    @contextlib.contextmanager
    def closed(self) -> Iterator[set[str]]:
        """Gives the ids that are held; nobody takes hold of more in the block, in which some that are not held may be removed."""
        with locked(self._gate):
            yield {ident for path in self._folder.glob("*") for ident in self._read(path)}

    @staticmethod
    def _read(path: Path) -> list[str]:
        """Gives what a file holds; one whose process has ended is removed, and holds nothing."""
        try:
            # For writing: NFS locks a range of bytes, and alone only what may be written.
            with open(path, "r+") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError as error:
                    if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP):
                        return file.read().split()
                path.unlink()
        except FileNotFoundError:
            pass  # its build has ended this moment
        return []
