"""The two snapshotters' shared half: a folder a snapshot, given its name by one rename."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from dockerlab.errors import AlreadyExists, NotFound
from dockerlab.oci.digest import ChainId, hexadecimal
from dockerlab.store.files import explain, of_the_living, scratch_name
from dockerlab.store.snapshots import Stack, Work

__all__ = ["FolderSnapshotter"]

# Twenty digits keep the lowerdir words of 127 layers under the page that mount(2) reads.
_DIGITS = 20


class FolderSnapshotter:
    """`<root>/<20 digits of a chain id>/fs` is committed, `<root>/active/<key>/fs` is written to."""

    name = ""

    def __init__(self, root: Path, work: Work) -> None:
        self.root, self.work = root, work
        with explain(root):
            (root / "active").mkdir(parents=True, exist_ok=True)

    def committed(self, chain_id: ChainId) -> Path:
        """Gives the folder of a committed snapshot."""
        return self.root / hexadecimal(chain_id)[:_DIGITS]

    def active(self, key: str) -> Path:
        """Gives the folder of an active snapshot; raises NotFound."""
        folder = self.root / "active" / key
        if not (folder / "parents").exists():
            raise NotFound(f"no active snapshot {key}", kind="snapshot", name=key)
        return folder

    def exists(self, chain_id: ChainId) -> bool:
        """Tells whether the committed snapshot is there."""
        return self.committed(chain_id).is_dir()

    def parents(self, key: str) -> tuple[str, ...]:
        """Gives the folder names of an active snapshot's parents, newest first."""
        return tuple((self.active(key) / "parents").read_text().split())

    def _begin(self, key: str, parents: tuple[ChainId, ...]) -> Path:
        folder = self.root / "active" / key
        for chain_id in parents:
            if not self.exists(chain_id):
                raise NotFound(f"no snapshot {chain_id}", kind="snapshot", name=chain_id)
        with explain(folder):
            try:
                folder.mkdir()
            except FileExistsError:
                raise AlreadyExists(f"snapshot {key} exists", kind="snapshot", name=key) from None
        with self._or_nothing(folder):
            (folder / "parents").write_text("\n".join(self._stacked(parents)))
        return folder

    def _stacked(self, parents: tuple[ChainId, ...]) -> list[str]:
        """Gives the folder names of committed snapshots, newest first, as an active one is to lie on them."""
        return [self.committed(chain_id).name for chain_id in reversed(parents)]

    @contextlib.contextmanager
    def _or_nothing(self, folder: Path) -> Iterator[None]:
        """Puts a full disk in words, and takes the half-made snapshot away again."""
        try:
            with explain(folder):
                yield
        except BaseException:
            self.work("remove", path=str(folder))
            raise

    def _name(self, folder: Path, chain_id: ChainId) -> None:
        self._name_as(folder, self.committed(chain_id))

    def _name_as(self, folder: Path, place: Path) -> None:
        # Two processes may unpack the same layer: the first one names it, the other throws its own away.
        try:
            os.rename(folder, place)
        except OSError:
            if not place.is_dir():
                raise
            self.work("remove", path=str(folder))

    def _scratch(self) -> Path:
        folder = self.root / scratch_name()
        with explain(folder):
            folder.mkdir()
            (folder / "fs").mkdir()
        return folder

    def remove(self, key: str) -> None:
        """Removes an active snapshot, or nothing."""
        folder = self.root / "active" / key
        if folder.exists():
            gone = self.root / scratch_name()
            with contextlib.suppress(FileNotFoundError):
                os.rename(folder, gone)
                self.work("retire", path=str(gone))

    def distrust(self, key: str) -> None:
        """Says that times tell nothing about what is changed in an active snapshot: its container may set the clock, or leave others behind that write."""
        (self.active(key) / "copied").unlink(missing_ok=True)

    def usage(self, key: str) -> tuple[int, int]:
        """Gives the bytes and the files that an active snapshot holds of its own."""
        size, files = self.work("usage", path=str(self.active(key) / "fs"))
        return size, files

    def keys(self) -> set[str]:
        """Gives the active snapshots."""
        return {folder.name for folder in (self.root / "active").iterdir()}

    def prune(self, keep: set[ChainId]) -> int:
        """Removes committed snapshots that nobody keeps, and what killed processes left; gives how many folders went."""
        kept = {"active", "spare"} | {self.committed(chain_id).name for chain_id in keep}
        for key in self.keys():
            with contextlib.suppress(NotFound):
                kept |= set(self.parents(key))
        gone = [folder for folder in self.root.iterdir() if folder.name not in kept and not of_the_living(folder.name)]
        for folder in gone:
            self.work("remove", path=str(folder))
        return len(gone)

    def stack(self, key: str) -> Stack:
        """Gives where an active snapshot lies on disk; raises NotFound."""
        folder = self.active(key)
        return Stack(str(folder / "fs"), tuple(str(self.root / name / "fs") for name in self.parents(key)))
