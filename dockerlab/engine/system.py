"""The store as a whole: what it holds, what nobody needs any more, whether it is sound."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dockerlab.engine import buildmounts, scratch
from dockerlab.errors import DockerlabError, InUse, NotFound
from dockerlab.linux import cgroups
from dockerlab.oci.digest import ChainId, DiffId, Digest, short
from dockerlab.runtime.restarting import again
from dockerlab.store.files import locked

if TYPE_CHECKING:
    from dockerlab.engine import Engine
    from dockerlab.engine.container import Container
    from dockerlab.engine.images import Image

__all__ = ["Problem", "Share", "System", "Usage", "Wanted"]

# Tells of labels and time of making whether something is meant.
Wanted = Callable[[Mapping[str, str], str], bool]


def _all(labels: Mapping[str, str], created: str) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Problem:
    """Something in the store that is not as it should be."""

    what: str
    detail: str


@dataclass(frozen=True, slots=True)
class Usage:
    """One line of `docker system df`; sizes in bytes."""

    type: str
    total: int
    active: int
    size: int
    reclaimable: int


@dataclass(frozen=True, slots=True)
class Share:
    """An image beside the others; bytes of layers that others have too, and of those that it alone has."""

    image: Image
    shared: int
    own: int
    containers: int


class System:
    """`engine.system`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def _reachable(self) -> tuple[set[Digest], set[ChainId], set[DiffId]]:
        blobs: set[Digest] = set()
        chains: set[ChainId] = set()
        layers: set[DiffId] = set()
        store = self._engine.image_store
        for record in store.records():
            manifest, config = store.manifest(record), store.config(record.id)
            blobs |= {record.manifest.digest, manifest.config.digest, *(layer.digest for layer in manifest.layers)}
            chains |= set(config.chain)
            layers |= set(config.rootfs.diff_ids)
        for container in self._engine.container_store.records():
            chains |= {ChainId(chain) for chain in container.chain}
        return blobs, chains, layers

    def collect(self) -> int:
        """Frees what no image and no container needs, and what killed processes left behind; gives the bytes of blobs freed.

        What was written in the last minute is left alone: a build or a commit of another process may be about to name it.
        """
        with locked(self._engine.home / "gc.lock", wait=False) as held:
            if not held:
                return 0
            blobs, _, layers = self._reachable()
            content, young = self._engine.content, time.time() - 60
            freed = content.remove(d for d in content.digests() if d not in blobs and content.older(d, young))
            self._engine.images.layers.forget(layers)
            for path in (p for p in content.ingest.iterdir() if p.stat().st_mtime < young and not scratch.in_use(p)):
                path.unlink() if path.is_file() else self._engine.world.call("remove", path=str(path))
            return freed

    def sweep(self) -> int:
        """Frees file-system states that nobody needs; gives how many. Only for a store that no build is using."""
        _, chains, _ = self._reachable()
        return self._engine.snapshotter.prune(chains)

    def usage(self) -> list[Usage]:
        """Gives what images, containers and volumes take."""
        return [self._of_images(), self._of_containers(), self._of_volumes(), self._of_builds()]

    def shares(self) -> list[Share]:
        """Gives what each image shares with others, and what it has for itself: the lines of `docker system df -v`."""
        images = self._engine.images.list()
        holders = Counter(chain for image in images for chain in image.config.chain)
        users = Counter(c.image_id for c in self._engine.container_store.records())
        found = []
        for image in images:
            sizes = list(zip(image.config.chain, image.layer_sizes, strict=True))
            found.append(Share(image, sum(size for chain, size in sizes if holders[chain] > 1), sum(size for chain, size in sizes if holders[chain] == 1), users[image.id]))
        return found

    def _of_images(self) -> Usage:
        # A layer that images share is on disk once; what an image in use has for itself alone cannot be reclaimed.
        shares = self.shares()
        layers = {chain: size for share in shares for chain, size in zip(share.image.config.chain, share.image.layer_sizes, strict=True)}
        used = [share for share in shares if share.containers]
        total = sum(layers.values())
        return Usage("Images", len(shares), len(used), total, total - sum(share.own for share in used))

    def _of_containers(self) -> Usage:
        containers = self._engine.containers.list(all=True)
        sizes = {}
        for container in containers:
            with contextlib.suppress(NotFound):  # it was removed this moment
                sizes[container.id] = self._engine.snapshotter.usage(container.id)[0]
        containers = [c for c in containers if c.id in sizes]
        running = [c.id for c in containers if c.state.alive]
        return Usage("Containers", len(containers), len(running), sum(sizes.values()), sum(sizes.values()) - sum(sizes[c] for c in running))

    def _of_volumes(self) -> Usage:
        sizes = self._engine.volumes.sizes()
        mounted = self._engine.volumes.users()
        used = [name for name in sizes if name in mounted]
        return Usage("Local Volumes", len(sizes), len(used), sum(sizes.values()), sum(sizes.values()) - sum(sizes[name] for name in used))

    def _of_builds(self) -> Usage:
        # A step is an image; what a build has beside them are the caches of RUN --mount.
        sizes = [size for _, _, size in buildmounts.kept(self._engine)]
        return Usage("Build Cache", len(sizes), 0, sum(sizes), sum(sizes))

    def check(self, *, repair: bool = False) -> list[Problem]:
        """Gives everything in the store that is not as it should be; [] for a sound store. With `repair` what can be mended is.

        What a killed process left unfinished is no problem: nothing refers to it, and it is swept here.
        """
        problems = [*self._images(repair), *self._containers(repair)]
        for ident in self._engine.container_store.leftovers():
            self._engine.world.call("remove", path=str(self._engine.container_store.folder(ident)))
        for name in self._engine.container_store.old_names():
            (self._engine.container_store.names / name).unlink(missing_ok=True)
        cgroups.sweep("dockerlab")
        known = set(self._engine.container_store.ids())
        for key in self._engine.snapshotter.keys() - known:
            if self._idle(key):
                self._engine.snapshotter.remove(key)
        return problems

    def _idle(self, key: str) -> bool:
        folder = Path(self._engine.home / "snapshots")
        places = list(folder.glob(f"*/active/{key}"))
        return all(place.stat().st_mtime < time.time() - 60 for place in places)

    def _images(self, repair: bool) -> list[Problem]:
        problems = []
        store, content = self._engine.image_store, self._engine.content
        for record in store.records():
            name = record.names[0] if record.names else short(record.id)
            try:
                manifest = store.manifest(record)
                content.verify(manifest.config.digest, manifest.config.size)
                store.config(record.id)
                for layer in manifest.layers:
                    content.verify(layer.digest, layer.size)
            except DockerlabError as error:
                problems.append(Problem(f"image {name}", error.message))
                if repair:
                    store.forget(record.id)
        return problems

    def _containers(self, repair: bool) -> list[Problem]:
        problems = []
        for container in self._engine.containers.list(all=True):
            try:
                self._engine.snapshotter.mounts(container.id)
            except DockerlabError as error:
                if container.id not in self._engine.container_store.ids():
                    continue  # it was removed this moment, its name first
                problems.append(Problem(f"container {container.name}", error.message))
                if repair:
                    container.remove(force=True)
        return problems

    def resume(self) -> tuple[list[Container], list[tuple[Container, DockerlabError]]]:
        """Starts the containers that their restart policy wants to run, as after a reboot of the host; gives those, and those that could not be started."""
        begun, failed = [], []
        for container in self._engine.containers.list(all=True):
            state = container.state
            if state.alive or state.status == "created" or not again(container.record.host.get("restart", ""), state.exit_code, count=state.restarts, stopped=state.stopped):
                continue
            try:
                container.start(detach=True).close()
            except InUse:
                continue  # somebody else has started it this moment
            except DockerlabError as error:
                failed.append((container, error))
            else:
                begun.append(container)
        return begun, failed

    def prune_containers(self, wanted: Wanted = _all) -> tuple[list[str], int]:
        """Removes the containers that do not run and are wanted gone (by labels and time); gives their ids and the bytes freed."""
        gone, freed, found = [], 0, self._engine.containers.list(all=True)
        with self._engine.holds.closed() as held:
            found = [container for container in found if container.id not in held]
        for container in found:
            if not container.state.alive and wanted(container.config.labels, container.record.created):
                with contextlib.suppress(NotFound, InUse):  # somebody else has removed it, or started it
                    size = self._engine.snapshotter.usage(container.id)[0]
                    container.remove()
                    freed += size
                    gone.append(container.id)
        return gone, freed

    def prune_images(self, wanted: Wanted = _all, *, every: bool = False) -> tuple[list[str], int]:
        """Removes images that no container uses and no image is built on: those without a name, or `every` one. Gives docker's lines and the bytes freed."""
        lines: list[str] = []
        before, users = self._of_images().size, {record.image_id for record in self._engine.container_store.records()}
        for image in self._engine.images.list():
            if (every or not image.record.names) and image.id not in users and wanted(image.config.config.labels, image.config.created):
                with contextlib.suppress(InUse, NotFound):
                    removed = self._engine.images.remove(image.id, force=every, unused=True, dangling=not every)
                    lines += [f"{word.lower()}: {what}" for word, what in removed]
        return lines, before - self._of_images().size

    def prune_volumes(self, wanted: Wanted = _all, *, every: bool = False) -> tuple[list[str], int]:
        """Removes volumes that no container mounts: those that nobody has named, or `every` one. Gives their names and the bytes freed."""
        gone, freed, mounted = [], 0, self._engine.volumes.users()
        for volume in self._engine.volumes.list():
            if volume.name not in mounted and (every or volume.anonymous) and wanted(volume.labels or {}, volume.created):
                with contextlib.suppress(NotFound, InUse):
                    size = self._engine.world.call("usage", path=str(volume.mountpoint))[0]
                    volume.remove()
                    freed += size
                    gone.append(volume.name)
        return gone, freed
