"""Limits where the host gives no control group: what the container's processes use is looked at now and then, and too much of it is the container's end.

The kernel refuses a process memory, or a new process, at the limit; all that can be done from here is to end the container a moment later.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from dockerlab.linux import processes

__all__ = ["EVERY", "Watcher"]

EVERY = 0.1  # seconds from one look to the next


class Watcher:
    """Knows the limits of one container: `resources` is a runtime specification's."""

    def __init__(self, resources: Mapping[str, Any]) -> None:
        self.memory = int(resources.get("memory", {}).get("limit", 0))
        self.pids = int(resources.get("pids", {}).get("limit", 0))
        self._next = 0.0

    def __bool__(self) -> bool:
        return bool(self.memory or self.pids)

    def exceeded(self, below: Callable[[], Iterable[int]]) -> str:
        """Gives what there is too much of, in words, "" where there is not, or it is not yet time for another look."""
        if time.monotonic() < self._next:
            return ""
        memory = tasks = 0
        for pid in below():
            with contextlib.suppress(OSError, IndexError):
                memory += processes.anonymous(pid)
                tasks += int(processes.stat(pid)[17])  # field 20: its threads
        self._next = time.monotonic() + EVERY
        if self.memory and memory > self.memory:
            return "memory"
        return "processes" if self.pids and tasks > self.pids else ""
