"""What has to be done as the container's root: the functions that `Snapshotter`'s `work` may call, by name.

They run in this process where it is root, else in a child of the launcher, inside the engine's user namespace. Arguments and results are
plain values, as JSON has them.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import stat
import struct
import tempfile
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO

import msgspec

from dockerlab.layers import archive, diff, index, owners, packing, tar
from dockerlab.layers.index import Entry
from dockerlab.layers.union import UnionView
from dockerlab.store import exchange, recycling, trees
from dockerlab.store.opening import deflating, open_layer

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

__all__ = ["FUNCTIONS", "Compressor"]

_BLOCK = 1 << 20
_SMALL, _AHEAD = 4 << 20, 8
_GZIP = b"\x1f\x8b\x08" + bytes(6) + b"\xff"  # deflated, no name, no time, an unknown system


class _Hashing:
    """Gives a stream's bytes and hashes them. A thread inflates and hashes a large one ahead, while whoever reads it does the same with its files."""

    def __init__(self, stream: tar.Reader) -> None:
        self._stream, self.hasher = stream, hashlib.sha256()
        self._block, self._read = memoryview(b""), 0
        self._lane: ThreadPoolExecutor | None = None
        self._ahead: deque[Future[bytes]] = deque()

    def read(self, size: int, /) -> bytes:
        given, self._block = bytes(self._block[:size]), self._block[size:]
        while (lacking := size - len(given)) and (block := memoryview(self._fetched())):
            given, self._block = given + block[:lacking], block[lacking:]
        return given

    def _next(self) -> bytes:
        block = self._stream.read(_BLOCK)
        self.hasher.update(block)
        return block

    def _fetched(self) -> bytes:
        if self._lane is None:
            block = self._next()
            self._read += len(block)
            if self._read > _SMALL:
                from concurrent.futures import ThreadPoolExecutor

                self._lane = ThreadPoolExecutor(1)
                self._ahead.extend(self._lane.submit(self._next) for _ in range(_AHEAD))
            return block
        self._ahead.append(self._lane.submit(self._next))
        return self._ahead.popleft().result()

    def close(self) -> None:
        """Ends the thread before the file is closed that it reads."""
        if self._lane:
            self._lane.shutdown(cancel_futures=True)


def unpack(blob: str, media_type: str, target: str, style: dict[str, Any]) -> None:
    """Lays a layer down in `target`."""
    with open(blob, "rb") as file:
        archive.apply(open_layer(file), target, archive.Style(**style))


def read_index(blob: str) -> dict[str, Any]:
    """Gives a layer's diff_id and table of contents without laying it down."""
    with open(blob, "rb") as file, contextlib.closing(_Hashing(open_layer(file))) as stream:
        table = _table(stream)
    return {"diff_id": "sha256:" + stream.hasher.hexdigest(), "index": index.encode(table).decode()}


def _table(stream: tar.Reader) -> list[Entry]:
    """Gives the table of a layer that comes from elsewhere, deletions first, as they are applied first."""
    found = (archive.as_marker(entry) or _known(entry, body) for entry, body in tar.read(stream))
    return sorted(found, key=lambda entry: not entry.marker)


def _known(entry: Entry, body: tar.Body) -> Entry:
    return msgspec.structs.replace(entry, digest=body.digest()) if entry.kind == "file" else entry


class _Copying:
    """Gives what a stream gives, and hands each block on."""

    def __init__(self, stream: Any, write: Callable[[bytes], object]) -> None:
        self._stream, self._write = stream, write

    def read(self, size: int, /) -> bytes:
        block: bytes = self._stream.read(size)
        self._write(block)
        return block


def compressed(file: BinaryIO, draft: str) -> dict[str, Any]:
    """Writes a plain tar from elsewhere into a draft, compressed, and tells of it what `pack` tells; raises CorruptContent, UnsafeArchive."""
    target = Compressor(draft)
    return target.close(_table(_Copying(file, target.write)))


class Compressor:
    """Writes a layer's gzip stream (RFC 1952) to a file and hashes both sides. The bytes depend on the compressor's version and on the sizes of pieces alone.

    After each piece of `index.STEP` bytes the compressor forgets what it has seen, so that a reader can begin there (zlib's manual, Z_FULL_FLUSH).
    A piece that hardly shrinks is stored as it is: whoever reads it has ten times less to do.
    Hashing, compressing and writing let go of the interpreter's lock, so a large layer keeps three threads busy; a small one needs none.
    """

    def __init__(self, path: str) -> None:
        self._file = open(path, "wb", buffering=0)
        self._inner, self._outer, self.size, self.plain, self._sum = hashlib.sha256(), hashlib.sha256(), 0, 0, 0
        self._points = list[int]()
        self._filling, self._held = bytearray(_BLOCK), 0
        self._lanes: tuple[ThreadPoolExecutor, ThreadPoolExecutor] | None = None
        self._under_way: deque[Future[None]] = deque()
        library = deflating()
        name, level = ("zlib", 6) if library is zlib else ("isal", 2)
        self._how = f"{name} {level} or stored, in 256 KiB pieces"
        self._deflate: Any = library.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS)
        self._crc32 = library.crc32
        self._out(_GZIP)

    def write(self, block: bytes | memoryview) -> None:
        """Takes the next bytes of the tar."""
        view = memoryview(block)
        while view:
            taken = min(len(view), _BLOCK - self._held)
            self._filling[self._held : self._held + taken] = view[:taken]
            self._held += taken
            view = view[taken:]
            if self._held == _BLOCK:
                self._block(bytes(self._filling))
                self._held = 0

    def _block(self, data: bytes) -> None:
        self.plain += len(data)
        if self.plain > _SMALL and self._lanes is None:
            from concurrent.futures import ThreadPoolExecutor

            self._lanes = ThreadPoolExecutor(1), ThreadPoolExecutor(1)
        if self._lanes is None:
            self._inner.update(data)
            self._written(self._squeezed(data))
            return
        # One thread a lane, so blocks stay in order; a few at a time, so memory stays small.
        while len(self._under_way) >= _AHEAD:
            self._under_way.popleft().result()
        squeezed = self._lanes[0].submit(self._squeezed, data)
        self._under_way.append(self._lanes[1].submit(lambda: self._written(squeezed.result())))
        self._inner.update(data)

    def _squeezed(self, data: bytes) -> list[bytes]:
        """Gives the compressed form of each piece of a block."""
        self._sum = self._crc32(data, self._sum)
        pieces = [data[start : start + index.STEP] for start in range(0, len(data), index.STEP)]
        return [_smaller(piece, self._deflate.compress(piece) + self._deflate.flush(zlib.Z_FULL_FLUSH)) for piece in pieces]

    def _written(self, pieces: list[bytes]) -> None:
        for data in pieces:
            self._out(data)
            self._points.append(self.size)

    def _out(self, data: bytes) -> None:
        self._outer.update(data)
        self.size += len(data)
        # A raw write on a disk that fills up takes a part of it, and says so only the next time.
        while data:
            data = data[self._file.write(data) :]

    def close(self, table: list[Entry]) -> dict[str, Any]:
        """Ends the stream; gives what is known of a layer with this table: both names, the compressed size, the number of entries, the table itself, the compressor."""
        self._block(bytes(self._filling[: self._held]))
        while self._under_way:
            self._under_way.popleft().result()
        self._out(self._deflate.flush() + struct.pack("<II", self._sum, self.plain & 0xFFFFFFFF))
        self._file.close()
        names = {"digest": "sha256:" + self._outer.hexdigest(), "diff_id": "sha256:" + self._inner.hexdigest()}
        listed = index.encode(table, self._points[: self.plain // index.STEP]).decode()
        return {**names, "size": self.size, "entries": len(table), "index": listed, "compressor": self._how}


def _smaller(plain: bytes, deflated: bytes) -> bytes:
    """Gives a piece deflated, or in stored blocks (RFC 1951, 3.2.4) where that is hardly longer."""
    if len(deflated) < len(plain) - (len(plain) >> 5):
        return deflated
    parts = [plain[start : start + 0xFFFF] for start in range(0, len(plain), 0xFFFF)]
    return b"".join(struct.pack("<BHH", 0, len(part), len(part) ^ 0xFFFF) + part for part in parts)


def _owner(on_disk: bool, folder: str, lower: list[str], default: list[int]) -> packing.Owner:
    """Gives who owns a path: the disk where it knows, else what is noted; where nothing can be noted, the layers below, else who runs the container."""
    if on_disk:
        return lambda path, place, status: owners.Owned(status.st_uid, status.st_gid)
    if owners.possible(folder):
        return lambda path, place, status: owners.noted(place) or owners.Owned(0, 0)
    union = UnionView(index.decode(text.encode()) for text in lower)

    def owner(path: str, place: str, status: os.stat_result) -> owners.Owned:
        seen = union.get(path)
        return owners.Owned(seen.entry.uid, seen.entry.gid) if seen else owners.Owned(default[0], default[1])

    return owner


def _changed(upper: str, lowers: list[str], whole: bool, on_disk: bool, marker: str, apart: Sequence[str]) -> list[diff.Change]:
    since, inodes = trees.marked(marker) if marker else (0, {})
    return diff.changes(upper, tuple(lowers), diff.Comparison(whole, on_disk, since, tuple(apart), inodes))


def changes(upper: str, lowers: list[str], whole: bool, on_disk: bool, marker: str = "", apart: Sequence[str] = ()) -> list[list[str]]:
    """Gives what differs, as [kind, path] in order."""
    return [[change.kind, change.path] for change in _changed(upper, lowers, whole, on_disk, marker, apart)]


def pack(
    draft: str, upper: str, lowers: list[str], whole: bool, on_disk: bool, marker: str = "", below: list[str] | None = None, default: list[int] | None = None,
    apart: Sequence[str] = (), latest: int | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Packs what differs into a gzip layer at `draft`; gives its names, sizes and table of contents.

    No file is younger than `latest` (seconds): with a fixed date the same steps give the same bytes, reproducible-builds.org/specs/source-date-epoch.
    """
    found = _changed(upper, lowers, whole, on_disk, marker, apart)
    return _packed(draft, packing.clamped(packing.pack_changes(found, _owner(on_disk, upper, below or [], default or [0, 0])), latest))


def _packed(draft: str, items: Iterator[packing.Item]) -> dict[str, Any]:
    target = Compressor(draft)
    return target.close(packing.pack(items, target.write))


def repack(source: str, draft: str) -> dict[str, Any]:
    """Turns any tar, compressed or not, into a layer: names checked as `archive.apply` does, laid out as our own writer does."""
    with tempfile.TemporaryDirectory(dir=os.path.dirname(draft), prefix="import-") as folder:
        with open(source, "rb") as file:
            table = archive.apply(open_layer(file), folder, archive.Style(owners=False, devices=False))
        known = {entry.path: entry for entry in table if not entry.marker}
        return _packed(draft, ((as_archived(entry, known.get(entry.path)), place) for entry, place in packing.pack_tree((folder,))))


def as_archived(entry: Entry, told: Entry | None) -> Entry:
    # Owners, and devices that nobody but root may make, are taken from the archive and not from the scratch folder.
    if told is None:
        return entry
    if told.kind in ("char", "block"):
        return told
    return msgspec.structs.replace(entry, uid=told.uid, gid=told.gid, mode=told.mode if told.kind != "link" else entry.mode, xattrs=told.xattrs)


def export(descriptor: int, folders: list[str], on_disk: bool, below: list[str] | None = None, apart: Sequence[str] = ()) -> None:
    """Writes the union of `folders` as a tar to an open descriptor."""
    with contextlib.suppress(OSError):  # no pipe, or one that may not grow; pipe(7)
        fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, _BLOCK)
    with open(descriptor, "wb", buffering=_BLOCK >> 4, closefd=False) as file:
        items = packing.pack_tree(tuple(folders), _owner(on_disk, folders[0], below or [], [0, 0]))
        packing.pack(((entry, place) for entry, place in items if not any(entry.path.startswith(f"{path}/") for path in apart)), file.write, digests=False)


def join(folders: list[str], target: str, on_disk: bool) -> None:
    """Lays what layers (newest first, in the overlay form) show together down in one folder."""
    with tempfile.TemporaryFile(dir=os.path.dirname(target)) as file:
        packing.pack(packing.pack_tree(tuple(folders), _owner(on_disk, folders[0], [], [0, 0])), file.write, digests=False)
        file.seek(0)
        archive.apply(file, target, archive.Style(owners=on_disk, devices=on_disk, notes=not on_disk))


def cleared(upper: str, places: list[str], full: list[str]) -> None:
    """Takes away empty folders and files of a container that was stopped, deepest first, where they still are, and the `full` ones with all that is in them; no symlink is followed."""
    for place in places:
        folder, _, name = place.rpartition("/")
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            here = os.open(upper, os.O_PATH | os.O_DIRECTORY)
            stack.callback(os.close, here)
            for part in folder.split("/") if folder else ():
                here = os.open(part, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=here)
                stack.callback(os.close, here)
            status = os.stat(name, dir_fd=here, follow_symlinks=False)
            times = os.stat(f"/proc/self/fd/{here}")
            if stat.S_ISDIR(status.st_mode):
                shutil.rmtree(name, dir_fd=here) if place in full else os.rmdir(name, dir_fd=here)
            elif stat.S_ISREG(status.st_mode) and (place in full or not status.st_size):
                os.unlink(name, dir_fd=here)
            os.utime(f"/proc/self/fd/{here}", ns=(times.st_atime_ns, times.st_mtime_ns))


def usage(path: str) -> list[int]:
    """Gives the bytes (files and symlinks, hard links once) and the number of files below a snapshot's folder; links that the engine made are no container's."""
    sizes: dict[tuple[int, int], int] = {}
    files = 0
    for folder, names, leaves in os.walk(path):
        for name in names + leaves:
            status = os.lstat(os.path.join(folder, name))
            if not stat.S_ISDIR(status.st_mode) and not (stat.S_ISLNK(status.st_mode) and os.path.relpath(f"{folder}/{name}", path) in diff.ENGINE_PATHS):
                sizes[status.st_dev, status.st_ino] = status.st_size
        files += len(names) + len(leaves)
    return [sum(sizes.values()), files]


_OURS = (unpack, read_index, changes, pack, repack, export, join, cleared, usage)
_OTHERS = (recycling.retire, trees.mark, trees.remove, trees.folders, trees.copy, trees.spare, exchange.look, exchange.take, exchange.lay)
FUNCTIONS: dict[str, Callable[..., Any]] = {function.__name__: function for function in (*_OURS, *_OTHERS)}
