"""Files of one container, read and written from outside: docker's archive endpoints, on which `cp` is built."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dockerlab.errors import InvalidRequest, NotFound, UnsafeArchive
from dockerlab.runtime import control
from dockerlab.store import snapshots

if TYPE_CHECKING:
    from dockerlab.engine import Engine
    from dockerlab.engine.container import Container

__all__ = ["Files", "PathStat", "arrived"]


@dataclass(frozen=True, slots=True)
class PathStat:
    """What lies at a path of a container, as docker tells it; `target` is where a symlink points to, from the container's root."""

    name: str
    mode: int
    size: int
    target: str = ""

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder."""
        return stat.S_ISDIR(self.mode)


class Files:
    """The files of a container, whether it runs or not: with its volumes, without what is the kernel's (/proc, /sys) or in memory only (/dev, tmpfs)."""

    def __init__(self, engine: Engine, container: Container) -> None:
        self._engine, self._container = engine, container

    def stat(self, path: str) -> PathStat:
        """Gives what lies at a path, a symlink itself; raises NotFound in docker's words."""
        with self._where(path) as (inner, how):
            seen = self._engine.world.call("look", path=inner, **how)
        if seen is None:
            raise self._missing(path)
        target = os.path.normpath(os.path.join(os.path.dirname(path.rstrip("/")) or "/", seen["target"])) if seen["target"] else ""
        return PathStat(arrived(path), seen["mode"], seen["size"], target)

    def get_archive(self, path: str, descriptor: int, *, name: str | None = None) -> None:
        """Writes what lies at a path as a tar to an open descriptor, called `name` in it ("" for a folder's content); raises NotFound."""
        called = arrived(path) if name is None else name
        with self._where(path) as (inner, how):
            how["descriptors"]["descriptor"] = descriptor
            self._container.note("archive-path")
            try:
                self._engine.world.call("take", path=inner, called=called, on_disk=self._engine.capabilities.owners, **how)
            except (FileNotFoundError, NotADirectoryError):
                raise self._missing(path) from None

    def put_archive(self, path: str, descriptor: int) -> None:
        """Lays a tar from an open descriptor down in the folder at a path; raises NotFound, InvalidRequest, CorruptContent. What was written before stays."""
        self._refuse_readonly(path)
        able = self._engine.capabilities
        style = {"whiteout": "", "owners": able.owners, "devices": able.direct and able.owners, "notes": not able.owners}
        with self._where(path) as (inner, how):
            how["descriptors"]["descriptor"] = descriptor
            self._container.note("extract-to-dir")
            try:
                self._engine.world.call("lay", path=inner, style=style, **how)
            except (FileNotFoundError, NotADirectoryError):
                raise self._missing(path) from None
            except UnsafeArchive as error:
                raise InvalidRequest(f"Error processing tar file(exit status 1): {error.message}", hint=error.hint) from None

    def _missing(self, path: str) -> NotFound:
        return NotFound(f"Could not find the file {path} in container {self._container.name}", hint="/proc, /sys, /dev and a tmpfs are out of reach of cp")

    def _refuse_readonly(self, path: str) -> None:
        host, place = self._container.record.host, f"{os.path.normpath(path)}/"
        inside = [mount for mount in host["mounts"] if place.startswith(f"{mount['target'].rstrip('/')}/")]
        if inside and max(inside, key=lambda mount: len(mount["target"]))["readonly"]:
            raise InvalidRequest("mounted volume is marked read-only")
        if host["read_only"] and not inside:
            raise InvalidRequest("container rootfs is marked read-only")

    @contextlib.contextmanager
    def _where(self, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Gives the path below a root folder, and how `World.call` gets there."""
        if not path:
            raise InvalidRequest("bad parameter: path cannot be empty")
        container, able = self._container, self._engine.capabilities
        alive = container.state.running
        volumes = [(mount["source"], mount["target"]) for mount in container.record.host["mounts"]]
        volumes += [(str(container.folder / name), f"/etc/{name}") for name in ("hosts", "hostname", "resolv.conf") if not alive]
        if able.mounts and not alive:
            mounts = snapshots.described(self._engine.snapshotter.mounts(container.id))
            yield path, {"mounted": {"rootfs": str(container.folder / "bundle" / "rootfs"), "mounts": mounts, "volumes": volumes}, "descriptors": {}}
            return
        with self._root(path, volumes if able.binds or not alive else [], alive=alive) as (root, inner):
            devices = [os.fstat(root).st_dev, os.stat(container.folder).st_dev, *(os.stat(source).st_dev for source, _ in volumes if os.path.exists(source))]
            yield inner, {"descriptors": {"root": root}, "devices": devices}

    @contextlib.contextmanager
    def _root(self, path: str, volumes: list[tuple[str, str]], *, alive: bool) -> Iterator[tuple[int, str]]:
        """Gives a descriptor of the folder that holds the path: as the running container sees it, else its copy, or the volume that would lie there."""
        container, folder = self._container, ""
        if self._engine.capabilities.mounts:
            root, inner = control.root(container.folder), path
            if root < 0:
                raise InvalidRequest(f"Container {container.id} is not running", hint="it ended this moment: try again")
        else:
            folder, inner = self._engine.snapshotter.stack(container.id).upper, path
            for source, target in sorted(volumes, key=lambda volume: len(volume[1])):
                if f"{os.path.normpath(path)}/".startswith(f"{target.rstrip('/')}/") and Path(source).is_dir():
                    folder, inner = source, path[len(target.rstrip("/")) :] or "/."
            root = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield root, inner
        finally:
            os.close(root)


def arrived(path: str) -> str:
    """Gives the name that what lies at a path has by itself."""
    return os.path.basename(path.rstrip("/").removesuffix("/.")) or "/"
