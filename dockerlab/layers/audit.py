"""Which files of an image give rights to whoever runs or writes them, since which layer, and until which; read from the layers' tables, nothing is run.

inode(7) for the mode bits, capabilities(7) "File capabilities" for the attribute.
"""

from __future__ import annotations

import re
import stat
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from dockerlab.layers.index import Entry, parent_of
from dockerlab.layers.union import Seen, Sighting, UnionView
from dockerlab.linux import capabilities

__all__ = ["Fate", "Found", "Sifted", "audit", "file_capabilities", "narrowed", "permitted", "reachers", "traits"]

Fate = Literal["acts", "cleared", "deleted", "replaced"]


_GENEROUS = stat.S_ISUID | stat.S_ISGID | stat.S_IWOTH


@dataclass(frozen=True, slots=True)
class Found:
    """One file as one layer left it. `fate` is what came of it, `layer_after` the layer that did that (-1 for none), `after` the file as that left it."""

    path: str
    traits: tuple[str, ...]
    entry: Entry
    layer: int
    fate: Fate = "acts"
    layer_after: int = -1
    after: Entry | None = None


def audit(union: UnionView) -> list[Found]:
    """Gives every file that has, or in some layer had, such a right: what acts first, by path."""
    found = [each for path in union.known() for each in _of(union, path)]
    return sorted(found, key=lambda each: (each.fate != "acts", each.layer_after, each.path, each.layer))


@dataclass(frozen=True, slots=True)
class Sifted:
    """A layer's table, and what `narrowed` asks of it whatever the other layers are: `paths` to keep, and its hard `links`."""

    table: Sequence[Entry]
    paths: frozenset[str]
    links: tuple[Entry, ...]

    @classmethod
    def of(cls, table: Sequence[Entry]) -> Sifted:
        """Goes through a table once."""
        generous = [entry.path for entry in table if entry.mode & _GENEROUS or entry.xattrs]
        return cls(table, frozenset([*generous, *_orphans(table)]), tuple(entry for entry in table if entry.kind == "link"))


def narrowed(layers: Sequence[Sifted], besides: Iterable[str] = ()) -> list[list[Entry]]:
    """Gives, of each layer's table, what `audit` needs: files that may give rights, whatever becomes of them, and the folders above; and some paths besides.

    Of a distribution's ten thousand files that is some dozens, and what is joined of them is joined in no time.
    """
    kept = set(besides).union(*(layer.paths for layer in layers))
    links = [entry for layer in layers for entry in layer.links]
    # All names of one file: what is known of it stands at one of them.
    while more := {name for entry in links if (entry.path in kept) != (entry.link in kept) for name in (entry.path, entry.link)} - kept:
        kept |= more
    for path in list(kept):
        while path and (path := parent_of(path)) not in kept:
            kept.add(path)
    return [[entry for entry in layer.table if entry.path in kept] for layer in layers]


def _orphans(table: Iterable[Entry]) -> set[str]:
    """Gives the paths whose folder a layer has not named before them, and all that it deletes: by them alone a folder may be there, and replace what was none."""
    folders, found = {""}, set[str]()
    for entry in table:
        path, kind = entry.path, entry.kind
        if path.rpartition("/")[0] not in folders or kind == "whiteout" or kind == "opaque":
            found.add(path)
        if kind == "dir":
            folders.add(path)
        elif path in folders and kind != "whiteout" and kind != "opaque":
            folders.remove(path)
    return found


def _of(union: UnionView, path: str) -> Iterator[Found]:
    sightings = [s for s in union.history(path) if s.mark != "O"]
    for number, sighting in enumerate(sightings):
        entry = _inode(union, sighting)
        if number + 1 == len(sightings) and entry is not None:  # a layer that names a path twice means the second
            seen = union.get(path)
            entry = _inode(union, Sighting(seen.layer, "A", seen.entry)) if seen else None
        given = traits(entry) if entry else ()
        if not given or entry is None:
            continue
        if number + 1 == len(sightings):
            yield Found(path, given, entry, sighting.layer)
            continue
        then = sightings[number + 1]
        if then.layer == sighting.layer:
            continue
        after = _inode(union, then)
        fate: Fate = "deleted" if after is None else "replaced" if traits(after) == given or after.digest != entry.digest else "cleared"
        yield Found(path, given, entry, sighting.layer, fate, then.layer, after)


def _inode(union: UnionView, sighting: Sighting) -> Entry | None:
    """Gives the file behind a sighting: a hard link has its first name's mode; None where the layer deletes it."""
    entry = sighting.entry
    if sighting.mark == "D" or entry is None or entry.marker:
        return None
    named = union.target(Seen(sighting.layer, entry)) if entry.kind == "link" else None
    return named.entry if named else entry


def traits(entry: Entry) -> tuple[str, ...]:
    """Gives what a file lets others do: set-uid, set-gid, capabilities, world-writable; a folder: no sticky bit."""
    mode, given = entry.mode, []
    if entry.kind == "file":
        given += ["set-uid"] if mode & stat.S_ISUID else []
        given += ["set-gid"] if mode & stat.S_ISGID and mode & stat.S_IXGRP else []  # without the group's x bit it meant a lock; inode(7)
        given += ["capabilities"] if file_capabilities(entry) else []
        given += ["world-writable"] if mode & stat.S_IWOTH else []
    elif entry.kind == "dir":
        given += ["no sticky bit"] if mode & stat.S_IWOTH and not mode & stat.S_ISVTX else []
    return tuple(given)


def file_capabilities(entry: Entry) -> tuple[str, ...]:
    """Gives the names of what a program may do beyond its user, from its attribute `security.capability`; () for none, and for one that the kernel would refuse."""
    raw = entry.xattrs.get("security.capability", b"")
    if len(raw) not in (12, 20, 24):
        return ()
    if raw[3] != {12: 1, 20: 2, 24: 3}[len(raw)]:  # the revision, in the upper byte of the first word
        return ()
    words = struct.unpack(f"<{len(raw) // 4}I", raw)
    permitted = words[1] | (words[3] << 32 if len(words) >= 5 else 0)
    return tuple(f"CAP_{name}" for number, name in enumerate(capabilities.NAMES) if permitted >> number & 1)


def permitted(word: str) -> Callable[[int], bool]:
    """Gives what tells whether a mode is meant by find(1)'s `-perm`: `/6000`, once written `+6000`, is any of the bits, `-6000` all of them, `6000` no others. Raises ValueError."""
    sign, digits = (word[0], word[1:]) if word[:1] in ("/", "+", "-") else ("", word)
    if not re.fullmatch("[0-7]{1,4}", digits):
        raise ValueError(word)
    bits = int(digits, 8)
    if sign in ("/", "+"):
        return lambda mode: not bits or bool(mode & bits)
    return (lambda mode: mode & bits == bits) if sign else lambda mode: mode == bits


def reachers(union: UnionView, path: str, who: Iterable[tuple[str, int, frozenset[int]]], bit: int) -> list[str]:
    """Gives those (name, uid, gids) who can use the right `bit` (1 run, 2 write) of a file and reach it through all its folders; root can."""
    steps, folder = [], parent_of(path)
    while folder:
        steps.append(folder)
        folder = parent_of(folder)
    return [name for name, uid, gids in who if not uid or (_may(union, path, uid, gids, bit) and all(_may(union, step, uid, gids, 1) for step in steps))]


def _may(union: UnionView, path: str, uid: int, gids: frozenset[int], bit: int) -> bool:
    seen = union.resolved(path)
    if seen is None:
        return False
    entry = seen.entry
    shift = 6 if entry.uid == uid else 3 if entry.gid in gids else 0
    return bool(entry.mode >> shift & bit)
