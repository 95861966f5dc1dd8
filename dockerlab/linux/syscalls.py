"""System calls that Python's os module lacks, under their C names; each raises OSError with the kernel's errno (section 2 of the manual).

Paths may hold any bytes. Calls that only exist as numbers are looked up for the machine that we run on; on any other machine they raise
ENOSYS as an old kernel would.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import platform
import struct
import sys
from collections.abc import Iterable

__all__ = [
    "AT_RECURSIVE", "CLONE_NEWCGROUP", "CLONE_NEWIPC", "CLONE_NEWNET", "CLONE_NEWNS", "CLONE_NEWPID", "CLONE_NEWUSER", "CLONE_NEWUTS",
    "IN_CHANGED", "MNT_DETACH", "MS_BIND", "MS_MOVE", "MS_NOATIME", "MS_NODEV", "MS_NODIRATIME", "MS_NOEXEC", "MS_NOSUID", "MS_PRIVATE", "MS_RDONLY",
    "MS_REC", "MS_RELATIME", "MS_REMOUNT", "MS_SHARED", "MS_SLAVE", "MS_STRICTATIME", "NUMBERS", "PR_SET_CHILD_SUBREAPER", "PR_SET_DUMPABLE", "PR_SET_KEEPCAPS", "PR_SET_PDEATHSIG",
    "RESOLVE_BENEATH", "RESOLVE_IN_ROOT", "RESOLVE_NO_MAGICLINKS", "RESOLVE_NO_SYMLINKS",
    "close_on_exec", "inotify", "landlock_abi", "mount", "mount_setattr_readonly", "move_mount", "open_tree", "openat2", "pidfd_open", "pivot_root", "populate", "prctl", "process_vm_readv", "raw",
    "setdomainname", "sethostname", "setns", "umount2", "unshare",
]  # fmt: skip

CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC = 0x00020000, 0x02000000, 0x04000000, 0x08000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT = 1, 2, 4, 8, 32
MS_NOATIME, MS_NODIRATIME, MS_BIND, MS_MOVE, MS_REC = 1024, 2048, 4096, 8192, 16384
MS_PRIVATE, MS_SLAVE, MS_SHARED, MS_RELATIME, MS_STRICTATIME = 1 << 18, 1 << 19, 1 << 20, 1 << 21, 1 << 24
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_KEEPCAPS, PR_SET_CHILD_SUBREAPER = 1, 4, 8, 36
IN_CHANGED = 0x3C6  # a file is written to, has another date, comes or goes
MNT_DETACH, AT_RECURSIVE, AT_EMPTY_PATH = 2, 0x8000, 0x1000
RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, RESOLVE_BENEATH, RESOLVE_IN_ROOT = 2, 4, 8, 16

MACHINE = platform.machine() if sys.platform == "linux" else ""
NUMBERS: dict[str, int] = {
    "x86_64": {"pivot_root": 155, "seccomp": 317, "capget": 125, "capset": 126, "mount_setattr": 442, "openat2": 437, "close_range": 436, "open_tree": 428, "move_mount": 429,
               "landlock_create_ruleset": 444, "landlock_add_rule": 445, "landlock_restrict_self": 446, "keyctl": 250},
    "aarch64": {"pivot_root": 41, "seccomp": 277, "capget": 90, "capset": 91, "mount_setattr": 442, "openat2": 437, "close_range": 436, "open_tree": 428, "move_mount": 429,
                "landlock_create_ruleset": 444, "landlock_add_rule": 445, "landlock_restrict_self": 446, "keyctl": 219},
}.get(MACHINE, {})  # fmt: skip

_TRIES, _POPULATE_WRITE = 1000, 23
_libc = ctypes.CDLL(None, use_errno=True)
# These two are called for every call that a filter reports: with their types said once they take half the time.
_openat2 = _libc["syscall"]
_openat2.argtypes, _openat2.restype = (ctypes.c_long, ctypes.c_int, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t), ctypes.c_long
_readv = _libc["process_vm_readv"]
_readv.argtypes, _readv.restype = (ctypes.c_int, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_ulong), ctypes.c_ssize_t
_madvise = _libc["madvise"]
_madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)


def _check(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)
    return result


def _bytes(path: str | bytes | None) -> bytes | None:
    return None if path is None else os.fsencode(path)


def raw(name: str, *args: object) -> int:
    """Gives what the call `name` gives, by number; raises OSError, ENOSYS where this machine has no such number."""
    if name not in NUMBERS:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS), name)
    words = [ctypes.c_long(a) if isinstance(a, int) else a for a in args]
    _libc.syscall.restype = ctypes.c_long
    return _check(_libc.syscall(ctypes.c_long(NUMBERS[name]), *words), name)


def unshare(flags: int) -> None:
    """Leaves the named namespaces for new ones; unshare(2)."""
    _check(_libc.unshare(ctypes.c_int(flags)), "unshare")


def setns(descriptor: int, flags: int) -> None:
    """Enters the namespaces behind a descriptor; setns(2)."""
    _check(_libc.setns(ctypes.c_int(descriptor), ctypes.c_int(flags)), "setns")


def mount(source: str | bytes | None, target: str | bytes, kind: str | None, flags: int = 0, options: str | bytes | None = None) -> None:
    """Mounts; mount(2)."""
    data = _bytes(options)
    result = _libc.mount(_bytes(source), _bytes(target), _bytes(kind), ctypes.c_ulong(flags), data)
    _check(result, f"mount {os.fsdecode(target)}")


def umount2(target: str | bytes, flags: int = 0) -> None:
    """Unmounts; umount2(2)."""
    _check(_libc.umount2(_bytes(target), ctypes.c_int(flags)), f"umount {os.fsdecode(target)}")


def pivot_root(new: str, old: str) -> None:
    """Makes `new` the root and moves the old one to `old`; pivot_root(2)."""
    raw("pivot_root", os.fsencode(new), os.fsencode(old))


def setdomainname(name: str) -> None:
    """Names this UTS namespace; setdomainname(2)."""
    text = os.fsencode(name)
    _check(_libc.setdomainname(text, ctypes.c_size_t(len(text))), "setdomainname")


def sethostname(name: str) -> None:
    """Names this UTS namespace; sethostname(2)."""
    text = os.fsencode(name)
    _check(_libc.sethostname(text, ctypes.c_size_t(len(text))), "sethostname")


def prctl(option: int, second: int = 0, third: int = 0, fourth: int = 0, fifth: int = 0) -> int:
    """Sets or asks something about this process; prctl(2)."""
    words = [ctypes.c_ulong(word) for word in (second, third, fourth, fifth)]
    return _check(_libc.prctl(ctypes.c_int(option), *words), f"prctl {option}")


def openat2(folder: int, path: str | bytes, flags: int, *, mode: int = 0, resolve: int = RESOLVE_IN_ROOT) -> int:
    """Gives a descriptor for `path` resolved with limits; openat2(2)."""
    number = NUMBERS.get("openat2")
    if number is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS), "openat2")
    how = struct.pack("QQQ", flags | os.O_CLOEXEC, mode, resolve)
    for _ in range(_TRIES):
        # EAGAIN: something was renamed or mounted on the machine meanwhile, so that the kernel cannot vouch for a `..`
        if (found := _openat2(number, folder, os.fsencode(path), how, len(how))) >= 0 or ctypes.get_errno() != errno.EAGAIN:
            break
    return _check(found, "openat2")


def process_vm_readv(pid: int, address: int, size: int) -> bytes:
    """Gives bytes of another process's memory, fewer where some of it is not there; process_vm_readv(2)."""
    buffer = ctypes.create_string_buffer(size)
    local, remote = struct.pack("NN", ctypes.addressof(buffer), size), struct.pack("NN", address, size)
    count = _check(_readv(pid, local, 1, remote, 1, 0), "process_vm_readv")
    return buffer.raw[:count]


def populate(address: int, size: int) -> bool:
    """Has the kernel copy private pages of this process as if it wrote to them; False where it cannot. madvise(2), MADV_POPULATE_WRITE."""
    return bool(_madvise(address, size, _POPULATE_WRITE) == 0)


def inotify(paths: Iterable[str | bytes], events: int) -> int:
    """Gives a descriptor that can be read once something of `events` happens in one of the folders, and else says EAGAIN; inotify(7)."""
    descriptor = _check(_libc.inotify_init1(ctypes.c_int(os.O_NONBLOCK | os.O_CLOEXEC)), "inotify_init1")
    try:
        for path in paths:
            _check(_libc.inotify_add_watch(descriptor, _bytes(path), ctypes.c_uint32(events)), "inotify_add_watch")
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def close_on_exec(first: int) -> None:
    """Marks every descriptor from `first` on to close at execve; close_range(2)."""
    close_range_cloexec = 4
    try:
        raw("close_range", first, ctypes.c_uint(0xFFFFFFFF), close_range_cloexec)
    except OSError:
        for name in os.listdir("/proc/self/fd"):
            if int(name) >= first:
                with contextlib.suppress(OSError):
                    os.set_inheritable(int(name), False)


def open_tree(path: str, *, recursive: bool = False) -> int:
    """Gives a copy of the mount at a path, or of it and all below, that is in no namespace yet; open_tree(2), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC."""
    return raw("open_tree", -100, os.fsencode(path), 1 | os.O_CLOEXEC | (AT_RECURSIVE if recursive else 0))


def move_mount(descriptor: int, target: int) -> None:
    """Puts such a mount over the place behind another descriptor; move_mount(2), with both paths empty."""
    raw("move_mount", descriptor, b"", target, b"", 0x4 | 0x40)


def mount_setattr_readonly(target: str, *, recursive: bool = True) -> None:
    """Makes a mount, and with `recursive` all below it, read-only without touching its other flags; mount_setattr(2)."""
    attributes = struct.pack("QQQQ", MS_RDONLY, 0, 0, 0)
    at_fdcwd = -100
    raw("mount_setattr", at_fdcwd, os.fsencode(target), AT_RECURSIVE if recursive else 0, attributes, len(attributes))


def landlock_abi() -> int:
    """Gives the kernel's Landlock version, 0 for none; landlock(7)."""
    try:
        return raw("landlock_create_ruleset", 0, 0, 1)
    except OSError:
        return 0


def pidfd_open(pid: int) -> int:
    """Gives a descriptor that is readable once the process has ended; pidfd_open(2)."""
    return os.pidfd_open(pid)
