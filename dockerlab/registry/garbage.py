"""What nobody names any more, taken off a registry's disk while it serves.

Marked is what manifests reach: their blobs, the manifests of their index. What is young stays, and with it whatever else its repository has
without a name: an upload that ended, or a blob that somebody asked for, may be about to be named, together with what the same push brought
before. Each blob is taken under the writers' lock, looked at once more, so that none is lost between the look and the removal.
"""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass

from dockerlab.registry.storage import Repository, Storage, descriptors
from dockerlab.store.files import locked

__all__ = ["Collected", "collect"]

_YOUNG = 3600.0  # seconds
_ABANDONED = 7 * 24 * 3600.0


@dataclass(slots=True)
class Collected:
    """What went: blobs with their bytes, links of repositories to blobs, untagged manifests, uploads that were given up."""

    blobs: int = 0
    size: int = 0
    links: int = 0
    manifests: int = 0
    uploads: int = 0


def collect(storage: Storage, *, untagged: bool = False, young: float = _YOUNG, abandoned: float = _ABANDONED) -> Collected:
    """Frees what no manifest reaches and nobody touched for `young` seconds; with `untagged` manifests without a tag go as well, unless an index or a subject holds them."""
    told, before = Collected(uploads=storage.give_up(abandoned)), time.time() - young
    marked: set[str] = set()
    for name in storage.repositories():
        repository = storage.repository(name)
        if untagged:
            told.manifests += _untagged(repository, before)
        reached = _reached(repository)
        if reached is None:
            marked |= set(repository.layers()) | set(repository.revisions())
            continue
        marked |= reached
        unnamed = [digest for digest in repository.layers() if digest not in reached]
        if repository.uploading(before) or any(not _older(storage, digest, before) for digest in unnamed):
            marked |= set(unnamed)  # a push is under way, and what it brought first may have come long ago
            continue
        for digest in unnamed:
            with locked(storage.lock):
                again = _reached(repository)
                if again is not None and digest not in again and _older(storage, digest, before):
                    told.links += repository.forget_blob(digest)
    for digest in list(storage.digests()):
        if digest in marked or not _older(storage, digest, before):
            continue
        with locked(storage.lock):
            if _older(storage, digest, before) and not any(_linked(storage.repository(name), digest) for name in storage.repositories()):
                told.size += storage.blob(digest).stat().st_size
                storage.blob(digest).unlink()
                told.blobs += 1
                with contextlib.suppress(OSError):
                    os.rmdir(storage.blob(digest).parent)
    return told


def _older(storage: Storage, digest: str, moment: float) -> bool:
    try:
        return storage.blob(digest).stat().st_mtime < moment
    except FileNotFoundError:
        return True


def _reached(repository: Repository) -> set[str] | None:
    """Gives every digest that the repository's manifests need, theirs among them; None where one of them cannot be read: then nobody knows what it needs."""
    found: set[str] = set()
    for digest in repository.revisions():
        found.add(digest)
        raw = repository.manifest(digest)
        if raw is None:
            continue  # deleted at this moment, or lost
        try:
            found |= {each.digest for each in descriptors(raw)}
        except ValueError:
            return None
    return found


def _untagged(repository: Repository, before: float) -> int:
    gone = 0
    for digest in _unheld(repository, before):
        with locked(repository.storage.lock):  # a tag may have come to it since
            if digest in _unheld(repository, before):
                gone += repository.forget_manifest(digest)
    return gone


def _unheld(repository: Repository, before: float) -> list[str]:
    """Gives the manifests that have no tag, are in no kept index, and are about no kept manifest; none where one cannot be read."""
    kept = {repository.digest_of(tag) for tag in repository.tags()}
    try:
        while True:
            more = {each.digest for digest in kept for each in descriptors(repository.manifest(digest) or b"{}")}
            more |= {each.digest for digest in kept for each in repository.referrers(digest)}
            if more <= kept:
                break
            kept |= more
    except ValueError:
        return []
    return [digest for digest in repository.revisions() if digest not in kept and _older(repository.storage, digest, before)]


def _linked(repository: Repository, digest: str) -> bool:
    return repository.has(digest) is not None
