"""Where COPY and ADD take from: the build context is a folder, less what .dockerignore names, read only where they ask for something."""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import os
import re
import stat
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path

from dockerlab.build.digests import digest_of
from dockerlab.build.ignore import IgnoreRules
from dockerlab.errors import BuildFailed
from dockerlab.layers import packing
from dockerlab.layers.index import Entry
from dockerlab.layers.owners import Owned
from dockerlab.layers.packing import Item
from dockerlab.oci.visible import visible

__all__ = ["Context", "Picked", "Source", "meant"]

_LOOKED_AT, _SHOWN = 20_000, 3


def _lies_there() -> None:
    """Brings the content of what is on disk already."""


@dataclass(frozen=True)
class Picked:
    """A source that COPY or ADD named: what it is called, the thing itself, and for a folder what is in it, by the paths inside.

    `sockets` are the paths of what no image can hold, and is left out.
    `under` are folders, each with its slash, that are to be kept of where it was; `unpack` that an archive is to be laid out, `read` gives the sha256 of a file.
    `bring` has to be called before any content is read: some sources are known by their digests long before they lie where the items say.
    """

    name: str
    itself: Item
    inside: tuple[Item, ...] = ()
    sockets: tuple[str, ...] = ()
    under: str = ""
    unpack: bool = False
    read: Callable[[str], str] = field(default=digest_of, compare=False, repr=False)
    bring: Callable[[], object] = field(default=_lies_there, compare=False, repr=False)

    @property
    def is_dir(self) -> bool:
        """Whether this is a folder, whose content is meant."""
        return self.itself[0].kind == "dir"

    @cached_property
    def first(self) -> str:
        """The digest when it was asked for first."""
        return self.digest()

    def content(self, entry: Entry, place: str) -> str:
        """Gives the sha256 of a file's content, 64 digits; read only where the entry does not know it."""
        return entry.digest.hex() or self.read(place)

    def changed(self) -> str:
        """Gives the path of a file that is another than when it was looked at, its own name where none can be told."""
        for entry, place in self.inside or (self.itself,):
            with contextlib.suppress(OSError):
                status = os.lstat(place)
                if entry.kind != "file" or (status.st_size, int(status.st_mtime)) == (entry.size, entry.mtime):
                    continue
            return f"{self.name}/{entry.path}".removeprefix("./").rstrip("/")
        return self.name

    def digest(self) -> str:
        """Gives a digest of names, modes, owners and content as it is now; times do not count."""
        hasher = hashlib.sha256()
        for entry, place in self.inside or (self.itself,):
            owner = f"{entry.uid}:{entry.gid}\0" if entry.uid or entry.gid else ""
            hasher.update(f"{entry.path}\0{packing.FORMS.get(entry.kind, 0)}\0{entry.mode:o}\0{owner}".encode("utf-8", "surrogateescape"))
            hasher.update(os.fsencode(entry.link))
            for name, value in sorted(entry.xattrs.items()):
                hasher.update(os.fsencode(name) + b"=" + value + b"\0")
            if entry.kind == "file":
                hasher.update(self.content(entry, place).encode())
            elif entry.kind in ("char", "block"):
                hasher.update(f"{entry.device[0]}:{entry.device[1]}".encode())
            hasher.update(b"\0")
        return hasher.hexdigest()


def _raise(error: OSError) -> None:
    raise error


class Source(ABC):
    """A tree to copy from. Symlinks in it are copied as symlinks; one that a source word passes through is followed inside the tree."""

    def pick(self, pattern: str) -> list[Picked]:
        """Gives what a source word names, for a pattern perhaps nothing; raises BuildFailed in docker's words."""
        clean = os.path.normpath(pattern.lstrip("/")) if pattern.strip("/") else "."
        if clean == ".." or clean.startswith("../"):
            raise BuildFailed(f"COPY failed: forbidden path outside the build context: {pattern} ()", hint="copy the file into the context's folder")
        if re.search(r"[*?\[]", clean):
            return [found for name in self.matching(clean) if (found := self.look(name))]
        found = self.look(clean)
        if found is None:
            raise self.missing(clean)
        return [found]

    def matching(self, pattern: str) -> list[str]:
        """Gives the paths that a pattern stands for, what is left out of a context among them; raises BuildFailed."""
        try:
            expression = re.compile("/".join(_glob(part) for part in pattern.split("/")))
        except re.error:
            raise BuildFailed(f"COPY failed: syntax error in pattern: {pattern}", hint="write a range upwards, as in [a-z]") from None
        return sorted(path for path in self.paths(pattern.count("/") + 1) if expression.fullmatch(path))

    def unmatched(self, pattern: str) -> str:
        """Gives why a pattern gave nothing, "" where it means no path at all."""
        left = self.matching(os.path.normpath(pattern.lstrip("/")))
        return self.why_not(left) if left else ""

    def why_not(self, names: Sequence[str]) -> str:
        """Gives why nothing can be taken of paths that are there."""
        return f"look at {', '.join(names[:_SHOWN])}: they lead to nothing"

    @abstractmethod
    def paths(self, depth: int) -> Iterator[str]:
        """Yields every path of so many parts."""

    @abstractmethod
    def look(self, name: str) -> Picked | None:
        """Gives what is at a path, "." for the whole tree."""

    @abstractmethod
    def missing(self, name: str) -> BuildFailed:
        """Gives the error for a path where nothing is."""


class Context(Source):
    """A folder on disk; no symlink leads out of it. Everything in it belongs to root, as docker has it."""

    def __init__(self, folder: Path, rules: IgnoreRules | None = None, *, lasting: bool = True) -> None:
        self.folder = folder.resolve()
        self.read: Callable[[str], str] = digest_of
        self.lasting = lasting
        self._rules = rules or IgnoreRules()

    def ignores(self, name: str) -> bool:
        """Tells whether a path is left out."""
        return self._rules.ignores(name)

    @classmethod
    def open(cls, folder: Path, dockerfile: str = "", *, lasting: bool = True) -> Context:
        """Gives the context of a folder with its .dockerignore (`<dockerfile>.dockerignore` comes first)."""
        for name in filter(None, (f"{dockerfile}.dockerignore" if dockerfile else "", ".dockerignore")):
            path = folder / name
            if path.is_file():
                return cls(folder, IgnoreRules.from_text(path.read_text(errors="surrogateescape")), lasting=lasting)
        return cls(folder, lasting=lasting)

    def missing(self, name: str) -> BuildFailed:
        """Gives docker's error, and what may have been meant."""
        return BuildFailed(f"COPY failed: file not found in build context or excluded by .dockerignore: stat {name}: file does not exist", hint=self._near(name))

    def look(self, name: str) -> Picked | None:
        """Gives what is at a path and not ignored."""
        if name != "." and self._rules.ignores(name):
            return None
        real = Path(os.path.realpath(self.folder / name))
        if real != self.folder and self.folder not in real.parents:
            raise BuildFailed(f"COPY failed: forbidden path outside the build context: {name} ()", hint="copy what the symlink points to into the context")
        within = os.path.relpath(real, self.folder)
        if within != "." and self._rules.ignores(within):
            return None
        # What is a symlink still is one of a loop.
        if real.is_symlink() or not os.path.lexists(real) or (itself := _described("", str(real))) is None:
            return None
        inside = [(path, _described(path, place)) for path, place in self._inside(real)] if real.is_dir() else []
        sockets = tuple(f"{name}/{path}".removeprefix("./") for path, item in inside if item is None)
        return Picked(name, itself, tuple(item for _, item in inside if item), sockets, read=self.read)

    def _inside(self, folder: Path, onerror: Callable[[OSError], object] | None = _raise) -> Iterator[tuple[str, str]]:
        for here, folders, files in os.walk(folder, onerror=onerror):
            folders.sort()
            rest = os.path.relpath(here, folder)
            prefix = "" if rest == "." else rest + "/"
            base = os.path.relpath(here, self.folder)
            under = "" if base == "." else base + "/"
            for name in sorted([*files, *folders]):
                if self._rules.ignores(under + name):
                    if name in folders and not self._rules.may_hold_exceptions(under + name):
                        folders.remove(name)
                    continue
                yield prefix + name, os.path.join(here, name)
            folders[:] = [name for name in folders if not os.path.islink(os.path.join(here, name))]

    def paths(self, depth: int) -> Iterator[str]:
        """Yields every path of so many parts."""
        for here, folders, files in os.walk(self.folder, onerror=_raise):
            base = os.path.relpath(here, self.folder)
            level = 0 if base == "." else base.count("/") + 1
            if level + 1 == depth:
                yield from (name if base == "." else f"{base}/{name}" for name in (*folders, *files))
                folders.clear()

    def _near(self, name: str) -> str:
        if os.path.islink(self.folder / name) and not self._rules.ignores(name):
            return f"look at the symlink {name}: it leads to nothing"
        if os.path.lexists(self.folder / name):
            if not self._rules.ignores(name) and stat.S_ISSOCK(os.lstat(self.folder / name).st_mode):
                return f"{name} is a socket, which no image can hold"
            return f"{name} is there, but .dockerignore leaves it out"
        return meant(name, (path for path, _ in self._inside(self.folder, onerror=None))) or "put the file into the context's folder"

    def why_not(self, names: Sequence[str]) -> str:
        """Gives why nothing can be taken of paths that are there: `.dockerignore` leaves them out, or no image can hold them."""
        left = [name for name in names if self._rules.ignores(name)]
        return f"look at .dockerignore: it leaves out {', '.join(left[:_SHOWN])}" if left else self._near(names[0])


def meant(name: str, paths: Iterable[str]) -> str:
    """Gives a question that names the paths which may have been meant, "" where none is near: the same name in other letters or elsewhere, or nearly the same."""
    seen = list(islice(paths, _LOOKED_AT))
    lowered, base = name.lower(), os.path.basename(name).lower()
    near = [path for path in seen if path.lower() == lowered]
    near += difflib.get_close_matches(name, seen, n=_SHOWN, cutoff=0.7)
    near += [path for path in seen if os.path.basename(path).lower() == base]
    chosen = list(dict.fromkeys(map(visible, near)))[:_SHOWN]
    return f"is {chosen[0]} meant?" if len(chosen) == 1 else f"is one of these meant: {', '.join(chosen)}?" if chosen else ""


def _described(path: str, place: str) -> Item | None:
    """Gives a file as a layer will have it; None for a socket, which docker leaves out as well."""
    entry = packing.describe(path, place, lambda path, place, status: Owned(0, 0))
    if entry is not None and entry.kind in ("char", "block"):
        raise BuildFailed(f"cannot copy {place}: a device", hint="name it in .dockerignore")
    return None if entry is None else (entry, place)


def _glob(part: str) -> str:
    out, place = "", 0
    while place < len(part):
        char = part[place]
        if char == "*":
            out += "[^/]*"
        elif char == "?":
            out += "[^/]"
        elif char == "[" and "]" in part[place + 2 :]:
            end = part.index("]", place + 2)
            inner = part[place + 1 : end].replace("\\", "\\\\")
            out += f"[{inner}]"
            place = end
        else:
            out += re.escape(char)
        place += 1
    return out
