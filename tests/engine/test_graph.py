from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from dockerlab.engine import Engine
from dockerlab.engine.graph import flat, graph
from tests.conftest import strongest
from tests.engine.test_builds import build


def test_images_share_layers_and_deleting_adds(make_engine: Callable[[str], Engine], tmp_path: Path) -> None:
    engine = make_engine(strongest())
    build(engine, "FROM busybox\nRUN dd if=/dev/zero of=/big bs=1000 count=3\n", tmp_path, tags=("big",))
    build(engine, "FROM big\nRUN rm /big\nENV A=1\n", tmp_path, tags=("big:removed", "again"))
    build(engine, "FROM scratch\nLABEL a=b\n", tmp_path, tags=("empty",))
    found = graph(engine)
    base = engine.images.get("busybox").size
    facts = found.facts()
    assert found.stored == base + 3000 and found.sum == 3 * base + 6000
    assert [(layer["layer"], [image["names"] for image in layer["images"]]) for layer in facts["layers"]][-1] == ("no layer", [["empty:latest"]])
    big = facts["layers"][0]["layers"][0]
    assert big["bytes"] == 3000 and big["images"][0]["names"] == ["big:latest"] and big["created_by"].startswith("/bin/sh -c dd")
    assert big["layers"][0]["bytes"] == 0 and big["layers"][0]["images"] == [{"names": ["again:latest", "big:removed"], "id": engine.images.get("again").short_id, "bytes": base + 3000}]
    assert graph(engine, ["big"]).sum == base + 3000
    assert len(graph(engine, intermediate=True).forest[0].children[0].children[0].images) == 2, "an image of a step as well"
    gone = flat(engine, "again")
    assert (gone.layers, gone.bytes, gone.flat, gone.shared, gone.extra) == (3, base + 3000, base, base + 3000, base) and set(gone.settings) == {"CMD", "ENV", "LABEL"}
    assert gone.others == ("big:latest", "busybox:latest") and "3kB of hidden files gone" in str(gone) and "the store would grow by" in str(gone)
    assert "<table" in gone._repr_mimebundle_()["text/html"] and "<img" in found.picture()._repr_mimebundle_()["text/html"]
