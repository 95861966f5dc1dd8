"""Numbers of the system calls that a container's monitor may answer itself; syscalls(2), by machine."""

from __future__ import annotations

from dockerlab.linux import syscalls

__all__ = ["NUMBERS", "name_of", "number"]

# name: (x86_64, aarch64); -1 where that machine has no such call.
NUMBERS: dict[str, tuple[int, int]] = {
    "chown": (92, -1), "fchown": (93, 55), "lchown": (94, -1), "fchownat": (260, 54),
    "chmod": (90, -1), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452),
    "setuid": (105, 146), "setgid": (106, 144), "setreuid": (113, 145), "setregid": (114, 143), "setresuid": (117, 147), "setresgid": (119, 149),
    "setgroups": (116, 159), "setfsuid": (122, 151), "setfsgid": (123, 152),
    "getuid": (102, 174), "getgid": (104, 176), "geteuid": (107, 175), "getegid": (108, 177), "getresuid": (118, 148), "getresgid": (120, 150), "getgroups": (115, 158),
    "stat": (4, -1), "fstat": (5, 80), "lstat": (6, -1), "newfstatat": (262, 79), "statx": (332, 291),
    "access": (21, -1), "faccessat": (269, 48), "faccessat2": (439, 439), "readlink": (89, -1), "readlinkat": (267, 78),
    "open": (2, -1), "openat": (257, 56), "openat2": (437, 437), "creat": (85, -1), "mkdir": (83, -1), "mkdirat": (258, 34), "mknod": (133, -1), "mknodat": (259, 33),
    "symlink": (88, -1), "symlinkat": (266, 36), "execve": (59, 221), "execveat": (322, 281), "prctl": (157, 167),
    "utime": (132, -1), "utimes": (235, -1), "futimesat": (261, -1), "utimensat": (280, 88), "truncate": (76, 45), "setxattr": (188, 5), "lsetxattr": (189, 6),
    "link": (86, -1), "linkat": (265, 37), "exit_group": (231, 94),
}  # fmt: skip
_COLUMN = 1 if syscalls.MACHINE == "aarch64" else 0
_NAMES = {numbers[_COLUMN]: name for name, numbers in NUMBERS.items() if numbers[_COLUMN] >= 0}


def number(name: str) -> int:
    """Gives the call's number on this machine, -1 for none."""
    return NUMBERS[name][_COLUMN] if name in NUMBERS else -1


def name_of(value: int) -> str:
    """Gives the name behind a number of this machine; raises KeyError."""
    return _NAMES[value]
