"""Owners and devices noted beside files, where a host gives a container one user id and no file on disk can be another's.

The note is an extended attribute of the file: it goes along when the file is renamed or copied up, and is gone with it. What takes no attribute
(symlinks, pipes; xattr(7)) is noted in its folder, by name.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat
from typing import Literal, NamedTuple

__all__ = ["OWNER", "PREFIX", "Owned", "at", "note", "note_at", "noted", "possible", "takes_notes"]

PREFIX = "user.dockerlab."
OWNER, _NAMES = "user.dockerlab.owner", "user.dockerlab.names"


class Owned(NamedTuple):
    """Who a path belongs to, and for a device what it is: "char" or "block" with its two numbers."""

    uid: int
    gid: int
    kind: Literal["", "char", "block"] = ""
    device: tuple[int, int] = (0, 0)

    def encode(self) -> bytes:
        """Gives the note as it stands on disk."""
        return f"{self.uid} {self.gid}".encode() + (f" {self.kind} {self.device[0]} {self.device[1]}".encode() if self.kind else b"")


def _decode(text: bytes) -> Owned | None:
    words = text.split()
    try:
        owner = Owned(int(words[0]), int(words[1]))
        return owner if len(words) < 5 else Owned(owner.uid, owner.gid, "block" if words[2] == b"block" else "char", (int(words[3]), int(words[4])))
    except (ValueError, IndexError):
        return None


def noted(place: str) -> Owned | None:
    """Gives what is noted for the file, folder or other thing at `place`, which is not followed; None for nothing."""
    try:
        return _decode(os.getxattr(place, OWNER, follow_symlinks=False))
    except OSError:
        pass
    folder, _, name = place.rpartition("/")
    words = _names(folder).get(name)
    return _decode(words.encode()) if words else None


def at(descriptor: int) -> Owned | None:
    """Gives what is noted for the file or folder behind an open descriptor, O_PATH or not; None for nothing. Raises OSError where nothing can be noted."""
    try:
        return _decode(os.getxattr(f"/proc/self/fd/{descriptor}", OWNER))
    except OSError as error:
        if error.errno == errno.ENODATA:
            return None
        raise


def note_at(descriptor: int, owned: Owned) -> None:
    """Notes an owner at the file or folder behind an open descriptor; raises OSError where the file system keeps no attributes."""
    os.setxattr(f"/proc/self/fd/{descriptor}", OWNER, owned.encode())


def takes_notes(mode: int) -> bool:
    """Tells whether a thing of this mode takes attributes of its own."""
    return stat.S_ISREG(mode) or stat.S_ISDIR(mode)


def note(place: str, owned: Owned) -> None:
    """Notes an owner; raises OSError where the file system keeps no attributes. The place's own times stay."""
    status = os.lstat(place)
    if takes_notes(status.st_mode):
        os.setxattr(place, OWNER, owned.encode(), follow_symlinks=False)
        return
    # Over a lower layer the thing itself has to come up as well, or nobody would see that it changed.
    os.utime(place, ns=(status.st_atime_ns, status.st_mtime_ns), follow_symlinks=False)
    folder, _, name = place.rpartition("/")
    os.setxattr(folder or "/", _NAMES, json.dumps(_names(folder) | {name: owned.encode().decode()}).encode())


def _names(folder: str) -> dict[str, str]:
    with contextlib.suppress(OSError, ValueError):
        found = json.loads(os.getxattr(folder or "/", _NAMES))
        return found if isinstance(found, dict) else {}
    return {}


def possible(folder: str) -> bool:
    """Tells whether the file system that holds a folder keeps such notes."""
    try:
        os.setxattr(folder, f"{PREFIX}probe", b"")
        os.removexattr(folder, f"{PREFIX}probe")
    except OSError:
        return False
    return True
