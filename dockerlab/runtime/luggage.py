"""Volumes where nothing can be mounted: copied in before a container starts, and back after its end."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dockerlab.oci.runtime import Spec
from dockerlab.runtime import chroot, laying, proot
from dockerlab.store.files import publish

__all__ = ["Luggage"]


class Luggage:
    """What one container takes along; nothing where mounts do it."""

    def __init__(self, folder: Path, spec: Spec, request: dict[str, Any]) -> None:
        self._folder, self._spec = folder, spec
        self._binds = [mount for mount in spec.mounts if mount.type == "bind"]
        self._carried = chroot.is_chroot(spec) or proot.is_proot(spec)
        self._memory = [mount for mount in spec.mounts if mount.type == "tmpfs"] if self._carried else []
        self._root, self._fresh, self._devices = request["mounts"][0]["source"], request.get("fresh", ()), request.get("owners", True)

    def lay_in(self, tell: Callable[[str, str], object]) -> None:
        """Copies in what cannot be mounted; what has to go back is noted on disk, so that a second start after a power cut still knows."""
        if not self._carried:
            return
        laying.prepare(self._root, self._binds, devices=self._devices)
        self._empty()
        if self._memory:
            tell("tmpfs", "this host refuses mount(2): a tmpfs is a folder, emptied at the container's end; its size is not limited")
        if proot.is_proot(self._spec):
            laying.begin_fresh(self._root, self._binds, self._fresh)
            return
        self.take_back()
        laid = laying.lay_in(self._root, self._binds, self._fresh, str(self._folder.parent.parent))
        if laid:
            tell("volumes", "this host refuses mount(2): volumes are copied in, and what the container changes is copied back at its end")
        publish(self._folder / "laid.json", json.dumps(laid).encode())

    def lay_again(self, target: str) -> None:
        """Copies in one file of the engine's own once more, which has changed."""
        if chroot.is_chroot(self._spec):
            laying.lay_in(self._root, [mount for mount in self._binds if mount.destination == target], ())

    def take_back(self) -> None:
        """Copies back what the container changed, once, and empties what was in memory only."""
        self._empty()
        with contextlib.suppress(FileNotFoundError):
            laid = json.loads((self._folder / "laid.json").read_bytes())
            laying.take_back(self._root, self._binds, laid)
            os.unlink(self._folder / "laid.json")

    def _empty(self) -> None:
        for mount in self._memory:
            laying.empty(self._root, mount)
