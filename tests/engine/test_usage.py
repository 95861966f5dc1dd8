"""What is on disk: what images share, what containers and volumes take."""

from __future__ import annotations

from pathlib import Path

import pytest

from dockerlab.commands.call import Surface
from dockerlab.commands.columns import human_size3
from dockerlab.commands.run import perform
from dockerlab.engine import Engine, RunOptions


@pytest.fixture
def filled(engine: Engine, tmp_path: Path) -> Engine:
    """Two images on one, a container that wrote 6 bytes, a volume of 4 and one of nobody's."""
    for number in (1, 2):
        made = engine.containers.run("busybox", ["sh", "-c", f"head -c {number}000 /dev/zero > /own"])
        made.commit(f"own:{number}")
        made.remove()
    engine.containers.run("own:1", ["sh", "-c", "echo hello > /x; echo 123 > /v/f"], RunOptions(name="writer", volume=("named:/v", f"{tmp_path}:/bound:ro")))
    engine.volumes.create("alone")
    return engine


def test_what_images_share(filled: Engine) -> None:
    found = {share.image.record.names[0].rpartition("/")[2]: share for share in filled.system.shares()}
    base = found["busybox:latest"]
    assert (base.own, base.containers) == (0, 0) and base.shared == base.image.size > 1_000_000
    assert [(found[name].own, found[name].shared, found[name].containers) for name in ("own:1", "own:2")] == [(1000, base.shared, 1), (2000, base.shared, 0)]
    images, containers, volumes, _ = filled.system.usage()
    assert (images.total, images.active, images.size, images.reclaimable) == (3, 1, base.shared + 3000, base.shared + 2000)
    written, _ = filled.containers.get("writer").size()  # a tier without layers counts its copy of the image
    assert (containers.size, volumes.size, volumes.active) == (written, 4, 1) and written >= 6


def test_the_lists_of_df(filled: Engine, tmp_path: Path) -> None:
    lists = perform(["system", "df", "-v"], lambda: filled, Surface(), folder=tmp_path).value
    lines = [" ".join(line.split()) for line in str(lists).splitlines()]
    assert [line for line in lines if line.endswith("usage:")] == ["Images space usage:", "Containers space usage:", "Local Volumes space usage:"]
    assert {"named 1 4B", "alone 0 0B", "Build cache usage: 0B"} <= set(lines)
    assert any(line.startswith("own 1 ") and line.endswith(" 1kB 1") for line in lines) and any(line.startswith("own 2 ") and line.endswith(" 2kB 0") for line in lines)
    assert any(f" 1 {human_size3(filled.containers.get('writer').size()[0])} " in line for line in lines if line.endswith(" writer"))
    shown = lists._repr_mimebundle_()["text/html"]
    assert shown.count("<table") == 4 and "SHARED SIZE" in shown and "<script" not in shown
