"""Folders of the store that a build uses for a while: held while it does, and swept once nobody holds them."""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dockerlab.engine import Engine

__all__ = ["held", "in_use", "sweep"]

_PREFIX, _YOUNG = "held-", 2.0


@contextlib.contextmanager
def held(engine: Engine) -> Iterator[Path]:
    """Gives a new folder in the store; who removes what is old leaves it alone, and it is gone afterwards."""
    folder = Path(tempfile.mkdtemp(dir=engine.content.ingest, prefix=_PREFIX))
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with contextlib.suppress(OSError):  # a file system that keeps no locks
            fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield folder
    finally:
        try:
            engine.world.call("remove", path=str(folder))
        finally:
            os.close(descriptor)


def in_use(folder: Path) -> bool:
    """Tells whether somebody holds a folder."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return False


def sweep(engine: Engine) -> None:
    """Removes what a killed build has left: a secret may lie in it."""
    for folder in engine.content.ingest.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            if folder.stat().st_mtime < time.time() - _YOUNG and not in_use(folder):
                engine.world.call("remove", path=str(folder))
