"""Trees and their changes to layers: what a tar of a layer holds, and the writing of it (OCI image-spec, layer.md)."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator

import msgspec

from dockerlab.errors import CorruptContent
from dockerlab.layers import folders, tar
from dockerlab.layers.diff import Change, xattrs
from dockerlab.layers.index import Entry, Kind
from dockerlab.layers.owners import Owned

__all__ = ["FORMS", "OPAQUE_NAME", "WHITEOUT", "Archive", "Item", "Owner", "Place", "Write", "clamped", "describe", "linked", "marker", "pack", "pack_changes", "pack_tree"]

WHITEOUT = ".wh."
OPAQUE_NAME = ".wh..wh..opq"
_READ, _TOGETHER = 1 << 18, 1 << 16
FORMS: dict[Kind, int] = {"file": stat.S_IFREG, "dir": stat.S_IFDIR, "symlink": stat.S_IFLNK, "char": stat.S_IFCHR, "block": stat.S_IFBLK, "fifo": stat.S_IFIFO}  # inode(7)
_KINDS = {form: kind for kind, form in FORMS.items()}

# Gives whose (path, place on disk, status) is, and of what device it is the note.
Owner = Callable[[str, str, os.stat_result], Owned]
Item = tuple[Entry, str]
# A path, where it lies on disk, and its status there if that is known.
Place = tuple[str, str, os.stat_result | None]
Write = Callable[[bytes | memoryview], object]


def _as_on_disk(path: str, place: str, status: os.stat_result) -> Owned:
    return Owned(status.st_uid, status.st_gid)


def describe(path: str, place: str, owner: Owner = _as_on_disk, status: os.stat_result | None = None) -> Entry | None:
    """Gives the entry for what lies at `place`, where its `status` may be known; None for a socket, which no archive can hold."""
    status = status or os.lstat(place)
    kind = _KINDS.get(stat.S_IFMT(status.st_mode))
    if kind is None:
        return None
    owned = owner(path, place, status)
    device = (os.major(status.st_rdev), os.minor(status.st_rdev)) if kind in ("char", "block") else (0, 0)
    if owned.kind:
        kind, device = owned.kind, owned.device
    link = os.readlink(place) if kind == "symlink" else ""
    size = status.st_size if kind == "file" else 0
    return Entry(path, kind, stat.S_IMODE(status.st_mode), owned.uid, owned.gid, size, status.st_mtime_ns // 10**9, link, device, xattrs(place))


def pack_changes(changes: Iterable[Change], owner: Owner = _as_on_disk) -> Iterator[Item]:
    """Yields what a layer holds for these changes; a deletion becomes a whiteout."""
    places: list[Place] = []
    for change in changes:
        if change.kind == "D":
            yield Entry(change.path, "whiteout"), ""
        else:
            places.append((change.path, change.place, None))
    yield from linked(places, owner)


def pack_tree(root: tuple[str, ...], owner: Owner = _as_on_disk, *, skip: frozenset[str] = frozenset()) -> Iterator[Item]:
    """Yields the whole merged view of `root` (one folder, or several joined, newest first)."""
    yield from linked([(found.path, found.place, found.stat) for found in folders.walk(root) if found.path and found.path not in skip], owner)


def linked(places: Iterable[Place], owner: Owner = _as_on_disk) -> Iterator[Item]:
    """Yields an entry for each place; one that is a file which was there already is a hard link to it."""
    first: dict[tuple[int, int], str] = {}
    for path, place, known in places:
        status = known or os.lstat(place)
        key = (status.st_dev, status.st_ino)
        if not stat.S_ISDIR(status.st_mode) and status.st_nlink > 1 and key in first:
            owned = owner(path, place, status)
            yield Entry(path, "link", stat.S_IMODE(status.st_mode), owned.uid, owned.gid, 0, status.st_mtime_ns // 10**9, first[key]), place
            continue
        first[key] = path
        entry = describe(path, place, owner, status)
        if entry is not None:
            yield entry, place


class Archive:
    """A layer's tar that is being written; `table` becomes its table of contents.

    `write` has to be done with a block when it returns: others come in the same memory. Without `digests` a table is for nobody who looks for content.
    """

    def __init__(self, write: Write, *, digests: bool = True) -> None:
        self._write, self._digests, self._place, self.table = write, digests, 0, list[Entry]()

    def _put(self, block: bytes | memoryview) -> None:
        self._write(block)
        self._place += len(block)

    def add(self, entry: Entry, content: Iterable[bytes | memoryview] = ()) -> None:
        """Writes an entry; a file with its content, which has to have the size that was said."""
        header = tar.header(marker(entry) if entry.marker else entry)
        if entry.kind != "file":
            self._put(header)
        else:
            place, hasher = self._place + len(header), hashlib.sha256()
            if entry.size <= _TOGETHER:  # handing three parts on takes longer than joining them
                data = b"".join(map(bytes, content))
                hasher.update(data if self._digests else b"")
                self._put(b"".join((header, data, tar.padding(entry.size))))
            else:
                self._put(header)
                for block in content:
                    hasher.update(block if self._digests else b"")
                    self._put(block)
                self._put(tar.padding(entry.size))
            entry = msgspec.structs.replace(entry, digest=hasher.digest() if self._digests else b"", place=place)
        self.table.append(entry)

    def end(self) -> list[Entry]:
        """Ends the archive; gives its table of contents, in which deletions stand where they were added: first, as they are applied first."""
        self._put(tar.END)
        return self.table


def pack(items: Iterable[Item], write: Write, *, digests: bool = True) -> list[Entry]:
    """Writes the items as a tar (see `Archive`) and gives the layer's table of contents."""
    archive, buffer = Archive(write, digests=digests), memoryview(bytearray(_READ))
    for entry, place in items:
        archive.add(entry, _content(entry, place, buffer))
    return archive.end()


def clamped(items: Iterable[Item], latest: int | None) -> Iterator[Item]:
    """Yields the items with no time after `latest` (seconds), if there is such a limit; reproducible-builds.org/specs/source-date-epoch."""
    for entry, place in items:
        yield (entry if latest is None or entry.mtime <= latest else msgspec.structs.replace(entry, mtime=latest)), place


def marker(entry: Entry) -> Entry:
    """Gives the empty file that stands for a deletion in an archive."""
    folder, _, name = entry.path.rpartition("/")
    if entry.kind == "opaque":
        return Entry(f"{entry.path}/{OPAQUE_NAME}" if entry.path else OPAQUE_NAME, "file")
    return Entry(f"{folder}/{WHITEOUT}{name}" if folder else WHITEOUT + name, "file")


def _content(entry: Entry, place: str, buffer: memoryview) -> Iterator[memoryview]:
    left = entry.size
    if not left:
        return
    file = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
    try:
        while left:
            count = os.readv(file, [buffer[:left]])
            if not count:
                raise CorruptContent(f"/{entry.path} became shorter while it was read", hint="stop the program that writes it, then try again")
            left -= count
            yield buffer[:count]
    finally:
        os.close(file)
