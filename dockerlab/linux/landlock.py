"""Rules on files that any process may put on itself; landlock(7)."""

from __future__ import annotations

import ctypes
import os
import stat
import struct
from collections.abc import Iterable

from dockerlab.linux import syscalls

__all__ = ["EXECUTE", "LIST", "MAKE", "READ", "WRITE", "of_modes", "restrict"]

EXECUTE = 1 << 0
WRITE = (1 << 1) | (1 << 14)  # write, truncate
READ = 1 << 2
LIST = 1 << 3
MAKE = sum(1 << n for n in range(4, 13)) | (1 << 13)  # remove, make of every kind, refer
_OF_FILES = EXECUTE | WRITE | READ | (1 << 15)
_SIGNALS = 1 << 1
_KNOWN = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1}


def of_modes(rights: int) -> int:
    """Gives Landlock's rights for those of a mode: 4 read and list, 2 write, make and remove, 1 run."""
    return (READ | LIST if rights & 4 else 0) | (WRITE | MAKE if rights & 2 else 0) | (EXECUTE if rights & 1 else 0)


def restrict(rules: Iterable[tuple[str, int]], *, signals: bool = False) -> bool:
    """Leaves this thread only the given rights below the given paths, and signals to its like unless `signals` lets it reach all. Gives False without Landlock.

    A path that does not exist grants nothing. The caller has no_new_privs or CAP_SYS_ADMIN.
    """
    abi = syscalls.landlock_abi()
    if not abi:
        return False
    handled = _KNOWN.get(abi, (1 << 15) - 1)
    # From version 6 on, signals to processes outside can be shut as well; the middle word is about networks.
    attributes = struct.pack("QQQ", handled, 0, _SIGNALS) if abi >= 6 and not signals else struct.pack("Q", handled)
    ruleset = syscalls.raw("landlock_create_ruleset", ctypes.c_char_p(attributes), len(attributes), 0)
    try:
        for path, rights in rules:
            _grant(ruleset, path, rights & handled)
        syscalls.raw("landlock_restrict_self", ruleset, 0)
    finally:
        os.close(ruleset)
    return True


def _grant(ruleset: int, path: str, rights: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            rights &= _OF_FILES
        if rights:
            rule = struct.pack("=Qi", rights, descriptor)
            syscalls.raw("landlock_add_rule", ruleset, 1, ctypes.c_char_p(rule), 0)
    finally:
        os.close(descriptor)

