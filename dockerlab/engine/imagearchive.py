"""Files of one image, read from outside: what `Files` are for a container. Its layers' tables say where they lie, and no layer is unpacked."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from dockerlab.build.context import Picked
from dockerlab.engine.exchange import PathStat, arrived
from dockerlab.engine.imagefiles import ImageFiles
from dockerlab.errors import InvalidRequest, NotFound
from dockerlab.layers import packing
from dockerlab.layers.index import parent_of
from dockerlab.layers.packing import Item
from dockerlab.layers.union import Seen

if TYPE_CHECKING:
    from dockerlab.engine.images import Image

__all__ = ["ImageArchive"]


class ImageArchive:
    """The files of an image, to be read."""

    def __init__(self, image: Image) -> None:
        self._image = image

    def stat(self, path: str) -> PathStat:
        """Gives what lies at a path, a symlink itself; raises NotFound, InvalidRequest."""
        with tempfile.TemporaryDirectory(prefix="dockerlab-") as folder:
            place, seen = self._found(self._files(folder), path)
        entry = seen.entry
        target = os.path.normpath(os.path.join("/", parent_of(place), entry.link)) if entry.kind == "symlink" else ""
        return PathStat(arrived(path), packing.FORMS.get(entry.kind, stat.S_IFREG) | entry.mode, entry.size, target)

    def get_archive(self, path: str, descriptor: int, *, name: str | None = None) -> None:
        """Writes what lies at a path as a tar to an open descriptor, called `name` in it ("" for a folder's content); raises NotFound, InvalidRequest."""
        called = arrived(path) if name is None else name
        with tempfile.TemporaryDirectory(prefix="dockerlab-") as folder, open(descriptor, "wb", closefd=False) as sink:
            files = self._files(folder)
            place, seen = self._found(files, path)
            if seen.entry.kind == "symlink":
                packing.pack([(msgspec.structs.replace(seen.entry, path=called), "")], sink.write)
                return
            picked = files.look(place or ".")
            assert picked is not None
            picked.bring()
            packing.pack(_named(picked, called), sink.write)

    def _files(self, folder: str) -> ImageFiles:
        return ImageFiles(self._image._engine.images.layers, self._image.record, Path(folder))

    def _found(self, files: ImageFiles, path: str) -> tuple[str, Seen]:
        """Gives the place that a path means, and what is there; symlinks on the way are followed in the image, and at its end where a slash stands behind."""
        if not path:
            raise InvalidRequest("bad parameter: path cannot be empty")
        clean, inside = path.strip("/"), path.endswith(("/", "/."))
        while clean == "." or clean.endswith(("/", "/.")):
            clean = clean.removesuffix(".").rstrip("/")
        above, base = files.union.follow(parent_of(clean)), clean.rpartition("/")[2]
        place = files.union.follow(clean) if inside or base in ("", "..") else f"{above}/{base}".lstrip("/")
        seen = files.union.resolved(place)
        if seen is None or (inside and seen.entry.kind != "dir"):
            raise NotFound(f"Could not find the file {path} in image {self._image.title}", hint="dockerlab layers IMAGE PATH tells which layer took it away")
        return place, seen


def _named(picked: Picked, called: str) -> Iterator[Item]:
    entry, place = picked.itself
    if called:
        yield msgspec.structs.replace(entry, path=called), place
    prefix = f"{called}/" if called else ""
    for inner, where in picked.inside:
        yield msgspec.structs.replace(inner, path=prefix + inner.path, link=prefix + inner.link if inner.kind == "link" else inner.link), where
