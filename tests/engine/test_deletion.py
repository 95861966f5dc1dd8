from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dockerlab.engine import Engine
from dockerlab.errors import InUse, NotFound
from tests.conftest import strongest

pytestmark = pytest.mark.files


@pytest.fixture
def shop(make_engine: Callable[[str], Engine], tmp_path: Path) -> Engine:
    """An engine with x:1 on an unnamed step on busybox."""
    engine = make_engine(strongest())
    engine.builds.build("FROM busybox\nCOPY f /f\nENV A=1\n", _context(tmp_path), tags=("x:1",))
    return engine


def _context(folder: Path) -> Path:
    (folder / "f").write_text("f")
    return folder


def words(engine: Engine, name: str, **options: bool) -> list[str]:
    return [word for word, _ in engine.images.remove(name, **options)]


def test_a_name_then_the_image_then_the_steps_below(shop: Engine) -> None:
    shop.images.tag("x:1", "y")
    assert words(shop, "x:1") == ["Untagged"]
    assert words(shop, "y") == ["Untagged", "Deleted", "Deleted", "Deleted"]
    assert [image.tags for image in shop.images.list(intermediate=True)] == [["busybox:latest"]]


def test_the_steps_below_stay_where_that_is_wished(shop: Engine) -> None:
    assert words(shop, "x:1", prune=False) == ["Untagged", "Deleted"]
    assert len(shop.images.list(intermediate=True)) == 2


def test_an_id_takes_all_its_names_only_by_force(shop: Engine) -> None:
    shop.images.tag("x:1", "y")
    ident = shop.images.get("y").id
    with pytest.raises(InUse, match=r"\(must be forced\) - image is referenced in multiple repositories"):
        words(shop, ident)
    assert words(shop, ident, force=True)[:3] == ["Untagged", "Untagged", "Deleted"]


def test_a_prune_leaves_what_got_a_name_or_a_container_since(shop: Engine) -> None:
    ident = shop.images.get("x:1").id
    with pytest.raises(InUse, match="has a name by now"):
        list(shop.images.remove(ident, dangling=True))
    shop.containers.create("x:1")
    with pytest.raises(InUse, match="a container uses the image by now"):
        words(shop, ident, force=True, unused=True)
    assert shop.images.get("x:1").id == ident


def test_what_others_are_built_on_stays(shop: Engine) -> None:
    with pytest.raises(InUse, match=r"\(cannot be forced\) - image has dependent child images"):
        words(shop, shop.images.get("busybox").id, force=True)
    assert words(shop, "busybox") == ["Untagged"]


def test_a_container_holds_its_image_and_its_layers(shop: Engine) -> None:
    container = shop.containers.create("x:1")
    with pytest.raises(InUse, match=r'unable to remove repository reference "x:1" \(must force\)'):
        words(shop, "x:1")
    assert words(shop, "x:1", force=True) == ["Untagged", "Deleted", "Deleted"]
    container.remove()


def test_an_image_that_two_repositories_have(engine: Engine, tmp_path: Path) -> None:
    image = engine.builds.build("FROM busybox\nENV A=1\n", tmp_path)
    one, other = (f"localhost:1/{name}@sha256:{'0' * 64}" for name in ("a", "b"))
    for place in (one, other):
        engine.places.note(place, [f"image {image.id}"])
    assert engine.images.get(one).id == image.id
    assert list(engine.images.remove(one)) == [("Untagged", one)] and engine.images.get(other).id == image.id
    assert [word for word, _ in engine.images.remove(other)][:2] == ["Untagged", "Deleted"]
    with pytest.raises(NotFound):
        engine.images.get(image.id)
