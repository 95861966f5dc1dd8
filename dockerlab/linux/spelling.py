"""Kernel calls as strace(1) spells them: flags by name, modes in octal, descriptors with the path that they stand for."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable, Sequence
from typing import Any

from dockerlab.linux import syscalls

__all__ = ["Spelling", "Word"]


def _names(prefix: str, source: object, *less: str) -> dict[int, str]:
    return {getattr(source, name): name for name in dir(source) if name.startswith(prefix) and name not in less and isinstance(getattr(source, name), int)}


_MOUNT, _CLONE, _UMOUNT = _names("MS_", syscalls), _names("CLONE_", syscalls), _names("MNT_", syscalls)
_OPEN = _names("O_", os, "O_ACCMODE", "O_RDONLY", "O_LARGEFILE", "O_NDELAY", "O_RSYNC", "O_DSYNC", "O_SYNC", "O_TMPFILE")
_PRCTL = {1: "PR_SET_PDEATHSIG", 4: "PR_SET_DUMPABLE", 38: "PR_SET_NO_NEW_PRIVS"}
_DESCRIPTOR = re.compile(r"/proc/self/fd/(\d+)")


def _flags(names: dict[int, str], zero: str = "0") -> Callable[[int], str]:
    def spell(value: int) -> str:
        found = [name for bit, name in sorted(names.items()) if bit and value & bit == bit]
        rest = value & ~sum(bit for bit in names if value & bit == bit)
        return "|".join([*found, *([hex(rest)] if rest else [])]) or zero

    return spell


def _process_option(value: int) -> str:
    return _PRCTL.get(value, str(value))


# name → place of the argument → how it is spelled.
_SPECIAL: dict[str, dict[int, Callable[[int], str]]] = {
    "mount": {3: _flags(_MOUNT)}, "umount2": {1: _flags(_UMOUNT)}, "unshare": {0: _flags(_CLONE)}, "open": {1: _flags(_OPEN, "O_RDONLY"), 2: oct},
    "openat2": {2: _flags(_OPEN, "O_RDONLY")}, "mkdir": {1: oct}, "prctl": {0: _process_option},
}  # fmt: skip


class Word(str):
    """An argument that is spelled already."""


class Spelling:
    """Spells calls one after the other: what an `open` gave is known to those after it."""

    def __init__(self) -> None:
        self._paths: dict[int, str] = {}

    def call(self, name: str, args: Sequence[Any], result: object) -> list[str]:
        """Gives the arguments of one call."""
        special = _SPECIAL.get(name, {})
        words = [special[n](arg) if n in special and isinstance(arg, int) else self._word(arg) for n, arg in enumerate(args)]
        if name == "prctl" and args[0] == 1 and isinstance(args[0], int):
            words[1] = signal.Signals(args[1]).name
        if name in ("openat2", "fchdir") and isinstance(args[0], int):
            words[0] += self._path(args[0])
        if name in ("open", "openat2") and isinstance(result, int):
            self._paths[result] = os.path.basename(str(args[0])) if name == "open" else f"/{args[1]}"
        return words

    def _word(self, value: Any) -> str:
        if value is None or isinstance(value, Word):
            return value or "NULL"
        if isinstance(value, bytes | str):
            text = os.fsdecode(value)
            return '"' + _DESCRIPTOR.sub(lambda found: found[0] + self._path(int(found[1])), text) + '"'
        return str(value)

    def _path(self, number: int) -> str:
        return f"<{self._paths[number]}>" if number in self._paths else ""
