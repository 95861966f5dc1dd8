"""Capabilities of a process: names, sets, and how to drop them; capabilities(7)."""

from __future__ import annotations

import ctypes
import errno
import struct
from collections.abc import Iterable

from dockerlab.errors import InvalidRequest
from dockerlab.linux import syscalls

__all__ = ["DEFAULT", "NAMES", "apply", "available", "chosen", "drop_bounding", "keep_on_setuid", "mask", "no_new_privileges"]

NAMES = (
    "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE NET_BROADCAST NET_ADMIN "
    "NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME "
    "SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON "
    "BPF CHECKPOINT_RESTORE"
).split()
DEFAULT = tuple(
    f"CAP_{name}"
    for name in "CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP NET_BIND_SERVICE SYS_CHROOT KILL AUDIT_WRITE".split()
)
_NUMBER = {f"CAP_{name}": number for number, name in enumerate(NAMES)}
_PR_CAPBSET_READ, _PR_CAPBSET_DROP, _PR_SET_KEEPCAPS, _PR_SET_NO_NEW_PRIVS = 23, 24, 8, 38
_PR_CAP_AMBIENT, _AMBIENT_RAISE, _AMBIENT_CLEAR_ALL = 47, 2, 4
_VERSION_3 = 0x20080522


def chosen(add: Iterable[str] = (), drop: Iterable[str] = ()) -> tuple[str, ...]:
    """Gives docker's default set with `--cap-add` and `--cap-drop` applied; raises InvalidRequest for an unknown name."""
    added, dropped = {_name(word, "CapAdd") for word in add}, {_name(word, "CapDrop") for word in drop}
    if "ALL" in added:
        kept = set(_NUMBER) - dropped
    else:
        kept = added if "ALL" in dropped else (set(DEFAULT) - dropped) | added
    return tuple(sorted(kept, key=_NUMBER.__getitem__))


def _name(word: str, flag: str) -> str:
    name = word.upper()
    if name == "ALL":
        return name
    full = name if name.startswith("CAP_") else f"CAP_{name}"
    if full not in _NUMBER:
        raise InvalidRequest(f'invalid {flag}: unknown capability: "{full}"', hint="name one of capabilities(7), as NET_ADMIN or CAP_NET_ADMIN, or ALL")
    return full


def available() -> tuple[str, ...]:
    """Gives all that this process's children may ever hold, which a host may have cut down; capabilities(7), bounding set."""
    bounding = status_mask("CapBnd")
    return tuple(name for name, number in _NUMBER.items() if bounding >> number & 1)


def mask(names: Iterable[str]) -> int:
    """Gives the names as the kernel's bit set."""
    return sum(1 << _NUMBER[name] for name in set(names))


def drop_bounding(keep: int) -> None:
    """Drops from the bounding set all that `keep` lacks. Needs CAP_SETPCAP, so it comes before any change of user."""
    for number in range(64):
        try:
            held = syscalls.prctl(_PR_CAPBSET_READ, number)
        except OSError as error:
            if error.errno == errno.EINVAL:
                return
            raise
        if held and not keep >> number & 1:
            syscalls.prctl(_PR_CAPBSET_DROP, number)


def keep_on_setuid() -> None:
    """Keeps the permitted set over the next change of user."""
    syscalls.prctl(_PR_SET_KEEPCAPS, 1)


def apply(effective: int, permitted: int, inheritable: int, ambient: int = 0) -> None:
    """Sets this thread's capability sets; capset(2)."""
    header = struct.pack("Ii", _VERSION_3, 0)
    halves = [(effective >> shift & 0xFFFFFFFF, permitted >> shift & 0xFFFFFFFF, inheritable >> shift & 0xFFFFFFFF) for shift in (0, 32)]
    data = struct.pack("IIIIII", *halves[0], *halves[1])
    syscalls.raw("capset", ctypes.c_char_p(header), ctypes.c_char_p(data))
    syscalls.prctl(_PR_CAP_AMBIENT, _AMBIENT_CLEAR_ALL)
    for number in range(64):
        if ambient >> number & 1:
            syscalls.prctl(_PR_CAP_AMBIENT, _AMBIENT_RAISE, number)


def held() -> int:
    """Gives this process's effective set."""
    return status_mask("CapEff")


def status_mask(field: str, *, pid: str = "self") -> int:
    """Gives one capability set of /proc/PID/status; proc(5)."""
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1], 16) for line in status if line.startswith(field + ":"))


def no_new_privileges() -> None:
    """From here on no execve gives more rights, not even by a set-uid file."""
    syscalls.prctl(_PR_SET_NO_NEW_PRIVS, 1)
