"""How an image could be distributed, with what it would send each way: measured here, by a registry in this process and a file that nobody keeps."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dockerlab.errors import InvalidArgument
from dockerlab.events import HttpExchange
from dockerlab.registry.client import Registry
from dockerlab.registry.server import RegistryApp
from dockerlab.registry.storage import Storage
from dockerlab.registry.transfer import push
from dockerlab.registry.transport import Direct
from dockerlab.widgets import chooser as view
from dockerlab.widgets.chooser import CRITERIA, MOST, Measured

if TYPE_CHECKING:
    from dockerlab.engine import Engine
    from dockerlab.engine.images import Image

__all__ = ["Ways", "measured"]

_SHOP = "a registry in this process"


def measured(engine: Engine, image: Image) -> dict[str, Measured]:
    """Gives what each way sends: "registry", "file", "source". Nothing of it stays; what an image was made from is guessed from its history."""
    return {"registry": _pushed(engine, image), "file": _saved(engine, image), "source": _source(image)}


def _pushed(engine: Engine, image: Image) -> Measured:
    exchanges: list[HttpExchange] = []

    def tell(event: object) -> None:
        if isinstance(event, HttpExchange):
            exchanges.append(event)

    with tempfile.TemporaryDirectory(prefix="dockerlab-ways-", dir=engine.home) as folder:
        registry = Registry(_SHOP, Direct({_SHOP: RegistryApp(Storage(Path(folder)))}), insecure=True, tell=tell, schemes=("http",))
        cargo = engine.distribution.cargo(image)
        began = time.perf_counter()
        list(push(registry, "image", "latest", cargo))
        seconds, first = time.perf_counter() - began, sum(each.sent for each in exchanges)
        exchanges.clear()
        list(push(registry, "image", "latest", cargo))
    return Measured(first, sum(each.sent for each in exchanges), seconds)


def _saved(engine: Engine, image: Image) -> Measured:
    size, began = 0, time.perf_counter()

    def count(block: bytes) -> int:
        nonlocal size
        size += len(block)
        return len(block)

    engine.images.save([image.tags[0] if image.tags else image.id], count)
    return Measured(size, size, time.perf_counter() - began)


def _source(image: Image) -> Measured:
    """The lines from which a build would make it: the history's instructions, without those of its base, which it names."""
    lines = ["FROM " + (image.tags[0] if image.tags else "scratch")]
    for entry in image.config.history:
        if not entry.created_by.startswith("dockerlab recipe: "):
            lines.append(entry.created_by.removeprefix("/bin/sh -c #(nop) ").replace("/bin/sh -c ", "RUN ", 1).strip())
    size = len("\n".join(lines).encode()) + 1
    return Measured(size, size)


class Ways:
    """The ways for one image, with what matters: a weight from 0 to 5 for cost, visibility, transport, longevity, availability, access (1 each, unless said otherwise)."""

    def __init__(self, name: str, measured: Mapping[str, Measured], /, **weights: int) -> None:
        for key, weight in weights.items():
            if key not in CRITERIA:
                raise InvalidArgument(f"{key!r} is nothing that can be weighed", hint=f"weigh {', '.join(CRITERIA)}")
            if not 0 <= weight <= MOST:
                raise InvalidArgument(f"a weight of {weight} for {key}", hint=f"weights go from 0 to {MOST}")
        self.name, self.measured, self.weights = name, measured, {**dict.fromkeys(CRITERIA, 1), **weights}

    @property
    def best(self) -> str:
        """The name of the way that fits best."""
        return view.ranked(self.weights)[0][1].name

    @property
    def plain(self) -> list[dict[str, object]]:
        """Plain values, the best way first: way, fits (0 to 1), marks, bytes, bytes_again."""
        return view.plain(self.weights, self.measured)

    def weigh(self) -> Any:
        """Gives a number for each weight over the table; needs ipywidgets."""
        return view.widget(self.name, self.weights, self.measured, self.weights.update)

    def __str__(self) -> str:
        return view.text(self.name, self.weights, self.measured)

    __repr__ = __str__

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/plain": str(self), "text/html": view.html(self.name, self.weights, self.measured)}
