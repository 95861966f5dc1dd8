"""Which engine commands speak to."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from dockerlab.engine import Engine
from dockerlab.engine.current import current, use


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The person's store."""
    use(None)
    monkeypatch.setenv("DOCKERLAB_HOME", str(tmp_path / "home"))
    yield tmp_path / "home"
    use(None)


def test_it_is_one_as_long_as_its_store_is(home: Path) -> None:
    first = current()
    first.image_store.records()
    assert current() is first
    shutil.rmtree(home)
    assert current() is not first
    assert (current().home, current().images.list()) == (home, [])
    second = current()
    shutil.rmtree(home)
    Engine(home)  # somebody else has made it again
    assert current() is not second


def test_its_folder_of_sockets_may_go_too(home: Path) -> None:
    first = current()
    shutil.rmtree(first.settings.runtime)
    assert current() is not first
    assert current().settings.runtime.is_dir()


def test_a_chosen_one_stays(tmp_path: Path) -> None:
    own, chosen = current(), Engine(tmp_path / "lesson")
    use(chosen)
    shutil.rmtree(tmp_path / "lesson")
    assert current() is chosen
    use(None)
    assert current() is not own
