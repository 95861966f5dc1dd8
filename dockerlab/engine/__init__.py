"""The Python API, shaped like docker's: `Engine().containers.run("busybox", ["echo", "hi"])`. Wiring and nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from dockerlab.engine.builds import Builds
from dockerlab.engine.containers import Container, Containers, RunOptions
from dockerlab.engine.execution import ExecOptions
from dockerlab.engine.images import Image, Images
from dockerlab.engine.networks import Networks
from dockerlab.engine.settings import Settings
from dockerlab.engine.system import System
from dockerlab.engine.volumes import Volumes
from dockerlab.events import Event
from dockerlab.linux import probe
from dockerlab.linux.probe import Finding, situation
from dockerlab.oci.reference import Reference
from dockerlab.runtime import sandbox
from dockerlab.runtime.sandbox import Capabilities, Sandbox
from dockerlab.runtime.world import World
from dockerlab.store import files
from dockerlab.store.containers import ContainerStore
from dockerlab.store.content import ContentStore
from dockerlab.store.holds import Holds
from dockerlab.store.images import ImageStore
from dockerlab.store.journal import Journal
from dockerlab.store.native import NativeSnapshotter
from dockerlab.store.overlay import OverlaySnapshotter
from dockerlab.store.places import Places
from dockerlab.store.snapshots import Snapshotter
from dockerlab.store.volumes import VolumeStore

if TYPE_CHECKING:
    from dockerlab.engine.distribution import Distribution

__all__ = ["Container", "Containers", "Engine", "ExecOptions", "Image", "Images", "RunOptions"]


class Engine:
    """One store and what runs from it; several processes may share a store."""

    def __init__(self, home: str | os.PathLike[str] | None = None, *, without: tuple[str, ...] = ()) -> None:
        self.settings = Settings.find(home)
        self.home: Path = self.settings.home
        self._without = without
        self.content = ContentStore(self.home)
        self.image_store = ImageStore(self.home, self.content)
        self.container_store = ContainerStore(self.home)
        # Where a person is told what takes long; whoever has a place to show it puts that here.
        self.say: Callable[[str], object] = lambda text: None
        # The same for what is pulled because it is not here: (why, name, what happens) are told as they come.
        self.follow: Callable[[str, Reference, Iterable[Event]], object] = lambda why, reference, events: deque(events, maxlen=0)
        self.journal = Journal(self.home)
        self.holds = Holds(self.home)
        self.images = Images(self)
        self.places = Places(self.home)
        self.containers = Containers(self)
        self.builds = Builds(self)
        self.volumes = Volumes(self)
        self.networks = Networks(self)
        self.system = System(self)

    def first_time(self, topic: str) -> bool:
        """Tells whether nobody has been told of this topic yet in this store; from now on somebody has."""
        return files.first_time(self.home, topic)

    @cached_property
    def findings(self) -> list[Finding]:
        """What this host allows, tried once per boot and situation."""
        cache = self.settings.runtime / "probe.json"
        boot = Path("/proc/sys/kernel/random/boot_id")
        key = [boot.read_text().strip() if boot.exists() else "", list(sys.version_info[:2]), os.stat(probe.__file__).st_mtime_ns, *situation()]
        try:
            facts = json.loads(cache.read_bytes())
        except (OSError, ValueError):
            facts = {}
        if facts.get("key") != key:
            code = f"import sys; sys.path[:] = {[entry or os.getcwd() for entry in sys.path]!r}; from dockerlab.linux.probe import main; main()"
            done = subprocess.run([sys.executable, "-S", "-E", "-c", code, str(self.home)], capture_output=True, check=True)
            facts = json.loads(done.stdout) | {"key": key}
            files.publish(cache, json.dumps(facts).encode())
        return [Finding(**finding) for finding in facts["findings"] if finding["name"] not in self._without]

    @cached_property
    def sandbox(self) -> Sandbox:
        """The tier that this host allows; raises NotSupportedHere."""
        return sandbox.choose(self.findings)

    @property
    def capabilities(self) -> Capabilities:
        """What the tier can do."""
        return self.sandbox.capabilities

    @cached_property
    def world(self) -> World:
        """The launcher."""
        return World(self.capabilities, self.settings.runtime)

    @cached_property
    def snapshotter(self) -> Snapshotter:
        """Where file-system states are kept."""
        able, folder = self.capabilities, self.home / "snapshots"
        # Owners on disk, and whose marks the kernel reads, differ between tiers, so each has its own folder.
        if able.overlay:
            return OverlaySnapshotter(folder / f"overlay-{able.tier}", self.world.call, userxattr=able.overlay == "user", owners=able.owners)
        return NativeSnapshotter(folder / f"native-{able.tier}", self.world.call, owners=able.owners, devices=able.direct and able.owners, later=self.world.later)

    @cached_property
    def distribution(self) -> Distribution:
        """The way to registries; most command lines do without, and without TLS and HTTP."""
        from dockerlab.engine.distribution import Distribution

        return Distribution(self)

    @cached_property
    def volume_store(self) -> VolumeStore:
        """Where named volumes are kept."""
        return VolumeStore(self.home, self.world.call)
