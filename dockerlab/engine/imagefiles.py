"""An image as something to copy from: its files are read out of the layers' blobs, the same on every host; nothing is mounted, nothing is unpacked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from dockerlab.build.context import Picked, Source, meant
from dockerlab.errors import BuildFailed
from dockerlab.layers.index import Entry
from dockerlab.layers.packing import Item
from dockerlab.layers.union import Seen, Sighting, UnionView

if TYPE_CHECKING:
    from dockerlab.engine.layers import Layers
    from dockerlab.store.images import Record

__all__ = ["ImageFiles"]


class ImageFiles(Source):
    """The files of one image; `scratch` is a folder for the content of those that are asked for, `tables` those of its layers, or the part of them that matters.

    What is found is known by the digests of the tables; its content is read when somebody calls `Picked.bring`.
    """

    def __init__(self, layers: Layers, record: Record, scratch: Path, tables: Sequence[Sequence[Entry]] | None = None) -> None:
        self._layers, self._record, self._scratch = layers, record, scratch
        self._tables = layers.tables(record) if tables is None else tables
        self.union = UnionView(self._tables)
        self._places: dict[tuple[int, str], Path] = {}
        self._brought: set[tuple[int, str]] = set()

    def paths(self, depth: int) -> Iterator[str]:
        """Yields every path of so many parts."""
        return (path for path, _ in self.union.walk() if path.count("/") + 1 == depth)

    def missing(self, name: str) -> BuildFailed:
        """Gives docker's error."""
        return BuildFailed(f"COPY failed: stat {name}: file does not exist", hint=meant(name, (path for path, _ in self.union.walk())) or "look into that image: docker run --rm IMAGE ls -R /")

    def look(self, name: str) -> Picked | None:
        """Gives what is at a path; symlinks on the way and at its end are followed in the image, and nowhere else."""
        top = self.union.follow("" if name == "." else name)
        seen = self.union.resolved(top)
        if seen is None:
            return None
        below = [(path, found) for path in self._below(top) if (found := self.union.resolved(path))]
        bring = partial(self._bring, [seen, *(found for _, found in below)])
        return Picked(name, self._item("", seen), tuple(self._linked(top, below)), bring=bring)

    def versions(self, path: str) -> list[tuple[Sighting, bytes | None]]:
        """Gives what each layer did to a path, base first, and the content of a file that it holds there; None for a folder, a symlink, a deletion."""
        history = [each for each in self.union.history(path) if each.mark != "O"]
        held = [Seen(each.layer, each.entry) for each in history if each.entry and each.entry.kind == "file"]
        self._bring(held)
        return [(each, self._place(Seen(each.layer, each.entry)).read_bytes() if each.entry and each.entry.kind == "file" else None) for each in history]

    def _below(self, folder: str) -> Iterator[str]:
        waiting = list(reversed(list(self.union.children(folder))))
        while waiting:
            yield (path := waiting.pop())
            waiting += reversed(list(self.union.children(path)))

    def _linked(self, top: str, below: Iterable[tuple[str, Seen]]) -> Iterator[Item]:
        """Yields what is in a folder, by the paths inside; names of one file stay names of one file."""
        first: dict[tuple[int, str], str] = {}
        for path, seen in below:
            inner = path[len(top) :].lstrip("/")
            key = (seen.layer, seen.entry.path)
            if seen.entry.kind == "file" and key in first:
                yield msgspec.structs.replace(seen.entry, path=inner, kind="link", size=0, link=first[key]), str(self._place(seen))
            else:
                first[key] = inner
                yield self._item(inner, seen)

    def _item(self, path: str, seen: Seen) -> Item:
        entry: Entry = msgspec.structs.replace(seen.entry, path=path)
        return entry, str(self._place(seen)) if entry.kind == "file" else ""

    def _place(self, seen: Seen) -> Path:
        return self._places.setdefault((seen.layer, seen.entry.path), self._scratch / str(len(self._places)))

    def _bring(self, wanted: Iterable[Seen]) -> None:
        """Reads the content of files, each layer once, and only where they lie in it."""
        missing: dict[int, set[str]] = {}
        for seen in wanted:
            if seen.entry.kind == "file" and (seen.layer, seen.entry.path) not in self._brought:
                missing.setdefault(seen.layer, set()).add(seen.entry.path)
        for layer, paths in sorted(missing.items()):
            # An archive may hold a path twice, and the last one counts.
            last = {entry.path: entry for entry in self._tables[layer] if entry.path in paths and not entry.marker}
            for entry, blocks in self._layers.contents(self._record, layer, last.values()):
                with open(self._place(Seen(layer, entry)), "wb") as file:
                    file.writelines(blocks)
                self._brought.add((layer, entry.path))
