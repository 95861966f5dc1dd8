"""What is remembered of where blobs are."""

from __future__ import annotations

from pathlib import Path

from dockerlab.store.places import Places


def test_newest_first_and_no_more_than_a_few(tmp_path: Path) -> None:
    places = Places(tmp_path)
    assert places.of("sha256:a") == ()
    for number in range(8):
        places.note(f"r/{number}", ["sha256:a"])
    places.note("r/5", ["sha256:a", "sha256:b"])
    assert places.of("sha256:a") == ("r/5", "r/7", "r/6", "r/4", "r/3")
    places.forget("r/7", "sha256:a")
    assert Places(tmp_path).of("sha256:a") == ("r/5", "r/6", "r/4", "r/3")


def test_what_is_known_is_not_written_again(tmp_path: Path) -> None:
    places, path = Places(tmp_path), tmp_path / "places.json"
    places.note("r", ["a", "b"])
    before = path.stat().st_ino
    places.note("r", ["b", "a"])
    assert path.stat().st_ino == before
    places.forget("r", "a")
    places.note("r", ["a", "b"])
    assert places.of("a") == ("r",)


def test_names_by_digest(tmp_path: Path) -> None:
    places = Places(tmp_path)
    places.note(f"localhost:5000/a@sha256:{'0' * 64}", ["image x"])
    places.note("no name at all@sha512:1", ["image x"])
    assert [each.familiar for each in places.digests("x")] == [f"localhost:5000/a@sha256:{'0' * 64}"]


def test_a_damaged_memory_is_no_memory(tmp_path: Path) -> None:
    for text in ("", "[]", "{", '{"a": 5}'):
        (tmp_path / "places.json").write_text(text)
        assert Places(tmp_path).of("a") == ()
        Places(tmp_path).note("r", ["b"])
        assert Places(tmp_path).of("b") == ("r",)
