"""Snapshots as whole copies: for hosts, and file systems, that refuse overlayfs."""

from __future__ import annotations

import os
import time
from pathlib import Path

from dockerlab.oci.digest import ChainId
from dockerlab.store.files import explain, locked, of_the_living
from dockerlab.store.folders import FolderSnapshotter
from dockerlab.store.snapshots import Mount, Stack, Work

__all__ = ["NativeSnapshotter"]

_LONG = 0.1  # seconds: what takes longer to copy is worth a spare copy
_PATIENCE = 1.0  # seconds: most containers end, and give their copy back, sooner


class NativeSnapshotter(FolderSnapshotter):
    """Each snapshot is a complete tree. Nothing is hard-linked between them: a container could write through a link into an image.

    A copy made ahead waits for the next container, and a container that has changed little gives its own back (`recycling`).
    """

    name = "native"

    def __init__(self, root: Path, work: Work, *, owners: bool = True, devices: bool = True, later: Work | None = None) -> None:
        super().__init__(root, work)
        # `later` does what `work` does without anybody waiting for it: the next container finds its copy made.
        self._later = later
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
            if not (parents and self._take_spare(parents[-1], folder / "fs")):
                self.work("folders", paths=[str(folder / "fs")], like="")
                begun = time.monotonic()
                if parents:
                    self.work("copy", source=str(self.committed(parents[-1]) / "fs"), target=str(folder / "fs"))
                    if time.monotonic() - begun > _LONG:
                        (self.committed(parents[-1]) / "large").touch()
                        self.make_spare(parents[-1])
            self.work("mark", folder=str(folder))
        return self.mounts(key)

    def _spare(self, chain_id: ChainId) -> Path:
        return self.root / "spare" / self.committed(chain_id).name

    def make_spare(self, chain_id: ChainId, *, wait: bool = False) -> None:
        """Has a copy of a committed snapshot made for the next container, by default without waiting for it."""
        make = self.work if wait else self._later
        if make is not None:
            if wait:
                (self.committed(chain_id) / "large").touch()
            patience = 0 if wait else _PATIENCE
            make("spare", source=str(self.committed(chain_id) / "fs"), target=str(self._spare(chain_id)), patience=patience)

    def _take_spare(self, chain_id: ChainId, place: Path) -> bool:
        spare = self._spare(chain_id)
        if not _renamed(spare, place):
            under_way = spare.with_name(f"{spare.name}.lock")
            if not under_way.exists():
                return False
            with locked(under_way, shared=True):  # what is left to copy is less than all of it
                pass
            if not _renamed(spare, place):
                return False
        if (self.committed(chain_id) / "large").exists():
            self.make_spare(chain_id)
        return True

    def prune(self, keep: set[ChainId]) -> int:
        """Removes committed snapshots that nobody keeps with their spare copies, and what killed processes left; gives how many folders went."""
        kept = {self.committed(chain_id).name for chain_id in keep}
        for folder in (self.root / "spare").glob("*"):
            if folder.name.removesuffix(".lock") not in kept and not of_the_living(folder.name):
                self.work("remove", path=str(folder))
        return super().prune(keep)

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
            (folder / name).unlink(missing_ok=True)
        self._name(folder, chain_id)


def _renamed(old: Path, new: Path) -> bool:
    try:
        os.rename(old, new)
    except OSError:
        return False
    return True
