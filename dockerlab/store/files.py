"""Files that are there whole or not at all, and locks that die with their holder."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

from dockerlab.errors import StoreError

__all__ = ["explain", "explained", "first_time", "locked", "mark", "of_the_living", "publish", "scratch_name"]

_DISK = {
    errno.ENOSPC: ("no space left on device", "free some space, or run `docker system prune`"),
    errno.EDQUOT: ("disk quota exceeded", "free some space, or run `docker system prune`"),
    errno.EROFS: ("the file system is read-only", "set DOCKERLAB_HOME to a folder that can be written"),
    errno.EACCES: ("permission denied", "set DOCKERLAB_HOME to a folder of your own"),
}


def first_time(home: Path, topic: str) -> bool:
    """Tells whether nobody has been told of this topic yet in this store; from now on somebody has. On a disk that takes no note nobody ever is."""
    told = home / "told"
    try:
        told.mkdir(exist_ok=True)
        (told / topic).touch(exist_ok=False)
    except OSError:
        return False
    return True


def scratch_name() -> str:
    """Gives a name that nobody else uses; what bears it and is not held belongs to a process that died."""
    return f"tmp-{os.getpid()}-{secrets.token_hex(6)}"


def of_the_living(name: str) -> bool:
    """Tells whether it is a scratch name of another process that still runs."""
    found = re.fullmatch(r"tmp-(\d+)-[0-9a-f]+", name)
    return found is not None and int(found[1]) != os.getpid() and os.path.exists(f"/proc/{found[1]}")


def mark(path: Path) -> tuple[int, int, int]:
    """Gives what tells a file that `publish` replaces from the one before: each change is a new file. Raises OSError."""
    status = os.stat(path)
    return status.st_ino, status.st_mtime_ns, status.st_size


def publish(path: Path, data: bytes, *, sync: bool = False) -> None:
    """Writes a file so that readers see the old bytes or the new, never a part. Raises StoreError."""
    draft = path.parent / f".{path.name}.{scratch_name()}"
    try:
        with explain(path), open(draft, "wb") as file:
            file.write(data)
            file.flush()
            if sync:
                os.fsync(file.fileno())
        with explain(path):
            draft.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise


@contextlib.contextmanager
def locked(path: Path, *, shared: bool = False, wait: bool = True) -> Iterator[bool]:
    """Holds the lock file for the block and gives True; with `wait=False` gives False where another holds it. flock(2).

    A file system that keeps no locks (some network ones) gets a file beside it that only one process can make.
    """
    with explain(path), open(path, "a+b") as file:
        try:
            fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP):
                raise
            with _made_alone(path.with_name(f"{path.name}.held"), wait) as held:
                yield held
            return
        yield True


@contextlib.contextmanager
def _made_alone(path: Path, wait: bool) -> Iterator[bool]:
    """Holds a lock that is a file with its holder's process in it; one whose holder has ended is taken over."""
    while True:
        try:
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
            break
        except FileExistsError:
            with contextlib.suppress(OSError, ValueError):
                if not os.path.exists(f"/proc/{int(path.read_text())}"):
                    path.unlink()
                    continue
            if not wait:
                yield False
                return
            time.sleep(0.01)
    try:
        os.write(descriptor, str(os.getpid()).encode())
        yield True
    finally:
        os.close(descriptor)
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def explain(path: Path) -> Iterator[None]:
    """Turns a full or read-only disk into words."""
    try:
        yield
    except OSError as error:
        if (told := explained(error, path)) is None:
            raise
        raise told from error


def explained(error: OSError, path: object) -> StoreError | None:
    """Gives the words for a full or read-only disk; None for an error that says something else."""
    if error.errno not in _DISK:
        return None
    reason, hint = _DISK[error.errno]
    return StoreError(f"cannot write {path}: {reason}", hint=hint)
