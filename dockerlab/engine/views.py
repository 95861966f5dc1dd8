"""Result objects that show themselves: text for a terminal, HTML for a notebook."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dockerlab.engine.imagefiles import ImageFiles
from dockerlab.errors import NotFound
from dockerlab.layers.index import Entry
from dockerlab.layers.union import Sighting, UnionView
from dockerlab.widgets import changes, picture
from dockerlab.widgets import union as view
from dockerlab.widgets.html import size_words, visible

if TYPE_CHECKING:
    from dockerlab.engine import Engine
    from dockerlab.engine.images import Image

__all__ = ["Changes", "Union", "text_changes", "union"]

_SHOWN = 6
_TEXT = 1 << 20


class Union:
    """An image's layers seen from above: which layer provides a path, and what it hides."""

    def __init__(self, image: Image, tables: Sequence[Any], sizes: Sequence[int], paths: Sequence[str]) -> None:
        self.view = UnionView(tables)
        self.title = image.title
        self._sizes, self._total, self._hidden = sizes, sum(sizes), sum(self.view.hidden)
        self._made_by = image.made_by
        wanted = [path.strip("/") for path in paths] or self.view.shadowed()
        for path in paths:
            if not self.view.history(path):
                raise NotFound(f"no layer of {self.title} knows {path}", kind="path", name=path, hint="give a path as the container sees it, as /bin/sh")
        shown, cut = view.pick(wanted, _SHOWN if not paths else len(wanted))
        self.stack = view.Stack(self.title, tuple(f"/{path}" for path in shown), tuple(self._layer(n, shown) for n in range(self.view.depth)), cut)

    def _layer(self, number: int, paths: Sequence[str]) -> view.Layer:
        words = self._made_by(number)
        marks = [self._mark(path, number) for path in paths]
        return view.Layer("base" if number == 0 else "layer", words, size_words(self._sizes[number]), tuple(m for m, _ in marks), tuple(n for _, n in marks))

    def _mark(self, path: str, number: int) -> tuple[str, str]:
        found: Sighting | None = next((s for s in reversed(self.view.history(path)) if s.layer == number), None)
        if found is None:
            return "", ""
        kind = found.entry.kind if found.entry else ""
        note = {"link": "hard link", "symlink": "symlink", "dir": "folder"}.get(kind, "") if found.mark in "AC" else ""
        if again := self.view.repeated(path, number):
            return found.mark, f"same content{_other(*again)}"
        return found.mark, note

    def bars(self) -> list[picture.Bar]:
        """Gives each layer's bytes: seen, and hidden by later layers."""
        return [
            picture.Bar(layer.created_by or layer.name, max(size - hidden, 0), hidden)
            for layer, size, hidden in zip(self.stack.layers, self._sizes, self.view.hidden, strict=True)
        ]

    def stepper(self) -> Any:
        """Gives a slider that walks through the layers; needs ipywidgets."""
        return view.stepper(self.stack)

    def picture(self) -> Picture:
        """Gives the layers' sizes as a picture."""
        return Picture(f"{self.title}: bytes in each layer", self.bars())

    def facts(self) -> dict[str, Any]:
        """Gives plain values: each layer's bytes, those of them that later layers hide, and what it adds, changes and deletes; the share of all bytes that a container sees."""
        words = {"A": "added", "C": "changed", "D": "deleted"}
        layers = [
            {"layer": n, "created_by": layer.created_by, "bytes": size, "hidden": hidden, **{words[mark]: count for mark, count in counts.items()}}
            for n, (layer, size, hidden, counts) in enumerate(zip(self.stack.layers, self._sizes, self.view.hidden, self.view.counts(), strict=True))
        ]
        paths = {path: [_told(sighting) for sighting in self.view.history(path.strip("/"))] for path in self.stack.paths}
        return {"image": self.title, "layers": layers, "bytes": self._total, "hidden": self._hidden, "efficiency": self.efficiency, "paths": paths}

    @property
    def efficiency(self) -> float:
        """The share of all bytes that a container sees, to four places."""
        return round(1 - self._hidden / self._total, 4) if self._total else 1.0

    def _waste(self) -> str:
        if not self._hidden:
            return "no layer holds bytes that a later one hides"
        return f"{size_words(self._hidden)} of {size_words(self._total)} are hidden by later layers, and ship all the same: {100 * self.efficiency:.1f} % are seen"

    def __str__(self) -> str:
        counts = [" ".join(f"{mark}{count}" for mark, count in each.items() if count) for each in self.view.counts()]
        sizes = "\n".join(
            f"  layer {n}  {layer.size:>8}  {counts[n]:<14}  {(bar.hidden and size_words(bar.hidden) + ' hidden') or '':<14}  {visible(layer.created_by)[:70]}".rstrip()
            for n, (layer, bar) in reversed(list(enumerate(zip(self.stack.layers, self.bars(), strict=True))))
        )
        sizes += f"\n{self._waste()}"
        return f"{sizes}\n\n{view.text(self.stack)}" if self.stack.paths else f"{visible(self.title)}\n{sizes}"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/plain": str(self), "text/html": view.html(self.stack)}


def _other(before: Entry, now: Entry) -> str:
    """Gives what else is another of a file whose content is the same; its time alone is worth no word."""
    mode = f", mode {before.mode:o} → {now.mode:o}" if before.mode != now.mode else ""
    return mode + (f", owner {before.uid}:{before.gid} → {now.uid}:{now.gid}" if (before.uid, before.gid) != (now.uid, now.gid) else "")


def _told(sighting: Sighting) -> dict[str, Any]:
    digest = sighting.entry.digest.hex() if sighting.entry else ""
    return {"layer": sighting.layer, "mark": sighting.mark, **({"digest": f"sha256:{digest}"} if digest else {})}


class Picture:
    """The sizes of layers, drawn."""

    def __init__(self, title: str, bars: list[picture.Bar]) -> None:
        self.title, self.bars = title, bars

    def __str__(self) -> str:
        return picture.alt(self.title, self.bars)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/plain": str(self), "text/html": picture.img(self.title, self.bars)}


class Changes:
    """One file's text from layer to layer."""

    def __init__(self, path: str, versions: Sequence[changes.Version]) -> None:
        self.path, self.versions = path, versions

    def facts(self) -> dict[str, Any]:
        """Gives plain values: for each layer that has a hand in it the text's lines, None with a word where there is none."""
        return {"path": self.path, "versions": [{"layer": v.layer, "created_by": v.made_by, "lines": None if v.lines is None else list(v.lines), "word": v.word} for v in self.versions]}

    def __str__(self) -> str:
        return changes.text(self.path, self.versions)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/plain": str(self), "text/html": changes.html(self.path, self.versions)}


def text_changes(engine: Engine, image: str, path: str) -> Changes:
    """Gives what each layer of an image made of a file's text; raises NotFound."""
    found = engine.images.resolve(image)
    with tempfile.TemporaryDirectory(prefix="dockerlab-") as folder:
        seen = ImageFiles(engine.images.layers, found.record, Path(folder)).versions(path.strip("/"))
    if not seen:
        raise NotFound(f"no layer of {found.title} knows {path}", kind="path", name=path, hint="give a path as the container sees it, as /etc/passwd")
    return Changes(f"/{path.strip('/')}", [_version(sighting, data, found.made_by(sighting.layer)) for sighting, data in seen])


def _version(sighting: Sighting, data: bytes | None, made_by: str) -> changes.Version:
    if data is None:
        kind = {"link": "a hard link", "symlink": "a symlink", "dir": "a folder"}.get(sighting.entry.kind if sighting.entry else "", "a special file")
        return changes.Version(sighting.layer, made_by, None, "deleted" if sighting.mark == "D" else kind)
    try:
        lines = tuple(data.decode().splitlines()) if len(data) <= _TEXT and b"\0" not in data else None
    except UnicodeDecodeError:
        lines = None
    return changes.Version(sighting.layer, made_by, lines, "" if lines is not None else f"no text, {size_words(len(data))}")


def union(image: str, *paths: str, engine: Engine | None = None) -> Union:
    """Gives the union view of an image, of the paths named or of those that more than one layer has a hand in."""
    if engine is None:
        from dockerlab.engine.current import current

        engine = current()
    found = engine.images.resolve(image)
    layers = engine.images.layers
    return Union(found, layers.tables(found.record), layers.sizes(found.record), paths)
