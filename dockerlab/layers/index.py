"""A layer's table of contents: made once, when the layer is packed or arrives, and read by everything that looks into layers.

On disk: a first line that says where in the compressed bytes reading can begin, then a line for each path, in the order of the archive.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Literal

import msgspec

from dockerlab.errors import CorruptContent

__all__ = ["STEP", "Entry", "Kind", "decode", "encode", "implied_folder", "parent_of", "points"]

# Between two places of a tar that its compressed form can be read from.
STEP = 1 << 18
Kind = Literal["file", "dir", "symlink", "link", "char", "block", "fifo", "whiteout", "opaque"]


class Entry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One path of a layer.

    `path` has no leading slash; the root itself is "". `link` is a symlink's text, or for a hard link the path of the same layer that it
    shares its inode with. A `whiteout` deletes `path` from the layers below; `opaque` hides all that those hold inside the folder `path`.

    Of a file in a layer, `digest` is the SHA-256 of its content (32 bytes) and `place` where that begins in the tar; -1 where it does not lie there in
    one piece, as with GNU tar's sparse files.
    """

    path: str
    kind: Kind
    mode: int = 0
    uid: int = 0
    gid: int = 0
    size: int = 0
    mtime: int = 0
    link: str = ""
    device: tuple[int, int] = (0, 0)
    xattrs: Mapping[str, bytes] = {}
    digest: bytes = b""
    place: int = -1

    @property
    def weight(self) -> int:
        """What it adds to a layer as docker counts: a file's content, a symlink's text."""
        return len(os.fsencode(self.link)) if self.kind == "symlink" else self.size

    @property
    def marker(self) -> bool:
        """Whether this only hides what lies below."""
        return self.kind in ("whiteout", "opaque")


class _Head(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The first line: of the compressed layer the byte from which the tar's byte STEP can be read, 2 × STEP, and so on."""

    version: Literal[2] = 2
    points: tuple[int, ...] = ()


_DECODER, _HEADS = msgspec.json.Decoder(Entry), msgspec.json.Decoder(_Head)


def implied_folder(path: str) -> Entry:
    """Gives the folder that an archive leaves out but whose children it holds."""
    return Entry(path, "dir", 0o755)


def parent_of(path: str) -> str:
    """Gives the folder that holds `path`; the root for a first name."""
    return path.rpartition("/")[0]


def _wire(text: str) -> str:
    # File names are bytes; JSON is not. Each byte becomes the character of its number, and ASCII stays as it is.
    return os.fsencode(text).decode("latin-1")


def _name(text: str) -> str:
    return os.fsdecode(text.encode("latin-1"))


def encode(entries: Iterable[Entry], points: Iterable[int] = ()) -> bytes:
    """Gives the table as JSON lines, in the order of the archive."""
    encoder = msgspec.json.Encoder()
    lines = (encoder.encode(entry if _plain(entry) else _renamed(entry, _wire)) for entry in entries)
    return b"\n".join([encoder.encode(_Head(points=tuple(points))), *lines, b""])


def _renamed(entry: Entry, change: Callable[[str], str]) -> Entry:
    xattrs = {change(key): value for key, value in entry.xattrs.items()}
    return msgspec.structs.replace(entry, path=change(entry.path), link=change(entry.link), xattrs=xattrs)


def _plain(entry: Entry) -> bool:
    return entry.path.isascii() and entry.link.isascii() and all(key.isascii() for key in entry.xattrs)


def decode(raw: bytes) -> tuple[Entry, ...]:
    """Gives the table in `raw`; raises CorruptContent where it is none."""
    end = raw.find(b"\n") + 1
    points(raw[:end])
    try:
        entries = _DECODER.decode_lines(raw[end:])
        if raw.isascii() and b"\\u" not in raw:
            return tuple(entries)
        # Asked here before a function is called: of ten thousand names there is hardly one.
        return tuple(entry if entry.path.isascii() and entry.link.isascii() and not entry.xattrs else _renamed(entry, _name) for entry in entries)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise _unreadable(error) from error


def points(line: bytes) -> tuple[int, ...]:
    """Gives what the first line of a table says; raises CorruptContent."""
    try:
        return _HEADS.decode(line).points
    except (msgspec.DecodeError, UnicodeError) as error:
        raise _unreadable(error) from error


def _unreadable(error: Exception) -> CorruptContent:
    return CorruptContent(f"layer index cannot be read: {error}", hint="remove the file: it is made again from the layer")
