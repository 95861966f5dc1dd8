"""Debian packages laid side by side as dpkg(1) would have installed them: one tree, and the database that says so.

No maintainer script runs. The tree is a table of entries whose contents lie in one spool file, so it is sorted and written without ever being on disk.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import msgspec

from dockerlab.errors import CorruptContent
from dockerlab.layers import tar
from dockerlab.layers.index import Entry
from dockerlab.layers.packing import Archive, Write

__all__ = ["Tree", "add_package", "write_database"]

# Since Debian 12 and Ubuntu 21.04 these are links into /usr, whatever a package says; file-hierarchy(7).
_MERGED = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")


@dataclass
class Tree:
    """Entries by path, and where in the spool the content of each file lies."""

    spool: BinaryIO
    entries: dict[str, Entry] = field(default_factory=dict)
    places: dict[str, int] = field(default_factory=dict)
    newest: int = 0
    skip: Callable[[str], bool] = lambda path: False
    packages: dict[str, Package] = field(default_factory=dict)

    def put(self, path: str, content: bytes | str = b"", *, mode: int = 0o644, uid: int = 0, gid: int = 0) -> None:
        """Makes a file, with the folders above it."""
        data = content.encode() if isinstance(content, str) else content
        self.folders_above(path)
        self._keep(Entry(path, "file", mode, uid, gid, len(data), self.newest), iter((data,)))

    def folder(self, path: str, mode: int = 0o755, *, uid: int = 0, gid: int = 0) -> None:
        """Makes a folder, or gives the one that is there mode and owner."""
        self.folders_above(path)
        self.entries[path] = Entry(path, "dir", mode, uid, gid, 0, self.newest)

    def link(self, path: str, target: str) -> None:
        """Makes a symlink."""
        self.folders_above(path)
        self.entries[path] = Entry(path, "symlink", 0o777, 0, 0, 0, self.newest, target)

    def text(self, path: str) -> str:
        """Gives a file's content; "" where there is none."""
        return self.content(path).decode() if path in self.places else ""

    def content(self, path: str) -> bytes:
        """Gives a file's content."""
        self.spool.seek(self.places[path])
        return self.spool.read(self.entries[path].size)

    def folders_above(self, path: str) -> None:
        """Makes the folders that lead to a path where they are missing."""
        parent = path.rpartition("/")[0]
        if parent and parent not in self.entries:
            self.folder(parent)

    def _keep(self, entry: Entry, blocks: Iterator[bytes]) -> None:
        self.entries[entry.path] = entry
        if entry.kind == "file":
            self.places[entry.path] = self.spool.seek(0, 2)
            for block in blocks:
                self.spool.write(block)

    def add(self, entry: Entry, body: tar.Body) -> None:
        """Takes in what a package holds; of a folder that several bring the first counts, as with dpkg, and the newest date, so that their order is not seen."""
        entry = _merged(entry)
        if not entry.path or entry.path in _MERGED or self.skip(entry.path):
            return
        if entry.kind == "dir" and (there := self.entries.get(entry.path)):
            self.entries[entry.path] = msgspec.structs.replace(there, mtime=max(there.mtime, entry.mtime))
            return
        self.folders_above(entry.path)
        self._keep(entry, body.blocks())

    def write(self, write: Write) -> list[Entry]:
        """Writes the tree as one tar, sorted, hard links after what they link to; gives its table of contents."""
        archive = Archive(write)
        for entry in sorted(self.entries.values(), key=lambda e: (e.kind == "link", e.path.split("/"))):
            archive.add(entry, (self.content(entry.path),) if entry.kind == "file" else ())
        return archive.end()


@dataclass(frozen=True, slots=True)
class Package:
    """An unpacked package: its paragraph of control(5), the files of its control archive, the paths that it owns."""

    control: str
    files: dict[str, bytes]
    paths: tuple[str, ...]

    def __getitem__(self, name: str) -> str:
        found = re.search(rf"(?mi)^{name}: (.*)$", self.control)
        return found[1] if found else ""

    @property
    def stem(self) -> str:
        """What its files in dpkg's database are called."""
        return f"{self['Package']}:{self['Architecture']}" if self["Multi-Arch"] == "same" else self["Package"]


def _merged(entry: Entry) -> Entry:
    def into_usr(path: str) -> str:
        return f"usr/{path}" if path.partition("/")[0] in _MERGED else path

    return msgspec.structs.replace(entry, path=into_usr(entry.path), link=into_usr(entry.link) if entry.kind == "link" else entry.link)


def add_package(tree: Tree, file: Path) -> None:
    """Unpacks one package into the tree; raises CorruptContent."""
    files = {entry.path: b"".join(body.blocks()) for entry, body in _archive(file, "--ctrl-tarfile") if entry.kind == "file"}
    paths = []
    for entry, body in _archive(file, "--fsys-tarfile"):
        paths.append(entry.path)
        tree.newest = max(tree.newest, entry.mtime)
        tree.add(entry, body)
    package = Package(files.pop("control").decode(), files, tuple(paths))
    tree.packages[package["Package"]] = package


def _archive(file: Path, which: str) -> Iterator[tuple[Entry, tar.Body]]:
    with subprocess.Popen(["dpkg-deb", which, str(file)], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        yield from tar.read(process.stdout)
        process.stdout.read()
        words = process.stderr.read().decode(errors="replace")
    if process.returncode:
        raise CorruptContent(f"{file.name} cannot be unpacked: {words.strip()}", hint="fetch it again")


def write_database(tree: Tree) -> None:
    """Writes /var/lib/dpkg as if dpkg had installed every package of the tree."""
    tree.put("var/lib/dpkg/info/format", "1\n")
    interests: dict[str, list[str]] = {}
    for package in sorted(tree.packages.values(), key=lambda p: p["Package"]):
        stem = f"var/lib/dpkg/info/{package.stem}"
        listed = "".join("/." + "\n" if not path else f"/{path}\n" for path in package.paths)
        tree.put(f"{stem}.list", listed)
        for name, content in package.files.items():
            script = name in ("preinst", "postinst", "prerm", "postrm", "config")
            tree.put(f"{stem}.{name}", content, mode=0o755 if script else 0o644)
        for line in package.files.get("triggers", b"").decode().splitlines():
            word, _, what = line.partition(" ")
            if word.startswith("interest") and what:
                interests.setdefault(what.strip(), []).append(package["Package"] + ("/noawait" if word == "interest-noawait" else ""))
    tree.put("var/lib/dpkg/status", "".join(_paragraph(tree, p) for p in sorted(tree.packages.values(), key=lambda p: p["Package"])))
    tree.put("var/lib/dpkg/triggers/File", "".join(f"{what} {name}\n" for what, names in sorted(interests.items()) if what.startswith("/") for name in names))
    for what, names in interests.items():
        if not what.startswith("/"):
            tree.put(f"var/lib/dpkg/triggers/{what}", "".join(f"{name}\n" for name in names))
    for name in ("available", "diversions", "statoverride", "triggers/Unincorp", "lock", "lock-frontend"):
        tree.put(f"var/lib/dpkg/{name}", mode=0o640 if name.startswith("lock") else 0o644)
    for name in ("alternatives", "parts", "updates"):
        tree.folder(f"var/lib/dpkg/{name}")


def _paragraph(tree: Tree, package: Package) -> str:
    conffiles = ""
    for path in package.files.get("conffiles", b"").decode().split():
        if path.startswith("/") and path[1:] in tree.places:
            conffiles += f" {path} {hashlib.md5(tree.content(path[1:]), usedforsecurity=False).hexdigest()}\n"
    status = re.sub(r"(?m)^(Package: .*)$", r"\1\nStatus: install ok installed", package.control.rstrip("\n"), count=1)
    return status + ("\nConffiles:\n" + conffiles.rstrip("\n") if conffiles else "") + "\n\n"
