from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import pytest

from dockerlab.build import digests
from dockerlab.build.cache import Cache
from dockerlab.build.digests import Digests


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that are read."""
    found: list[str] = []
    real = digests.digest_of

    def noted(place: str) -> str:
        found.append(os.path.basename(place))
        return real(place)

    monkeypatch.setattr(digests, "digest_of", noted)
    return found


def looked(cache: Cache, folder: Path, *names: str) -> list[str]:
    known = Digests(cache, str(folder))
    found = [known.of(str(folder / name)) for name in names]
    known.keep()
    return found


def test_what_has_not_changed_is_not_read_again(tmp_path: Path, read: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "context"
    folder.mkdir()
    odd = os.fsdecode(b"\xff odd")
    for name in ("a", "b", odd):
        (folder / name).write_text(name if name != odd else "x")
    later = time.time_ns() + 10**10
    monkeypatch.setattr(time, "time_ns", lambda: later)
    with Cache(tmp_path / "cache.db") as cache:
        first = looked(cache, folder, "a", "b", odd)
        assert first[0] == hashlib.sha256(b"a").hexdigest() and read == ["a", "b", odd]
        assert looked(cache, folder, "a", odd) == [first[0], first[2]] and len(read) == 3
        status = (folder / "a").stat()
        (folder / "a").write_text("A")
        os.utime(folder / "a", ns=(status.st_atime_ns, status.st_mtime_ns))
        assert looked(cache, folder, "a", "b") == [hashlib.sha256(b"A").hexdigest(), first[1]] and read[3:] == ["a"], "no program sets back when a file changed last"


def test_what_was_written_a_moment_ago_is_read_again(tmp_path: Path, read: list[str]) -> None:
    (tmp_path / "a").write_text("a")
    with Cache(tmp_path / "cache.db") as cache:
        looked(cache, tmp_path, "a")
        looked(cache, tmp_path, "a")
        assert read == ["a", "a"]
        cache.remember(f"digests\0{tmp_path}", "[1]")
        looked(cache, tmp_path, "a")
