"""The tar format against Python's tarfile and GNU tar, and against archives made to hurt."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dockerlab.errors import CorruptContent, UnsafeArchive
from dockerlab.layers import archive, packing, tar
from dockerlab.layers.index import Entry

needs_tar = pytest.mark.skipif(shutil.which("tar") is None, reason="GNU tar is not installed")


def listed(data: bytes, limits: tar.Limits | None = None) -> list[tuple[Entry, bytes]]:
    """Gives the entries, as they are before they lie anywhere, with their content; checks that each lies where it is said to."""
    found = []
    for entry, body in tar.read(io.BytesIO(data), limits=limits):
        content = b"".join(body.blocks())
        assert entry.place < 0 or data[entry.place : entry.place + entry.size] == content
        found.append((msgspec.structs.replace(entry, place=-1), content))
    return found


def record(key: bytes, value: bytes) -> bytes:
    body = b" " + key + b"=" + value + b"\n"
    size = len(body) + 1
    while len(str(size)) + len(body) != size:
        size += 1
    return str(size).encode() + body


def block(name: bytes = b"f", size: bytes = b"00000000000\0", kind: bytes = b"0", **fields: bytes) -> bytes:
    raw = bytearray(512)
    raw[0 : len(name)] = name
    raw[100:124] = b"0000644\x000000000\x000000000\0"
    raw[124:136], raw[136:148], raw[156:157], raw[257:265] = size, b"00000000000\0", kind, b"ustar\x0000"
    for place, value in fields.items():
        start = int(place.removeprefix("at"))
        raw[start : start + len(value)] = value
    raw[148:156] = b" " * 8
    raw[148:156] = b"%06o\0 " % sum(raw)
    return bytes(raw)


def octal(value: int) -> bytes:
    return b"%011o\0" % value


def pax(*records: tuple[bytes, bytes], kind: bytes = b"x") -> bytes:
    content = b"".join(record(key, value) for key, value in records)
    return block(b"pax", octal(len(content)), kind) + content + tar.padding(len(content))


ENTRIES = [
    Entry("d", "dir", 0o1755, 1, 2, 0, 7),
    Entry("d/file", "file", 0o4644, 1000, 1000, 3, 1_700_000_000),
    Entry("d/link", "link", 0o644, 0, 0, 0, 0, "d/file"),
    Entry("s", "symlink", 0o777, 0, 0, 0, 0, "../somewhere/else"),
    Entry("c", "char", 0o600, 0, 0, 0, 0, "", (1, 3)),
    Entry("b", "block", 0o600, 0, 0, 0, 0, "", (8, 1)),
    Entry("p", "fifo", 0o600),
    Entry("n" * 101, "file", 0o644, 0, 0, 3),
    Entry("/".join(["long" * 20] * 4) + "/end", "file", 0o644, 0, 0, 3),
    Entry("d/" + "x" * 250, "symlink", 0o777, 0, 0, 0, 0, "y" * 300),
    Entry("bad-\udcff-name", "file", 0o644, 0, 0, 3),
    Entry("bad-\udcff-" + "z" * 120, "file", 0o644, 0, 0, 3),
    Entry("äöü" * 60, "file", 0o644, 0, 0, 3),
    Entry("ids", "file", 0o644, 3_000_000, 4_000_000_000, 3, -5),
    Entry("attrs", "file", 0o644, 0, 0, 3, 0, "", (0, 0), {"user.a": b"\0\n=", "user.b": b""}),
]


def packed(entries: list[Entry], content: bytes = b"abc") -> bytes:
    return b"".join(tar.header(e) + (content + tar.padding(len(content)) if e.kind == "file" else b"") for e in entries) + tar.END


def test_what_is_written_is_read_back() -> None:
    read = listed(packed(ENTRIES))
    assert [entry for entry, _ in read] == ENTRIES
    assert {data for entry, data in read if entry.kind == "file"} == {b"abc"}


def test_same_entries_give_same_bytes() -> None:
    assert packed(ENTRIES) == packed(list(ENTRIES))


def test_attributes_are_written_in_one_order() -> None:
    one = Entry("f", "file", xattrs={"user.a": b"1", "user.b": b"2"})
    other = Entry("f", "file", xattrs={"user.b": b"2", "user.a": b"1"})
    assert tar.header(one) == tar.header(other)


@pytest.mark.parametrize("key", ["user.a=b", "user.a%3Db", "user.%25", "user.\udcff", "user.ü", "user.a b"])
def test_odd_attribute_names_survive(key: str) -> None:
    entry = Entry("f", "file", xattrs={key: b"v"})
    assert listed(tar.header(entry) + tar.END)[0][0].xattrs == {key: b"v"}


def test_python_reads_ours() -> None:
    with tarfile.open(fileobj=io.BytesIO(packed(ENTRIES)), errors="surrogateescape") as other:
        found = {m.name: m for m in other.getmembers()}
    for entry in ENTRIES:
        if "\udcff" in entry.path and len(entry.path) > 100:
            continue  # tarfile decodes hdrcharset=BINARY with its own encoding rules
        member = found[entry.path]
        assert (member.mode, member.uid, member.gid, int(member.mtime)) == (entry.mode, entry.uid, entry.gid, entry.mtime), entry.path
        assert member.linkname == entry.link


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_ours_reads_python(form: int) -> None:
    out = io.BytesIO()
    names = ["a", "d/" + "b" * 90, "ünï"] + ([] if form == tarfile.USTAR_FORMAT else ["e" * 200, "f/" * 60 + "g"])
    with tarfile.open(fileobj=out, mode="w", format=form, errors="surrogateescape") as other:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size, member.mtime, member.mode = 5, 1_600_000_000, 0o640
            other.addfile(member, io.BytesIO(b"12345"))
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, names[-1] if form != tarfile.USTAR_FORMAT else "short"
        other.addfile(link)
    read = listed(out.getvalue())
    assert [e.path for e, _ in read] == [*names, "link"]
    assert all(data == b"12345" and e.mode == 0o640 and e.mtime == 1_600_000_000 for e, data in read[:-1])
    assert read[-1][0].link == link.linkname


def test_size_above_eight_gigabytes_needs_a_pax_record() -> None:
    size = (8 << 30) + 5
    raw = tar.header(Entry("big", "file", size=size))
    assert record(b"size", str(size).encode()) in raw
    with tarfile.open(fileobj=io.BytesIO(raw)) as other:
        assert other.next().size == size  # type: ignore[union-attr]
    for head in (raw, block(b"big", b"\x80" + size.to_bytes(11, "big"))):
        entry, _ = next(tar.read(io.BytesIO(head)))
        assert (entry.path, entry.size) == ("big", size)


def sample(root: Path) -> None:
    (root / "d").mkdir(parents=True)
    (root / "d" / "file").write_bytes(b"content")
    os.link(root / "d" / "file", root / "hard")
    (root / "sym").symlink_to("d/file")
    (root / ("l" * 150)).write_bytes(b"long")
    (Path(os.fsdecode(os.fsencode(root) + b"/bad\xff"))).write_bytes(b"bytes")
    (root / "deep" / ("m" * 120) / ("n" * 120)).mkdir(parents=True)
    os.mkfifo(root / "fifo")
    os.utime(root / "d" / "file", ns=(5, 1_600_000_000_999_999_999))


def state(root: Path) -> dict[str, tuple[object, ...]]:
    found: dict[str, tuple[object, ...]] = {}
    for folder, names, files in os.walk(root):
        for name in names + files:
            place = os.path.join(folder, name)
            status = os.lstat(place)
            content = Path(place).read_bytes() if os.path.isfile(place) and not os.path.islink(place) else b""
            link = os.readlink(place) if os.path.islink(place) else ""
            found[os.path.relpath(place, root)] = (
                status.st_mode,
                status.st_mtime_ns // 10**9,
                content,
                link,
                status.st_nlink,
                status.st_rdev,
            )
    return found


def ours(root: Path) -> bytes:
    blocks: list[bytes] = []
    packing.pack(packing.pack_tree((str(root),)), lambda block: blocks.append(bytes(block)))
    return b"".join(blocks)


@needs_tar
def test_gnu_tar_unpacks_ours(tmp_path: Path) -> None:
    sample(tmp_path / "in")
    (tmp_path / "out").mkdir()
    subprocess.run(["tar", "-x", "-p", "-C", tmp_path / "out"], input=ours(tmp_path / "in"), check=True)
    assert state(tmp_path / "out") == state(tmp_path / "in")


@needs_tar
@pytest.mark.parametrize("form", ["gnu", "pax", "oldgnu"])
def test_ours_unpacks_gnu_tar(tmp_path: Path, form: str) -> None:
    sample(tmp_path / "in")
    (tmp_path / "out").mkdir()
    made = subprocess.run(["tar", "-c", f"--format={form}", "-C", tmp_path / "in", "."], capture_output=True, check=True).stdout
    archive.apply(io.BytesIO(made), str(tmp_path / "out"), archive.Style(owners=os.geteuid() == 0))
    assert state(tmp_path / "out") == state(tmp_path / "in")


@needs_tar
@pytest.mark.skipif(os.geteuid() != 0, reason="device nodes need root")
def test_devices_go_both_ways(tmp_path: Path) -> None:
    for name in ("in", "out", "gnu"):
        (tmp_path / name).mkdir()
    os.mknod(tmp_path / "in" / "null", 0o020666, os.makedev(1, 3))
    os.mknod(tmp_path / "in" / "disk", 0o060600, os.makedev(8, 300))
    raw = ours(tmp_path / "in")
    subprocess.run(["tar", "-x", "-p", "-C", tmp_path / "gnu"], input=raw, check=True)
    archive.apply(io.BytesIO(raw), str(tmp_path / "out"), archive.Style())
    assert state(tmp_path / "gnu") == state(tmp_path / "in") == state(tmp_path / "out")


@needs_tar
@pytest.mark.parametrize(
    "form",
    [
        ["--format=gnu"],
        ["--format=pax", "--sparse-version=1.0"],
        ["--format=pax", "--sparse-version=0.1"],
        ["--format=pax", "--sparse-version=0.0"],
    ],
)
@pytest.mark.parametrize("pieces", [1, 3, 40])
def test_sparse_files_are_filled(tmp_path: Path, form: list[str], pieces: int) -> None:
    with open(tmp_path / "holes", "wb") as file:
        for number in range(pieces):
            file.seek(number * 100_000 + 50_000)
            file.write(b"data%d" % number)
        file.truncate(pieces * 100_000 + 123_456)
    (tmp_path / "after").write_bytes(b"after")
    made = subprocess.run(["tar", "-c", "--sparse", *form, "-C", tmp_path, "holes", "after"], capture_output=True, check=True).stdout
    assert len(made) < 600_000
    read = {entry.path: (entry.size, data) for entry, data in listed(made)}
    whole = (tmp_path / "holes").read_bytes()
    assert read == {"holes": (len(whole), whole), "after": (5, b"after")}


def sparse_header(size: int, real: int, pairs: list[tuple[int, int]], more: bool = False) -> bytes:
    table = b"".join(octal(offset) + octal(length) for offset, length in pairs)
    return block(b"f", octal(size), b"S", at257=b"ustar  \0", at386=table, at482=bytes([more]), at483=octal(real))


BROKEN = {
    "checksum": b"x" * 512,
    "not octal": block(size=b"9" * 11 + b"\0"),
    "negative size": block(size=b"\xff" * 12),
    "negative size in pax": pax((b"size", b"-1")) + block(),
    "size is no number": pax((b"size", b"many")) + block(),
    "size of five thousand digits": pax((b"size", b"9" * 5000)) + block(),
    "unknown type": block(kind=b"Z"),
    "pax without equals": block(b"pax", octal(8), b"x") + b"8 hello\n".ljust(512, b"\0"),
    "pax length zero": block(b"pax", octal(8), b"x") + b"0 a=bcd\n".ljust(512, b"\0"),
    "pax length too long": block(b"pax", octal(8), b"x") + b"99 a=bc\n".ljust(512, b"\0"),
    "pax length is huge": block(b"pax", octal(20), b"x") + b"99999999999999999 a=".ljust(512, b"\0"),
    "header of two megabytes": block(b"pax", octal(2 << 20), b"x") + bytes(2 << 20),
    "header of negative size": block(b"pax", b"\xff" * 12, b"L"),
    "uid is huge": pax((b"uid", b"9" * 30)) + block(),
    "uid is negative": pax((b"uid", b"-7")) + block(),
    "gid is huge": pax((b"gid", b"4294967296")) + block(),
    "time is huge": pax((b"mtime", b"9" * 40)) + block(),
    "time is huge in the header": block(at136=b"\x80" + b"\x7f" * 11),
    "device is huge": block(kind=b"3", at329=b"\x80" + b"\x7f" * 7),
    "device is negative": block(kind=b"3", at329=b"\xff" * 8),
    "sparse map goes back": sparse_header(1024, 2048, [(512, 512), (0, 512)]) + bytes(1024),
    "sparse map beyond the end": sparse_header(512, 100, [(0, 512)]) + bytes(512),
    "sparse map holds more than stored": sparse_header(512, 2048, [(0, 1024)]) + bytes(512),
    "sparse map holds more than pax says": pax((b"size", b"0")) + sparse_header(512, 1024, [(0, 512)]) + bytes(1024),
    "sparse size is negative": pax((b"GNU.sparse.map", b"0,0"), (b"GNU.sparse.size", b"-5")) + block(),
    "sparse map without end": sparse_header(0, 0, [], more=True) + bytes(504) + b"\1" + bytes(7),
    "sparse map of letters": pax((b"GNU.sparse.map", b"a,b"), (b"GNU.sparse.size", b"5")) + block(),
    "sparse size missing": pax((b"GNU.sparse.map", b"0,1")) + block(size=octal(512)) + bytes(512),
    "sparse count of five thousand digits": pax((b"GNU.sparse.major", b"1"), (b"GNU.sparse.realsize", b"9"))
    + block(size=octal(5120))
    + (b"9" * 5000 + b"\n").ljust(5120, b"0"),
    "sparse count is a word": pax((b"GNU.sparse.major", b"1"), (b"GNU.sparse.realsize", b"9"))
    + block(size=octal(512))
    + b"word\n".ljust(512, b"\0"),
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN.keys())
@pytest.mark.timeout(10)
def test_broken_archives_are_refused(data: bytes) -> None:
    with pytest.raises((CorruptContent, UnsafeArchive)):
        listed(data + block(b"next") + tar.END)


def test_sparse_sizes_cannot_lower_the_count() -> None:
    less = pax((b"GNU.sparse.map", b""), (b"GNU.sparse.size", b"-999999"))
    with pytest.raises((CorruptContent, UnsafeArchive)):
        listed(less + block() + block(b"g", octal(512)) + bytes(512) + tar.END, tar.Limits(bytes=100))


@pytest.mark.timeout(10)
def test_a_sparse_map_in_the_body_is_read_once() -> None:
    count = 800_000
    stored = b"%d\n" % count + b"0\n0\n" * count
    stored += tar.padding(len(stored))
    data = pax((b"GNU.sparse.major", b"1"), (b"GNU.sparse.realsize", b"0")) + block(size=octal(len(stored))) + stored + tar.END
    assert listed(data)[0][0].size == 0


@pytest.mark.parametrize("kind", [b"x", b"g", b"L", b"K"])
@pytest.mark.timeout(20)
def test_headers_without_end_are_refused(kind: bytes) -> None:
    content = record(b"SCHILY.xattr.user.a", b"v" * 4000) if kind in b"xg" else b"v" * 4000
    one = block(b"h", octal(len(content)), kind) + content + tar.padding(len(content))
    with pytest.raises(UnsafeArchive, match="header"):
        listed(one * 2000 + block() + tar.END)


@pytest.mark.timeout(20)
def test_shared_headers_cost_nothing_per_entry() -> None:
    shared = pax(*[(b"SCHILY.xattr.user.%d" % n, b"v") for n in range(20_000)], (b"mtime", b"9"), kind=b"g")
    read = listed(shared + b"".join(block(b"%d" % n) for n in range(3000)) + tar.END)
    assert len(read) == 3000
    assert {entry.mtime for entry, _ in read} == {9}


@pytest.mark.parametrize(
    ("data", "limits"),
    [
        (block(b"a") * 11, tar.Limits(entries=10)),
        ((block(b"a", octal(512)) + bytes(512)) * 3, tar.Limits(bytes=1024)),
        (sparse_header(0, 1 << 32, []), tar.Limits(bytes=1 << 30)),
        (block(b"a/" * 12), tar.Limits(depth=10)),
        (pax((b"path", b"a/" * 4096 + b"b")) + block(), tar.Limits()),
        (block(b"a") + tar.END + bytes(10 << 20), tar.Limits(bytes=1 << 20)),
    ],
    ids=["entries", "bytes", "holes", "depth", "4096 deep", "zeros after the end"],
)
def test_bombs_are_refused(data: bytes, limits: tar.Limits) -> None:
    with pytest.raises(UnsafeArchive):
        for _ in tar.read(io.BytesIO(data + tar.END), limits=limits):
            pass


def test_cut_at_every_block() -> None:
    whole = packed(ENTRIES) + pax((b"path", b"p" * 600)) + block(b"f", octal(700)) + bytes(1024)
    for size in range(0, len(whole), 512):
        for cut in (size, size + 1):
            try:
                read = listed(whole[:cut])
            except (CorruptContent, UnsafeArchive):
                continue
            assert [entry for entry, _ in read] == ENTRIES[: len(read)]


class Slow:
    def __init__(self, data: bytes) -> None:
        self._stream = io.BytesIO(data)

    def read(self, size: int, /) -> bytes:
        return self._stream.read(min(size, 1 << 16))


@settings(max_examples=300, deadline=2000)
@given(st.lists(st.tuples(st.integers(0, len(packed(ENTRIES)) - 1), st.integers(1, 255)), min_size=1, max_size=6), st.booleans())
def test_flipped_bytes(flips: list[tuple[int, int]], mend: bool) -> None:
    raw = bytearray(packed(ENTRIES))
    for place, bits in flips:
        raw[place] ^= bits
        if mend:
            start = place - place % 512
            head = raw[start : start + 512]
            head[148:156] = b" " * 8
            raw[start + 148 : start + 156] = b"%06o\0 " % sum(head)
    try:
        for entry, body in tar.read(Slow(bytes(raw)), limits=tar.Limits(bytes=1 << 24)):
            assert 0 <= entry.size <= 1 << 24
            assert sum(map(len, body.blocks())) == (entry.size if entry.kind == "file" else 0) or entry.kind == "dir"
    except (CorruptContent, UnsafeArchive):
        pass


@settings(max_examples=200, deadline=2000)
@given(st.binary(max_size=3000))
def test_noise(data: bytes) -> None:
    try:
        read = listed(data)
    except (CorruptContent, UnsafeArchive):
        return
    assert all(len(content) == entry.size for entry, content in read)
