"""File-system states with parents: the Snapshotter protocol.

A snapshot is either *committed* (named by a chain id, never changes) or *active* (named by a key, a container writes into it). Every active
snapshot has a committed parent, or none. The vocabulary is containerd's.

A snapshotter performs no mount: it hands out `Mount`s, and the container's first process performs them in its own mount namespace. So no
mount outlives a container, and nothing here needs privileges for it.

Three stories:

*A layer arrives.* `unpack(chain_id, parent, open_layer)` lays it down and gives it its name in one rename; `exists` is true from then on.

*A container runs.* `prepare(key, parent)` gives the mounts. The program writes. `changes(key)` says what became different, and
`packed(key, …)` turns that into a layer. `remove(key)` throws the state away.

*A build step ends.* Its active state becomes the committed state of its chain id by `commit(chain_id, key)`, so nothing is unpacked twice.

What has to be done as the container's root (unpacking owners, reading files of other ids) is asked of `work`: a callable that runs one of
the functions of `store.work` in the container's world. Where this process already is root it is a plain call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from dockerlab.oci.digest import ChainId, DiffId, Digest

__all__ = ["Mount", "Packed", "Snapshotter", "Stack", "Work", "described", "revived"]

Work = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Mount:
    """A mount to perform: mount(8) words, and the folder that relative words are relative to."""

    type: str
    source: str
    options: tuple[str, ...]
    base: str = ""


def described(mounts: Iterable[Mount]) -> list[dict[str, Any]]:
    """Gives mounts as plain values, for another process."""
    return [asdict(mount) for mount in mounts]


def revived(facts: Iterable[dict[str, Any]]) -> tuple[Mount, ...]:
    """Gives the mounts that `described` took apart."""
    return tuple(Mount(**{**mount, "options": tuple(mount["options"])}) for mount in facts)


@dataclass(frozen=True, slots=True)
class Stack:
    """Where a state lies on disk: one folder that is written (or complete), and those below it, newest first."""

    upper: str
    lowers: tuple[str, ...]
    whole: bool = False

    @property
    def folders(self) -> tuple[str, ...]:
        """The folders whose union is the state."""
        return (self.upper,) if self.whole else (self.upper, *self.lowers)


@dataclass(frozen=True, slots=True)
class Packed:
    """A layer that was packed into the blob store's ingest folder."""

    draft: Path
    digest: Digest
    diff_id: DiffId
    size: int
    unpacked: int
    index: bytes


class Snapshotter(Protocol):
    """See the module's comment. Every method may raise StoreError for a full or read-only disk."""

    name: str

    def exists(self, chain_id: ChainId) -> bool:
        """Tells whether the committed snapshot is there."""
        ...

    def unpack(self, chain_id: ChainId, parent: ChainId | None, layer: tuple[Path, str]) -> None:
        """Makes a committed snapshot from a layer's blob (path, media type). Raises UnsafeArchive, CorruptContent."""
        ...

    def prepare(self, key: str, parents: tuple[ChainId, ...]) -> tuple[Mount, ...]:
        """Makes an active snapshot on committed `parents` (base first) and gives its mounts; raises AlreadyExists, NotFound."""
        ...

    def mounts(self, key: str) -> tuple[Mount, ...]:
        """Gives an active snapshot's mounts again; raises NotFound."""
        ...

    def stack(self, key: str) -> Stack:
        """Gives where an active snapshot lies on disk; raises NotFound."""
        ...

    def commit(self, chain_id: ChainId, key: str) -> None:
        """Turns an active snapshot into a committed one."""
        ...

    def remove(self, key: str) -> None:
        """Removes an active snapshot, or nothing."""
        ...

    def distrust(self, key: str) -> None:
        """Says that times tell nothing about what is changed in an active snapshot."""

    def usage(self, key: str) -> tuple[int, int]:
        """Gives the bytes and the files that an active snapshot holds of its own."""
        ...

    def keys(self) -> set[str]:
        """Gives the active snapshots."""
        ...

    def prune(self, keep: set[ChainId]) -> int:
        """Removes committed snapshots that nobody keeps, and what killed processes left; gives how many folders went."""
        ...
