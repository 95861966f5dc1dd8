"""Events on disk: by several writers, through a change of files, cut short."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from dockerlab.store import journal
from dockerlab.store.journal import Journal


def actions(home: Path) -> list[str]:
    return [event.action for event in Journal(home).read()]


def test_events_come_in_order_and_whole(tmp_path: Path) -> None:
    notes = Journal(tmp_path)
    notes.note("container", "create", "1", {"name": "a\nb", "x": "\u202e"})
    notes.note("volume", "create", "data", {})
    first, second = notes.read()
    assert (first.type, first.action, first.id, first.attributes) == ("container", "create", "1", {"name": "a\nb", "x": "\u202e"})
    assert second.time >= first.time > 1e18
    with open(tmp_path / "events", "ab") as file:
        file.write(b'{"time": 5, "ty\nnonsense\n')
    notes.note("image", "tag", "2", {})
    with open(tmp_path / "events", "ab") as file:
        file.write(b'{"time": 5, "ty')
    assert actions(tmp_path) == ["create", "create", "tag"]


def test_writers_do_not_mix(tmp_path: Path) -> None:
    def write(number: int) -> None:
        for count in range(200):
            Journal(tmp_path).note("container", f"{number}-{count}", "x" * 64, {"name": "y" * 200})

    writers = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in writers:
        thread.start()
    for thread in writers:
        thread.join()
    found = actions(tmp_path)
    assert len(found) == 800
    assert all([name for name in found if name.startswith(f"{n}-")] == [f"{n}-{count}" for count in range(200)] for n in range(4))


def test_old_events_go_and_who_follows_misses_none(tmp_path: Path) -> None:
    notes, left = Journal(tmp_path), list(range(60))
    journal._MOST, before = 2000, journal._MOST
    try:

        def more() -> bool:
            for _ in range(3):
                if left:
                    notes.note("container", str(left.pop(0)), "x" * 64, {})
            return bool(left)

        assert [int(event.action) for event in notes.read(more)] == list(range(60))
    finally:
        journal._MOST = before
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) < 5000 and len(actions(tmp_path)) < 60


def test_a_store_that_cannot_be_written_is_no_failure(tmp_path: Path) -> None:
    Journal(tmp_path / "nowhere").note("container", "create", "1", {})
    assert actions(tmp_path / "nowhere") == []
    os.symlink("/dev/full", tmp_path / "events")
    Journal(tmp_path).note("container", "create", "1", {})
