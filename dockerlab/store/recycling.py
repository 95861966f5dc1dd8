"""A container's whole copy of its image, given to the next container when this one has ended.

Most containers change a handful of files. Making those few as they were costs milliseconds; removing thousands of files and copying them again
costs seconds (an ext4 without a journal walks past every inode that was freed in the last minutes, so the copy after a removal is the slowest of all).
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import shutil
import stat
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from dockerlab.errors import DockerlabError
from dockerlab.store.files import locked, scratch_name
from dockerlab.store.trees import copy, copy_one, marked, remove

__all__ = ["out_of_sight", "retire"]

_FEW = 200  # changed things: more are copied sooner than they are mended
_GETFLAGS, _EXTENTS = 0x80086601, 0x81000  # linux/fs.h: FS_IOC_GETFLAGS, and what the file system itself sets (extents, an index)
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


class _TooManyError(Exception):
    pass


@dataclass
class _Mending:
    since: int  # nanoseconds: what changed from then on is the container's doing
    inodes: dict[str, int]  # of the folders as they were
    left: int = _FEW
    made: dict[tuple[int, int], str] = field(default_factory=dict)

    def folder(self, used: int, source: str, path: str = "") -> None:
        """Makes an open folder, with all below it, as the one at `source` is; `path` is its place below the root."""
        # By its descriptor: a name that is changed into a symlink meanwhile leads nowhere.
        here = f"/proc/self/fd/{used}"
        with os.scandir(source) as listing:
            wanted = {entry.name: entry.stat(follow_symlinks=False) for entry in listing}
        with os.scandir(used) as listing:
            found = {entry.name: entry.stat(follow_symlinks=False) for entry in listing}
        for name in found.keys() - wanted.keys():
            self._count()
            remove(f"{here}/{name}")
        for name, status in wanted.items():
            now = found.get(name)
            child = f"{path}/{name}" if path else name
            if now is None or not self._stands(child, now, status):
                self._count()
                if now is not None:
                    remove(f"{here}/{name}")
                self._again(f"{source}/{name}", f"{here}/{name}", stat.S_ISDIR(status.st_mode))
            elif stat.S_ISDIR(status.st_mode):
                below = os.open(name, _FOLDER, dir_fd=used)
                try:
                    self.folder(below, f"{source}/{name}", child)
                finally:
                    os.close(below)
        if os.fstat(used).st_ctime_ns >= self.since:
            _like(here, source)

    def _stands(self, path: str, now: os.stat_result, wanted: os.stat_result) -> bool:
        if stat.S_ISDIR(wanted.st_mode):  # another folder in its place brings files that never changed
            return stat.S_ISDIR(now.st_mode) and now.st_ino == self.inodes.get(path) and now.st_dev == wanted.st_dev
        return stat.S_IFMT(now.st_mode) == stat.S_IFMT(wanted.st_mode) and now.st_ctime_ns < self.since

    def _count(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise _TooManyError

    def _again(self, old: str, new: str, folder: bool) -> None:
        copy_one(old, new, self.made)
        if folder:
            copy(old, new)


def _flags(folder: str) -> int:
    """Gives the inode's flags, 0 where the file system has none; ioctl_iflags(2)."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        flags = array("l", [0])
        fcntl.ioctl(descriptor, _GETFLAGS, flags)
        return flags[0] & ~_EXTENTS
    except OSError:
        return 0
    finally:
        os.close(descriptor)


def _like(folder: str, source: str) -> None:
    status = os.stat(source)
    kept = {name: os.getxattr(source, name) for name in os.listxattr(source)}
    for name in os.listxattr(folder):
        if name not in kept:
            os.removexattr(folder, name)
    if _flags(folder) != _flags(source):
        raise _TooManyError  # chattr(1): who knows what else
    os.chown(folder, status.st_uid, status.st_gid)
    shutil.copystat(source, folder)


def out_of_sight(path: str) -> Callable[[], None]:
    """Gives a snapshot's folder (or a volume's, which keeps its name) a name that nobody looks for; gives what takes it away, which may take longer than anybody waits."""
    folder, _, _ = path.rpartition("/")
    if os.path.basename(folder) == "active":
        gone = f"{os.path.dirname(folder)}/{scratch_name()}"
        with contextlib.suppress(OSError):
            os.rename(path, gone)
            # From now on whoever needs a copy waits for this one.
            return functools.partial(_taken_away, gone, _begun(gone))
    return functools.partial(remove, path)


def retire(path: str) -> None:
    """Removes an active snapshot's folder that has been taken out of sight; a whole copy that little was changed in becomes its image's spare copy.

    `path` is `<root>/<scratch name>` of a `NativeSnapshotter`, or of another snapshotter, whose folders are only removed.
    """
    _taken_away(path, _begun(path))


def _begun(path: str) -> tuple[contextlib.ExitStack, str]:
    """Gives the lock on making the image's spare copy and that copy's place; "" where there is nothing to be made."""
    held = contextlib.ExitStack()
    try:
        if not os.path.exists(f"{path}/copied"):
            return held, ""
        with open(f"{path}/parents") as file:
            parent = file.readline().strip()
        spare = Path(os.path.dirname(path)) / "spare" / parent
        spare.parent.mkdir(exist_ok=True)
        if not parent or not held.enter_context(locked(spare.with_name(f"{parent}.lock"), wait=False)) or spare.exists():
            return held, ""
    except (OSError, DockerlabError):
        return held, ""
    return held, str(spare)


def _taken_away(path: str, begun: tuple[contextlib.ExitStack, str]) -> None:
    held, spare = begun
    with held, contextlib.suppress(OSError, _TooManyError):
        if spare:
            _recycle(path, spare)
    remove(path)


def _recycle(path: str, spare: str) -> None:
    root, parent = os.path.dirname(path), os.path.basename(spare)
    since, inodes = marked(f"{path}/copied")
    if not since:
        return
    used = os.open(f"{path}/fs", _FOLDER)
    try:
        _Mending(since, inodes).folder(used, f"{root}/{parent}/fs")
    finally:
        os.close(used)
    os.rename(f"{path}/fs", spare)
