"""Blobs on their way in: sessions that begin, grow by chunks, and end with a digest (distribution-spec "Pushing blobs")."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import threading
import uuid
from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dockerlab.errors import RegistryError
from dockerlab.registry.protocol import refusal
from dockerlab.registry.storage import Repository, holding
from dockerlab.store.files import locked, publish

__all__ = ["Upload", "Uploads"]

_BLOCK = 1 << 20
_ALGORITHMS = {"sha256": 64, "sha512": 128}
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_REMEMBERED = 1024
Read = Callable[[int], bytes]


class _Hashes:
    """How far each upload has been hashed. A memory and no authority: another process hashes the file again."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, str], tuple[int, Any]] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, place: Path, algorithm: str) -> tuple[int, Any]:
        with self._lock:
            return self._known.pop((str(place), algorithm), (0, hashlib.new(algorithm)))

    def keep(self, place: Path, algorithm: str, length: int, state: Any) -> None:
        with self._lock:
            self._known[str(place), algorithm] = length, state
            while len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)


_hashes = _Hashes()


class Upload:
    """One session. Two requests at once do not mix: the second is refused."""

    def __init__(self, repository: Repository, ident: str, algorithm: str = "sha256") -> None:
        self.repository, self.ident, self.algorithm = repository, ident, algorithm
        self.folder = repository.folder / "_uploads" / ident
        self.data = self.folder / "data"

    @property
    def size(self) -> int:
        """The bytes that have come; raises BLOB_UPLOAD_UNKNOWN."""
        try:
            return self.data.stat().st_size
        except FileNotFoundError:
            raise refusal("BLOB_UPLOAD_UNKNOWN") from None

    def append(self, read: Read, *, start: int | None = None, length: int | None = None) -> int:
        """Adds what `read` gives, which stands at `start` and is `length` long where these are told; gives the new size.

        Raises RANGE_INVALID where it does not follow on what is there, and SIZE_INVALID, or what `read` raises, where it is cut short: what came stays, and may be gone on from.
        """
        with self._alone():
            before = self.size
            if start is not None and start != before:
                raise refusal("RANGE_INVALID", {"have": before})
            storage = self.repository.storage
            storage.coming(length or 0)
            length_hashed, state = _hashes.take(self.data, self.algorithm)
            if length_hashed != before:
                state = self._hashed(before)
            try:
                with holding(), open(self.data, "r+b", buffering=0) as file:
                    file.seek(before)
                    added, cut = _poured(read, file, state, length, storage.coming if length is None else lambda _: None)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.truncate(self.data, before)
                raise
            _hashes.keep(self.data, self.algorithm, before + added, state)
            if cut:
                raise cut
            if length is not None and added != length:
                raise refusal("SIZE_INVALID", {"expected": length, "received": added})
            return before + added

    def _hashed(self, size: int) -> Any:
        state = hashlib.new(self.algorithm)
        with open(self.data, "rb", buffering=0) as file:
            while size > 0 and (block := file.read(min(_BLOCK, size))):
                state.update(block)
                size -= len(block)
        return state

    def finish(self, digest: str) -> None:
        """Ends the session: the blob is in its repository. Raises DIGEST_INVALID, and the session is gone too."""
        with self._alone():
            algorithm, _, wanted = digest.partition(":")
            length, state = _hashes.take(self.data, algorithm)
            if length != self.size:
                self.algorithm = algorithm
                state = self._hashed(self.size)
            if state.hexdigest() != wanted:
                self._gone()
                raise refusal("DIGEST_INVALID", {"expected": digest, "actual": f"{algorithm}:{state.hexdigest()}"})
            try:
                self.repository.take(digest, self.data)
            finally:
                self._gone()

    def cancel(self) -> None:
        """Ends the session; raises BLOB_UPLOAD_UNKNOWN."""
        with self._alone():
            _ = self.size
            self._gone()

    def _gone(self) -> None:
        for algorithm in _ALGORITHMS:
            _hashes.take(self.data, algorithm)
        shutil.rmtree(self.folder, ignore_errors=True)

    @contextlib.contextmanager
    def _alone(self) -> Any:
        if not self.folder.is_dir():
            raise refusal("BLOB_UPLOAD_UNKNOWN")
        try:
            with holding(), locked(self.folder / "lock", wait=False) as held:
                if not held:  # a thread that waits is a thread that serves nobody
                    raise refusal("BLOB_UPLOAD_INVALID", message="another request is at this upload", status=409)
                yield
        except FileNotFoundError:
            raise refusal("BLOB_UPLOAD_UNKNOWN") from None


def _poured(read: Read, file: Any, state: Any, length: int | None, coming: Callable[[int], object]) -> tuple[int, Exception | None]:
    """Writes what `read` gives; gives how much that was, and what `read` has failed with."""
    added = 0
    while length is None or added < length:
        try:
            block = read(_BLOCK if length is None else min(_BLOCK, length - added))
        except (OSError, RegistryError) as error:
            return added, error
        if not block:
            break
        coming(len(block))
        state.update(block)
        view = memoryview(block)
        while view:
            view = view[file.write(view) :]
        added += len(block)
    return added, None


class Uploads:
    """A repository's sessions."""

    def __init__(self, repository: Repository) -> None:
        self.repository = repository

    def begin(self, algorithm: str = "sha256") -> Upload:
        """Begins a session; raises DIGEST_INVALID for an algorithm that is not known."""
        if algorithm not in _ALGORITHMS:
            raise refusal("DIGEST_INVALID", algorithm, message="unsupported digest algorithm")
        upload = Upload(self.repository, str(uuid.uuid4()), algorithm)
        with holding():
            upload.folder.mkdir(parents=True)
            publish(upload.folder / "startedat", datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ").encode())
            if algorithm != "sha256":
                publish(upload.folder / "algorithm", algorithm.encode())
            upload.data.touch()
        return upload

    def get(self, ident: str) -> Upload:
        """Gives a session; raises BLOB_UPLOAD_UNKNOWN."""
        upload = Upload(self.repository, ident)
        if not _UUID.fullmatch(ident) or not upload.data.exists():
            raise refusal("BLOB_UPLOAD_UNKNOWN")
        with contextlib.suppress(FileNotFoundError):
            upload.algorithm = (upload.folder / "algorithm").read_text()
        return upload
