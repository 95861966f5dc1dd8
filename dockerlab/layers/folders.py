"""Layers unpacked side by side on disk, read as the kernel's overlayfs would join them, without mounting.

Two forms exist. In the `overlay` form each layer has its own folder, with the kernel's whiteouts (a character device 0:0) and opaque marks
(an xattr) in it. In the `plain` form one folder holds everything already merged. Source: kernel documentation, filesystems/overlayfs.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

__all__ = ["OPAQUE", "Found", "children", "is_opaque", "is_whiteout", "lookup", "walk"]

OPAQUE = ("trusted.overlay.opaque", "user.overlay.opaque")


@dataclass(frozen=True, slots=True)
class Found:
    """A path of the merged view: where on disk it really is, and for a folder the places that are joined in it, newest first."""

    path: str
    place: str
    stat: os.stat_result
    joined: tuple[str, ...] = ()

    @property
    def is_dir(self) -> bool:
        """Whether this is a folder."""
        return stat.S_ISDIR(self.stat.st_mode)


def is_whiteout(status: os.stat_result) -> bool:
    """Tells whether a file of the overlay form deletes its name."""
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def is_opaque(place: str) -> bool:
    """Tells whether a folder of the overlay form hides what lies below it."""
    for name in OPAQUE:
        try:
            if os.getxattr(place, name, follow_symlinks=False) == b"y":
                return True
        except OSError:
            continue
    return False


def _status(place: str) -> os.stat_result | None:
    try:
        return os.lstat(place)
    except (FileNotFoundError, NotADirectoryError):
        return None


def lookup(name: str, folders: tuple[str, ...], path: str) -> Found | None:
    """Gives what the joined `folders` show as their child `name`, or None; `path` is what the result shall be called."""
    top: tuple[str, os.stat_result] | None = None
    joined: list[str] = []
    for folder in folders:
        place = f"{folder}/{name}"
        status = _status(place)
        if status is None:
            continue
        if is_whiteout(status) or (top is not None and not stat.S_ISDIR(status.st_mode)):
            break
        top = top or (place, status)
        if not stat.S_ISDIR(status.st_mode):
            break
        joined.append(place)
        if is_opaque(place):
            break
    return None if top is None else Found(path, top[0], top[1], tuple(joined))


def children(folders: tuple[str, ...], path: str) -> Iterator[Found]:
    """Yields what the joined `folders` hold, by name in byte order."""
    names = {name for folder in folders for name in os.listdir(folder)}
    for name in sorted(names, key=os.fsencode):
        found = lookup(name, folders, f"{path}/{name}" if path else name)
        if found is not None:
            yield found


def walk(folders: tuple[str, ...]) -> Iterator[Found]:
    """Yields the whole merged view, each folder before what it holds; the root itself first, as "". """
    pending = [Found("", folders[0], os.lstat(folders[0]), folders)]
    while pending:
        found = pending.pop()
        yield found
        if found.is_dir:
            pending.extend(reversed(list(children(found.joined, found.path))))


def small_file(stack: Sequence[str], name: str) -> str:
    """Gives the text of a file of /etc in joined folders, "" where there is none, at most a megabyte of it."""
    etc = lookup("etc", tuple(stack), "etc")
    found = lookup(name, etc.joined, name) if etc else None
    if found is None or not stat.S_ISREG(found.stat.st_mode):
        return ""
    with open(found.place, "rb") as file:
        return file.read(1 << 20).decode("utf-8", "surrogateescape")
