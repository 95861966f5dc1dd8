"""Programs of this host with the libraries that they load: a small image that can always be had (the host's *closure*)."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from dockerlab.errors import NotSupportedHere
from dockerlab.layers.index import Entry
from dockerlab.layers.packing import Archive, Write

__all__ = ["closure", "make"]

_TIME = 1_577_836_800  # 2020-01-01: a fixed time gives fixed bytes where the host's programs are the same
_LOADED = re.compile(r"(?:=> )?(/\S+) \(0x")


def closure(program: Path) -> set[Path]:
    """Gives a program and every file that its dynamic loader maps for it, as named by the loader; ldd(1)."""
    listed = subprocess.run(["ldd", str(program)], capture_output=True, text=True, check=False)
    return {program, *(Path(found) for found in _LOADED.findall(listed.stdout))}


def make(write: Write, names: Sequence[str], files: Mapping[str, tuple[bytes, int]], links: Mapping[str, str], more: Sequence[str] = ()) -> tuple[list[Entry], int]:
    """Writes a layer with the programs `names` in /bin, their libraries, own `files` (content, mode), symlinks and the host's files `more`.

    Gives its table of contents and its time. Raises NotSupportedHere for a program that this host lacks.
    """
    contents = dict(files)
    for name in names:
        found = shutil.which(name, path="/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
        if found is None:
            raise NotSupportedHere(f"this host has no {name}", reason="not installed", hint=f"install {name} and try again")
        for path in closure(Path(found).resolve()):
            place = f"bin/{name}" if path == Path(found).resolve() else str(path).lstrip("/")
            contents[place] = (path.read_bytes(), 0o755)
    for name in more:
        if os.path.isfile(name):
            contents[name.lstrip("/")] = (Path(name).read_bytes(), stat.S_IMODE(os.stat(name).st_mode))
    return _written(write, contents, links), _TIME


def _written(write: Write, contents: Mapping[str, tuple[bytes, int]], links: Mapping[str, str]) -> list[Entry]:
    folders = {str(parent) for path in (*contents, *links) for parent in Path(path).parents} - {"."} | {"dev", "proc", "sys", "tmp", "root", "etc"}
    entries = [Entry(path, "dir", {"tmp": 0o1777, "root": 0o700}.get(path, 0o755), 0, 0, 0, _TIME) for path in folders]
    entries += [Entry(path, "file", mode, 0, 0, len(data), _TIME) for path, (data, mode) in contents.items()]
    entries += [Entry(path, "symlink", 0o777, 0, 0, 0, _TIME, target) for path, target in links.items()]
    archive = Archive(write)
    for entry in sorted(entries, key=lambda entry: entry.path.split("/")):
        archive.add(entry, (contents[entry.path][0],) if entry.kind == "file" else ())
    return archive.end()
