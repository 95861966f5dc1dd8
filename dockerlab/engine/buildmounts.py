"""What `RUN --mount` asks for, put where a container can mount it, and taken away again.

A bind shows a copy: the container may write to it, and nobody else sees that. A cache is a folder of the store that outlives the build. A secret lies in a
file that only its owner reads, outside every layer. What a mount made of the image's folders (an empty place to mount on) goes as well.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dockerlab.build.context import Picked
from dockerlab.build.steps import RunMount
from dockerlab.engine import scratch
from dockerlab.engine.mounts import MountWord
from dockerlab.errors import BuildFailed
from dockerlab.layers import archive, packing
from dockerlab.layers.union import UnionView
from dockerlab.store.files import locked

if TYPE_CHECKING:
    from dockerlab.engine import Engine

__all__ = ["CACHES", "clear", "kept", "laid", "prune"]

CACHES = "build-mounts"


@contextlib.contextmanager
def laid(engine: Engine, mounts: Sequence[RunMount]) -> Iterator[tuple[MountWord, ...]]:
    """Gives the mounts for one container, for as long as it runs, outer ones first; raises BuildFailed."""
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(scratch.held(engine)) if mounts else Path()
        caches = _caches(engine, stack, [mount for mount in mounts if mount.type == "cache"])
        ordered = sorted(mounts, key=lambda mount: mount.target.count("/"))
        yield tuple(_word(engine, mount, folder / str(number), caches, ordered) for number, mount in enumerate(ordered))


def _word(engine: Engine, mount: RunMount, place: Path, caches: Mapping[str, Path], others: Sequence[RunMount]) -> MountWord:
    if mount.type == "tmpfs":
        return MountWord("tmpfs", target=mount.target, tmpfs=f"size={mount.size}" if mount.size else "")
    if mount.type == "secret":
        place.touch(0o600)
        place.write_bytes(mount.data)
        _owned(engine, place, mount)
        return MountWord("bind", str(place), mount.target, readonly=True)
    if mount.type == "cache":
        return MountWord("bind", str(caches[mount.ident]), mount.target, readonly=not mount.writable)
    assert mount.source is not None
    _copy(engine, mount.source, place)
    for other in others:
        if other.target.startswith(f"{mount.target}/"):
            _make_room(place, other.target[len(mount.target) + 1 :], is_file=other.type == "secret" or bool(other.source and not other.source.is_dir and other.type == "bind"))
    return MountWord("bind", str(place), mount.target, readonly=not mount.writable)


def _make_room(place: Path, inner: str, *, is_file: bool) -> None:
    """Makes the place that another mount needs inside a copy, which may be read-only; never where a symlink of the copy leads out."""
    spot = place / inner
    if Path(os.path.realpath(spot)).is_relative_to(os.path.realpath(place)) and not os.path.lexists(spot):
        with contextlib.suppress(FileExistsError, NotADirectoryError):
            spot.parent.mkdir(parents=True, exist_ok=True)
            spot.touch() if is_file else spot.mkdir()


def _caches(engine: Engine, stack: contextlib.ExitStack, mounts: Sequence[RunMount]) -> dict[str, Path]:
    """Gives the folder of each cache: every one is held once, as its strictest mount wants it, and always in the same order, so that nobody waits for each other."""
    strict = ("shared", "private", "locked")
    wanted: dict[str, RunMount] = {}
    for mount in mounts:
        other = wanted.get(mount.ident)
        if other is None or strict.index(mount.sharing) > strict.index(other.sharing):
            wanted[mount.ident] = mount
    return {ident: stack.enter_context(_cache(engine, wanted[ident])) for ident in sorted(wanted)}


def _owned(engine: Engine, place: Path, mount: RunMount) -> None:
    os.chmod(place, mount.mode)
    if mount.owner != (0, 0):
        if not (engine.capabilities.direct and engine.capabilities.owners):
            raise BuildFailed(f"the mount at {mount.target} cannot belong to {mount.owner[0]}:{mount.owner[1]} on this host, which gives one owner", hint="leave out uid and gid, or write mode=0777")
        os.chown(place, *mount.owner)


@contextlib.contextmanager
def _cache(engine: Engine, mount: RunMount) -> Iterator[Path]:
    """Gives a cache's folder, held as its sharing says: `locked` waits for others, `private` takes one that nobody has."""
    folder = engine.home / CACHES
    folder.mkdir(exist_ok=True)
    name = hashlib.sha256(mount.ident.encode("utf-8", "surrogateescape")).hexdigest()[:32]
    for number in range(1000):
        place = folder / (f"{name}-{number}" if number else name)
        with locked(Path(f"{place}.lock"), shared=mount.sharing == "shared", wait=mount.sharing != "private") as held:
            if not held:
                continue
            if not place.exists():
                draft = Path(tempfile.mkdtemp(dir=folder, prefix="draft-"))
                if mount.source:
                    shutil.rmtree(draft)
                    _copy(engine, mount.source, draft)
                _owned(engine, draft, mount)
                with contextlib.suppress(FileExistsError, OSError):  # somebody else was first
                    os.rename(draft, place)
            os.utime(f"{place}.lock")
            yield place
            return
    raise BuildFailed(f"the cache {mount.ident} is in use a thousand times", hint="write sharing=shared")


def kept(engine: Engine) -> list[tuple[Path, float, int]]:
    """Gives the caches: folder, last use in seconds since 1970, bytes."""
    folder = engine.home / CACHES
    places = [place for place in folder.iterdir() if place.is_dir() and not place.name.startswith("draft-")] if folder.is_dir() else []
    return [(place, place.with_name(f"{place.name}.lock").stat().st_mtime, engine.world.call("usage", path=str(place))[0]) for place in places]


def prune(engine: Engine, made: Callable[[float], bool], keep: int) -> int:
    """See `Builds.prune`."""
    found = sorted(kept(engine), key=lambda cache: cache[1])
    left, freed = sum(size for _, _, size in found), 0
    for place, used, size in found:
        if left <= keep and keep:
            break
        with locked(place.with_name(f"{place.name}.lock"), wait=False) as held:
            if held and made(used):
                engine.world.call("remove", path=str(place))
                left, freed = left - size, freed + size
    return freed


def _copy(engine: Engine, source: Picked, place: Path) -> None:
    """Lays a source down as a folder or a file, through a tar, as everything else that becomes files here."""
    able = engine.capabilities
    source.bring()
    if not source.is_dir and source.itself[0].kind != "file":
        raise BuildFailed(f"{source.name} cannot be mounted: it is no file and no folder", hint="name the folder that holds it")
    if not source.is_dir:
        shutil.copyfile(source.itself[1], place)
        os.chmod(place, stat.S_IMODE(source.itself[0].mode))
        return
    place.mkdir()
    with tempfile.TemporaryFile(dir=place.parent) as file:
        packing.pack(iter(source.inside), file.write)
        file.seek(0)
        archive.apply(file, str(place), archive.Style(owners=able.direct and able.owners, devices=False))


def clear(engine: Engine, container: str, union: UnionView, mounts: Sequence[RunMount]) -> None:
    """Takes away the places that the image lacks and that were made to mount on; where nothing is mounted, with the copies that lie there."""
    missing: set[str] = set()
    targets = [union.follow(mount.target) for mount in mounts]
    for target in targets:
        parts = target.split("/")
        missing |= {path for depth in range(1, len(parts) + 1) if not union.get(path := "/".join(parts[:depth]))}
    deepest = sorted(missing, key=lambda path: (-path.count("/"), path))
    engine.world.call("cleared", upper=engine.snapshotter.stack(container).upper, places=deepest, full=[] if engine.capabilities.mounts else targets)
