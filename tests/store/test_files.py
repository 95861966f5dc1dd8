"""Files that are there whole or not at all; a full and a read-only disk in words."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

import pytest

from dockerlab.errors import StoreError
from dockerlab.store.files import explain, locked, publish, scratch_name


def test_readers_see_old_or_new(tmp_path: Path) -> None:
    place = tmp_path / "f"
    publish(place, b"old" * 100_000)
    child = os.fork()
    if child == 0:
        for number in range(200):
            publish(place, (b"old", b"new")[number % 2] * 100_000, sync=number % 50 == 0)
        os._exit(0)
    seen = set()
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        seen.add(place.read_bytes())
    assert seen <= {b"old" * 100_000, b"new" * 100_000}
    assert os.listdir(tmp_path) == ["f"]


def test_a_failed_write_leaves_the_old_file_and_no_draft(tmp_path: Path) -> None:
    publish(tmp_path / "f", b"old")
    with pytest.raises(TypeError):
        publish(tmp_path / "f", "text")  # type: ignore[arg-type]
    assert os.listdir(tmp_path) == ["f"] and (tmp_path / "f").read_bytes() == b"old"


@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.ENOSPC, "no space left"), (errno.EDQUOT, "quota"), (errno.EROFS, "read-only"), (errno.EACCES, "permission denied")],
)
def test_what_people_can_act_on_is_said_in_words(number: int, words: str) -> None:
    with pytest.raises(StoreError, match=words) as caught, explain(Path("/x")):
        raise OSError(number, os.strerror(number))
    assert caught.value.hint


def test_other_errors_stay_what_they_are() -> None:
    with pytest.raises(FileNotFoundError), explain(Path("/x")):
        raise FileNotFoundError(errno.ENOENT, "no")


def test_a_lock_is_one_holder_s_and_dies_with_it(tmp_path: Path) -> None:
    place = tmp_path / "lock"
    child = os.fork()
    if child == 0:
        with locked(place):
            (tmp_path / "held").touch()
            time.sleep(60)
    while not (tmp_path / "held").exists():
        time.sleep(0.01)
    with locked(place, wait=False) as got:
        assert got is False
    os.kill(child, 9)
    os.waitpid(child, 0)
    with locked(place, wait=False) as got:
        assert got is True
    with locked(place, shared=True), locked(place, shared=True, wait=False) as second:
        assert second is True


def test_scratch_names_differ() -> None:
    assert len({scratch_name() for _ in range(1000)}) == 1000
