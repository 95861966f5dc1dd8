"""What the arguments of a call mean that a container's monitor answers: which path, which flags, and the answer of stat(2) as bytes."""

from __future__ import annotations

import os
import stat
import struct

from dockerlab.layers.owners import Owned
from dockerlab.linux import syscalls
from dockerlab.linux.notify import Asked

__all__ = ["AT_FDCWD", "CHANGES", "EMPTY_PATH", "MARKS", "NOFOLLOW", "changed", "flags_of", "mode_of", "packed", "place_of", "signed", "umask_of"]

AT_FDCWD, NOFOLLOW, EMPTY_PATH = -100, 0x100, 0x1000
# Calls that change an existing file by its path: where folder (-1: there is none) and path stand, and flags for the last symlink (None: they follow it).
CHANGES: dict[str, tuple[int, int, int | None]] = {
    "open": (-1, 0, None), "openat": (0, 1, None), "creat": (-1, 0, None), "truncate": (-1, 0, None), "chmod": (-1, 0, None), "fchmodat": (0, 1, None),
    "chown": (-1, 0, None), "lchown": (-1, 0, -1), "fchownat": (0, 1, 4), "utime": (-1, 0, None), "utimes": (-1, 0, None), "futimesat": (0, 1, None),
    "utimensat": (0, 1, 3), "setxattr": (-1, 0, None), "lsetxattr": (-1, 0, -1), "link": (-1, 0, -1), "linkat": (0, 1, -1),
}  # fmt: skip
# Of these, and by descriptor, what no rule of Landlock is about; landlock(7), "Current limitations".
MARKS = frozenset((*(name for name in CHANGES if name not in ("open", "openat", "creat", "truncate", "link", "linkat")), "fchmod", "fchown"))
# Where the arguments of calls that make something hold folder (-1: there is none), path and mode (-1: there is none).
_MAKES = {
    "open": (-1, 0, 2), "openat": (0, 1, 3), "creat": (-1, 0, 1), "mkdir": (-1, 0, 1), "mkdirat": (0, 1, 2), "mknod": (-1, 0, 1), "mknodat": (0, 1, 2),
    "symlink": (-1, 1, -1), "symlinkat": (1, 2, -1),
}  # fmt: skip


def place_of(name: str, asked: Asked) -> tuple[int, int]:
    """Gives the folder and the address of the path of a call that makes something."""
    folder, path, _ = _MAKES[name]
    return AT_FDCWD if folder < 0 else signed(asked.args[folder]), asked.args[path]


def flags_of(name: str, asked: Asked) -> int:
    """Gives the flags of open(2) and its kin."""
    return os.O_CREAT | os.O_WRONLY | os.O_TRUNC if name == "creat" else signed(asked.args[1 if name == "open" else 2])


def mode_of(name: str, asked: Asked) -> int:
    """Gives the mode that a call wants for what it makes."""
    place = _MAKES[name][2]
    return 0o777 if place < 0 else asked.args[place] & 0o177777


def signed(word: int) -> int:
    """Gives an argument as the int that it is in C."""
    return ((word & 0xFFFFFFFF) ^ 0x80000000) - 0x80000000


def changed(name: str, asked: Asked) -> tuple[int, int, int]:
    """Gives (folder, address of the path or 0, flags) of what a call changes; address 0 where it changes nothing that stands under a path."""
    folder, path, place = CHANGES[name]
    if name in ("open", "openat") and not flags_of(name, asked) & (os.O_WRONLY | os.O_RDWR):
        return AT_FDCWD, 0, 0
    flags = 0 if place is None else NOFOLLOW if place < 0 else signed(asked.args[place]) & NOFOLLOW
    return AT_FDCWD if folder < 0 else signed(asked.args[folder]), asked.args[path], flags


def packed(status: os.stat_result, owner: Owned) -> bytes:
    """Gives a struct stat of this machine, stat(2)."""
    mode, device = status.st_mode, status.st_rdev
    if owner.kind:
        mode, device = stat.S_IMODE(mode) | (stat.S_IFCHR if owner.kind == "char" else stat.S_IFBLK), os.makedev(*owner.device)
    times = [word for moment in (status.st_atime_ns, status.st_mtime_ns, status.st_ctime_ns) for word in divmod(moment, 10**9)]
    if syscalls.MACHINE == "aarch64":
        head = struct.pack("=QQIIIIQQqiiq", status.st_dev, status.st_ino, mode, status.st_nlink, owner.uid, owner.gid, device, 0, status.st_size, status.st_blksize, 0, status.st_blocks)
        return head + struct.pack("=6qII", *times, 0, 0)
    head = struct.pack("=QQQIIIIQqqq", status.st_dev, status.st_ino, status.st_nlink, mode, owner.uid, owner.gid, 0, device, status.st_size, status.st_blksize, status.st_blocks)
    return head + struct.pack("=6q3q", *times, 0, 0, 0)


def umask_of(pid: int) -> int:
    """Gives the umask of a process; proc(5)."""
    with open(f"/proc/{pid}/status", "rb") as file:
        return next(int(line.split()[1], 8) for line in file if line.startswith(b"Umask:"))
