"""`docker save` and `docker load`: images as one tar, for docker and skopeo as well."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import posixpath
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from dockerlab.errors import CorruptContent, InvalidReference, NotFound
from dockerlab.layers import tar
from dockerlab.layers.index import Entry
from dockerlab.oci import bundle, platforms
from dockerlab.oci.config import ImageConfig
from dockerlab.oci.digest import DiffId, Digest, ImageId, digest_of, short
from dockerlab.oci.manifest import CONFIG, INDEX, LAYER_GZIP, LAYER_TAR, LAYER_ZSTD, MANIFEST, SCHEMA_2, SCHEMA_2_LIST, Descriptor, Index, Manifest
from dockerlab.oci.reference import Reference
from dockerlab.store import work
from dockerlab.store.opening import compression, open_layer

if TYPE_CHECKING:
    from dockerlab.engine import Engine
    from dockerlab.engine.images import Image

__all__ = ["load", "save"]

_SMALL, _MEMORY, _DOCUMENT = 1 << 16, 64 << 20, 16 << 20
_NESTED = 8  # indexes within an index
_HINT = "give an archive that `docker save`, `skopeo copy … docker-archive:` or `oci-archive:` has written"


def save(engine: Engine, names: Sequence[str], write: Callable[[bytes], object]) -> None:
    """Writes the images that are named, with the names that were meant: an id none, a repository all its tags. The same images give the same bytes. Raises NotFound, CorruptContent."""
    chosen: dict[ImageId, list[Reference]] = {}
    for name in names:
        for image, reference in _meant(engine, name):
            kept = chosen.setdefault(image.id, [])
            kept += [reference] if reference and reference not in kept else []
    files: dict[str, bytes | Path] = {bundle.LAYOUT_FILE: bundle.LAYOUT}
    lines, items = [], []
    for ident, references in chosen.items():
        image = engine.images.get(ident)
        manifest = image.manifest
        for digest in (image.record.manifest.digest, manifest.config.digest, *(layer.digest for layer in manifest.layers)):
            path = engine.content.path(digest)
            if not path.exists():
                raise CorruptContent(f"blob {short(digest)} of image {short(ident)} is missing", hint="run `docker system check`")
            files[bundle.blob(digest)] = path
        tags = tuple(reference.familiar for reference in references)
        items.append(bundle.Item(bundle.blob(manifest.config.digest), tags or None, tuple(bundle.blob(layer.digest) for layer in manifest.layers)))
        stored, platform = image.record.manifest, {"architecture": image.config.architecture, "os": image.config.os}
        notes = [{bundle.NAME: str(reference), bundle.TAG: reference.tag} for reference in references] or [{}]
        lines += [Descriptor(media_type=stored.media_type, digest=stored.digest, size=stored.size, annotations=note, platform=platform) for note in notes]
    files[bundle.INDEX_FILE] = Index(manifests=tuple(lines)).encode()
    files[bundle.ITEMS_FILE] = bundle.encode_items(items)
    _written(files, write)


def _meant(engine: Engine, name: str) -> Iterator[tuple[Image, Reference | None]]:
    """moby image/tarexport/save.go, parseNames."""
    try:
        reference = Reference.parse(name)
    except InvalidReference:  # whole ids are no names
        yield engine.images.get(name), None
        return
    every = [image for image in engine.images.list(intermediate=True) if image.record.names]
    if not reference.tag and not reference.digest:
        found = [(image, other) for image in every for other in map(Reference.parse, image.record.names) if other.familiar_name == reference.familiar_name]
        if found:
            yield from found
            return
    try:
        image = engine.images.get(name)
    except NotFound:
        raise NotFound(f"No such image: {name}", kind="image", name=name, hint="list the images with `docker images`") from None
    yield image, reference if str(reference) in image.record.names else None


def _written(files: dict[str, bytes | Path], write: Callable[[bytes], object]) -> None:
    folders = sorted({parent for name in files for parent in (posixpath.dirname(name), posixpath.dirname(posixpath.dirname(name))) if parent})
    for name in sorted([*folders, *files]):
        content = files.get(name)
        size = content.stat().st_size if isinstance(content, Path) else len(content or b"")
        write(tar.header(Entry(name, "dir" if content is None else "file", 0o755 if content is None else 0o644, 0, 0, size, 0)))
        if isinstance(content, Path):
            with open(content, "rb") as file:
                while block := file.read(1 << 20):
                    write(block)
        elif content:
            write(content)
        write(tar.padding(size))
    write(tar.END)


@dataclass(slots=True)
class _Parts:
    """What an archive held: small files in memory, large ones as drafts of the content store, links by where they lead; and the layers taken in of it."""

    engine: Engine
    small: dict[str, bytes] = field(default_factory=dict)
    large: dict[str, Path] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    layers: dict[DiffId, Descriptor] = field(default_factory=dict)
    _digests: dict[Path, Digest] = field(default_factory=dict)

    def take(self, stream: tar.Reader) -> None:
        """Reads an archive once, from first to last: it may come through a pipe. Raises CorruptContent, UnsafeArchive."""
        held = 0
        for entry, body in tar.read(stream):
            self._forget(entry.path)
            if entry.kind in ("link", "symlink"):
                base = posixpath.dirname(entry.path) if entry.kind == "symlink" else ""
                self.links[entry.path] = posixpath.normpath(posixpath.join(base, entry.link))
            elif entry.kind == "file" and entry.size <= _SMALL and held < _MEMORY:
                self.small[entry.path] = b"".join(body.blocks())
                held += entry.size
            elif entry.kind == "file":
                self.fresh()
                self.large[entry.path] = self._written(body.blocks())

    def _written(self, blocks: Iterable[bytes]) -> Path:
        draft, hasher = self.engine.content.draft(), hashlib.sha256()
        with self.engine.content.unless_failed(draft), open(draft, "wb") as file:
            for block in blocks:
                hasher.update(block)
                file.write(block)
        self._digests[draft] = Digest(f"sha256:{hasher.hexdigest()}")
        return draft

    def _forget(self, name: str) -> None:
        """An archive that names a path twice means the second."""
        self.links.pop(name, None)
        self.small.pop(name, None)
        if name in self.large:
            self.large.pop(name).unlink(missing_ok=True)

    def has(self, name: str) -> bool:
        """Tells whether there is a file of that name."""
        return name in self.small or name in self.large

    def fresh(self) -> None:
        """Keeps what is still needed from being taken for what a killed process left behind."""
        self.engine.content.keep_fresh()
        for draft in self.large.values():
            with contextlib.suppress(FileNotFoundError):
                os.utime(draft)

    def place(self, name: str) -> str:
        """Gives the name of the file that a name leads to; raises CorruptContent."""
        for _ in range(8):
            if self.has(name):
                return name
            if name not in self.links:
                break
            name = self.links[name]
        raise CorruptContent(f"the archive lacks {name[:80]}", hint="the file was cut short, or is no whole archive of an image")

    def document(self, name: str) -> bytes:
        """Gives a file's content, which is small; raises CorruptContent."""
        place = self.place(name)
        if place in self.small:
            return self.small[place]
        if self.large[place].stat().st_size > _DOCUMENT:
            raise CorruptContent(f"{name[:80]} is too large for a document of an image", hint=_HINT)
        return self.large[place].read_bytes()

    @contextlib.contextmanager
    def opened(self, name: str) -> Iterator[BinaryIO]:
        """Opens a file's content."""
        place = self.place(name)
        with open(self.large[place], "rb") if place in self.large else io.BytesIO(self.small[place]) as file:
            yield file

    def given(self, name: str) -> tuple[Path, Digest]:
        """Gives a file as a draft, which is the caller's now, and its digest; raises CorruptContent."""
        place = self.place(name)
        draft = self.large.pop(place) if place in self.large else self._written([self.small[place]])
        return draft, self._digests[draft]

    def close(self) -> None:
        """Removes what nobody adopted."""
        for draft in self.large.values():
            draft.unlink(missing_ok=True)


def load(engine: Engine, file: BinaryIO) -> Iterator[str]:
    """Takes in the images of an archive, compressed or not; yields docker's line for each, once it is in the store. Raises CorruptContent, UnsafeArchive, NotFound, InvalidReference."""
    parts = _Parts(engine)
    try:
        parts.take(open_layer(file))
        if parts.has(bundle.INDEX_FILE):  # where both are there, this one says the manifests' digests as well
            for descriptor in Index.decode(parts.document(bundle.INDEX_FILE)).manifests:
                references = _references(_names(descriptor))
                yield from _named(engine, _from_layout(engine, parts, descriptor), references)
        elif parts.has(bundle.ITEMS_FILE):
            for item in bundle.decode_items(parts.document(bundle.ITEMS_FILE)):
                references = _references(item.repo_tags or ())
                yield from _named(engine, _from_item(engine, parts, item), references)
        else:
            raise CorruptContent("the archive holds no image: neither manifest.json nor index.json is in it", hint=_HINT)
    finally:
        parts.close()


def _names(descriptor: Descriptor) -> tuple[str, ...]:
    """Gives the image's name, where the archive tells one: a bare tag is none."""
    notes = descriptor.annotations
    name = notes.get(bundle.NAME, "") or notes.get(bundle.TAG, "")
    return (name,) if ":" in name or "/" in name else ()


def _references(names: Sequence[str]) -> list[Reference]:
    """Gives the names before anything is stored; raises InvalidReference, also for one that promises a digest."""
    found = [Reference.parse(name).tagged() for name in names]
    for reference in found:
        if reference.digest:
            raise InvalidReference(f"{reference.familiar}: an archive cannot give an image a name by digest", hint="name it with a tag")
    return found


def _named(engine: Engine, image: ImageId, references: Sequence[Reference]) -> Iterator[str]:
    engine.journal.note("image", "load", image, {"name": image})
    for reference in references:
        with contextlib.suppress(NotFound):
            if (before := engine.images.get(reference.familiar)).id != image:
                yield f"The image {reference.familiar} already exists, renaming the old one with ID {before.id} to empty string"
        engine.images.tag(image, reference.familiar)
        yield f"Loaded image: {reference.familiar}"
    if not references:
        yield f"Loaded image ID: {image}"


def _from_item(engine: Engine, parts: _Parts, item: bundle.Item) -> ImageId:
    raw = parts.document(item.config)
    config = ImageConfig.decode(raw)
    _agreed(len(item.layers), config)
    layers = tuple(_layer(engine, parts, path, diff_id) for path, diff_id in zip(item.layers, config.rootfs.diff_ids, strict=True))
    descriptor = Descriptor(media_type=CONFIG, digest=digest_of(raw), size=len(raw))
    return engine.image_store.add(raw, Manifest(config=descriptor, layers=layers).encode())


def _from_layout(engine: Engine, parts: _Parts, descriptor: Descriptor) -> ImageId:
    raw = _checked(parts, descriptor)
    for _ in range(_NESTED):
        if descriptor.media_type not in (INDEX, SCHEMA_2_LIST):
            break
        descriptor = platforms.pick(Index.decode(raw), platforms.parsed("", platforms.architecture()))
        raw = _checked(parts, descriptor)
    manifest = Manifest.decode(raw)
    if descriptor.media_type not in (MANIFEST, SCHEMA_2):
        raise CorruptContent(f"media type {descriptor.media_type[:80]} is none of an image's manifest", hint=_HINT)
    document = _checked(parts, manifest.config)
    config = ImageConfig.decode(document)
    _agreed(len(manifest.layers), config)
    for layer, diff_id in zip(manifest.layers, config.rootfs.diff_ids, strict=True):
        _layer(engine, parts, bundle.blob(layer.digest), diff_id, wanted=layer)
    return engine.image_store.add(document, raw)


def _checked(parts: _Parts, descriptor: Descriptor) -> bytes:
    raw = parts.document(bundle.blob(descriptor.digest))
    if digest_of(raw) != descriptor.digest or len(raw) != descriptor.size:
        raise CorruptContent(f"blob {short(descriptor.digest)} is damaged", expected=descriptor.digest, actual=digest_of(raw), hint="fetch the archive again")
    return raw


def _agreed(count: int, config: ImageConfig) -> None:
    if count != len(config.rootfs.diff_ids):
        raise CorruptContent(f"invalid manifest, layers length mismatch: expected {count}, got {len(config.rootfs.diff_ids)}", hint=_HINT)


def _layer(engine: Engine, parts: _Parts, path: str, diff_id: DiffId, *, wanted: Descriptor | None = None) -> Descriptor:
    """Takes a layer in as it is where it is compressed, else compressed; gives how it is stored. Raises CorruptContent where it is not what the config says."""
    known = parts.layers.get(diff_id) or (_known(engine, diff_id) if wanted is None else None)
    if known and (wanted is None or (known.digest, known.size) == (wanted.digest, wanted.size)):
        return wanted or known
    parts.fresh()
    if wanted is not None and wanted.digest in engine.content and not parts.has(path):
        # It is here, but only its own bytes say which layer it is: what an archive says of them may be a lie.
        told = work.read_index(str(engine.content.path(wanted.digest)))
        if told["diff_id"] != diff_id or engine.content.path(wanted.digest).stat().st_size != wanted.size:
            raise CorruptContent(f"layer {short(diff_id)} is damaged", expected=diff_id, actual=told["diff_id"], hint="fetch the archive again")
        return wanted
    with parts.opened(path) as file:
        kind = compression(file)
        made = not kind and wanted is None
        draft, digest = (engine.content.draft(), None) if made else parts.given(path)
        with engine.content.unless_failed(draft):
            facts = work.compressed(file, str(draft)) if made else {**work.read_index(str(draft)), "digest": digest, "size": draft.stat().st_size}
            if facts["diff_id"] != diff_id or (wanted is not None and (facts["digest"], facts["size"]) != (wanted.digest, wanted.size)):
                raise CorruptContent(f"layer {short(diff_id)} is damaged", expected=diff_id, actual=facts["diff_id"], hint="fetch the archive again")
    stored, _ = engine.images.layers.adopt(draft, facts)
    media_type = {"gzip": LAYER_GZIP, "zstd": LAYER_ZSTD, "": LAYER_TAR}["gzip" if made else kind]
    parts.layers[diff_id] = wanted or Descriptor(media_type=media_type, digest=stored.digest, size=stored.size, annotations=stored.annotations)
    return parts.layers[diff_id]


def _known(engine: Engine, diff_id: DiffId) -> Descriptor | None:
    """Gives a layer that another image has already."""
    for record in engine.image_store.records():
        diff_ids = engine.image_store.config(record.id).rootfs.diff_ids
        if diff_id in diff_ids:
            found = engine.image_store.manifest(record).layers[diff_ids.index(diff_id)]
            if found.digest in engine.content:
                return found
    return None
