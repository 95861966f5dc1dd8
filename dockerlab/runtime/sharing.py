"""Namespaces that a container has from another one: `--network container:NAME` and its like."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Mapping
from pathlib import Path

from dockerlab.linux import syscalls
from dockerlab.runtime import control, descendants, wire
from dockerlab.runtime.network import NetworkFailed

__all__ = ["SHARED", "Shared"]

# The kinds that can be shared, and what each is called below /proc/PID; namespaces(7).
SHARED = {"network": "ns/net", "pid": "ns/pid", "ipc": "ns/ipc", "mount": "ns/mnt"}


class Shared:
    """The namespaces that one container joins: kind → the folder of whose they are."""

    def __init__(self, folders: Mapping[str, str]) -> None:
        self._folders, self._open = folders, dict[str, int]()
        self._mounts, self._own = -1, ""

    def open(self) -> None:
        """Gets them from the other containers' monitors; raises NetworkFailed where one has ended this moment."""
        for kind, folder in self._folders.items():
            self._open[kind] = _lent(folder, kind)
        if "ipc" in self._open:
            self._mounts = _lent(self._folders["ipc"], "mount")

    def memory(self) -> int:
        """Gives a mount of the other container's /dev/shm that is nobody's yet, -1 where no memory is shared; to be put somewhere by this process. Raises OSError."""
        if self._mounts < 0:
            return -1
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        if (child := os.fork()) == 0:
            # From a namespace of mounts there may be no way back: a process of its own goes there.
            code = 1
            try:
                syscalls.setns(self._mounts, syscalls.CLONE_NEWNS)
                socket.send_fds(theirs, [b"m"], [syscalls.open_tree("/dev/shm")])
                code = 0
            except OSError as error:
                code = error.errno or 1
            finally:
                os._exit(code)
        theirs.close()
        with ours:
            _, descriptors, _, _ = socket.recv_fds(ours, 1, 1)
        number = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if not descriptors:
            raise OSError(number, os.strerror(number), "open_tree /dev/shm")
        return descriptors[0]

    def enter(self, flags: Mapping[str, int]) -> int:
        """Brings this process into them, and gives their flags together. Raises OSError."""
        joined = 0
        for kind, descriptor in self._open.items():
            syscalls.setns(descriptor, flags[kind])
            joined |= flags[kind]
        return joined

    def note(self, first: int) -> None:
        """Remembers a namespace that the container has to itself, where its processes are not: they are known by it once their parents have ended."""
        if "pid" in self._folders:
            for kind in ("mnt", "uts", "ipc"):
                with contextlib.suppress(OSError):
                    if (link := os.readlink(f"/proc/{first}/ns/{kind}")) != os.readlink(f"/proc/self/ns/{kind}") and (kind != "ipc" or "ipc" not in self._folders):
                        self._own = link
                        return

    def end(self) -> None:
        """Ends what is left of the container in another's pid namespace, which ends with that one only."""
        if self._own:
            descendants.end_in(self._own)

    def close(self) -> None:
        """Lets go of them, once the container's own processes are in them."""
        for descriptor in (*self._open.values(), *([self._mounts] if self._mounts >= 0 else [])):
            os.close(descriptor)
        self._open, self._mounts = {}, -1


def _lent(folder: str, kind: str) -> int:
    connection = control.call(Path(folder), {"share": kind}, timeout=10)
    descriptors: list[int] = []
    if connection is not None:
        with connection, contextlib.suppress(OSError):
            _, descriptors = wire.receive(connection)
    if not descriptors:
        raise NetworkFailed(f"cannot join {kind} of a non running container: {Path(folder).name}")
    return descriptors[0]
