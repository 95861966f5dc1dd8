"""The cache of builds by age and by size."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from dockerlab.engine import Engine
from tests.conftest import strongest


def test_steps_by_age_and_by_size(make_engine: Callable[[str], Engine], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = make_engine(strongest())
    for number in range(3):
        (tmp_path / "f").write_bytes(os.urandom(100_000))
        monkeypatch.setenv("SOURCE_DATE_EPOCH", str(1_000_000_000 + number))
        engine.builds.build("FROM busybox\nCOPY f /f\nENV A=1\n", tmp_path)
    (tmp_path / "f").write_bytes(os.urandom(50_000))
    engine.builds.build("FROM busybox\nCOPY f /f\n", tmp_path, tags=("kept",))
    assert engine.builds.prune(lambda _: True) == 0 and len(engine.images.list()) == 5, "only where it is asked for"
    assert engine.builds.prune(lambda made: made < 1_000_000_000, steps=True) == 0
    assert engine.builds.prune(lambda _: True, keep=250_000, steps=True) == 100_000
    assert sorted(image.config.created[17:19] for image in engine.images.list() if not image.tags) == ["41", "42"], "the oldest is gone"
    assert engine.builds.prune(lambda made: made < 1_000_000_002, steps=True) == 100_000
    assert engine.builds.prune(lambda _: True, steps=True) == 100_000
    assert sorted(name for image in engine.images.list(intermediate=True) for name in image.tags) == ["busybox:latest", "kept:latest"]
    assert len(engine.images.list(intermediate=True)) == 2 and engine.system.check() == []


def test_what_no_step_has_made_stays(make_engine: Callable[[str], Engine], tmp_path: Path) -> None:
    engine = make_engine(strongest())
    container = engine.containers.create("busybox", ["true"])
    committed = container.commit()
    container.remove()
    pulled = engine.builds.build("FROM busybox\nENV A=1\n", tmp_path)
    engine.places.note(f"localhost:1/x@sha256:{'0' * 64}", [f"image {pulled.id}"])
    rubbish = engine.builds.build("FROM busybox\nENV B=1\n", tmp_path)
    assert engine.builds.prune(lambda _: True, steps=True) == 0
    assert {image.id for image in engine.images.list() if not image.tags} == {committed.id, pulled.id} != {rubbish.id}
