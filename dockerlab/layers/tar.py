"""The tar format: ustar, with pax records where ustar has no room; POSIX.1-2017 pax, and on reading GNU's long names and sparse files.

Bytes depend on nothing but the entries: no user names, whole seconds, pax records in a fixed order and only when needed.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from dockerlab.errors import CorruptContent, UnsafeArchive
from dockerlab.layers.index import Entry, Kind

__all__ = ["BLOCK", "END", "Body", "Limits", "Reader", "header", "padding", "read"]

BLOCK = 512
END = bytes(2 * BLOCK)
_CHUNK = 1 << 20
_TYPES: dict[Kind, bytes] = {"file": b"0", "link": b"1", "symlink": b"2", "char": b"3", "block": b"4", "dir": b"5", "fifo": b"6"}
_KINDS: dict[bytes, Kind] = {code: kind for kind, code in _TYPES.items()} | {b"\0": "file", b"7": "file", b"S": "file"}
_XATTR = "SCHILY.xattr."
_META_LIMIT = 1 << 20
_SHARED = ("mtime", "uid", "gid")
# What the kernel's calls take; a larger number is no id, no time and no device.
_RANGES = {"uid": (0, (1 << 32) - 2), "gid": (0, (1 << 32) - 2), "mtime": (-(1 << 40), 1 << 40), "size": (0, 1 << 62), "device": (0, (1 << 31) - 1)}


class Reader(Protocol):
    """Anything that gives bytes; fewer than asked only at the end."""

    def read(self, size: int, /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Limits:
    """Where an archive counts as a bomb."""

    entries: int = 2_000_000
    bytes: int = 64 << 30
    depth: int = 1024


# Writing


@functools.lru_cache(4096)
def _number(value: int, width: int) -> bytes | None:
    text = b"%0*o" % (width - 1, value) if value >= 0 else b""
    return text + b"\0" if 0 < len(text) < width else None


def _split(name: bytes) -> tuple[bytes, bytes] | None:
    """Gives (prefix, name) as ustar keeps them, or None where they do not fit."""
    if len(name) <= 100:
        return b"", name
    cut = name.rfind(b"/", 0, 156)
    return (name[:cut], name[cut + 1 :]) if cut > 0 and 0 < len(name) - cut - 1 <= 100 else None


def _record(key: str, value: bytes) -> bytes:
    body = b" " + os.fsencode(key) + b"=" + value + b"\n"
    size = len(body)
    while len(str(size)) + len(body) != size:
        size = len(str(size)) + len(body)
    return str(size).encode() + body


def header(entry: Entry) -> bytes:
    """Gives all the blocks that stand before an entry's content."""
    name = os.fsencode(entry.path + ("/" if entry.kind == "dir" and entry.path else "")) or b"./"
    link = os.fsencode(entry.link)
    records: list[bytes] = []
    parts, target = _split(name), link if len(link) <= 100 else None
    if (parts is None and not _is_utf8(name)) or (target is None and not _is_utf8(link)):
        records.append(_record("hdrcharset", b"BINARY"))
    if parts is None:
        records.append(_record("path", name))
    if target is None:
        records.append(_record("linkpath", link))
    size = entry.size if entry.kind == "file" else 0
    fields = (("uid", entry.uid, 8), ("gid", entry.gid, 8), ("size", size, 12), ("mtime", entry.mtime, 12))
    octal = [_number(value, width) for _, value, width in fields]
    if None in octal:
        records += [_record(key, str(value).encode()) for (key, value, _), text in zip(fields, octal, strict=True) if text is None]
    # A pax key ends at its first "="; the escapes are GNU tar's.
    records += [_record(_XATTR + key.replace("%", "%25").replace("=", "%3D"), value) for key, value in sorted(entry.xattrs.items())]
    numbers = b"".join([text or bytes(width) for (_, _, width), text in zip(fields, octal, strict=True)])
    prefix, short = parts or (b"", name[:100])
    own = _ustar(short, prefix, target if target is not None else link[:100], _TYPES[entry.kind], stat.S_IMODE(entry.mode), numbers, entry.device)
    return (_pax(b"".join(records)) if records else b"") + own


def _is_utf8(name: bytes) -> bool:
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return True


def _pax(records: bytes) -> bytes:
    numbers = b"0000000\0" * 2 + b"%011o\0" % len(records) + b"00000000000\0"
    return _ustar(b"././@PaxHeader", b"", b"", b"x", 0o644, numbers, (0, 0)) + records + padding(len(records))


def _ustar(name: bytes, prefix: bytes, link: bytes, kind: bytes, mode: int, numbers: bytes, device: tuple[int, int]) -> bytes:
    start = name.ljust(100, b"\0") + b"%07o\0" % mode + numbers
    rest, weight = _rest(kind, link, device, prefix)
    # The checksum counts its own place as eight blanks.
    return start + b"%06o\0 " % (sum(start) + 8 * 32 + weight) + rest


@functools.lru_cache(512)  # most entries are files in few folders, and their headers end alike
def _rest(kind: bytes, link: bytes, device: tuple[int, int], prefix: bytes) -> tuple[bytes, int]:
    """Gives a header's bytes after the checksum, and their sum."""
    numbers = b"%07o\0" % min(device[0], 0o7777777) + b"%07o\0" % min(device[1], 0o7777777)
    rest = kind + link.ljust(100, b"\0") + b"ustar\x0000" + bytes(64) + numbers + prefix.ljust(155, b"\0") + bytes(12)
    return rest, sum(rest)


def padding(size: int) -> bytes:
    """Gives the zeros after `size` bytes of content."""
    return bytes(-size % BLOCK)


# Reading


class Body:
    """One entry's content; sparse files are given with their holes filled."""

    def __init__(self, stream: Reader, stored: int, size: int, holes: tuple[tuple[int, int], ...] | None = None) -> None:
        self._stream, self._left, self.size, self._map = stream, stored, size, holes

    def blocks(self) -> Iterator[bytes]:
        """Yields the content; raises CorruptContent where the archive ends early."""
        if self._map is None:
            yield from self._stored(self._left)
            return
        place = 0
        for offset, length in self._map:
            yield from _zeros(offset - place)
            yield from self._stored(length)
            place = offset + length
        yield from _zeros(self.size - place)

    def _stored(self, size: int) -> Iterator[bytes]:
        while size:
            block = _exactly(self._stream, min(size, _CHUNK, self._left or 1))
            size -= len(block)
            self._left -= len(block)
            yield block

    def digest(self) -> bytes:
        """Reads the content through and gives its SHA-256."""
        hasher = hashlib.sha256()
        for block in self.blocks():
            hasher.update(block)
        return hasher.digest()

    def skip(self) -> None:
        """Reads what nobody asked for."""
        for _ in self._stored(self._left):
            pass


def _zeros(size: int) -> Iterator[bytes]:
    while size > 0:
        yield bytes(min(size, _CHUNK))
        size -= _CHUNK


def _exactly(stream: Reader, size: int) -> bytes:
    block = stream.read(size)
    while len(block) < size:
        more = stream.read(size - len(block))
        if not more:
            raise CorruptContent("archive ends in the middle of an entry", hint="the file was cut short; fetch it again")
        block += more
    return block


class _Counted:
    """A stream that knows how far it has been read."""

    __slots__ = ("_read", "place")

    def __init__(self, stream: Reader) -> None:
        self._read, self.place = stream.read, 0

    def read(self, size: int, /) -> bytes:
        block = self._read(size)
        self.place += len(block)
        return block


def read(archive: Reader, *, limits: Limits | None = None) -> Iterator[tuple[Entry, Body]]:
    """Yields each entry with its content, in order; names are as they stand in the archive, without `./` before and `/` after.

    Raises CorruptContent for what is no tar, UnsafeArchive over the limits.
    """
    bounds, stream = limits or Limits(), _Counted(archive)
    count = total = about = common = 0
    pax: dict[str, bytes] = {}
    shared: dict[str, bytes] = {}
    while (block := stream.read(BLOCK)) and block != bytes(BLOCK):
        block += _exactly(stream, BLOCK - len(block)) if len(block) < BLOCK else b""
        fields = _parse(block)
        if fields.kind in (b"x", b"g", b"L", b"K"):
            weight = BLOCK + fields.size
            about, common = (about, common + weight) if fields.kind == b"g" else (about + weight, common)
            if fields.size < 0 or max(about, common) > _META_LIMIT:
                raise UnsafeArchive("archive has headers of more than a megabyte")
            _meta(stream, fields, pax, shared)
            continue
        entry, body, used = _entry(stream, fields, {**shared, **pax})
        pax, about = {}, 0
        count, total = count + 1, total + entry.size
        if count > bounds.entries or total > bounds.bytes:
            raise _bomb(bounds, entry.path)
        if entry.path.count("/") > bounds.depth:
            raise UnsafeArchive(f"archive holds a path of more than {bounds.depth} folders", entry=entry.path[:80])
        yield entry, body
        body.skip()
        _exactly(stream, -used % BLOCK)
    while rest := stream.read(_CHUNK):
        total += len(rest)
        if total > bounds.bytes:
            raise _bomb(bounds, "")


def _bomb(bounds: Limits, path: str) -> UnsafeArchive:
    return UnsafeArchive(f"archive holds more than {bounds.entries} entries or {bounds.bytes >> 30} GiB", entry=path[:80])


@dataclass(frozen=True, slots=True)
class _Fields:
    name: bytes
    mode: int
    uid: int
    gid: int
    size: int
    mtime: int
    kind: bytes
    link: bytes
    device: tuple[int, int]
    raw: bytes


def _text(field: bytes) -> bytes:
    return field.partition(b"\0")[0]


@functools.lru_cache(4096)  # of a layer's many headers most have the same owners, modes and times
def _integer(field: bytes) -> int:
    if field[0] & 0x80:
        value = int.from_bytes(field, "big", signed=False) - (0x80 << 8 * (len(field) - 1))
        return value if field[0] != 0xFF else int.from_bytes(field, "big", signed=True)
    digits = _text(field).strip(b" ")
    if not re.fullmatch(rb"[0-7]*", digits):
        raise CorruptContent(f"not a tar archive: {digits[:20]!r} where a number should be")
    return int(digits or b"0", 8)


def _parse(block: bytes) -> _Fields:
    expected = _integer(block[148:156])
    plain = block[:148] + b" " * 8 + block[156:]
    if expected != sum(plain) and expected != sum(b - 256 if b > 127 else b for b in plain):  # some old writers added signed bytes
        raise CorruptContent("not a tar archive: a header's checksum is wrong", hint="give a tar file, plain or compressed with gzip, bzip2, xz or zstd")
    name, link = _text(block[:100]), _text(block[157:257])
    if block[257:263] == b"ustar\0" and block[345]:
        name = _text(block[345:500]) + b"/" + name
    return _Fields(
        name, _integer(block[100:108]), _integer(block[108:116]), _integer(block[116:124]), _integer(block[124:136]), _integer(block[136:148]),
        block[156:157], link, (_integer(block[329:337]), _integer(block[337:345])), block,
    )  # fmt: skip


def _meta(stream: Reader, fields: _Fields, pax: dict[str, bytes], shared: dict[str, bytes]) -> None:
    content = _exactly(stream, fields.size)
    _exactly(stream, -fields.size % BLOCK)
    if fields.kind in (b"L", b"K"):
        pax["path" if fields.kind == b"L" else "linkpath"] = content.rstrip(b"\0")
    elif fields.kind == b"x":
        pax.update(_records(content))
    else:
        # Only what can be true of many entries at once; other keys would be looked through again for each of them.
        shared.update({key: value for key, value in _records(content).items() if key in _SHARED})


def _records(content: bytes) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    place, sparse = 0, []
    while place < len(content):
        size, space, _ = content[place : place + 20].partition(b" ")
        end = place + int(size) if space and size.isdigit() else 0
        key, equals, value = content[place + len(size) + 1 : end].partition(b"=")
        if not equals or not value.endswith(b"\n") or end > len(content):
            raise CorruptContent("archive has a broken pax header")
        name = key.decode("utf-8", "surrogateescape")
        if name in ("GNU.sparse.offset", "GNU.sparse.numbytes"):
            sparse.append(value[:-1])
        found[name] = value[:-1]
        place = end
    if sparse:
        found["GNU.sparse.map"] = b",".join(sparse)
    return found


def _entry(stream: _Counted, fields: _Fields, pax: Mapping[str, bytes]) -> tuple[Entry, Body, int]:
    def number(key: str, default: int) -> int:
        text = pax.get(key)
        try:
            return _ranged(key, default if text is None else int(text.partition(b".")[0] or b"0"))
        except ValueError:
            raise CorruptContent(f"archive has a broken pax header: {key}") from None

    kind = _KINDS.get(fields.kind)
    stored = number("size", fields.size)
    if kind is None:
        raise CorruptContent(f"archive has an entry of unknown type {fields.kind!r}")
    stored = stored if kind == "file" else 0
    name = pax.get("GNU.sparse.name", pax.get("path", fields.name))
    if kind == "file" and name.endswith(b"/") and fields.kind in (b"\0", b"0"):
        kind = "dir"
    used, holes, size = _sparse(stream, fields, pax, stored)
    xattrs = {key.removeprefix(_XATTR).replace("%3D", "=").replace("%25", "%"): value for key, value in pax.items() if key.startswith(_XATTR)}
    link = os.fsdecode(pax.get("linkpath", fields.link))
    entry = Entry(
        _clean(os.fsdecode(name)), kind, fields.mode & 0o7777, number("uid", fields.uid), number("gid", fields.gid), size if kind == "file" else 0,
        number("mtime", fields.mtime), _clean(link) if kind == "link" else link, _device(fields) if kind in ("char", "block") else (0, 0), xattrs,
        b"", stream.place if kind == "file" and holes is None else -1,
    )  # fmt: skip
    return entry, Body(stream, stored - used, size, holes), stored


def _ranged(key: str, value: int) -> int:
    low, high = _RANGES[key]
    if not low <= value <= high:
        raise CorruptContent(f"archive has an entry with a {key} out of range")
    return value


def _device(fields: _Fields) -> tuple[int, int]:
    return _ranged("device", fields.device[0]), _ranged("device", fields.device[1])


def _clean(name: str) -> str:
    """Drops `.` parts and doubled slashes; keeps what makes a name dangerous, for the caller to refuse."""
    root = "/" if name.startswith("/") else ""
    return root + "/".join(part for part in name.split("/") if part not in ("", "."))


Holes = tuple[tuple[int, int], ...] | None


def _sparse(stream: Reader, fields: _Fields, pax: Mapping[str, bytes], stored: int) -> tuple[int, Holes, int]:
    """Gives how much of the stored bytes the map took, the map as (offset, length), and the file's true size."""
    numbers: list[bytes]
    used = 0
    if fields.kind == b"S":
        return _gnu_sparse(stream, fields, stored)
    if pax.get("GNU.sparse.major") == b"1":
        numbers, used = _map_in_body(stream, stored)
    elif "GNU.sparse.map" in pax:
        numbers = pax["GNU.sparse.map"].split(b",")
    else:
        return 0, None, stored
    try:
        values = [int(n) for n in numbers]
        size = int(pax.get("GNU.sparse.realsize", pax.get("GNU.sparse.size", b"")))
    except ValueError:
        raise CorruptContent("archive has a broken sparse map") from None
    return used, _checked(tuple(zip(values[::2], values[1::2], strict=False)), size, stored - used), size


def _checked(holes: tuple[tuple[int, int], ...], size: int, stored: int) -> tuple[tuple[int, int], ...]:
    place = 0
    if size < 0:
        raise CorruptContent("archive has an entry of negative size")
    for offset, length in holes:
        if offset < place or length < 0 or offset + length > size:
            raise CorruptContent("archive has a broken sparse map")
        place = offset + length
    if sum(length for _, length in holes) > stored:
        raise CorruptContent("archive has a broken sparse map")
    return holes


def _gnu_sparse(stream: Reader, fields: _Fields, stored: int) -> tuple[int, Holes, int]:
    raw, pairs, more = fields.raw, [], fields.raw[482]
    pairs += _pairs(raw[386:482])
    while more:
        block = _exactly(stream, BLOCK)
        pairs += _pairs(block[:504])
        more = block[504]
        if len(pairs) > 1_000_000:
            raise UnsafeArchive("archive has a sparse map without end")
    size = _integer(raw[483:495])
    return 0, _checked(tuple(pairs), size, stored), size


def _pairs(raw: bytes) -> list[tuple[int, int]]:
    found = [(raw[place : place + 12], raw[place + 12 : place + 24]) for place in range(0, len(raw) - 23, 24)]
    return [(_integer(offset), _integer(length)) for offset, length in found if offset[0]]


def _map_in_body(stream: Reader, stored: int) -> tuple[list[bytes], int]:
    blocks: list[bytes] = []
    lines, wanted = 0, 1
    while lines < wanted:
        if (len(blocks) + 1) * BLOCK > min(stored, _META_LIMIT * 16):
            raise CorruptContent("archive has a broken sparse map")
        blocks.append(_exactly(stream, BLOCK))
        lines += blocks[-1].count(b"\n")
        if wanted == 1:
            wanted = 1 + 2 * _pair_count(blocks[0])
    return b"".join(blocks).split(b"\n")[1:wanted], len(blocks) * BLOCK


def _pair_count(block: bytes) -> int:
    first, newline, _ = block.partition(b"\n")
    if not newline or not first.isdigit():
        raise CorruptContent("archive has a broken sparse map")
    return int(first)


Write = Callable[[bytes], object]
