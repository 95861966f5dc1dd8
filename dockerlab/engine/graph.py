"""Images as a tree of layers, and what an image would be as one layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dockerlab.engine.images import Image
from dockerlab.layers.union import UnionView
from dockerlab.oci.config import RunConfig
from dockerlab.oci.digest import DiffId, short
from dockerlab.oci.visible import some
from dockerlab.widgets import graph as view
from dockerlab.widgets.html import cell, escape, size_words, table, visible

if TYPE_CHECKING:
    from dockerlab.engine import Engine

__all__ = ["Flat", "Graph", "flat", "graph"]


class Graph:
    """The layers of images, each once, on the layers below them; `sum` is the bytes of all images one by one, `stored` of all layers once."""

    def __init__(self, images: Sequence[Image], sizes: dict[str, int]) -> None:
        grown: dict[str, _Growing] = {}
        for image in images:
            _plant(grown, image, sizes)
        self.forest = [node.done() for node in grown.values()]
        self.sum = sum(sizes[diff_id] for image in images for diff_id in image.config.rootfs.diff_ids)
        self.stored = sum(node.size for _, node, _ in view.rows(self.forest))
        self._count = len(images)

    @property
    def words(self) -> str:
        """One line above the tree."""
        layers = len(list(view.rows(self.forest)))
        saved = f"; shared layers save {size_words(self.sum - self.stored)}" if self.sum > self.stored else ""
        return f"{self._count} image{'s' * (self._count != 1)} of {layers} layer{'s' * (layers != 1)}, {size_words(self.stored)}{saved}"

    def facts(self) -> dict[str, Any]:
        """Gives plain values: the tree, bytes stored, and bytes of all images one by one."""
        return {"stored": self.stored, "sum": self.sum, "layers": [_plain(node) for node in self.forest]}

    def picture(self) -> Drawn:
        """Gives the tree drawn to scale: a layer begins where the one below it ends."""
        return Drawn(self)

    def __str__(self) -> str:
        return view.text(self.forest, self.words)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/plain": str(self), "text/html": view.html(self.forest, self.words)}


class Drawn:
    """A graph as a picture."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph

    def __str__(self) -> str:
        return view.alt(self._graph.forest, self._graph.words)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/plain": str(self), "text/html": view.img(self._graph.forest, self._graph.words)}


@dataclass(slots=True)
class _Growing:
    id: str
    size: int
    made: str
    images: list[view.Label] = field(default_factory=list)
    children: dict[str, _Growing] = field(default_factory=dict)

    def done(self) -> view.Node:
        return view.Node(self.id, self.size, self.made, tuple(self.images), tuple(child.done() for child in self.children.values()))


def _plant(grown: dict[str, _Growing], image: Image, sizes: dict[str, int]) -> None:
    total, node, here = 0, None, grown
    for number, diff_id in enumerate(image.config.rootfs.diff_ids):
        node = here.setdefault(diff_id, _Growing(short(diff_id), sizes[diff_id], image.made_by(number)))
        total, here = total + sizes[diff_id], node.children
    if node is None:
        node = grown.setdefault("", _Growing("no layer", 0, "settings alone"))
    node.images.append(view.Label(tuple(image.tags), image.short_id, total))


def _plain(node: view.Node) -> dict[str, Any]:
    images = [{"names": list(label.names), "id": label.id, "bytes": label.total} for label in node.images]
    return {"layer": node.id, "bytes": node.size, "created_by": node.made, "images": images, "layers": [_plain(child) for child in node.children]}


def graph(engine: Engine, names: Sequence[str] = (), *, intermediate: bool = False) -> Graph:
    """Gives the tree of all images, or of those named; raises NotFound. With `intermediate` the images of single build steps stand in it as well."""
    images = [engine.images.get(name) for name in names] or sorted(engine.images.list(intermediate=intermediate), key=lambda image: image.config.created)
    sizes: dict[str, int] = {}
    for image in images:
        for descriptor, diff_id in engine.images.layers.named(image.record):
            if diff_id not in sizes:
                sizes[diff_id] = engine.images.layers.size(descriptor, diff_id)
    return Graph(images, sizes)


@dataclass(frozen=True, slots=True)
class Flat:
    """An image held against itself as one layer (`export`, then `import`): the bytes of both, the settings that would be lost, how many lines of history,
    and the bytes that it shares now and would hold alone, with the images that it shares them with.
    """

    title: str
    layers: int
    bytes: int
    flat: int
    settings: tuple[str, ...]
    history: int
    shared: int
    others: tuple[str, ...]

    @property
    def extra(self) -> int:
        """The bytes by which the store would grow, or shrink, if the flat image took the place of this one."""
        return self.flat - (self.bytes - self.shared)

    def facts(self) -> dict[str, Any]:
        """Gives plain values."""
        return {
            "image": self.title, "layers": self.layers, "bytes": self.bytes, "flat": self.flat, "lost_settings": list(self.settings), "lost_history": self.history,
            "shared": self.shared, "shared_with": list(self.others), "store_grows": self.extra,
        }  # fmt: skip

    def _lines(self) -> list[tuple[str, str, str]]:
        others = some(self.others)
        grow = f"the store would {'grow' if self.extra > 0 else 'shrink'} by {size_words(abs(self.extra))}" if self.extra else "the store would stay as large"
        return [
            ("layers", str(self.layers), "1"),
            ("bytes", size_words(self.bytes), f"{size_words(self.flat)}{f', {size_words(self.bytes - self.flat)} of hidden files gone' if self.bytes > self.flat else ''}"),
            ("settings", ", ".join(self.settings) or "none", "none: say them again with import --change" if self.settings else "none"),
            ("history", f"{self.history} lines", "1 line"),
            ("shared", f"{size_words(self.shared)} with {others}" if self.shared else "nothing", f"nothing: {grow}"),
        ]

    def __str__(self) -> str:
        rows = self._lines()
        widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
        return "\n".join([f"{visible(self.title)} now, and as one layer", *(f"  {what:<{widths[0]}}  {visible(now):<{widths[1]}}  {visible(then)}" for what, now, then in rows)])

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        rows = [f"<tr>{cell(escape(what), tag='th', scope='row')}{cell(escape(now))}{cell(escape(then))}</tr>" for what, now, then in self._lines()]
        return {"text/plain": str(self), "text/html": table(["what", "now", "as one layer"], rows, caption=f"{self.title} now, and flattened")}


def flat(engine: Engine, name: str) -> Flat:
    """Gives what flattening an image would gain and lose; nothing is done. Raises NotFound."""
    image = engine.images.resolve(name)
    layers = engine.images.layers
    sizes = dict(zip(image.config.rootfs.diff_ids, layers.sizes(image.record), strict=True))
    union = UnionView(layers.tables(image.record))
    own, shared, others = set(sizes), set[DiffId](), set[str]()
    for other in engine.images.list():
        common = own.intersection(other.config.rootfs.diff_ids) if other.id != image.id else set()
        shared |= common
        others |= {other.title} if common else set()
    return Flat(
        image.title, len(sizes), sum(sizes.values()), sum(sizes.values()) - sum(union.hidden), tuple(_settings(image.config.config)), len(image.config.history),
        sum(sizes[diff_id] for diff_id in shared), tuple(sorted(others)),
    )  # fmt: skip


def _settings(run: RunConfig) -> list[str]:
    """Gives the names of what an import starts without, in a Dockerfile's words."""
    health = run.healthcheck
    pairs = (("ENTRYPOINT", run.entrypoint), ("CMD", run.cmd), ("ENV", run.env), ("WORKDIR", run.working_dir), ("USER", run.user), ("EXPOSE", run.exposed_ports),
             ("VOLUME", run.volumes), ("LABEL", run.labels), ("STOPSIGNAL", run.stop_signal), ("HEALTHCHECK", health), ("ONBUILD", run.on_build), ("SHELL", run.shell))  # fmt: skip
    return [name for name, value in pairs if value]
