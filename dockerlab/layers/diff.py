"""What a container changed: docker's A, C and D, the same from every snapshotter.

The kernel copies a file up when it is opened for writing, linked, or has its times set, even if nothing changes in the end. Such a file is
compared with the one below (kind, mode, owner, size, time, extended attributes, then bytes) before it is called changed.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from dockerlab.layers import folders, owners
from dockerlab.layers.folders import Found
from dockerlab.layers.owners import Owned

__all__ = ["ENGINE_PATHS", "Change", "Comparison", "changes"]

# Made by the engine in every container as places to mount on: not the container's doing.
ENGINE_PATHS = frozenset(
    ["dev", "dev/console", "dev/pts", "dev/shm", "proc", "sys", "etc/hostname", "etc/hosts", "etc/resolv.conf", "etc/mtab", ".dockerenv"]
)
_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Change:
    """One changed path without leading slash; `place` is where its new state lies on disk, "" for a deletion."""

    path: str
    kind: str
    place: str = ""

    def __str__(self) -> str:
        return f"{self.kind} /{self.path}"


@dataclass(frozen=True, slots=True)
class Comparison:
    """How two states are compared.

    `whole`: the upper folder holds the complete state and not only differences. `owners`: owners on disk mean something.
    `apart`: places that are not the container's own, with all below them, where other hosts mount something.
    `since`: with `whole`, a file whose inode changed before this time (nanoseconds) still is the copy that it began as, if it lies in
    the folder that it began in: `inodes` are the folders' (a folder that is moved takes files along that do not change).
    """

    whole: bool = False
    owners: bool = True
    since: int = 0
    apart: tuple[str, ...] = ()
    inodes: Mapping[str, int] = field(default_factory=dict)


def changes(upper: str, lowers: tuple[str, ...], how: Comparison) -> list[Change]:
    """Gives what `upper` changes over the joined `lowers`, sorted by path, with the folder that holds a change as changed too."""
    found = {change.path: change for change in _folder("", upper, lowers, how, how.whole) if not _apart(change.path, how.apart)}
    for path in list(found):
        parent = path.rpartition("/")[0]
        if parent and parent not in found:
            found[parent] = Change(parent, "C", f"{upper}/{parent}")
    # Parents must stand before children, so the order is by path components, as docker sorts by path.
    return sorted(found.values(), key=lambda change: os.fsencode(change.path).split(b"/"))


def _apart(path: str, places: tuple[str, ...]) -> bool:
    return any(path == place or path.startswith(f"{place}/") for place in places)


def _folder(path: str, upper: str, lowers: tuple[str, ...], how: Comparison, complete: bool) -> Iterator[Change]:
    if how.since and os.stat(upper).st_ino != how.inodes.get(path):
        how = replace(how, since=0)
    with os.scandir(upper) as listing:
        here = {entry.name: entry.stat(follow_symlinks=False) for entry in listing}
    for name, status in here.items():
        child = f"{path}/{name}" if path else name
        below = folders.lookup(name, lowers, child) if lowers else None
        if folders.is_whiteout(status) and not complete | how.whole:
            if below:
                yield Change(child, "D")
            continue
        yield from _entry(child, f"{upper}/{name}", status, below, how)
    if complete:
        for gone in folders.children(lowers, path) if lowers else ():
            name = gone.path.rpartition("/")[2]
            if name not in here or (folders.is_whiteout(here[name]) and not how.whole):
                yield Change(gone.path, "D")


def _entry(path: str, place: str, status: os.stat_result, below: Found | None, how: Comparison) -> Iterator[Change]:
    if below is None:
        if path not in ENGINE_PATHS or _used(place, status):
            yield Change(path, "A", place)
    elif _differs(place, status, below, how):
        yield Change(path, "C", place)
    if stat.S_ISDIR(status.st_mode):
        lowers = below.joined if below and below.is_dir else ()
        yield from _folder(path, place, lowers, how, how.whole or folders.is_opaque(place))


def _used(place: str, status: os.stat_result) -> bool:
    if stat.S_ISDIR(status.st_mode):
        return any(entry.name not in ("pts", "shm", "console") for entry in os.scandir(place))
    if stat.S_ISLNK(status.st_mode):
        return os.readlink(place) != "/proc/mounts"
    return status.st_size > 0 or not stat.S_ISREG(status.st_mode)


def _differs(place: str, status: os.stat_result, below: Found, how: Comparison) -> bool:
    old = below.stat
    if how.whole and status.st_ctime_ns < how.since and not stat.S_ISDIR(status.st_mode):
        return False
    if status.st_mode != old.st_mode or _owned(place, status, how) != _owned(below.place, old, how):
        return True
    if stat.S_ISDIR(status.st_mode):
        return status.st_mtime_ns != old.st_mtime_ns or xattrs(place) != xattrs(below.place)
    if (status.st_size, status.st_mtime_ns, status.st_rdev) != (old.st_size, old.st_mtime_ns, old.st_rdev):
        return True
    return xattrs(place) != xattrs(below.place) or not _same_content(place, status, below.place)


def _owned(place: str, status: os.stat_result, how: Comparison) -> Owned:
    return Owned(status.st_uid, status.st_gid) if how.owners else owners.noted(place) or Owned(0, 0)


def xattrs(place: str) -> dict[str, bytes]:
    """Gives the extended attributes that belong to an image: not the overlay's own, not those that labels of this host set."""
    try:
        names = os.listxattr(place, follow_symlinks=False)
        kept = [n for n in names if n.startswith(("user.", "security.capability", "trusted.")) and ".overlay." not in n and not n.startswith(owners.PREFIX)]
        return {name: os.getxattr(place, name, follow_symlinks=False) for name in kept}
    except OSError:
        return {}


def _same_content(place: str, status: os.stat_result, below: str) -> bool:
    if stat.S_ISLNK(status.st_mode):
        return os.readlink(place) == os.readlink(below)
    if not stat.S_ISREG(status.st_mode):
        return True
    with open(place, "rb", buffering=0) as new, open(below, "rb", buffering=0) as old:
        while block := new.read(_BLOCK):
            if block != old.read(_BLOCK):
                return False
    return True
