"""What nobody needs: containers, images and volumes, by label and time."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from dockerlab.engine import Engine, RunOptions
from dockerlab.engine.system import Wanted


def labelled(key: str) -> Wanted:
    def wanted(labels: Mapping[str, str], created: str) -> bool:
        return key in labels and created > "2020"

    return wanted


def test_containers_by_label(engine: Engine) -> None:
    one, other = (engine.containers.create("busybox", ["true"], RunOptions(label={key: ""})) for key in "ab")
    runs = engine.containers.create("busybox", ["sleep", "60"], RunOptions(label={"a": ""}))
    runs.start(detach=True).close()
    assert engine.system.prune_containers(labelled("a"))[0] == [one.id]
    assert engine.system.prune_containers()[0] == [other.id]
    assert [c.id for c in engine.containers.list(all=True)] == [runs.id]


def test_volumes_that_nobody_has_named(engine: Engine) -> None:
    container = engine.containers.create("busybox", ["true"], RunOptions(volume=("/anon", "named:/n")))
    engine.volumes.create()
    engine.volumes.create("other", labels={"a": "b"})
    assert len(engine.system.prune_volumes()[0]) == 1  # the container keeps its own, running or not
    container.remove()
    gone, _ = engine.system.prune_volumes()
    assert len(gone) == 1 and [volume.name for volume in engine.volumes.list()] == ["named", "other"]
    assert engine.system.prune_volumes(labelled("a"), every=True)[0] == ["other"]
    (engine.volumes.get("named").mountpoint / "f").write_bytes(bytes(5000))
    assert engine.system.prune_volumes(every=True)[0] == ["named"] and not engine.volumes.list()


def test_images_that_no_container_uses(engine: Engine) -> None:
    source = engine.images.resolve("busybox")
    made = engine.images.create(source, [], msgspec.structs.replace(source.config.config, labels={"a": "b"}), source.config.history[-1])
    engine.images.tag(made.id, "one")
    engine.images.tag(made.id, "two")
    container = engine.containers.create("one", ["true"])
    assert engine.system.prune_images(every=True, wanted=labelled("a"))[0] == []
    container.remove()
    assert engine.system.prune_images()[0] == []
    lines, _ = engine.system.prune_images(labelled("a"), every=True)
    assert lines[:2] == ["untagged: one:latest", "untagged: two:latest"] and lines[2] == f"deleted: {made.id}"
    assert [image.id for image in engine.images.list()] == [source.id] and engine.system.check() == []
