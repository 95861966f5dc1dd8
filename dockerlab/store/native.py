"""Snapshots as whole copies: for hosts, and file systems, that refuse overlayfs."""

from __future__ import annotations

import os
from pathlib import Path

from dockerlab.oci.digest import ChainId
from dockerlab.store.files import explain
from dockerlab.store.folders import FolderSnapshotter
from dockerlab.store.snapshots import Mount, Stack, Work

__all__ = ["NativeSnapshotter"]


class NativeSnapshotter(FolderSnapshotter):
    """Each snapshot is a complete tree. Nothing is hard-linked between them: a container could write through a link into an image."""

    name = "native"

    def __init__(self, root: Path, work: Work, *, owners: bool = True, devices: bool = True) -> None:
        super().__init__(root, work)
        self._style = {"whiteout": "plain", "owners": owners, "devices": devices, "notes": not owners}

    def unpack(self, chain_id: ChainId, parent: ChainId | None, layer: tuple[Path, str]) -> None:
        """Makes a committed snapshot from its parent's copy and a layer's blob."""
        folder = self._scratch()
        try:
            with explain(folder):
                if parent:
                    self.work("copy", source=str(self.committed(parent) / "fs"), target=str(folder / "fs"))
                self.work("unpack", blob=str(layer[0]), media_type=layer[1], target=str(folder / "fs"), style=self._style)
        except BaseException:
            self.work("remove", path=str(folder))
            raise
        self._name(folder, chain_id)

    def prepare(self, key: str, parents: tuple[ChainId, ...]) -> tuple[Mount, ...]:
        """Makes an active snapshot, a copy of its newest parent, and gives its mount."""
        folder = self._begin(key, parents)
        with self._or_nothing(folder):
            self.work("folders", paths=[str(folder / "fs")], like="")
            if parents:
                self.work("copy", source=str(self.committed(parents[-1]) / "fs"), target=str(folder / "fs"))
            (folder / "copied").touch()
        return self.mounts(key)

    def mounts(self, key: str) -> tuple[Mount, ...]:
        """Gives the bind mount of an active snapshot."""
        return (Mount("bind", str(self.active(key) / "fs"), ("rbind",)),)

    def stack(self, key: str) -> Stack:
        """Gives where an active snapshot lies on disk: all of it in one folder."""
        folder = self.active(key)
        return Stack(str(folder / "fs"), tuple(str(self.root / name / "fs") for name in self.parents(key)[:1]), whole=True)

    def commit(self, chain_id: ChainId, key: str) -> None:
        """Turns an active snapshot into a committed one."""
        folder = self.active(key)
        for name in ("copied", "parents"):
            os.unlink(folder / name)
        self._name(folder, chain_id)
