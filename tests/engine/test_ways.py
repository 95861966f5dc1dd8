"""What each way would send of an image."""

from __future__ import annotations

import pytest

from dockerlab.engine import Engine
from dockerlab.engine.ways import Ways, measured
from dockerlab.errors import InvalidArgument


def test_it_is_measured_and_nothing_stays(engine: Engine) -> None:
    image = engine.images.resolve("busybox")
    before = sorted(path.name for path in engine.home.iterdir())
    found = measured(engine, image)
    manifest = image.manifest
    whole = manifest.config.size + sum(layer.size for layer in manifest.layers)
    raw = len(engine.content.read(image.record.manifest.digest))
    assert (found["registry"].first, found["registry"].again) == (whole + raw, raw)
    assert found["file"].first > whole and found["file"].again == found["file"].first
    assert found["source"].first < 200
    assert sorted(path.name for path in engine.home.iterdir()) == before


def test_weights() -> None:
    assert Ways("x", {}, access=5, cost=0).best.startswith("infrastructure")
    assert [row["bytes"] for row in Ways("x", {}).plain] == [None] * 6
    for wrong in ({"price": 1}, {"cost": 6}, {"cost": -1}):
        with pytest.raises(InvalidArgument):
            Ways("x", {}, **wrong)

