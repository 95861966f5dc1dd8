"""What work under way needs and nothing else refers to: held by its process, so that no `prune` takes it away, and free once that has ended, however it did. flock(2).

One gate is open to all who take hold and closed by who removes: in between neither sees half of what the other does.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from dockerlab.store.files import explain, locked

__all__ = ["Hold", "Holds"]


class Hold:
    """What one piece of work has taken hold of: a file with an id a line, locked for as long as it goes on."""

    def __init__(self, descriptor: int, gate: int) -> None:
        self._descriptor, self._gate, self._known = descriptor, gate, set[str]()

    @contextlib.contextmanager
    def taking(self) -> Iterator[Callable[[str], object]]:
        """Keeps the gate open for the block, and gives `add`: nothing is removed between finding that something is here, or making it, and taking hold of it."""
        _lock(self._gate, fcntl.LOCK_SH)
        try:
            yield self.add
        finally:
            _lock(self._gate, fcntl.LOCK_UN)

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
        with contextlib.ExitStack() as stack:
            with explain(self._folder):
                self._folder.mkdir(exist_ok=True)
                gate = os.open(self._gate, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
                stack.callback(os.close, gate)
                _lock(gate, fcntl.LOCK_SH)  # else who looks at the new file would take it for a dead build's
                descriptor, path = tempfile.mkstemp(dir=self._folder)
            stack.callback(os.close, descriptor)
            stack.callback(Path(path).unlink, missing_ok=True)
            _lock(descriptor, fcntl.LOCK_SH)
            _lock(gate, fcntl.LOCK_UN)
            yield Hold(descriptor, gate)

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


def _lock(descriptor: int, how: int) -> None:
    """Locks where locks are kept; some network file systems keep none."""
    with contextlib.suppress(OSError):
        fcntl.flock(descriptor, how)
