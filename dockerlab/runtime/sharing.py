"""Namespaces that a container has from another one: `--network container:NAME` and its like."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

from dockerlab.linux import syscalls
from dockerlab.runtime import control, wire
from dockerlab.runtime.network import NetworkFailed

__all__ = ["SHARED", "Shared"]

# The kinds that can be shared, and what each is called below /proc/PID; namespaces(7).
SHARED = {"network": "ns/net", "pid": "ns/pid", "ipc": "ns/ipc"}


class Shared:
    """The namespaces that one container joins: kind → the folder of whose they are."""

    def __init__(self, folders: Mapping[str, str]) -> None:
        self._folders, self._open = folders, dict[str, int]()

    def open(self) -> None:
        """Gets them from the other containers' monitors; raises NetworkFailed where one has ended this moment."""
        for kind, folder in self._folders.items():
            connection = control.call(Path(folder), {"share": kind}, timeout=10)
            descriptors: list[int] = []
            if connection is not None:
                with connection, contextlib.suppress(OSError):
                    _, descriptors = wire.receive(connection)
            if not descriptors:
                raise NetworkFailed(f"cannot join {kind} of a non running container: {Path(folder).name}")
            self._open[kind] = descriptors[0]

    def enter(self, flags: Mapping[str, int]) -> int:
        """Brings this process into them, and gives their flags together. Raises OSError."""
        joined = 0
        for kind, descriptor in self._open.items():
            syscalls.setns(descriptor, flags[kind])
            joined |= flags[kind]
        return joined

    def close(self) -> None:
        """Lets go of them, once the container's own processes are in them."""
        for descriptor in self._open.values():
            os.close(descriptor)
        self._open = {}
