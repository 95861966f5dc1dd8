"""What a prepared instruction is: the nouns that the builder and its host share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

from dockerlab.build.context import Picked, Source
from dockerlab.events import Event
from dockerlab.layers.index import Entry
from dockerlab.oci.config import RunConfig

__all__ = ["Emit", "Host", "RunMount", "Stage", "Step", "Transfer", "Watched"]

Emit = Callable[[Event], object]


@dataclass(frozen=True, slots=True)
class Transfer:
    """What COPY and ADD lay down: the sources, where, as whom ("" keeps the owner), with which mode (None keeps it).

    With `apart` (`--link`) the image below is not looked at: no symlink of it is followed, and folders on the way are new.
    """

    sources: tuple[Picked, ...]
    destination: str
    owner: str = ""
    mode: int | None = None
    apart: bool = False


@dataclass(frozen=True, slots=True)
class RunMount:
    """`RUN --mount` with its variables replaced: `source` is what a bind shows or a cache begins with, `ident` which cache, `data` a secret's bytes, `size` of memory in bytes (0: no limit)."""

    type: str
    target: str
    source: Picked | None = None
    writable: bool = False
    ident: str = ""
    sharing: str = "shared"
    mode: int = 0o755
    owner: tuple[int, int] = (0, 0)
    size: int = 0
    data: bytes = field(default=b"", repr=False)

    def key(self) -> tuple[str, ...]:
        """Gives what of it makes another step: neither a cache's content nor a secret does."""
        shown = self.source.first if self.source and self.type == "bind" else self.ident
        return (self.type, self.target, shown, str(self.writable), f"{self.mode:o}", f"{self.owner[0]}:{self.owner[1]}")


@dataclass(frozen=True, slots=True)
class Step:
    """A prepared instruction: the settings after it, its line in the history, what its cache key depends on, and what is to be done."""

    run: RunConfig
    created_by: str
    inputs: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    mounts: tuple[RunMount, ...] = ()
    network: str = ""
    transfer: Transfer | None = None
    folder: str = ""
    author: str = ""

    @property
    def sources(self) -> tuple[Picked, ...]:
        """What it reads and is known by."""
        return self.transfer.sources if self.transfer else tuple(mount.source for mount in self.mounts if mount.source and mount.type == "bind")


@dataclass(slots=True)
class Stage:
    """Where a build stands: the image so far, its settings, what ARG has set."""

    image: str = ""
    run: RunConfig = field(default_factory=RunConfig)
    args: dict[str, str] = field(default_factory=dict)
    author: str = ""
    cmd_set: bool = False
    name: str = ""
    begun: bool = False


@dataclass(slots=True)
class Watched:
    """Where a host tells what happens while it does a step: the container's id, what it writes (1 stdout, 2 stderr), and what was lost with a volume, place and bytes."""

    running: Callable[[str], object]
    output: Callable[[int, bytes], object]
    lost: dict[str, int] = field(default_factory=dict)


class Host(Protocol):
    """What the builder needs of an engine. Images are named by their ids, "" is `scratch`."""

    @property
    def platform(self) -> str:
        """What its containers run on, as `linux/amd64`."""
        ...

    def resolve(self, reference: str) -> str:
        """Gives an image's id; raises NotFound."""
        ...

    def settings(self, image: str) -> RunConfig:
        """Gives the settings of an image."""
        ...

    def exists(self, image: str) -> bool:
        """Tells whether the image is still here."""
        ...

    def files(self, image: str) -> AbstractContextManager[Source]:
        """Opens an image as something to copy from."""
        ...

    def given(self, name: str) -> bool:
        """Tells whether the build was given a context of this name, which then stands for no stage and no other image."""
        ...

    def named(self, name: str) -> Source | None:
        """Gives the context that was given a name of its own (`--build-context`)."""
        ...

    def secret(self, ident: str) -> bytes | None:
        """Gives a secret that the build was given, None for one that it was not; raises BuildFailed."""
        ...

    def created(self, image: str) -> str:
        """Gives when an image was made."""
        ...

    def added(self, image: str) -> Sequence[Entry]:
        """Gives the table of the layer that an image's last step added, [] for none."""
        ...

    def alone(self, key: str) -> AbstractContextManager[object]:
        """Holds a step for as long as it is done: whoever else wants the same one waits."""
        ...

    def execute(self, image: str, step: Step, watched: Watched) -> str:
        """Does a step on an image and gives the new image's id; raises BuildFailed."""
        ...
