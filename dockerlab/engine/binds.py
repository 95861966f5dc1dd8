"""`--volume`: what its words mean, and the folders behind them."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from dockerlab.errors import InvalidArgument, InvalidRequest, NotSupportedHere
from dockerlab.runtime.generate import Volume
from dockerlab.runtime.sandbox import Capabilities
from dockerlab.store.containers import new_id
from dockerlab.store.volumes import ANONYMOUS, VolumeStore

__all__ = ["PROPAGATIONS", "Bind", "clean", "made", "parse", "refuse_travel", "refuse_twice"]

# Which way mounts travel between host and container below a bind; mount_namespaces(7).
PROPAGATIONS = ("shared", "rshared", "slave", "rslave", "private", "rprivate")


# Of each kind one, as docker has it; the last is between a virtual machine and its host: on Linux, as docker says, all the same.
_MODES = (("ro", "rw"), ("z", "Z"), ("nocopy",), PROPAGATIONS, ("cached", "consistent", "delegated"))


@dataclass(frozen=True, slots=True)
class Bind:
    """`source` is a folder of the host, a volume's name, or "" for a volume without a name."""

    source: str
    target: str
    readonly: bool = False
    nocopy: bool = False
    labels: Mapping[str, str] | None = None
    propagation: str = ""
    mode: str = ""

    @property
    def is_volume(self) -> bool:
        """Whether the engine keeps the folder."""
        return not self.source.startswith(("/", ".", "~"))


def clean(target: str) -> str:
    """Gives a place in a container without `.`, `..` and doubled slashes, as Go's path.Clean has it."""
    return posixpath.normpath(f"/{target.lstrip('/')}")


def parse(word: str) -> Bind:
    """Gives the meaning of `[SOURCE:]TARGET[:MODE]`; raises InvalidArgument and InvalidRequest in docker's words."""
    parts = word.split(":")
    if len(parts) > 3:
        raise InvalidRequest(f"invalid volume specification: '{word}'", hint="write SOURCE:TARGET or SOURCE:TARGET:ro")
    if not all(parts):
        raise InvalidArgument(f"invalid spec: {word}: empty section between colons", hint="write SOURCE:TARGET or SOURCE:TARGET:ro")
    source, target, mode = ("", *parts, "")[:3] if len(parts) == 1 else (*parts, "")[:3]
    modes = [each for each in mode.split(",") if each]
    travels = [each for each in modes if each in PROPAGATIONS]
    if any(sum(each in kind for each in modes) > 1 for kind in _MODES) or not set(modes) <= {each for kind in _MODES for each in kind}:
        raise InvalidRequest(f"invalid mode: {mode}", hint="write ro or rw")
    bind = Bind(source, target, "ro" in modes, "nocopy" in modes, None, travels[0] if travels else "", mode)
    wrong = f"invalid volume specification: '{word}': invalid mount config for type \"{'volume' if bind.is_volume else 'bind'}\":"
    if not PurePosixPath(target).is_absolute():
        raise InvalidRequest(f"{wrong} invalid mount path: '{target}' mount path must be absolute", hint="begin the place in the container with a slash")
    bind = replace(bind, target=clean(target))
    if bind.target == "/":
        raise InvalidRequest(f"{wrong} invalid specification: destination can't be '/'", hint="name a folder below it")
    if bind.is_volume and travels:
        raise InvalidRequest(f"{wrong} field BindOptions must not be specified", hint="mounts travel below folders of this machine, not below volumes")
    return bind


def refuse_travel(bind: Bind, able: Capabilities) -> None:
    """Raises NotSupportedHere where mounts cannot travel the way that was asked for; mount_namespaces(7): out of a user namespace they never do."""
    out = bind.propagation.endswith("shared")
    if (out and not (able.direct and able.mounts)) or (bind.propagation.endswith("slave") and not able.mounts):
        why = "a container's mounts reach the host only where the engine is its root" if able.mounts else "this host refuses mount(2), volumes are copied"
        raise NotSupportedHere(f"propagation {bind.propagation} of {bind.target} is not supported here: {why}", reason="mount namespaces", hint=f"docker run -v {bind.source}:{bind.target}")


def refuse_twice(binds: Sequence[Bind]) -> None:
    """Raises InvalidRequest where two want one place."""
    if twice := next((bind.target for number, bind in enumerate(binds) if bind.target in [b.target for b in binds[:number]]), ""):
        raise InvalidRequest(f"Duplicate mount point: {twice}", hint="give each volume a place of its own")


def made(store: VolumeStore, binds: Sequence[Bind], targets: Iterable[str], taken: Iterable[str] = ()) -> tuple[tuple[Volume, ...], tuple[str, ...]]:
    """Gives the mounts for what was asked for and for the image's own volumes, but where something else is, and the names of those volumes that nobody named."""
    binds, taken = list(binds), {*taken, *(bind.target for bind in binds)}
    binds += [Bind("", target) for target in map(clean, targets) if target not in taken]
    volumes, unnamed = [], []
    for bind in binds:
        if not bind.is_volume:
            folder = Path(bind.source).expanduser().absolute()
            if not folder.exists():
                folder.mkdir(parents=True, exist_ok=True)
            volumes.append(Volume(str(folder), bind.target, bind.readonly, propagation=bind.propagation, mode=bind.mode))
            continue
        name = bind.source or new_id()
        unnamed += [] if bind.source else [name]
        place, fresh = store.ensure(name, labels=bind.labels if bind.source else {**(bind.labels or {}), **ANONYMOUS})
        volumes.append(Volume(str(place), bind.target, bind.readonly, fresh and not bind.nocopy, mode=bind.mode or ("z" if bind.source else "")))
    return tuple(volumes), tuple(unnamed)
