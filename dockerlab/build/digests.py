"""What the files of a build context hold, by digest: one that has not changed since is not read again.

Whether it has is told by lstat(2): device, inode, size, and the times of its last write and of its last change of any kind, which no program can set back.
A file that was changed in the last moments may be changed once more in the same tick of the clock, so what was read then is read again the next time.
"""

from __future__ import annotations

import hashlib
import os
import time

import msgspec

from dockerlab.build.cache import Cache

__all__ = ["Digests", "digest_of"]

_FRESH_NS = 2 * 10**9
_MOST = 200_000
Known = dict[str, tuple[str, str]]


def digest_of(place: str) -> str:
    """Gives the sha256 of a file, 64 digits. Raises OSError."""
    with open(place, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Digests:
    """The digests of one folder's files, as far as they are known in a build cache; of a folder that is not `lasting` none is remembered."""

    def __init__(self, cache: Cache, folder: str, *, lasting: bool = True) -> None:
        self._lasting = lasting
        self._cache, self._folder, self._origin = cache, folder, f"digests\0{folder}"
        self._known: Known | None = None
        self._now: Known = {}
        self._read = 0

    def of(self, place: str) -> str:
        """Gives the sha256 of a file below the folder, read only where it may have changed. Raises OSError."""
        name = os.fsencode(os.path.relpath(place, self._folder)).decode("latin-1")
        status = os.lstat(place)
        stamp = f"{status.st_dev:x} {status.st_ino:x} {status.st_size:x} {status.st_mtime_ns:x} {status.st_ctime_ns:x}"
        if self._known is None:
            self._known = _decoded(self._cache.recall(self._origin)) if self._lasting else {}
        for known in (self._now, self._known):
            if (found := known.get(name)) and found[0] == stamp:
                return found[1]
        digest = digest_of(place)
        self._read += 1
        if time.time_ns() - max(status.st_mtime_ns, status.st_ctime_ns) < _FRESH_NS:
            self._known.pop(name, None)
        else:
            self._now[name] = (stamp, digest)
        return digest

    def keep(self) -> None:
        """Remembers what was read."""
        if not (self._lasting and self._read) or self._known is None:
            return
        whole = {**self._known, **self._now}
        self._cache.remember(self._origin, msgspec.json.encode(whole if len(whole) <= _MOST else self._now).decode())


def _decoded(text: str) -> Known:
    try:
        return msgspec.json.decode(text.encode(), type=Known) if text else {}
    except msgspec.DecodeError:
        return {}
