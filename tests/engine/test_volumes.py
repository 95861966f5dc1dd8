"""Volumes by name: made, listed, kept while somebody mounts them."""

from __future__ import annotations

from pathlib import Path

import pytest

from dockerlab.engine import Engine, RunOptions
from dockerlab.errors import InUse, InvalidRequest, NotFound
from tests.conftest import until

pytestmark = pytest.mark.files


def test_a_volume_outlives_its_containers_and_is_kept_for_them(engine: Engine) -> None:
    made = engine.volumes.create("data", labels={"course": "yes"})
    engine.containers.run("busybox", ["sh", "-c", "echo kept > /d/f"], RunOptions(name="one", volume=("data:/d",)))
    assert (made.mountpoint / "f").read_text() == "kept\n"
    with pytest.raises(InUse, match=f"remove data: volume is in use - \\[{engine.containers.get('one').id}\\]"):
        made.remove()
    engine.containers.get("one").remove()
    assert engine.volumes.create("data").labels == {"course": "yes"}, "one that is there stays as it is"
    made.remove()
    with pytest.raises(NotFound, match="get data: no such volume"):
        engine.volumes.get("data")


def test_volumes_are_listed_by_name(engine: Engine) -> None:
    engine.containers.create("busybox", ["true"], RunOptions(volume=("by-mount:/x",)))
    unnamed = engine.volumes.create()
    engine.volumes.create("ab")
    assert [volume.name for volume in engine.volumes.list()] == sorted(["ab", "by-mount", unnamed.name])
    assert engine.volumes.get("by-mount").labels is None and len(unnamed.name) == 64


@pytest.mark.parametrize("name", ["../x", "a/b", ".", "..", "-a", "a", "ü", "a\n"])
def test_names_that_are_none(engine: Engine, name: str) -> None:
    with pytest.raises(InvalidRequest):
        engine.volumes.create(name)
    with pytest.raises(NotFound):
        engine.volumes.get(name)


def test_a_new_volume_is_owned_as_the_folder_of_the_image(engine: Engine, tmp_path: Path) -> None:
    text = "FROM busybox\nRUN mkdir -m 750 /v /w && echo x > /w/x && chown 5:6 /v /w\nVOLUME /v /w\n"
    engine.builds.build(text, tmp_path, tags=("owned",))
    said: list[bytes] = []
    engine.containers.run("owned", ["sh", "-c", "stat -c '%a %u:%g' /v /w"], RunOptions(rm=True, volume=("named:/w",)), stdout=said.append)
    assert b"".join(said) == b"750 5:6\n750 5:6\n"
    said.clear()
    engine.containers.run("owned", ["sh", "-c", "echo y > /v/y && cat /v/y"], RunOptions(rm=True, user="5:6"), stdout=said.append, stderr=said.append)
    assert b"y\n" in b"".join(said) and b"denied" not in b"".join(said)


def test_who_hears_of_the_end_finds_what_was_written(engine: Engine, tmp_path: Path) -> None:
    """Also where volumes are copied: they are back before anybody is told."""
    (tmp_path / "data").mkdir()
    script = "trap 'i=0; while [ $i -lt 300 ]; do echo $i > /data/$i; i=$((i+1)); done; exit 0' TERM; echo ready; while :; do sleep 0.1; done"
    container = engine.containers.create("busybox", ["sh", "-c", script], RunOptions(volume=(f"{tmp_path}/data:/data",)))
    container.start(detach=True).close()
    until(lambda: any(b"ready" in data for _, _, data in container.logs()))
    container.stop()
    assert len(list((tmp_path / "data").iterdir())) == 300
