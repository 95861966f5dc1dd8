"""The tar inside a layer's bytes, whatever it is compressed with, from its start or from its middle."""

from __future__ import annotations

import gzip
import hashlib
import io
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, BinaryIO, cast

from dockerlab.errors import CorruptContent
from dockerlab.layers import tar
from dockerlab.layers.index import STEP, Entry

__all__ = ["compression", "contents", "deflating", "open_layer"]

_CHUNK = 1 << 16
_MEMORY = 256 << 20  # bytes: xz may ask for gigabytes


class _Decompressed:
    def __init__(self, stream: Any, *errors: type[Exception]) -> None:
        self._stream = stream
        self._errors: tuple[type[Exception], ...] = (EOFError, zlib.error, gzip.BadGzipFile, *errors)

    def read(self, size: int, /) -> bytes:
        try:
            block: bytes = self._stream.read(size)
        except self._errors as error:
            raise CorruptContent(f"layer cannot be decompressed: {error}", hint="the file was cut short; fetch it again") from error
        return block


def compression(file: BinaryIO) -> str:
    """Gives what a layer's bytes are compressed with: gzip, zstd, or "" for a plain tar."""
    magic = _magic(file)
    return "gzip" if magic[:2] == b"\x1f\x8b" else "zstd" if magic[:4] == b"\x28\xb5\x2f\xfd" else ""


def _magic(file: BinaryIO) -> bytes:
    if isinstance(file, io.BufferedReader):
        return file.peek(6)[:6]
    magic = file.read(6)
    file.seek(0)
    return magic


class _Streams:
    """What bzip2 or xz have compressed, perhaps in several streams one after another; `make` gives what decompresses one."""

    def __init__(self, file: BinaryIO, make: Callable[[], Any]) -> None:
        self._file, self._make, self._inner = file, make, make()

    def read(self, size: int, /) -> bytes:
        while True:
            data = b""
            if self._inner.eof:
                data = self._inner.unused_data.lstrip(b"\0") or self._file.read(_CHUNK)
                if not data:
                    return b""
                self._inner = self._make()
            elif self._inner.needs_input and not (data := self._file.read(_CHUNK)):
                raise EOFError("it ends before its last block")
            try:
                block: bytes = self._inner.decompress(data, size)
            except OSError as error:  # bzip2's word for bytes that are none of its own
                raise EOFError(str(error)) from error
            if block:
                return block


def open_layer(file: BinaryIO) -> tar.Reader:
    """Gives the tar inside an archive's bytes: plain, gzip, zstd (the two that layers may be), bzip2 or xz, known by its first bytes. Raises CorruptContent."""
    magic, kind = _magic(file), compression(file)
    if magic[:3] == b"BZh":
        import bz2

        return _Decompressed(_Streams(file, bz2.BZ2Decompressor))
    if magic == b"\xfd7zXZ\0":
        import lzma

        return _Decompressed(_Streams(file, partial(lzma.LZMADecompressor, memlimit=_MEMORY)), lzma.LZMAError)
    if kind == "gzip":
        try:
            from isal import igzip, isal_zlib

            return _Decompressed(igzip.IGzipFile(fileobj=file), cast(type[Exception], isal_zlib.error))
        except ImportError:
            return _Decompressed(gzip.GzipFile(fileobj=file))
    if kind == "zstd":
        from backports import zstd

        return _Decompressed(zstd.open(file), zstd.ZstdError)
    return file


class _Inflated:
    """A deflate stream from a place where its compressor had forgotten all before (RFC 1951); it has no checksum of its own."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._rest, self._inflate = file, b"", deflating().decompressobj(-15)

    def read(self, size: int, /) -> bytes:
        while not self._inflate.eof and (data := self._rest or self._file.read(_CHUNK)):
            block: bytes = self._inflate.decompress(data, size)
            self._rest = self._inflate.unconsumed_tail
            if block:
                return block
        return b""


class _Skimmed:
    """A layer's tar, read forwards, and begun anew where that is nearer."""

    def __init__(self, blob: BinaryIO, points: Sequence[int]) -> None:
        kind = compression(blob)
        self._blob, self._plain = blob, not kind
        self._points = points if kind == "gzip" else ()
        self._place = -1
        self._stream: tar.Reader = blob

    def begin(self, place: int) -> None:
        """Goes to a byte of the tar."""
        number = min(place // STEP, len(self._points))
        if self._plain:
            self._blob.seek(place)
            self._place = place
        elif not number * STEP <= self._place <= place:
            self._blob.seek(self._points[number - 1] if number else 0)
            self._stream = _Decompressed(_Inflated(self._blob), deflating().error) if number else open_layer(self._blob)
            self._place = number * STEP
        for _ in self.blocks(place - self._place):
            pass

    def blocks(self, size: int) -> Iterator[bytes]:
        """Yields the next bytes; raises CorruptContent where there are fewer."""
        while size:
            block = self._stream.read(min(size, _CHUNK))
            if not block:
                raise CorruptContent("layer ends before a file that its table names", hint="run `docker system check`")
            size -= len(block)
            self._place += len(block)
            yield block


def deflating() -> Any:
    """Gives the library that deflates and inflates: isal where it is installed, else zlib."""
    try:
        from isal import isal_zlib
    except ImportError:
        return zlib
    return isal_zlib


def contents(blob: BinaryIO, points: Sequence[int], wanted: Iterable[Entry]) -> Iterator[tuple[Entry, Iterator[bytes]]]:
    """Yields files of a layer with their content, each to be read before the next; as little of the layer is read as `points` (see `layers.index`) allow.

    Raises CorruptContent for a file that is not what the layer's table says.
    """
    placed, scattered = list[Entry](), set[str]()
    for entry in wanted:
        if entry.place < 0:
            scattered.add(entry.path)
        else:
            placed.append(entry)
    skimmed = _Skimmed(blob, points)
    for entry in sorted(placed, key=lambda entry: entry.place):
        skimmed.begin(entry.place)
        yield entry, _verified(entry, skimmed.blocks(entry.size))
    if scattered:
        blob.seek(0)
        for entry, body in tar.read(open_layer(blob)):
            if entry.path in scattered:
                yield entry, body.blocks()


def _verified(entry: Entry, blocks: Iterator[bytes]) -> Iterator[bytes]:
    hasher = hashlib.sha256()
    for block in blocks:
        hasher.update(block)
        yield block
    if hasher.digest() != entry.digest:
        raise CorruptContent(f"/{entry.path} is not what its layer's table says", expected=entry.digest.hex(), actual=hasher.hexdigest(), hint="run `docker system check`")
