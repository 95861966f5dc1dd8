"""`--volume`: what its words mean, and the folders behind them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from dockerlab.errors import InvalidArgument, InvalidRequest
from dockerlab.runtime.generate import Volume
from dockerlab.store.containers import new_id
from dockerlab.store.volumes import ANONYMOUS, VolumeStore

__all__ = ["Bind", "made", "parse", "refuse_twice"]


@dataclass(frozen=True, slots=True)
class Bind:
    """`source` is a folder of the host, a volume's name, or "" for a volume without a name."""

    source: str
    target: str
    readonly: bool = False
    nocopy: bool = False
    labels: Mapping[str, str] | None = None

    @property
    def is_volume(self) -> bool:
        """Whether the engine keeps the folder."""
        return not self.source.startswith(("/", ".", "~"))


def parse(word: str) -> Bind:
    """Gives the meaning of `[SOURCE:]TARGET[:MODE]`; raises InvalidArgument and InvalidRequest in docker's words."""
    parts = word.split(":")
    if len(parts) > 3:
        raise InvalidRequest(f"invalid volume specification: '{word}'", hint="write SOURCE:TARGET or SOURCE:TARGET:ro")
    if not all(parts):
        raise InvalidArgument(f"invalid spec: {word}: empty section between colons", hint="write SOURCE:TARGET or SOURCE:TARGET:ro")
    source, target, mode = ("", *parts, "")[:3] if len(parts) == 1 else (*parts, "")[:3]
    modes = set(mode.split(",")) - {""}
    if modes - {"ro", "rw", "z", "Z", "nocopy", "private", "rprivate"}:
        raise InvalidRequest(f"invalid mode: {mode}", hint="write ro or rw")
    bind = Bind(source, target, "ro" in modes, "nocopy" in modes)
    wrong = f"invalid volume specification: '{word}': invalid mount config for type \"{'volume' if bind.is_volume else 'bind'}\":"
    if not PurePosixPath(target).is_absolute():
        raise InvalidRequest(f"{wrong} invalid mount path: '{target}' mount path must be absolute", hint="begin the place in the container with a slash")
    if PurePosixPath(target) == PurePosixPath("/"):
        raise InvalidRequest(f"{wrong} invalid specification: destination can't be '/'", hint="name a folder below it")
    return bind


def refuse_twice(binds: Sequence[Bind]) -> None:
    """Raises InvalidRequest where two want one place."""
    if twice := next((bind.target for number, bind in enumerate(binds) if bind.target in [b.target for b in binds[:number]]), ""):
        raise InvalidRequest(f"Duplicate mount point: {twice}", hint="give each volume a place of its own")


def made(store: VolumeStore, binds: Sequence[Bind], targets: Iterable[str], taken: Iterable[str] = ()) -> tuple[tuple[Volume, ...], tuple[str, ...]]:
    """Gives the mounts for what was asked for and for the image's own volumes, but where something else is, and the names of those volumes that nobody named."""
    binds, taken = list(binds), {*taken, *(bind.target for bind in binds)}
    binds += [Bind("", target) for target in targets if target not in taken]
    volumes, unnamed = [], []
    for bind in binds:
        if not bind.is_volume:
            folder = Path(bind.source).expanduser().absolute()
            if not folder.exists():
                folder.mkdir(parents=True, exist_ok=True)
            volumes.append(Volume(str(folder), bind.target, bind.readonly))
            continue
        name = bind.source or new_id()
        unnamed += [] if bind.source else [name]
        place, fresh = store.ensure(name, labels=bind.labels if bind.source else {**(bind.labels or {}), **ANONYMOUS})
        volumes.append(Volume(str(place), bind.target, bind.readonly, fresh and not bind.nocopy))
    return tuple(volumes), tuple(unnamed)
