"""How a layer's stream is written: gzip for everybody, with places to begin, and what hardly shrinks as it is."""

from __future__ import annotations

import gzip
import hashlib
import io
import random
import subprocess
import zlib
from pathlib import Path

import pytest

from dockerlab.errors import CorruptContent
from dockerlab.layers.index import STEP, points
from dockerlab.layers.packing import Archive
from dockerlab.store import opening, work

NOISE = random.Random(6).randbytes(3 * STEP)
SHAPES = {
    "empty": b"",
    "one byte": b"x",
    "text": b"all work and no play\n" * 40_000,
    "noise": NOISE[: STEP + 12_345],
    "text, noise, text": b"a" * (STEP - 1) + NOISE + b"b" * (STEP + 1),
    "a whole piece": NOISE[:STEP],
    "just more than 65535": NOISE[:65_536],
    "large": (NOISE + b"c" * STEP) * 5,
}


@pytest.fixture(params=["isal", "zlib"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "zlib":
        monkeypatch.setattr(work, "deflating", lambda: zlib)
        monkeypatch.setattr(opening, "deflating", lambda: zlib)


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("size", [777, 1 << 20, 1 << 30])
def test_a_stream_is_gzip_with_places_to_begin(shape: str, size: int, tmp_path: Path) -> None:
    plain, draft = SHAPES[shape], tmp_path / "draft"
    target = work.Compressor(str(draft))
    for start in range(0, len(plain), size):
        target.write(plain[start : start + size])
    facts = target.close([])
    blob = draft.read_bytes()
    assert gzip.decompress(blob) == plain
    assert subprocess.run(["gzip", "-dc", draft], capture_output=True, check=True).stdout == plain
    assert (facts["size"], facts["digest"]) == (len(blob), f"sha256:{hashlib.sha256(blob).hexdigest()}")
    assert facts["diff_id"] == f"sha256:{hashlib.sha256(plain).hexdigest()}"
    places = points(facts["index"].encode().splitlines(keepends=True)[0])
    assert len(places) == len(plain) // STEP
    for number, place in enumerate(places, 1):
        assert zlib.decompressobj(-15).decompress(blob[place:]) == plain[number * STEP :]
    assert len(blob) < len(plain) + 100 + len(plain) // 5000


def test_noise_is_stored_and_text_is_not(tmp_path: Path) -> None:
    target = work.Compressor(str(tmp_path / "draft"))
    target.write(b"a" * STEP + NOISE[:STEP])
    target.close([])
    blob = (tmp_path / "draft").read_bytes()
    assert NOISE[:60_000] in blob and b"a" * 1000 not in blob


@pytest.mark.parametrize("damage", ["cut", "changed", "longer"])
def test_a_large_layer_that_is_damaged_ends_its_reader_and_its_thread(damage: str, tmp_path: Path) -> None:
    plain = io.BytesIO()
    archive = Archive(plain.write)
    for number in range(20):
        archive.add(work.Entry(f"f{number}", "file", size=len(NOISE)), [NOISE])
    archive.end()
    target = work.Compressor(str(tmp_path / "draft"))
    target.write(plain.getvalue())
    target.close([])
    blob = bytearray((tmp_path / "draft").read_bytes())
    if damage == "cut":
        del blob[len(blob) // 2 :]
    elif damage == "changed":
        blob[len(blob) // 2] ^= 1
    else:
        blob += b"what is this"
    (tmp_path / "draft").write_bytes(blob)
    with pytest.raises(CorruptContent):
        work.read_index(str(tmp_path / "draft"))


def test_a_reader_that_gives_up_early_leaves_no_thread_behind(tmp_path: Path) -> None:
    class Endless:
        def read(self, size: int, /) -> bytes:
            return bytes(size)

    stream = work._Hashing(Endless())
    for size in [512] * 10_000 + [1 << 20] * 20:
        assert len(stream.read(size)) == size
    stream.close()
    assert stream._lane is not None and not any(thread.is_alive() for thread in stream._lane._threads)
