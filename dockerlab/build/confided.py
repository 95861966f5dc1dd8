"""What is remembered of a secret: enough to tell that another one was given, too little to find it by."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from dockerlab.build.cache import Cache
from dockerlab.build.steps import RunMount

__all__ = ["changed", "marks"]


def marks(cache: Cache, mounts: Iterable[RunMount]) -> dict[str, str]:
    """Gives four hexadecimal digits for each secret, by its id; {} where nothing can be kept.

    scrypt (RFC 7914), salted by the cache: some 10 ms and 4 MB for a try, and one of 65,536 wrong ones passes for the right one.
    """
    secrets = [mount for mount in mounts if mount.type == "secret"]
    salt = cache.salt() if secrets else b""
    return {mount.ident: hashlib.scrypt(mount.data, salt=salt, n=2**12, r=8, p=1, dklen=2).hex() for mount in secrets} if salt else {}


def changed(cache: Cache, key: str, mounts: Iterable[RunMount]) -> Sequence[str]:
    """Gives the ids of the secrets that are others than when the step of this key was done."""
    now = marks(cache, mounts)
    before = cache.confided(key) if now else {}
    return sorted(ident for ident, mark in now.items() if before.get(ident, mark) != mark)
