"""Layers between store and engine: taken in, unpacked when first needed, looked into without unpacking."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from dockerlab.errors import CorruptContent, NotSupportedHere
from dockerlab.layers import index
from dockerlab.layers.audit import Sifted
from dockerlab.layers.index import Entry
from dockerlab.layers.union import UnionView
from dockerlab.oci.config import ImageConfig
from dockerlab.oci.digest import ChainId, DiffId, Digest, hexadecimal, short
from dockerlab.oci.manifest import LAYER_GZIP, Descriptor, Manifest
from dockerlab.store import opening
from dockerlab.store.files import publish
from dockerlab.store.images import Record
from dockerlab.store.native import NativeSnapshotter

if TYPE_CHECKING:
    from dockerlab.engine import Engine

__all__ = ["Layers"]


T = TypeVar("T")
# A table's file: its path, inode, time and size.
_File = tuple[str, int, int, int]


def _file(path: Path) -> _File:
    status = os.stat(path)
    return str(path), status.st_ino, status.st_mtime_ns, status.st_size


@functools.lru_cache(16)
def _table(file: _File) -> Sequence[Entry]:
    with open(file[0], "rb") as opened:
        return index.decode(opened.read())


@functools.lru_cache(16)
def _sifted(file: _File) -> Sifted:
    return Sifted.of(_table(file))


class Layers:
    """An engine's layers. A kernel that looks into the same ones again and again reads the tables of the last few once."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._folder = engine.home / "indexes"
        self._folder.mkdir(exist_ok=True)

    def _index(self, diff_id: DiffId) -> Path:
        return self._folder / hexadecimal(diff_id)

    def adopt(self, draft: Path, facts: dict[str, Any]) -> tuple[Descriptor, DiffId]:
        """Takes a packed layer (see `store.work`) into the content store."""
        diff_id = DiffId(facts["diff_id"])
        self._engine.content.adopt(draft, Digest(facts["digest"]))
        publish(self._index(diff_id), facts["index"].encode())
        notes = {"dockerlab.compressor": facts["compressor"]} if "compressor" in facts else {}
        return Descriptor(media_type=LAYER_GZIP, digest=Digest(facts["digest"]), size=facts["size"], annotations=notes), diff_id

    def table(self, descriptor: Descriptor, diff_id: DiffId) -> Sequence[Entry]:
        """Gives a layer's table of contents; made again from the blob where it is missing or damaged."""
        return self._kept(_table, descriptor, diff_id)

    def _kept(self, read: Callable[[_File], T], descriptor: Descriptor, diff_id: DiffId) -> T:
        path = self._index(diff_id)
        try:
            return read(_file(path))
        except (FileNotFoundError, CorruptContent):
            facts = self._engine.world.call("read_index", blob=str(self._engine.content.path(descriptor.digest)))
            self._check(diff_id, facts)
            publish(path, facts["index"].encode())
            return read(_file(path))

    def tables(self, record: Record) -> list[Sequence[Entry]]:
        """Gives the tables of all layers of an image, base first."""
        return [self.table(descriptor, diff_id) for descriptor, diff_id in self.named(record)]

    def sifted(self, record: Record) -> list[Sifted]:
        """Gives the same for a scan."""
        return [self._kept(_sifted, descriptor, diff_id) for descriptor, diff_id in self.named(record)]

    def union(self, record: Record) -> UnionView:
        """Gives what a container of the image would see, without unpacking anything."""
        return UnionView(self.tables(record))

    def set_ids(self, record: Record) -> list[str]:
        """Gives the programs of an image that run as their owner or group, whoever starts them."""
        union = self.union(record)
        return sorted({f"/{entry.path}" for table in self.tables(record) for entry in table if entry.kind == "file" and entry.mode & 0o6000 and entry.mode & 0o111 and union.get(entry.path)})

    def contents(self, record: Record, number: int, wanted: Iterable[Entry]) -> Iterator[tuple[Entry, Iterator[bytes]]]:
        """Yields files of an image's layer (the base is 0) with their content, see `store.opening.contents`; raises CorruptContent."""
        descriptor, diff_id = self.named(record)[number]
        with open(self._blob(descriptor, record), "rb") as blob, open(self._index(diff_id), "rb") as table:
            yield from opening.contents(blob, index.points(table.readline()), wanted)

    def _blob(self, descriptor: Descriptor, record: Record) -> Path:
        path = self._engine.content.path(descriptor.digest)
        if not path.exists():
            raise CorruptContent(f"layer {short(descriptor.digest)} of image {short(record.id)} is missing", hint="run `docker system check`")
        return path

    def sizes(self, record: Record) -> list[int]:
        """Gives the bytes that each layer adds, as docker counts them: files and symlinks, each hard link once, nothing for whiteouts."""
        return [self.size(descriptor, diff_id) for descriptor, diff_id in self.named(record)]

    def size(self, descriptor: Descriptor, diff_id: DiffId) -> int:
        """Gives the same of one layer."""
        return sum(entry.weight for entry in self.table(descriptor, diff_id) if entry.kind in ("file", "symlink"))

    def named(self, record: Record) -> list[tuple[Descriptor, DiffId]]:
        """Gives both names of each layer of an image, base first."""
        manifest, config = self._documents(record)
        return list(zip(manifest.layers, config.rootfs.diff_ids, strict=True))

    def _documents(self, record: Record) -> tuple[Manifest, ImageConfig]:
        store = self._engine.image_store
        manifest, config = store.manifest(record), store.config(record.id)
        if len(manifest.layers) != len(config.rootfs.diff_ids):
            raise CorruptContent(f"image {short(record.id)} has {len(manifest.layers)} layers and {len(config.rootfs.diff_ids)} diff_ids")
        return manifest, config

    def ensure_unpacked(self, record: Record) -> tuple[ChainId, ...]:
        """Makes sure that the snapshotter has every layer of an image; gives the chain ids, base first."""
        manifest, config = self._documents(record)
        snapshotter, parent = self._engine.snapshotter, None
        for descriptor, chain_id in zip(manifest.layers, config.chain, strict=True):
            if not snapshotter.exists(chain_id):
                snapshotter.unpack(chain_id, parent, (self._blob(descriptor, record), descriptor.media_type))
            parent = chain_id
        return config.chain

    def make_ready(self, record: Record) -> None:
        """Unpacks an image before anybody waits for it, and has the first container's copy made where each gets a whole one."""
        try:
            chain, snapshotter = self.ensure_unpacked(record), self._engine.snapshotter
        except NotSupportedHere:  # images can be made where no container can be run
            return
        if isinstance(snapshotter, NativeSnapshotter):
            # Who has waited for an image waits this second too, rather than before the first container's output.
            snapshotter.make_spare(chain[-1], wait=True)

    @staticmethod
    def _check(diff_id: DiffId, facts: dict[str, Any]) -> None:
        if facts["diff_id"] != diff_id:
            raise CorruptContent(f"layer {short(diff_id)} is damaged", expected=diff_id, actual=facts["diff_id"], hint="run `docker system check`")

    def forget(self, keep: set[DiffId]) -> None:
        """Removes the tables of layers that nobody keeps."""
        kept = {hexadecimal(diff_id) for diff_id in keep}
        for path in self._folder.iterdir():
            if path.name not in kept and not path.name.startswith("."):
                path.unlink(missing_ok=True)
