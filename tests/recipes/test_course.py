from __future__ import annotations

from collections.abc import Callable

import pytest

from dockerlab import recipes
from dockerlab.engine import Engine
from dockerlab.errors import NotFound, NotSupportedHere
from tests.conftest import strongest


def said(engine: Engine, image: str, *words: str) -> str:
    out: list[bytes] = []
    engine.containers.run(image, words, stdout=out.append, stderr=out.append)
    return b"".join(out).decode()


def test_packed_has_a_program_and_a_file_that_a_later_layer_hides(make_engine: Callable[[str], Engine]) -> None:
    engine = make_engine(strongest())
    assert said(engine, "dockerinaction/ch7_packed:latest", "./echo", "For", "Export") == "For Export\n"
    image = engine.images.get("dockerinaction/ch7_packed")
    assert len(image.manifest.layers) == len(image.history()) == 3
    union = engine.images.layers.union(image.record)
    seen = union.get("message")
    assert seen is not None and len(union.history("message")) == 2
    assert [i.tags for i in engine.images.list()] == [["dockerinaction/ch7_packed:latest"]]


def test_bound_carries_the_label_of_the_course(make_engine: Callable[[str], Engine]) -> None:
    engine = make_engine(strongest())
    assert engine.images.resolve("dockerinaction/ch9_registry_bound").config.config.labels["dia_excercise"] == "ch9_registry_bound"
    assert said(engine, "dockerinaction/ch9_registry_bound") == "Bound for a registry.\n"


def test_curl_is_the_hosts_own(make_engine: Callable[[str], Engine]) -> None:
    engine = make_engine(strongest())
    try:
        engine.images.resolve("dockerinaction/curl")
    except NotSupportedHere as error:
        assert "this host has no curl" in error.message
        pytest.skip("this host has no curl")
    assert said(engine, "dockerinaction/curl", "--version").startswith("curl ")


@pytest.mark.parametrize("name", ["docker.io/gliderlabs/alpine:latest", "docker.io/library/alpine:3"])
def test_what_cannot_be_had_is_refused_with_what_can(name: str) -> None:
    with pytest.raises(NotFound) as caught:
        recipes.find(name)
    assert "debian" in caught.value.hint


def test_the_same_host_gives_the_same_image(make_engine: Callable[[str], Engine]) -> None:
    engine = make_engine(strongest())
    first = engine.images.resolve("dockerinaction/ch7_packed").id
    for name in ("dockerinaction/ch7_packed",):
        list(engine.images.remove(name))
    assert engine.images.resolve("dockerinaction/ch7_packed").id == first
