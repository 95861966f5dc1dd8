"""What a registry keeps on disk, laid out as CNCF distribution lays it (its `paths.go`), so that `registry:2` reads what we wrote and the other way round.

    docker/registry/v2/blobs/sha256/ab/abcd…/data                       every blob once
    docker/registry/v2/repositories/NAME/_layers/sha256/…/link          this repository has the blob
    docker/registry/v2/repositories/NAME/_manifests/revisions/sha256/…/link
    docker/registry/v2/repositories/NAME/_manifests/tags/TAG/current/link
    docker/registry/v2/repositories/NAME/_uploads/UUID/{data,startedat}

A link is a file that holds a digest. Links and blobs appear by rename(2): whoever is killed leaves an upload, never a part of a blob. Who writes holds
`gc.lock` shared, so that the collection of garbage (`garbage`) never takes a blob between its upload and the link to it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import time
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Annotated

import msgspec

from dockerlab.errors import StoreError
from dockerlab.oci.digest import Digest
from dockerlab.oci.manifest import MANIFEST
from dockerlab.registry.protocol import DIGEST, TAG, media_type, refusal
from dockerlab.registry.quota import Tally
from dockerlab.store.files import locked, publish, scratch_name

__all__ = ["Pointer", "Referrer", "Repository", "Storage", "descriptors", "holding", "subject_of"]

_DIGEST = re.compile(DIGEST)
_FRESH = 60.0  # seconds for which a blob is not touched again
_IDLE = 600.0  # seconds after which an upload makes room for others


class Referrer(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """A manifest that names another one as its `subject`, as the referrers list describes it."""

    media_type: str
    digest: str
    size: int
    artifact_type: str = ""
    annotations: dict[str, str] = {}


class Pointer(msgspec.Struct, frozen=True, rename="camel"):
    """A descriptor, as far as a registry looks at it."""

    digest: str
    size: Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)] = 0
    media_type: str = ""
    urls: list[str] | None = None

    @property
    def foreign(self) -> bool:
        """Whether the blob is not expected here: it is somewhere else, or must not be distributed."""
        return bool(self.urls) or ".nondistributable." in self.media_type or ".foreign." in self.media_type


class _Sum(msgspec.Struct, rename="camel"):
    blob_sum: str


class _Pointers(msgspec.Struct, rename="camel"):
    fs_layers: list[_Sum] | None = None  # of schema 1, which others may have left here
    config: Pointer | None = None
    layers: list[Pointer] | None = None
    manifests: list[Pointer] | None = None


class _Subject(msgspec.Struct):
    digest: str = ""


class _Config(msgspec.Struct, rename="camel"):
    media_type: str = ""


class _Facts(msgspec.Struct, rename="camel"):
    subject: _Subject | None = None
    artifact_type: str = ""
    config: _Config | None = None
    annotations: dict[str, str] | None = None


class Storage:
    """All of a registry's repositories; `quota` bounds the bytes of all blobs, and those of all uploads under way; 0 means no bound."""

    def __init__(self, root: Path, *, quota: int = 0) -> None:
        self.root, self.quota = root, quota
        self.folder = root / "docker" / "registry" / "v2"
        self.lock = self.folder / "gc.lock"
        self._used = Tally(self.folder / "quota.used", quota, self._held)
        self._coming = Tally(self.folder / "quota.coming", quota, self._pending)
        for name in ("blobs", "repositories"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)

    def blob(self, digest: str) -> Path:
        """Gives where a blob lies or would lie."""
        algorithm, _, digits = digest.partition(":")
        return self.folder / "blobs" / algorithm / digits[:2] / digits / "data"

    def digests(self) -> Iterator[Digest]:
        """Yields the digest of every blob."""
        for place in (self.folder / "blobs").glob("*/*/*/data"):
            yield Digest(f"{place.parts[-4]}:{place.parts[-2]}")

    def repository(self, name: str) -> Repository:
        """Gives a repository, whether it is there or not; `name` fits the specification's grammar."""
        return Repository(self, name)

    def repositories(self) -> list[str]:
        """Gives the names of all repositories, sorted."""
        return sorted(name for name, below in self._folders() if "_manifests" in below or "_layers" in below)

    def uploads(self) -> Iterator[Path]:
        """Yields the folder of every upload that has not ended, whether or not its repository has anything else."""
        for name, below in self._folders():
            if "_uploads" in below:
                yield from (self.folder / "repositories" / name / "_uploads").glob("*")

    def _folders(self) -> Iterator[tuple[str, list[str]]]:
        top, folders = self.folder / "repositories", [""]
        while folders:
            name = folders.pop()
            with contextlib.suppress(FileNotFoundError), os.scandir(top / name) as listing:
                below = [entry.name for entry in listing if entry.is_dir(follow_symlinks=False)]
                yield name, below
                folders += [f"{name}/{each}".lstrip("/") for each in below if not each.startswith("_")]

    def give_up(self, seconds: float) -> int:
        """Removes the uploads in which nothing came for so long; gives how many."""
        old, gone = time.time() - seconds, 0
        for folder in self.uploads():
            with contextlib.suppress(FileNotFoundError):
                if max((each.stat().st_mtime for each in folder.iterdir()), default=folder.stat().st_mtime) < old:
                    shutil.rmtree(folder, ignore_errors=True)
                    gone += 1
        return gone

    def remove(self, name: str) -> None:
        """Takes a repository away with all its manifests and links; the collection of garbage frees the disk."""
        place = self.folder / "repositories" / name
        aside = self.folder / f"removed-{scratch_name()}"
        with locked(self.lock), contextlib.suppress(FileNotFoundError):
            os.rename(place, aside)
        shutil.rmtree(aside, ignore_errors=True)

    def room(self, size: int) -> contextlib.AbstractContextManager[None]:
        """Holds so many bytes of the quota for the block in which they become a blob; raises DENIED where they are beyond it."""
        return self._used.adding(size, "the registry's quota is used up") if self.quota else contextlib.nullcontext()

    def coming(self, size: int) -> None:
        """Raises DENIED where so many bytes more of uploads under way are beyond the quota."""
        if self.quota:
            with holding(), self._coming.adding(size, "uploads that have not ended use up the registry's quota", lambda: self.give_up(_IDLE)):
                pass

    def _held(self) -> int:
        sizes = 0
        for digest in self.digests():
            with contextlib.suppress(FileNotFoundError):
                sizes += self.blob(digest).stat().st_size
        return sizes

    def _pending(self) -> int:
        sizes = 0
        for folder in self.uploads():
            with contextlib.suppress(FileNotFoundError):
                sizes += (folder / "data").stat().st_size
        return sizes

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Holds garbage collection off for the block."""
        with locked(self.lock, shared=True):
            yield


@contextlib.contextmanager
def holding() -> Iterator[None]:
    """Turns a full or read-only disk into the protocol's words."""
    try:
        yield
    except StoreError as error:
        raise refusal("UNAVAILABLE", error.message, status=507) from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            raise refusal("UNAVAILABLE", os.strerror(error.errno), status=507 if error.errno != errno.EROFS else 503) from error
        raise


class Repository:
    """One repository: which blobs it has, its manifests and tags."""

    def __init__(self, storage: Storage, name: str) -> None:
        self.storage, self.name = storage, name
        self.folder = storage.folder / "repositories" / name
        self._tags = self.folder / "_manifests" / "tags"

    def exists(self) -> bool:
        """Tells whether anything was ever pushed here."""
        return (self.folder / "_manifests").is_dir() or (self.folder / "_layers").is_dir()

    # Blobs.

    def _link(self, kind: str, digest: str) -> Path:
        algorithm, _, digits = digest.partition(":")
        return self.folder / kind / algorithm / digits / "link"

    def has(self, digest: str) -> Path | None:
        """Gives where a blob of this repository lies, or None."""
        place = self.storage.blob(digest)
        if (self._link("_layers", digest).exists() or self._link("_manifests/revisions", digest).exists()) and place.exists():
            return place
        return None

    def asked(self, digest: str) -> Path | None:
        """As `has`, for somebody who may build on the answer: what was asked for is no garbage for the next hour."""
        place = self.has(digest)
        with contextlib.suppress(OSError, StoreError):  # a read-only disk has no garbage taken from it
            if place and time.time() - place.stat().st_mtime > _FRESH:
                with self.storage.writing():
                    place = self.has(digest)
                    if place:
                        os.utime(place)
        return place

    def take(self, digest: str, draft: Path | None = None) -> bool:
        """Links a blob, which is there already or which the draft holds; False where neither is."""
        place = self.storage.blob(digest)
        with holding(), self.storage.writing():
            if place.exists():
                os.utime(place)  # as good as new: nothing young is garbage
            elif draft is None:
                return False
            else:
                with self.storage.room(draft.stat().st_size):
                    place.parent.mkdir(parents=True, exist_ok=True)
                    os.replace(draft, place)
            _write_link(self._link("_layers", digest), digest)
        return True

    def uploading(self, since: float) -> bool:
        """Tells whether anything has come, since then in seconds since 1970, for an upload that has not ended."""
        for folder in (self.folder / "_uploads").glob("*"):
            with contextlib.suppress(FileNotFoundError):
                if (folder / "data").stat().st_mtime >= since:
                    return True
        return False

    def forget_blob(self, digest: str) -> bool:
        """Takes a blob out of this repository; False where it is not in it."""
        return _unlink(self._link("_layers", digest))

    # Manifests.

    def digest_of(self, reference: str) -> str:
        """Gives the digest that a tag or a digest stands for here, or ""."""
        if _DIGEST.fullmatch(reference):
            return reference if self._link("_manifests/revisions", reference).exists() else ""
        try:
            digest = (self._tags / reference / "current" / "link").read_text().strip()
        except (FileNotFoundError, NotADirectoryError):
            return ""
        return digest if _DIGEST.fullmatch(digest) and self._link("_manifests/revisions", digest).exists() else ""

    def manifest(self, digest: str) -> bytes | None:
        """Gives a manifest's bytes as they were pushed, or None."""
        if not self._link("_manifests/revisions", digest).exists():
            return None
        try:
            return self.storage.blob(digest).read_bytes()
        except FileNotFoundError:
            return None

    def put_manifest(self, digest: str, raw: bytes, tags: tuple[str, ...]) -> None:
        """Keeps a manifest and points tags at it."""
        place = self.storage.blob(digest)
        with holding(), self.storage.writing():
            if place.exists():
                os.utime(place)
            else:
                with self.storage.room(len(raw)):
                    place.parent.mkdir(parents=True, exist_ok=True)
                    publish(place, raw)
            _write_link(self._link("_manifests/revisions", digest), digest)
            for tag in tags:
                algorithm, _, digits = digest.partition(":")
                _write_link(self._tags / tag / "index" / algorithm / digits / "link", digest)
                _write_link(self._tags / tag / "current" / "link", digest)

    def tags(self) -> list[str]:
        """Gives the tags, in the order of their bytes."""
        with contextlib.suppress(FileNotFoundError), os.scandir(self._tags) as listing:
            return sorted(entry.name for entry in listing if re.fullmatch(TAG, entry.name) and self.digest_of(entry.name))
        return []

    def forget_tag(self, tag: str) -> bool:
        """Takes a tag away; False where there is none."""
        if not _unlink(self._tags / tag / "current" / "link"):
            return False
        shutil.rmtree(self._tags / tag, ignore_errors=True)
        return True

    def forget_manifest(self, digest: str) -> bool:
        """Takes a manifest away with every tag on it; False where it is not here."""
        if not _unlink(self._link("_manifests/revisions", digest)):
            return False
        for entry in self._tags.glob("*/current/link"):
            with contextlib.suppress(FileNotFoundError):
                if entry.read_text().strip() == digest:
                    self.forget_tag(entry.parts[-3])
        return True

    def revisions(self) -> Iterator[Digest]:
        """Yields the digests of all manifests, tagged or not."""
        for link in (self.folder / "_manifests" / "revisions").glob("*/*/link"):
            yield Digest(f"{link.parts[-3]}:{link.parts[-2]}")

    def layers(self) -> Iterator[Digest]:
        """Yields the digests of the blobs that are linked here."""
        for link in (self.folder / "_layers").glob("*/*/link"):
            yield Digest(f"{link.parts[-3]}:{link.parts[-2]}")

    def referrers(self, subject: str) -> list[Referrer]:
        """Gives the manifests here whose subject is that digest, whether or not it exists."""
        found = []
        for digest in sorted(self.revisions()):
            about, referrer = _facts(str(self.storage.blob(digest)), digest)
            if about == subject and referrer is not None:
                found.append(referrer)
        return found


@lru_cache(maxsize=1 << 14)
def _read_facts(place: str, digest: str) -> tuple[str, Referrer | None]:
    raw = Path(place).read_bytes()
    return subject_of(raw, digest)


def _facts(place: str, digest: str) -> tuple[str, Referrer | None]:
    # A manifest never changes, so that what was read once stays true; one that is gone is not remembered.
    try:
        return _read_facts(place, digest)
    except FileNotFoundError:
        return "", None


def subject_of(raw: bytes, digest: str, *, strict: bool = False) -> tuple[str, Referrer | None]:
    """Gives the digest of a manifest's subject and the manifest as a referrer; ("", None) where it has none. With `strict` raises ValueError for one that cannot be read."""
    try:
        facts = msgspec.json.decode(raw, type=_Facts)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        if strict:
            raise ValueError(str(error)) from error
        return "", None
    if facts.subject is None or not facts.subject.digest:
        return "", None
    kind = media_type(raw)
    artifact = facts.artifact_type or (facts.config.media_type if facts.config and kind == MANIFEST else "")
    return facts.subject.digest, Referrer(kind, digest, len(raw), artifact, facts.annotations or {})


def _write_link(place: Path, digest: str) -> None:
    while True:
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            publish(place, digest.encode())
            return
        except FileNotFoundError:  # somebody takes the folder away at this moment
            continue


def _unlink(place: Path) -> bool:
    try:
        place.unlink()
    except (FileNotFoundError, NotADirectoryError):
        return False
    with contextlib.suppress(OSError):
        place.parent.rmdir()
    return True


def descriptors(raw: bytes) -> list[Pointer]:
    """Gives what a manifest points at: config, layers, manifests; the subject, which need not exist, is not among them. Raises ValueError."""
    try:
        found = msgspec.json.decode(raw, type=_Pointers)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(str(error)) from error
    old = [Pointer(each.blob_sum) for each in found.fs_layers or []]
    return [*([found.config] if found.config else []), *(found.layers or []), *(found.manifests or []), *old]
