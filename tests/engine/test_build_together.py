"""Builds beside each other, and builds that give the same bytes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from dockerlab.engine import Engine
from dockerlab.errors import InUse
from dockerlab.events import CacheHit, ImageBuilt, StepRunning
from tests.conftest import strongest
from tests.engine.test_builds import build


def test_two_builds_of_one_file_share_the_work(make_engine: Callable[[str], Engine], tmp_path: Path) -> None:
    engine = make_engine(strongest())
    engine.images.resolve("busybox")
    text = "FROM busybox\nRUN sleep 1; echo 1 > /one\nRUN echo 2 > /two\n"
    done: list[tuple[str, list[object]]] = []

    def act() -> None:
        done.append(build(Engine(engine.home, without=engine._without), text, tmp_path))  # type: ignore[arg-type]

    threads = [threading.Thread(target=act) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({image for image, _ in done}) == 1
    events = [event for _, each in done for event in each]
    assert len([e for e in events if isinstance(e, StepRunning)]) == 2 and len([e for e in events if isinstance(e, CacheHit)]) == 4


def test_reproducible(make_engine: Callable[[str], Engine], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    engine = make_engine(strongest())
    (tmp_path / "f").write_text("f")
    text = "FROM busybox\nCOPY f /f\nRUN echo 1 > /one\n"
    one, _ = build(engine, text, tmp_path, reproducible=True)
    two, _ = build(engine, text, tmp_path, reproducible=True, no_cache=True)
    assert one == two and engine.images.get(one).config.created.startswith("1970-01-01T00:00:00")
    assert build(engine, text, tmp_path, no_cache=True)[0] != one


def test_a_build_keeps_its_stages_while_others_prune(make_engine: Callable[[str], Engine], tmp_path: Path) -> None:
    engine = make_engine(strongest())
    engine.images.resolve("busybox")
    other = Engine(engine.home, without=engine._without)
    text = "FROM busybox AS one\nRUN sleep 0.3; echo 1 > /one\nFROM busybox AS two\nRUN sleep 0.3; echo 2 > /two\nFROM scratch\nCOPY --from=one /one /\nCOPY --from=two /two /\nENV A=1\n"
    ended, pruned = threading.Event(), 0

    def prune() -> None:
        nonlocal pruned
        while not ended.is_set():
            other.system.prune_containers()
            other.system.prune_images(every=True)
            pruned += 1

    def told(event: object) -> None:
        if isinstance(event, ImageBuilt):
            ended.set()
            pruner.join()

    pruner = threading.Thread(target=prune)
    pruner.start()
    try:
        image = engine.builds.build(text, tmp_path, tags=("x",), emit=told).id
    finally:
        ended.set()
    assert pruned > 10 and engine.images.get("x").id == image
    assert engine.builds.build(text, tmp_path).id == image
    other.system.prune_images(every=True)
    assert other.images.list(intermediate=True) == [] and list((engine.home / "holds").iterdir()) == []


@pytest.mark.parametrize("force", [True, False])
def test_what_a_build_holds_cannot_be_removed(make_engine: Callable[[str], Engine], force: bool) -> None:
    engine = make_engine(strongest())
    image = engine.images.resolve("busybox").id
    with engine.holds.begin() as hold:
        hold.add(image)
        with pytest.raises(InUse, match="image is being used by a build"):
            list(engine.images.remove(image, force=force))
        assert list(engine.images.remove("busybox", force=force)) == [("Untagged", "busybox:latest")]
    assert list(engine.images.remove(image))[0] == ("Deleted", image)


@pytest.mark.parametrize("what", ["config", "manifest"])
def test_a_step_that_a_power_cut_took_is_done_again(make_engine: Callable[[str], Engine], tmp_path: Path, what: str) -> None:
    engine = make_engine(strongest())
    text = "FROM busybox\nENV A=1\nENV B=2\n"
    image, _ = build(engine, text, tmp_path)
    step = engine.images.get(image).record.parent
    lost = engine.content.path(step if what == "config" else engine.images.get(step).record.manifest.digest)  # type: ignore[arg-type]
    lost.chmod(0o600)
    lost.write_bytes(b"")
    _, events = build(Engine(engine.home, without=engine._without), text, tmp_path, tags=("mended",))
    assert len([e for e in events if isinstance(e, CacheHit)]) <= 1 and engine.images.get("mended").config.config.env[-2:] == ("A=1", "B=2")
