from __future__ import annotations

import contextlib
import multiprocessing
import os
import sqlite3
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from dockerlab.build import confided
from dockerlab.build.cache import Cache, key_of
from dockerlab.build.steps import RunMount
from dockerlab.errors import StoreError


def test_a_step_is_found_again_by_the_next_build(tmp_path: Path) -> None:
    key = key_of("sha256:1", "RUN true", ())
    with Cache(tmp_path / "cache.db") as cache:
        assert cache.get(key) == ""
        cache.put(key, "sha256:2")
    with Cache(tmp_path / "cache.db") as cache:
        assert cache.get(key) == "sha256:2"
        cache.remember("here", "[1]")
        assert cache.recall("here") == "[1]" and cache.recall("there") == ""


def test_a_key_depends_on_parent_line_and_inputs() -> None:
    keys = {key_of("a", "b", ("c",)), key_of("a", "b", ()), key_of("a", "bc", ()), key_of("ab", "c", ())}
    assert len(keys) == 4


@pytest.mark.parametrize("damage", [b"this is no database" * 100, b"SQLite format 3\0" + bytes(200), b"\xff" * 8192])
def test_a_damaged_cache_is_an_empty_one(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "cache.db").write_bytes(damage)
    with Cache(tmp_path / "cache.db") as cache:
        cache.put("k", "image")
        assert cache.get("k") == "image"


def test_damage_that_is_seen_only_when_a_page_is_read(tmp_path: Path) -> None:
    path = tmp_path / "cache.db"
    with Cache(path) as cache:
        for number in range(2000):
            cache.put(str(number), "image" * 10)
        cache.remember("here", "[1]")
    data = bytearray(path.read_bytes())
    data[3 * 4096 :] = b"\xa5" * (len(data) - 3 * 4096)  # as a power cut may leave it: its head says that all is well
    path.write_bytes(data)
    with Cache(path) as cache:
        assert {cache.get(str(number)) for number in range(2000)} <= {"", "image" * 10}
        assert cache.recall("here") in ("", "[1]")
        cache.put("k", "image")
        assert cache.get("k") == "image"


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="unable to open database file"), Cache(tmp_path / "none" / "cache.db"):
        pass


def test_lines_of_an_older_cache_are_forgotten_and_its_images_kept(tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "cache.db")) as older, older:
        older.execute("create table steps (key text primary key, image text, parent text, line text, made real default (julianday('now')))")
        older.execute("insert into steps (key, image, parent, line) values ('k', 'one', 'p', 'RUN TOKEN=secret')")
    for _ in range(2):
        with Cache(tmp_path / "cache.db") as cache:
            assert cache.get("k") == "one"
            cache.put("l", "two")
            assert cache.get("l") == "two"
    with contextlib.closing(sqlite3.connect(tmp_path / "cache.db")) as now:
        assert now.execute("select parent, line from steps where key = 'k'").fetchall() == [(None, None)]


def test_marks_of_secrets_are_kept_by_step_and_give_nothing_away(tmp_path: Path) -> None:
    mounts = [RunMount("secret", "/run/secrets/token", ident="token", data=b"do-not-keep-me"), RunMount("cache", "/cache", ident="cache")]
    with Cache(tmp_path / "cache.db") as cache, Cache(tmp_path / "other.db") as other:
        first = confided.marks(cache, mounts)
        assert list(first) == ["token"] and len(first["token"]) == 4
        assert first == confided.marks(cache, mounts)
        assert len(cache.salt()) == 16 and cache.salt() != other.salt()
        cache.confide("step", first)
        assert cache.confided("step") == first and cache.confided("another") == {}
        assert confided.changed(cache, "step", mounts) == [] == confided.changed(cache, "another", mounts)
        assert confided.changed(cache, "step", [RunMount("secret", "/t", ident="token", data=b"another")]) == ["token"]
    assert b"do-not-keep-me" not in (tmp_path / "cache.db").read_bytes()


def _opened(where: tuple[Path, float]) -> str:
    while time.time() < where[1]:  # all at one moment
        pass
    with Cache(where[0]) as cache:
        cache.put(str(os.getpid()), "image")
        return cache.get(str(os.getpid()))


def test_many_make_it_at_once(tmp_path: Path) -> None:
    with ProcessPoolExecutor(8, mp_context=multiprocessing.get_context("fork")) as pool:
        for number in range(40):
            assert list(pool.map(_opened, [(tmp_path / f"{number}.db", time.time() + 0.02)] * 8)) == ["image"] * 8
