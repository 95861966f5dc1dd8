"""COPY --from, in every tier."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from dockerlab.build.context import Picked
from dockerlab.engine import Engine
from dockerlab.engine.imagefiles import ImageFiles
from dockerlab.errors import BuildFailed
from dockerlab.events import CacheHit, Event

pytestmark = pytest.mark.files

STAGE = "FROM busybox AS one\nRUN mkdir /d; echo 1 > /d/f; chown 7:8 /d/f; chmod 640 /d/f; ln -s f /d/l; ln -s /d /dl; ln -s /etc/group /d/out; ln /d/f /d/h; rm /etc/passwd\n"


@pytest.fixture
def stage(engine: Engine, tmp_path: Path) -> Engine:
    """An engine with the image `one`."""
    engine.builds.build(STAGE, tmp_path, tags=("one",))
    return engine


def picked(engine: Engine, word: str) -> tuple[Picked, str]:
    """Gives what a word names in the image, and the content of it if it is a file."""
    with tempfile.TemporaryDirectory() as scratch:
        (found,) = ImageFiles(engine.images.layers, engine.images.get("one").record, Path(scratch)).pick(word)
        entry, place = found.itself
        assert not list(Path(scratch).iterdir())  # what is known by its digest is not read
        found.bring()
        return found, Path(place).read_text() if entry.kind == "file" else ""


def test_files_keep_owner_mode_and_content(stage: Engine) -> None:
    for word in ("/d/f", "d/l", "dl/f", "/dl/h"):
        found, content = picked(stage, word)
        entry = found.itself[0]
        assert (entry.kind, entry.mode, content) == ("file", 0o640, "1\n")
        if stage.capabilities.owners:
            assert (entry.uid, entry.gid) == (7, 8)


def test_links_stay_links_inside_a_folder_and_are_followed_in_the_image_only(stage: Engine) -> None:
    found, _ = picked(stage, "/dl")
    assert [(entry.path, entry.kind, entry.link) for entry, _ in found.inside] == [("f", "file", ""), ("h", "link", "f"), ("l", "symlink", "f"), ("out", "symlink", "/etc/group")]
    _, content = picked(stage, "/d/out")
    assert content.startswith("root:x:0:\n") and len(content) < 200


def test_what_a_layer_above_deleted_is_not_there(stage: Engine) -> None:
    with pytest.raises(BuildFailed, match="COPY failed: stat etc/passwd: file does not exist"):
        picked(stage, "/etc/passwd")


def test_the_key_depends_on_what_is_copied(make_engine: Callable[[str], Engine], tmp_path: Path) -> None:
    engine = make_engine("single")
    text = "FROM busybox AS one\nRUN echo {other} > /other; echo {said} > /f\nFROM busybox\nCOPY --from=one /f /g\n"

    def hits(**words: str) -> int:
        events: list[Event] = []
        engine.builds.build(text.format(**words), tmp_path, emit=events.append)
        return sum(isinstance(event, CacheHit) for event in events)

    assert hits(other="1", said="a") == 0
    assert hits(other="2", said="a") == 1
    assert hits(other="3", said="b") == 0


def test_nothing_is_left_behind(stage: Engine, tmp_path: Path) -> None:
    image = stage.builds.build(f"{STAGE}FROM scratch\nCOPY --from=one /d /e\nCOPY --from=0 --chown=3:4 --chmod=600 /d/f /g\n", tmp_path)
    entries = {path: seen.entry for path, seen in stage.images.layers.union(image.record).walk()}
    assert sorted(entries) == ["e", "e/f", "e/h", "e/l", "e/out", "g"] and entries["e/h"].link == "e/f"
    assert (entries["g"].uid, entries["g"].gid, entries["g"].mode) == (3, 4, 0o600)
    assert list(stage.content.ingest.iterdir()) == []


def test_of_two_files_with_one_name_the_later_stays(make_engine: Callable[[str], Engine], tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x").write_text(name * (1 + (name == "b")))
    engine = make_engine("single")
    image = engine.builds.build("FROM scratch\nCOPY a/x b/x /d/\n", tmp_path)
    assert [(path, seen.entry.size) for path, seen in engine.images.layers.union(image.record).walk()] == [("d", 0), ("d/x", 2)]


def test_owners_may_be_names_that_the_image_knows(stage: Engine, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("f")
    image = stage.builds.build("FROM busybox\nCOPY --chown=daemon f /a\nCOPY --chown=5:daemon f /b\nCOPY --chown=9 f /c\n", tmp_path)
    union = stage.images.layers.union(image.record)
    owners = [(seen.entry.uid, seen.entry.gid) for path in "abc" if (seen := union.get(path))]
    assert owners == [(1, 1), (5, 1), (9, 9)]
    for text in ("FROM busybox\nCOPY --chown=nosuch f /\n", "FROM scratch\nCOPY --chown=0:root f /\n"):
        with pytest.raises(BuildFailed, match="unable to convert uid/gid chown string to host mapping"):
            stage.builds.build(text, tmp_path)
