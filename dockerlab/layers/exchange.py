"""Files of a container on their way out and in: what `docker cp` reads and writes, below a folder that no path leads out of."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Collection, Iterator
from dataclasses import dataclass

import msgspec

from dockerlab.layers import archive, packing, tar
from dockerlab.layers.packing import Item, Owner, Write
from dockerlab.linux import syscalls

__all__ = ["Found", "found", "lay", "take"]


@dataclass(frozen=True, slots=True)
class Found:
    """What lies at a path, and where a symlink points to."""

    mode: int
    size: int
    target: str = ""


def _open(root: int, path: str, devices: Collection[int], *, follow: bool) -> int:
    """Gives a descriptor (O_PATH) of a path; one that ends in / or /. is a folder, and its last symlink is followed. Raises OSError."""
    inner, folder = path.strip("/") or ".", path.endswith(("/", "/."))
    flags = os.O_PATH | (os.O_DIRECTORY if folder else 0) | (0 if follow or folder else os.O_NOFOLLOW)
    try:
        descriptor = syscalls.openat2(root, inner, flags)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.EXDEV, errno.EACCES):
            raise
        raise FileNotFoundError(errno.ENOENT, "its symlinks lead nowhere", path) from None  # in a circle, or through /proc/PID/root
    if devices and os.fstat(descriptor).st_dev not in devices:
        os.close(descriptor)
        raise FileNotFoundError(errno.ENOENT, "a file system of the kernel's, or in memory only", path)
    return descriptor


def found(root: int, path: str, devices: Collection[int] = ()) -> Found:
    """Gives what lies at a path below `root`, itself and not where it points to; `devices` are those that belong to the container. Raises OSError."""
    descriptor = _open(root, path, devices, follow=False)
    try:
        status = os.fstat(descriptor)
        target = os.readlink("", dir_fd=descriptor) if stat.S_ISLNK(status.st_mode) else ""
    finally:
        os.close(descriptor)
    return Found(status.st_mode, status.st_size, target)


def take(root: int, path: str, write: Write, *, name: str, owner: Owner, devices: Collection[int] = ()) -> None:
    """Writes what lies at a path as a tar in which it is called `name`; with "" a folder's content alone. Raises OSError."""
    descriptor = _open(root, path, devices, follow=False)
    try:
        place = f"/proc/self/fd/{descriptor}"
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            items: Iterator[Item] = packing.linked(_walk(place, "", devices or {status.st_dev}), owner)
        else:
            # Under its name, since a symlink's descriptor leads to what it points to.
            parent = _open(root, os.path.dirname(path.rstrip("/")) or "/", devices, follow=True)
            place = f"/proc/self/fd/{parent}/{os.path.basename(path.rstrip('/'))}"
            items = packing.linked([("", place, None)], owner)
        packing.pack(_named(items, name), write)
    finally:
        os.close(descriptor)


def _named(items: Iterator[Item], name: str) -> Iterator[Item]:
    for entry, place in items:
        path = f"{name}/{entry.path}".strip("/") if entry.path else name
        if path:
            link = f"{name}/{entry.link}".strip("/") if entry.kind == "link" else entry.link
            yield msgspec.structs.replace(entry, path=path, link=link), place


def _walk(place: str, path: str, devices: Collection[int]) -> Iterator[packing.Place]:
    yield path, f"{place}/." if not path else place, None
    status = os.stat(place) if not path else os.lstat(place)
    if stat.S_ISDIR(status.st_mode) and status.st_dev in devices:
        for name in sorted(os.listdir(place), key=os.fsencode):
            yield from _walk(f"{place}/{name}", f"{path}/{name}" if path else name, devices)


def lay(root: int, path: str, stream: tar.Reader, style: archive.Style, devices: Collection[int] = ()) -> None:
    """Lays a tar down in the folder at a path. Raises OSError, UnsafeArchive, CorruptContent; what was written before stays."""
    descriptor = _open(root, path, devices, follow=True)
    try:
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
        archive.apply(stream, f"/proc/self/fd/{descriptor}", style)
    finally:
        os.close(descriptor)
