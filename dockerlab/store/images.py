"""Names and images: `index.json` of the layout. An image without a name stands in it as well; docker calls it dangling."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from dockerlab.errors import InvalidReference, InvalidRequest, NotFound
from dockerlab.oci.config import ImageConfig
from dockerlab.oci.digest import Digest, ImageId
from dockerlab.oci.manifest import Descriptor, Index, Manifest
from dockerlab.oci.reference import Reference
from dockerlab.store.content import ContentStore
from dockerlab.store.files import locked, mark, publish

__all__ = ["ImageStore", "Record"]

_WHOLE = 71  # characters of an id: sha256: and 64 digits
_NAME, _ID, _PARENT, _TAGGED = "org.opencontainers.image.ref.name", "dockerlab.image.id", "dockerlab.image.parent", "dockerlab.image.tagged"


@dataclass(frozen=True, slots=True)
class Record:
    """One image: its id, its manifest, all its names sorted, the image that a build made it from, and when it last got a name."""

    id: ImageId
    manifest: Descriptor
    names: tuple[str, ...] = ()
    parent: str = ""
    tagged: str = ""


class ImageStore:
    """Names → descriptors. Every change is one atomic replacement of `index.json` under a lock, so no update is lost."""

    def __init__(self, root: Path, content: ContentStore) -> None:
        self._path, self._lock, self._content = root / "index.json", root / "index.lock", content
        self._seen: tuple[tuple[int, int, int], list[Record]] = (0, 0, 0), []

    def _load(self) -> list[Record]:
        try:
            now = mark(self._path)
        except FileNotFoundError:
            return []
        if self._seen[0] != now:
            self._seen = now, self._read()
        return list(self._seen[1])

    def _read(self) -> list[Record]:
        index = Index.decode(self._path.read_bytes())
        found: dict[str, Record] = {}
        for descriptor in index.manifests:
            notes = descriptor.annotations
            image = ImageId(notes[_ID]) if _ID in notes else self._identify(descriptor)
            plain = msgspec.structs.replace(descriptor, annotations={})
            record = found.get(image, Record(image, plain, (), notes.get(_PARENT, ""), notes.get(_TAGGED, "")))
            name = notes.get(_NAME)
            found[image] = replace(record, names=(*record.names, name)) if name else record
        return _with_names_sorted(found.values())

    def _identify(self, descriptor: Descriptor) -> ImageId:
        return ImageId(Manifest.decode(self._content.read(descriptor.digest)).config.digest)

    def _save(self, records: Sequence[Record], *, sync: bool) -> None:
        lines = [self._line(record, name) for record in records for name in (record.names or ("",))]
        if sync:
            self._content.sync()
        publish(self._path, msgspec.json.format(Index(manifests=tuple(lines)).encode(), indent=1), sync=True)
        # Whoever holds the lock knows what the file says now.
        self._seen = mark(self._path), _with_names_sorted(records)

    @staticmethod
    def _line(record: Record, name: str) -> Descriptor:
        facts = {_ID: str(record.id), _PARENT: record.parent, _NAME: name, _TAGGED: record.tagged}
        notes = {key: value for key, value in facts.items() if value}
        return msgspec.structs.replace(record.manifest, annotations=notes)

    def _change(self, edit: Callable[[list[Record]], list[Record]], *, sync: bool = True) -> None:
        with locked(self._lock):
            before = self._load()
            after = edit(list(before))
            if after != before:
                self._save(after, sync=sync)

    def records(self) -> list[Record]:
        """Gives every image, oldest entry first."""
        return self._load()

    def add(self, config: bytes, manifest: Manifest | bytes, *, name: Reference | None = None, parent: str = "", when: str = "", step: bool = False) -> ImageId:
        """Stores an image's documents (a manifest from elsewhere byte by byte) and, in one step, gives it a name (at the time `when`) that another image may lose by it.

        A `step` of a build is not waited for: it outlives a power cut once `settle` was called, or another image was named.
        """
        config_digest = self._content.put(config)
        raw = manifest if isinstance(manifest, bytes) else manifest.encode()
        kind = (Manifest.decode(manifest) if isinstance(manifest, bytes) else manifest).media_type
        descriptor = Descriptor(media_type=kind, digest=self._content.put(raw), size=len(raw))
        image = ImageId(config_digest)

        def edit(records: list[Record]) -> list[Record]:
            if not any(record.id == image for record in records):
                records.append(Record(image, descriptor, (), parent))
            return _named(records, image, str(name.tagged()), when) if name else records

        # A build's step has no name: after a power cut it may be made again. What is named, or left without a name by the build's end, is on disk.
        self._change(edit, sync=bool(name) or not step)
        return image

    def settle(self) -> None:
        """Makes sure that all that was stored so far outlives a power cut."""
        self._content.sync()

    def tag(self, image: ImageId, name: Reference, when: str = "", *, anew: bool = True) -> None:
        """Points a name at an image at the time `when`; raises NotFound when the image has gone meanwhile. Unless `anew`, a name that points there already keeps its time."""
        full = str(name.tagged())

        def edit(records: list[Record]) -> list[Record]:
            there = not anew and any(record.id == image and full in record.names for record in records)
            return records if there else _named(records, image, full, when)

        self._change(edit)

    def untag(self, name: str) -> None:
        """Takes a name away; its image stays, dangling if it was the last."""
        self._change(lambda records: [replace(r, names=tuple(n for n in r.names if n != name)) for r in records])

    def forget(self, image: ImageId) -> None:
        """Takes an image and its names out of the index; `gc` frees its blobs."""
        self._change(lambda records: [r for r in records if r.id != image])

    def manifest(self, record: Record) -> Manifest:
        """Gives the image's manifest; raises NotFound, CorruptContent."""
        return Manifest.decode(self._content.read(record.manifest.digest))

    def config(self, image: ImageId) -> ImageConfig:
        """Gives the image's config; raises NotFound, CorruptContent."""
        return ImageConfig.decode(self._content.read(Digest(image)))

    def find(self, text: str) -> Record:
        """Gives the image called so, by name, id or unambiguous start of an id; raises NotFound and InvalidRequest in docker's words."""
        records = self._load()
        if len(text) == _WHOLE and (whole := next((record for record in records if record.id == text), None)):
            return whole
        bare = text.removeprefix("sha256:")
        if len(bare) >= 1 and all(c in "0123456789abcdef" for c in bare):
            hits = [r for r in records if r.id.removeprefix("sha256:").startswith(bare)]
            if len(hits) == 1 and not _by_name(records, text):
                return hits[0]
            if len(hits) > 1 and not _by_name(records, text):
                raise NotFound(f"no unambiguous image: {len(hits)} ids begin with {text}", kind="image", name=text, hint="give more digits")
        record = _by_name(records, text)
        if record is None:
            shown = text if text.startswith("sha256:") else _reference(text).tagged().familiar
            raise NotFound(f"No such image: {shown}", kind="image", name=text, hint="list the images with `docker images`")
        return record


def _with_names_sorted(records: Iterable[Record]) -> list[Record]:
    return [replace(record, names=tuple(sorted(record.names))) if len(record.names) > 1 else record for record in records]


def _reference(text: str) -> Reference:
    try:
        return Reference.parse(text)
    except InvalidReference as error:
        # Docker's daemon, unlike its client, does not repeat the name.
        raise InvalidRequest(re.sub(r"(repository name) \(.*\)", r"\1", error.message), hint=error.hint) from None


def _by_name(records: list[Record], text: str) -> Record | None:
    try:
        reference = Reference.parse(text).tagged()
    except ValueError:
        return None
    return next((r for r in records if str(reference) in r.names), None)


def _named(records: list[Record], image: ImageId, name: str, when: str) -> list[Record]:
    if not any(r.id == image for r in records):
        raise NotFound(f"No such image: {image}", kind="image", name=image)
    kept = [replace(r, names=tuple(n for n in r.names if n != name)) for r in records]
    return [replace(r, names=(*r.names, name), tagged=when or r.tagged) if r.id == image else r for r in kept]


def newest_first(records: Iterable[tuple[Record, ImageConfig]]) -> list[tuple[Record, ImageConfig]]:
    """Gives the records in the order of `docker images`."""
    return sorted(records, key=lambda pair: pair[1].created, reverse=True)


