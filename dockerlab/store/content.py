"""Blobs by digest: `blobs/sha256/…` of an OCI image layout (image-spec, image-layout.md)."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from dockerlab.errors import CorruptContent, NotFound, StoreError
from dockerlab.oci.digest import Digest, digest_of, hexadecimal, parse_digest, short, verified
from dockerlab.store.files import explain, publish, scratch_name

__all__ = ["ContentStore"]

_LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'


class ContentStore:
    """Keeps each blob once. A blob has its name only when it is whole."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / "blobs" / "sha256"
        self.ingest = root / "ingest"
        self._fresh: set[Path] = set()
        with explain(root):
            self.folder.mkdir(parents=True, exist_ok=True)
            self.ingest.mkdir(exist_ok=True)
            layout = root / "oci-layout"
            if not layout.exists():
                publish(layout, _LAYOUT)
        if b'"1.0.0"' not in layout.read_bytes():
            raise StoreError(f"{root} holds an image layout of an unknown version", hint="use a newer dockerlab, or another DOCKERLAB_HOME")

    def path(self, digest: Digest) -> Path:
        """Gives where the blob lies or would lie."""
        return self.folder / hexadecimal(parse_digest(digest))

    def __contains__(self, digest: Digest) -> bool:
        return self.path(digest).exists()

    def read(self, digest: Digest) -> bytes:
        """Gives a small blob, verified; raises NotFound, CorruptContent."""
        data = self._open(digest)
        if digest_of(data) != digest:
            raise CorruptContent(f"blob {short(digest)} is damaged", expected=digest, actual=digest_of(data), hint="run `docker system check`")
        return data

    def _open(self, digest: Digest) -> bytes:
        try:
            return self.path(digest).read_bytes()
        except FileNotFoundError:
            raise NotFound(f"blob {short(digest)} is missing", kind="blob", name=digest, hint="run `docker system check`") from None

    def verify(self, digest: Digest, size: int) -> None:
        """Reads a blob through; raises NotFound, CorruptContent."""
        try:
            with open(self.path(digest), "rb") as file:
                for _ in verified(file, expected=digest, size=size):
                    pass
        except FileNotFoundError:
            raise NotFound(f"blob {short(digest)} is missing", kind="blob", name=digest) from None

    def put(self, data: bytes) -> Digest:
        """Stores a small blob and gives its digest."""
        digest = digest_of(data)
        with explain(self.path(digest)):
            here = _renewed(self.path(digest))
        if not here:
            publish(self.path(digest), data)
        self._fresh.add(self.path(digest))
        return digest

    def draft(self) -> Path:
        """Gives a place to write a large blob to, for `adopt`."""
        return self.ingest / scratch_name()

    @contextlib.contextmanager
    def unless_failed(self, draft: Path) -> Iterator[None]:
        """Removes the draft at once where the block that writes it fails: it may be what filled the disk, which then is said in words."""
        try:
            with explain(draft):
                yield
        except BaseException:
            draft.unlink(missing_ok=True)
            raise

    def adopt(self, draft: Path, digest: Digest) -> None:
        """Takes a written draft in under its digest; one that is there already stays."""
        with explain(draft):
            if _renewed(self.path(digest), draft.stat().st_size):
                draft.unlink()
            else:
                os.replace(draft, self.path(digest))
        self._fresh.add(self.path(digest))

    def keep_fresh(self) -> None:
        """Says of what was stored since the last `sync` that it is about to be named: what is old and nobody's is removed by others meanwhile."""
        for path in self._fresh:
            with contextlib.suppress(FileNotFoundError):
                os.utime(path)

    def sync(self) -> None:
        """Makes sure that what was stored since the last call outlives a power cut; called once before a name is published."""
        for path in self._fresh:
            try:
                descriptor = os.open(path, os.O_RDONLY)
            except FileNotFoundError:
                continue
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        self._fresh.clear()

    def digests(self) -> Iterator[Digest]:
        """Yields the digest of every blob."""
        for path in self.folder.iterdir():
            if len(path.name) == 64:
                yield Digest(f"sha256:{path.name}")

    def older(self, digest: Digest, when: float) -> bool:
        """Tells whether a blob was last stored before a time in seconds since 1970; False where it is gone."""
        try:
            return self.path(digest).stat().st_mtime < when
        except FileNotFoundError:
            return False

    def remove(self, digests: Iterable[Digest]) -> int:
        """Removes blobs and gives the bytes that this freed."""
        freed = 0
        for digest in digests:
            try:
                freed += self.path(digest).stat().st_size
                self.path(digest).unlink()
            except FileNotFoundError:
                continue
        return freed


def _renewed(path: Path, size: int | None = None) -> bool:
    """Makes a blob young that is about to be named, as others remove what is old and nobody's; tells whether it is here, and of that size."""
    try:
        os.utime(path)
        return size is None or path.stat().st_size == size
    except FileNotFoundError:
        return False
