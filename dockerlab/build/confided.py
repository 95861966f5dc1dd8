"""What is remembered of a secret: enough to tell that another one was given, too little to find it by."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from dockerlab.build.cache import Cache
from dockerlab.build.steps import RunMount

__all__ = ["changed", "marks"]


def marks(cache: Cache, mounts: Iterable[RunMount]) -> dict[str, str]:
    """Gives four hexadecimal digits for each secret, by its id; {} where nothing can be kept, or no such digits can be had.

    scrypt (RFC 7914), salted by the cache: some 10 ms and 4 MB for a try, and one of 65,536 wrong ones passes for the right one.
    """
    secrets = [mount for mount in mounts if mount.type == "secret"]
    salt = cache.salt() if secrets else b""
    try:
        return {mount.ident: hashlib.scrypt(mount.data, salt=salt, n=2**12, r=8, p=1, dklen=2).hex() for mount in secrets} if salt else {}
    except (AttributeError, ValueError):  # a library for TLS that was built, or is told, to do without
        return {}


def changed(cache: Cache, key: str, mounts: Sequence[RunMount]) -> Sequence[str]:
    """Gives the ids of the secrets that are others than when the step of this key was done."""
    before = cache.confided(key) if any(mount.type == "secret" for mount in mounts) else {}
    return sorted(ident for ident, mark in marks(cache, mounts).items() if before.get(ident, mark) != mark) if before else []
