"""The union of a stack of layers, computed from their tables of contents: who provides a path, and what it hides. Nothing is mounted.

A property test holds this equal to the kernel's overlayfs on random stacks.
"""

from __future__ import annotations

import posixpath
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from dockerlab.layers.index import Entry, implied_folder, parent_of

__all__ = ["Seen", "Sighting", "UnionView"]


_MOST_LINKS = 40  # as path_resolution(7)


@dataclass(frozen=True, slots=True)
class Seen:
    """What the union shows at a path, and the number of the layer that provides it (the base is 0)."""

    layer: int
    entry: Entry


@dataclass(frozen=True, slots=True)
class Sighting:
    """What one layer did to a path: A added, C changed, D deleted, O made opaque."""

    layer: int
    mark: str
    entry: Entry | None


class UnionView:
    """A stack of layers, base first, as a container sees it."""

    def __init__(self, layers: Iterable[Iterable[Entry]]) -> None:
        self._visible: dict[str, Seen] = {"": Seen(0, implied_folder(""))}
        self._children: dict[str, set[str]] = defaultdict(set)
        self._history: dict[str, list[Sighting]] = defaultdict(list)
        self.hidden: list[int] = []
        self.depth = 0
        for layer in layers:
            self._add(list(layer))

    def _add(self, layer: Sequence[Entry]) -> None:
        number = self.depth
        self.depth += 1
        self.hidden.append(0)
        for entry in layer:
            if entry.kind == "whiteout":
                # What this layer puts there again is a change, not a deletion and an addition.
                self._delete(entry.path, number, entry)
            elif entry.kind == "opaque":
                self._history[entry.path].append(Sighting(number, "O", entry))
                for child in sorted(self._children.get(entry.path, ())):
                    # What this layer puts there again is a change, not a deletion and an addition.
                    self._delete(child, number, entry)
        for entry in layer:
            if not entry.marker:
                self._put(entry, number)
        for entry in layer:
            if entry.marker:
                self._imply(entry.path if entry.kind == "opaque" else parent_of(entry.path), number)

    def _imply(self, path: str, number: int) -> None:
        # A marker lies in a folder, so the layer has that folder, even if it has no entry for it.
        seen = self._visible.get(path)
        if not self._is_folder(path) and (seen is None or seen.layer != number):
            self._put(implied_folder(path), number)

    def _put(self, entry: Entry, number: int) -> None:
        missing, path = [entry], entry.path
        while path and not self._is_folder(parent_of(path)):
            path = parent_of(path)
            missing.append(implied_folder(path))
        while missing:
            self._place(missing.pop(), number)

    def _is_folder(self, path: str) -> bool:
        seen = self._visible.get(path)
        return seen is not None and seen.entry.kind == "dir"

    def _place(self, entry: Entry, number: int) -> None:
        path = entry.path
        before = self._visible.get(path)
        if before and entry.kind != "dir":
            for child in sorted(self._children.get(path, ())):
                self._delete(child, number, entry)
        if before and before.layer != number:
            self.hidden[before.layer] += before.entry.weight
        replaced = any(s.layer == number and s.mark == "D" for s in self._history.get(path, ()))
        self._visible[path] = Seen(number, entry)
        if path:
            self._children[parent_of(path)].add(path)
            if replaced:
                self._history[path] = [s for s in self._history[path] if s.layer != number]
            if not any(s.layer == number and s.mark in "AC" for s in self._history[path]):
                self._history[path].append(Sighting(number, "C" if before or replaced else "A", entry))

    def _delete(self, path: str, number: int, entry: Entry) -> None:
        self._children[parent_of(path)].discard(path)
        pending = [path]
        while pending:
            gone = pending.pop()
            pending.extend(self._children.pop(gone, ()))
            before = self._visible.pop(gone, None)
            if before:
                self.hidden[before.layer] += before.entry.weight
                self._history[gone].append(Sighting(number, "D", entry if entry.path == gone else None))

    def get(self, path: str) -> Seen | None:
        """Gives what a container sees at `path` (no leading slash), hard links as they stand; None where nothing is."""
        return self._visible.get(path.strip("/"))

    def resolved(self, path: str) -> Seen | None:
        """Gives `get(path)`, and for a hard link the file that it is a name of."""
        seen = self.get(path)
        for _ in range(8):
            if seen is None or seen.entry.kind != "link":
                return seen
            seen = self.target(seen)
        return seen

    def target(self, seen: Seen) -> Seen | None:
        """Gives the file that a hard link of a layer is a name of."""
        # The first name may be gone while the second lives on: the inode's facts stand in the layer's history then.
        target = self._visible.get(seen.entry.link)
        if target and target.layer == seen.layer:
            return target
        past = [s for s in self._history.get(seen.entry.link, ()) if s.layer == seen.layer and s.entry]
        return Seen(seen.layer, past[0].entry) if past and past[0].entry else None

    def follow(self, path: str) -> str:
        """Gives the place that `path` leads to, every symlink followed as if this tree were the root; what is missing stays as it is named."""
        parts = [p for p in posixpath.normpath(path).split("/") if p not in ("", ".")]
        done: list[str] = []
        hops = 0
        while parts:
            part = parts.pop(0)
            if part == "..":
                done = done[:-1]
                continue
            seen = self.get("/".join([*done, part]))
            if seen and seen.entry.kind == "symlink" and hops < _MOST_LINKS:
                hops += 1
                link = seen.entry.link
                done = [] if link.startswith("/") else done
                parts = [p for p in link.split("/") if p not in ("", ".")] + parts
            else:
                done.append(part)
        return "/".join(done)

    def children(self, path: str = "") -> list[str]:
        """Gives the paths directly inside a folder, sorted."""
        return sorted(self._children.get(path.strip("/"), ()))

    def history(self, path: str) -> list[Sighting]:
        """Gives what each layer did to `path`, base first; [] for a path that no layer knows."""
        return list(self._history.get(path.strip("/"), ()))

    def repeats(self, path: str, layer: int) -> bool:
        """Tells whether a layer holds a file only to change its mode, owner or time: the same bytes stand in the layer before it that has the file."""
        return self.repeated(path, layer) is not None

    def repeated(self, path: str, layer: int) -> tuple[Entry, Entry] | None:
        """Gives such a file as it was and as it is, None for one that a layer has brought or written anew."""
        held = [(s.layer, s.mark, s.entry) for s in self.history(path) if s.layer <= layer and s.entry and s.entry.kind == "file"]
        if len(held) < 2 or held[-1][:2] != (layer, "C") or not held[-1][2].digest or held[-1][2].digest != held[-2][2].digest:
            return None
        return held[-2][2], held[-1][2]

    def counts(self) -> list[dict[str, int]]:
        """Gives, for each layer, how many paths it adds (A), changes (C) and deletes (D)."""
        found = [dict.fromkeys("ACD", 0) for _ in range(self.depth)]
        for sightings in self._history.values():
            for sighting in sightings:
                if sighting.mark != "O":
                    found[sighting.layer][sighting.mark] += 1
        return found

    def known(self) -> list[str]:
        """Gives every path that some layer has or had, sorted."""
        return sorted(self._history)

    def walk(self) -> Iterator[tuple[str, Seen]]:
        """Yields every visible path in order; the root is left out."""
        for path in sorted(self._visible):
            if path:
                yield path, self._visible[path]

    def shadowed(self) -> list[str]:
        """Gives the paths that more than one layer has a hand in and whose files or deletions hide something, folders left out."""
        found = []
        for path, sightings in self._history.items():
            kinds = {s.entry.kind for s in sightings if s.entry and s.mark in "AC"}
            if len(sightings) > 1 and kinds != {"dir"}:
                found.append(path)
        return sorted(found)
