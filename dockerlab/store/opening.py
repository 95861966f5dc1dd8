"""The tar inside a layer's bytes, whatever it is compressed with."""

from __future__ import annotations

import gzip
import io
import zlib
from typing import Any, BinaryIO, cast

from dockerlab.errors import CorruptContent
from dockerlab.layers import tar

__all__ = ["compression", "open_layer"]


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
    return "gzip" if magic[:2] == b"\x1f\x8b" else "zstd" if magic == b"\x28\xb5\x2f\xfd" else ""


def _magic(file: BinaryIO) -> bytes:
    if isinstance(file, io.BufferedReader):
        return file.peek(4)[:4]
    magic = file.read(4)
    file.seek(0)
    return magic


def open_layer(file: BinaryIO) -> tar.Reader:
    """Gives the tar inside a layer's bytes: plain, gzip or zstd, known by its first bytes. Raises CorruptContent."""
    kind = compression(file)
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
