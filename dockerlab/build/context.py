"""The build context: a folder, less what .dockerignore names, read only where COPY and ADD ask for something."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dockerlab.build.ignore import IgnoreRules
from dockerlab.errors import BuildFailed

__all__ = ["Context", "Picked"]

_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Picked:
    """A source that COPY or ADD named: what it is called, where it lies, and, for a folder, what is in it as (path inside, place)."""

    name: str
    place: str
    is_dir: bool
    inside: tuple[tuple[str, str], ...] = ()

    def digest(self) -> str:
        """Gives a digest of names, modes and content; times do not count."""
        hasher = hashlib.sha256()
        for path, place in self.inside or (("", self.place),):
            status = os.lstat(place)
            hasher.update(f"{path}\0{stat.S_IFMT(status.st_mode)}\0{stat.S_IMODE(status.st_mode):o}\0".encode("utf-8", "surrogateescape"))
            if stat.S_ISREG(status.st_mode):
                with open(place, "rb") as file:
                    while block := file.read(_BLOCK):
                        hasher.update(block)
            elif stat.S_ISLNK(status.st_mode):
                hasher.update(os.fsencode(os.readlink(place)))
            hasher.update(b"\0")
        return hasher.hexdigest()


class Context:
    """A folder; symlinks in it are copied as symlinks, and one that a source passes through must stay inside."""

    def __init__(self, folder: Path, rules: IgnoreRules | None = None) -> None:
        self.folder = folder.resolve()
        self._rules = rules or IgnoreRules()

    @classmethod
    def open(cls, folder: Path, dockerfile: str = "") -> Context:
        """Gives the context of a folder with its .dockerignore (`<dockerfile>.dockerignore` comes first)."""
        for name in filter(None, (f"{dockerfile}.dockerignore" if dockerfile else "", ".dockerignore")):
            path = folder / name
            if path.is_file():
                return cls(folder, IgnoreRules.from_text(path.read_text(errors="surrogateescape")))
        return cls(folder)

    def pick(self, pattern: str) -> list[Picked]:
        """Gives what a source word names; raises BuildFailed in docker's words."""
        clean = os.path.normpath(pattern.lstrip("/")) if pattern.strip("/") else "."
        if clean == ".." or clean.startswith("../"):
            raise BuildFailed(f"COPY failed: forbidden path outside the build context: {pattern} ()", hint="copy the file into the context's folder")
        names = self._matching(clean) if re.search(r"[*?\[]", clean) else [clean]
        found = [self._picked(name) for name in names if name == "." or not self._rules.ignores(name)]
        if not found or not all(found):
            raise BuildFailed(
                f"COPY failed: file not found in build context or excluded by .dockerignore: stat {pattern}: file does not exist", hint=self._near(clean)
            )
        return [picked for picked in found if picked]

    def _picked(self, name: str) -> Picked | None:
        place = self.folder / name
        real = place.resolve()
        if real != self.folder and self.folder not in real.parents:
            raise BuildFailed(f"COPY failed: forbidden path outside the build context: {name} ()", hint="copy what the symlink points to into the context")
        if not os.path.lexists(real):
            if self._rules.may_hold_exceptions(name):
                return None
            return None
        if real.is_dir():
            return Picked(name, str(real), True, tuple(self._inside(real)))
        return Picked(name, str(real), False)

    def _inside(self, folder: Path) -> Iterator[tuple[str, str]]:
        for here, folders, files in os.walk(folder):
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

    def _matching(self, pattern: str) -> list[str]:
        parts = pattern.split("/")
        expression = re.compile("/".join(_glob(part) for part in parts))
        depth = len(parts)
        found = []
        for here, folders, files in os.walk(self.folder):
            base = os.path.relpath(here, self.folder)
            level = 0 if base == "." else base.count("/") + 1
            for name in (*folders, *files):
                path = name if base == "." else f"{base}/{name}"
                if level + 1 == depth and expression.fullmatch(path):
                    found.append(path)
            if level + 1 >= depth:
                folders.clear()
        return sorted(found)

    def _near(self, name: str) -> str:
        import difflib

        if os.path.lexists(self.folder / name):
            return f"{name} is there, but .dockerignore leaves it out"
        close = difflib.get_close_matches(name, [entry.name for entry in os.scandir(self.folder)], n=1)
        return f"is {close[0]} meant?" if close else "put the file into the context's folder"


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
