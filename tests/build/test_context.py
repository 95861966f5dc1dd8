from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from dockerlab.build.context import Context
from dockerlab.build.ignore import IgnoreRules
from dockerlab.errors import BuildFailed


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a" / "deep").mkdir(parents=True)
    (tmp_path / "a" / "x").write_text("A")
    (tmp_path / "a" / "deep" / "y").write_text("Y")
    (tmp_path / "b.txt").write_text("B")
    (tmp_path / "link").symlink_to("a")
    return tmp_path


@pytest.mark.parametrize(
    ("pattern", "names"),
    [("b.txt", ["b.txt"]), ("/b.txt", ["b.txt"]), ("./a/../b.txt", ["b.txt"]), (".", ["."]), ("*", ["a", "b.txt", "link"]), ("a/*", ["a/deep", "a/x"]), ("[ab].t?t", ["b.txt"]), ("no*", [])],
)
def test_what_a_source_word_names(folder: Path, pattern: str, names: list[str]) -> None:
    assert [picked.name for picked in Context(folder).pick(pattern)] == names


def test_a_folder_is_what_is_in_it_and_belongs_to_root(folder: Path) -> None:
    (picked,) = Context(folder).pick("link")
    assert picked.is_dir and [(entry.path, entry.kind, entry.uid, entry.gid) for entry, _ in picked.inside] == [("deep", "dir", 0, 0), ("x", "file", 0, 0), ("deep/y", "file", 0, 0)]


def test_what_is_ignored_or_outside_or_missing(folder: Path) -> None:
    (folder / "out").symlink_to("/etc")
    context = Context(folder, IgnoreRules.from_text("b.txt\n"))
    assert [picked.name for picked in context.pick("b*")] == []
    told = {"b.txt": "excluded by .dockerignore: stat b.txt", "../x": "outside the build context: ../x ()", "out/passwd": "forbidden path", "nosuch": "stat nosuch: file does not exist"}
    for word, said in told.items():
        with pytest.raises(BuildFailed) as caught:
            context.pick(word)
        assert said in caught.value.message


def test_a_socket_is_left_out(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder / "a")  # a socket's address is short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("s")
    assert "s" not in [entry.path for entry, _ in Context(folder).pick("a")[0].inside]


def test_the_digest_sees_content_and_mode_but_not_time(folder: Path) -> None:
    def digest() -> str:
        return Context(folder).pick("a")[0].digest()

    first = digest()
    os.utime(folder / "a" / "x", (1, 1))
    assert digest() == first
    (folder / "a" / "x").write_text("B")
    second = digest()
    (folder / "a" / "x").chmod(0o700)
    assert len({first, second, digest()}) == 3


def test_a_symlink_loop_is_nothing(folder: Path) -> None:
    (folder / "loop").symlink_to("loop")
    with pytest.raises(BuildFailed, match="stat loop: file does not exist") as caught:
        Context(folder).pick("loop")
    assert caught.value.hint == "look at the symlink loop: it leads to nothing"
    assert Context(folder).pick("lo*") == []
    assert "loop" in [entry.path for entry, _ in Context(folder).pick(".")[0].inside]


def test_a_pattern_that_is_none(folder: Path) -> None:
    with pytest.raises(BuildFailed, match="syntax error in pattern"):
        Context(folder).pick("[z-a]*")
