"""What a container without mounts still has to see: the monitor opens the host's devices and a few files of /proc for it, and keeps read-only places so."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable

from dockerlab.linux.notify import Asked, Listener
from dockerlab.oci.runtime import Spec

__all__ = ["Serving"]

_DEVICES = frozenset(("null", "zero", "full", "random", "urandom"))
_STREAMS = {"/dev/stdin": "0", "/dev/stdout": "1", "/dev/stderr": "2"}
# Of /proc what says nothing of other processes, and of the process itself what leads nowhere.
_GLOBAL = frozenset(("cpuinfo", "filesystems", "loadavg", "meminfo", "stat", "uptime", "version", "vmstat"))
_OWN = frozenset(("auxv", "cmdline", "comm", "environ", "gid_map", "io", "limits", "maps", "oom_score", "oom_score_adj", "smaps", "stat", "statm", "status", "uid_map"))
_OF_OTHERS = re.compile(r"/proc(/\d+(/.*)?)?/?")
_AT_FDCWD = -100


def _number_inside(pid: int) -> str:
    """Gives what a process is called in its own pid namespace; proc(5), NSpid."""
    with open(f"/proc/{pid}/status") as file:
        return next((line.split()[-1] for line in file if line.startswith("NSpid:")), "")


def _allows(host: str, flags: int) -> bool:
    """Tells whether a descriptor, `/proc/PID/fd/N`, is open for what is asked: to open it anew would give rights that its owner does not have (landlock(7))."""
    with open(host.replace("/fd/", "/fdinfo/")) as file:
        held = next(int(line.split()[1], 8) for line in file if line.startswith("flags:"))
    mode = held & os.O_ACCMODE
    return not held & os.O_PATH and mode in (os.O_RDWR, flags & os.O_ACCMODE) and (mode != os.O_RDONLY or not flags & os.O_TRUNC)


class Serving:
    """The answers to open(2) for one container. `told` is given, once a kind, what a person should know."""

    def __init__(self, listener: Listener, spec: Spec, told: Callable[[str, str], object]) -> None:
        self._listener, self._told = listener, told
        places = [("/", spec.root.readonly), ("/dev", False), *((mount.destination.rstrip("/"), "ro" in mount.options) for mount in spec.mounts)]
        # The deepest place that holds a path decides.
        self._places = sorted(places, key=lambda place: -len(place[0])) if any(readonly for _, readonly in places) else []

    def opened(self, asked: Asked, folder: int, path: bytes, flags: int) -> bool:
        """Answers an open(2), or gives False: the kernel shall go on."""
        writes = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        if not (path.startswith((b"/dev/", b"/proc")) or (self._places and writes) or self._maybe(path)):
            return False
        place = self._absolute(asked, folder, path)
        host = self.host(asked, place)
        if host:
            self._open(asked, host, flags)
            return True
        if _OF_OTHERS.fullmatch(place):
            self._told("proc", "this container has no /proc, since the host refuses mount(2): ps, top and free have nothing to show")
        if self._places and writes and next((ro for prefix, ro in self._places if place == prefix or place.startswith(f"{prefix.rstrip('/')}/")), False):
            self._listener.refuse(asked, errno.EROFS)
            return True
        return False

    def of_path(self, asked: Asked, folder: int, path: bytes) -> str:
        """Gives what of the host a path means that only the host has; "" for every other path."""
        if not (path.startswith((b"/dev/", b"/proc/")) or self._maybe(path)):
            return ""
        return self.host(asked, self._absolute(asked, folder, path))

    @staticmethod
    def _maybe(path: bytes) -> bool:
        return not path.startswith(b"/") and path.rpartition(b"/")[2] in (b"null", b"zero", b"full", b"random", b"urandom")

    @staticmethod
    def host(asked: Asked, place: str) -> str:
        """The same for an absolute path without `.` and `..`."""
        kind, _, name = place.lstrip("/").partition("/")
        if kind == "dev":
            if name in _DEVICES:
                return place
            number = _STREAMS.get(place) or name.removeprefix("fd/")
            return f"/proc/{asked.pid}/fd/{number}" if number.isdigit() else ""
        if kind != "proc":
            return ""
        if name in _GLOBAL:
            return place
        own, _, leaf = name.partition("/")
        if own not in ("self", "thread-self") and not (own.isdigit() and own == _number_inside(asked.pid)):
            return ""
        if leaf in _OWN or (leaf.startswith("fd/") and leaf[3:].isdigit()):
            return f"/proc/{asked.pid}/{leaf}"
        return ""

    @staticmethod
    def _absolute(asked: Asked, folder: int, path: bytes) -> str:
        if not path.startswith(b"/"):
            base = os.readlink(f"/proc/{asked.pid}/cwd" if folder == _AT_FDCWD else f"/proc/{asked.pid}/fd/{folder}")
            path = os.fsencode(base.removeprefix(os.readlink(f"/proc/{asked.pid}/root").rstrip("/"))) + b"/" + path
        return os.path.normpath(os.fsdecode(path)).replace("//", "/")

    def _open(self, asked: Asked, host: str, flags: int) -> None:
        reading = os.O_RDONLY if host.startswith("/proc/") and "/fd/" not in host else flags
        if "/fd/" in host and not _allows(host, flags):
            self._listener.refuse(asked, errno.EACCES)
            return
        descriptor = os.open(host, (reading & ~(os.O_CREAT | os.O_EXCL | os.O_TRUNC | os.O_NOFOLLOW)) | os.O_CLOEXEC | os.O_NOCTTY)
        try:
            self._listener.give(asked, descriptor, close_on_exec=bool(flags & os.O_CLOEXEC))
        finally:
            os.close(descriptor)
