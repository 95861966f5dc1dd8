"""Files read from the middle of a layer: the right bytes, however it is compressed, and no more of it than has to be."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import random
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from backports import zstd

from dockerlab.errors import CorruptContent
from dockerlab.layers import index, packing
from dockerlab.layers.index import STEP, Entry
from dockerlab.store import opening, work

SIZES = (0, 1, 511, 512, 513, 5_000, STEP - 512, STEP, STEP + 1, 3 * STEP + 7, 0, 12, 5 << 20, 40)


def content(number: int, size: int) -> bytes:
    """Gives bytes of which some compress well and some not at all."""
    noise = random.Random(number)
    return b"".join(noise.choice((noise.randbytes(4096), bytes(4096), b"words " * 683))[: size - place] for place in range(0, size, 4096))


FILES = {f"d/{number:02}": content(number, size) for number, size in enumerate(SIZES)}


@pytest.fixture(scope="module")
def plain() -> bytes:
    blocks = io.BytesIO()
    archive = packing.Archive(blocks.write)
    archive.add(Entry("d", "dir", 0o755))
    for path, data in FILES.items():
        archive.add(Entry(path, "file", 0o644, size=len(data)), (data,))
    archive.end()
    return blocks.getvalue()


class Watched(io.BytesIO):
    """A file that counts what is read of it."""

    taken = 0

    def read(self, size: int | None = -1, /) -> bytes:
        block = super().read(size)
        self.taken += len(block)
        return block


def compressed(plain: bytes, folder: Path) -> tuple[bytes, dict[str, object]]:
    """Gives our own compressed form of a tar, and what is told of it."""
    facts = work.compressed(io.BytesIO(plain), str(folder / "draft"))
    return (folder / "draft").read_bytes(), facts


def read(blob: io.BytesIO, table: list[Entry], points: tuple[int, ...], names: list[str]) -> dict[str, bytes]:
    wanted = [entry for entry in table if entry.path in names]
    return {entry.path: b"".join(blocks) for entry, blocks in opening.contents(blob, points, wanted)}


def ours(facts: dict[str, object]) -> tuple[list[Entry], tuple[int, ...]]:
    raw = str(facts["index"]).encode()
    return list(index.decode(raw)), index.points(raw[: raw.index(b"\n") + 1])


FORMS: dict[str, Callable[[bytes], bytes]] = {"plain": bytes, "gzip": gzip.compress, "zstd": zstd.compress, "two members": lambda data: gzip.compress(data[:99_999]) + gzip.compress(data[99_999:])}


@pytest.mark.parametrize("form", FORMS)
def test_a_layer_from_elsewhere(form: str, plain: bytes, tmp_path: Path) -> None:
    blob = FORMS[form](plain)
    (tmp_path / "draft").write_bytes(blob)
    facts = work.read_index(str(tmp_path / "draft"))
    table, points = ours(facts)
    assert points == () and facts["diff_id"] == f"sha256:{hashlib.sha256(plain).hexdigest()}"
    assert {entry.path: entry.digest for entry in table if entry.kind == "file"} == {path: hashlib.sha256(data).digest() for path, data in FILES.items()}
    assert read(io.BytesIO(blob), table, points, list(FILES)) == FILES


def test_our_own_layer_can_be_begun_in_its_middle(plain: bytes, tmp_path: Path) -> None:
    blob, facts = compressed(plain, tmp_path)
    table, points = ours(facts)
    assert gzip.decompress(blob) == plain and len(points) == len(plain) // STEP
    assert read(io.BytesIO(blob), table, points, list(FILES)) == FILES
    for name in FILES:
        assert read(io.BytesIO(blob), table, points, [name]) == {name: FILES[name]}


def test_no_more_is_read_than_has_to_be(plain: bytes, tmp_path: Path) -> None:
    blob, facts = compressed(plain, tmp_path)
    table, points = ours(facts)
    last = Watched(blob)
    assert read(last, table, points, ["d/13"]) == {"d/13": FILES["d/13"]}
    assert last.taken < 2 * STEP < len(blob)
    bare = Watched(plain)
    read(bare, table, (), ["d/13"])
    assert bare.taken <= 6 + 40


def test_files_of_one_layer_in_any_order(plain: bytes, tmp_path: Path) -> None:
    blob, facts = compressed(plain, tmp_path)
    table, points = ours(facts)
    for seed in range(30):
        names = random.Random(seed).sample(list(FILES), 4)
        assert read(io.BytesIO(blob), table, points, names) == {name: FILES[name] for name in names}


def test_a_reader_may_leave_content_unread(plain: bytes, tmp_path: Path) -> None:
    blob, facts = compressed(plain, tmp_path)
    table, points = ours(facts)
    left = {}
    for number, (entry, blocks) in enumerate(opening.contents(io.BytesIO(blob), points, [e for e in table if e.kind == "file"])):
        left[entry.path] = b"".join(blocks) if number % 2 else next(blocks, b"")
    assert all(FILES[path].startswith(data) for path, data in left.items()) and left["d/13"] == FILES["d/13"]


@pytest.mark.parametrize("what", ["digest", "place", "size", "points"])
def test_a_table_that_lies_is_found_out(what: str, plain: bytes, tmp_path: Path) -> None:
    blob, facts = compressed(plain, tmp_path)
    table, points = ours(facts)
    entry = next(each for each in table if each.path == "d/09")
    lie = {"digest": bytes(32), "place": entry.place + 512, "size": entry.size + 1}
    changed = msgspec.structs.replace(entry, **{what: lie[what]}) if what in lie else entry
    with pytest.raises(CorruptContent):
        read(io.BytesIO(blob), [changed], tuple(point + 1 for point in points) if what == "points" else points, ["d/09"])


def test_a_layer_cut_short(plain: bytes, tmp_path: Path) -> None:
    blob, facts = compressed(plain, tmp_path)
    table, points = ours(facts)
    for short, kept in ((plain[: len(plain) // 2], ()), (blob[: len(blob) // 2], points)):
        with pytest.raises(CorruptContent):
            read(io.BytesIO(short), table, kept, ["d/12"])


def test_sparse_files_are_read_by_walking(tmp_path: Path) -> None:
    head = packing.tar.header(Entry("hole", "file", 0o644, size=4))
    body = bytearray(head[:512])
    body[156:157] = b"S"
    body[386:410] = b"%011o\0%011o\0" % (8192, 4)
    body[483:495] = b"%011o\0" % 8196
    body[148:156] = b" " * 8
    body[148:156] = b"%06o\0 " % sum(body)
    raw = bytes(body) + b"data".ljust(512, b"\0") + packing.tar.END
    (tmp_path / "draft").write_bytes(raw)
    table, points = ours(work.read_index(str(tmp_path / "draft")))
    whole = bytes(8192) + b"data"
    assert table == [Entry("hole", "file", 0o644, size=8196, digest=hashlib.sha256(whole).digest())]
    assert read(io.BytesIO(raw), table, points, ["hole"]) == {"hole": whole}


def test_tables_of_before_are_refused_and_so_made_again() -> None:
    with pytest.raises(CorruptContent):
        index.decode(b'["bin","dir",493,0,0,0,0,"",[0,0],{}]\n')
    with pytest.raises(CorruptContent):
        index.decode(b"")
    assert index.decode(index.encode([])) == ()


@pytest.mark.parametrize("kind", ["bzip2", "xz"])
def test_an_archive_that_others_compressed(kind: str, plain: bytes) -> None:
    squeeze = {"bzip2": bz2.compress, "xz": lzma.compress}[kind]
    half = len(plain) // 2
    whole, both = squeeze(plain), squeeze(plain[:half]) + squeeze(plain[half:])
    for data in (whole, both):
        opened = opening.open_layer(io.BytesIO(data))
        assert b"".join(iter(lambda: opened.read(1000), b"")) == plain
    for broken in (whole[:-20], whole[:40] + b"\0" * 60):
        with pytest.raises(CorruptContent, match="cannot be decompressed"):
            opened = opening.open_layer(io.BytesIO(broken))
            while opened.read(1 << 16):
                pass
