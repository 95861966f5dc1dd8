"""Snapshots for the kernel's overlayfs: a layer a folder, joined at mount time."""

from __future__ import annotations

import os
from pathlib import Path

from dockerlab.oci.digest import ChainId
from dockerlab.store.files import explain
from dockerlab.store.folders import FolderSnapshotter
from dockerlab.store.snapshots import Mount, Work

__all__ = ["OverlaySnapshotter"]


_MOST, _APART = 127, 100


class OverlaySnapshotter(FolderSnapshotter):
    """`userxattr` is for user namespaces: the kernel's marks then are user.overlay.*, which need no privilege."""

    name = "overlay"

    def __init__(self, root: Path, work: Work, *, userxattr: bool, owners: bool = True) -> None:
        super().__init__(root, work)
        self._userxattr, self._owners = userxattr, owners

    def unpack(self, chain_id: ChainId, parent: ChainId | None, layer: tuple[Path, str]) -> None:
        """Makes a committed snapshot from a layer's blob."""
        folder = self._scratch()
        mark = "user.overlay.opaque" if self._userxattr else "trusted.overlay.opaque"
        try:
            style = {"whiteout": "overlay", "xattr": mark, "owners": self._owners, "devices": not self._userxattr, "notes": not self._owners}
            with explain(folder):
                self.work("unpack", blob=str(layer[0]), media_type=layer[1], target=str(folder / "fs"), style=style)
        except BaseException:
            self.work("remove", path=str(folder))
            raise
        self._name(folder, chain_id)

    def prepare(self, key: str, parents: tuple[ChainId, ...]) -> tuple[Mount, ...]:
        """Makes an active snapshot and gives its mount."""
        folder = self._begin(key, parents)
        with self._or_nothing(folder):
            self.work("folders", paths=[str(folder / "fs"), str(folder / "work")], like=self._root_of(parents))
        return self.mounts(key)

    def _stacked(self, parents: tuple[ChainId, ...]) -> list[str]:
        """Gives the folders; of more than the kernel takes (mount(2) reads one page of words), the oldest are joined in one, made once."""
        if len(parents) <= _MOST:
            return super()._stacked(parents)
        old, young = parents[:-_APART], parents[-_APART:]
        joined = self.root / f"{self.committed(old[-1]).name}-joined"
        if not joined.is_dir():
            folder = self._scratch()
            try:
                with explain(folder):
                    self.work("join", folders=[str(self.committed(chain_id) / "fs") for chain_id in reversed(old)], target=str(folder / "fs"), on_disk=self._owners)
            except BaseException:
                self.work("remove", path=str(folder))
                raise
            self._name_as(folder, joined)
        return [*super()._stacked(young), joined.name]

    def _root_of(self, parents: tuple[ChainId, ...]) -> str:
        return str(self.committed(parents[-1]) / "fs") if parents else ""

    def mounts(self, key: str) -> tuple[Mount, ...]:
        """Gives the overlay mount of an active snapshot, or a bind mount where it has no parent."""
        folder = self.active(key)
        parents = self.parents(key)
        if not parents:
            return (Mount("bind", str(folder / "fs"), ("rbind",)),)
        place = f"active/{key}"
        words = [f"lowerdir={':'.join(f'{name}/fs' for name in parents)}", f"upperdir={place}/fs", f"workdir={place}/work"]
        words += ["userxattr"] if self._userxattr else ["metacopy=off", "redirect_dir=off", "index=off"]
        return (Mount("overlay", "overlay", tuple(words), str(self.root)),)

    def commit(self, chain_id: ChainId, key: str) -> None:
        """Turns an active snapshot into a committed one."""
        folder = self.active(key)
        self.work("remove", path=str(folder / "work"))
        os.unlink(folder / "parents")
        self._name(folder, chain_id)
