"""Named volumes: folders that outlive containers, and who uses them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from dockerlab.errors import InUse, NotFound
from dockerlab.store.containers import new_id
from dockerlab.store.volumes import ANONYMOUS, Facts

if TYPE_CHECKING:
    from dockerlab.engine import Engine

__all__ = ["VolumeInfo", "Volumes"]


class VolumeInfo:
    """One volume of an engine."""

    def __init__(self, engine: Engine, name: str, facts: Facts) -> None:
        self._engine, self.name, self.created, self.labels = engine, name, facts.created, facts.labels

    @property
    def anonymous(self) -> bool:
        """Whether nobody has named it."""
        return bool(self.labels and self.labels.keys() & ANONYMOUS.keys())

    @property
    def mountpoint(self) -> Path:
        """The folder on this host."""
        return self._engine.volume_store.place(self.name)

    @property
    def users(self) -> list[str]:
        """The ids of the containers, running or not, that mount it."""
        return self._engine.volumes.users().get(self.name, [])

    def remove(self) -> None:
        """Removes the volume with all that it holds; raises InUse while a container, running or not, mounts it."""
        if users := self.users:
            raise InUse(f"remove {self.name}: volume is in use - [{', '.join(users)}]", by=users[0], hint="remove these containers first: docker rm")
        self._engine.volume_store.remove(self.name)

    def __repr__(self) -> str:
        return f"<Volume {self.name}>"


class Volumes:
    """`engine.volumes`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def create(self, name: str = "", *, labels: Mapping[str, str] | None = None) -> VolumeInfo:
        """Makes a volume, or gives the one that has this name already; without a name it gets 64 digits. Raises InvalidRequest."""
        chosen = name or new_id()
        self._engine.volume_store.ensure(chosen, labels={**(labels or {}), **({} if name else ANONYMOUS)})
        return self.get(chosen)

    def get(self, name: str) -> VolumeInfo:
        """Gives a volume by name; raises NotFound in docker's words."""
        facts = self._engine.volume_store.facts(name)
        if facts is None:
            raise NotFound(f"get {name}: no such volume", kind="volume", name=name, hint="list the volumes with `docker volume ls`")
        return VolumeInfo(self._engine, name, facts)

    def users(self) -> dict[str, list[str]]:
        """Gives, for each volume that is mounted, the ids of the containers, running or not, that mount it."""
        places = {str(self._engine.volume_store.place(name)): name for name in self._engine.volume_store.names()}
        found: dict[str, list[str]] = {}
        for record in self._engine.container_store.records():
            for name in {places[mount["source"]] for mount in record.host["mounts"] if mount["source"] in places}:
                found.setdefault(name, []).append(record.id)
        return found

    def sizes(self) -> dict[str, int]:
        """Gives the bytes that each volume takes."""
        store = self._engine.volume_store
        return {name: self._engine.world.call("usage", path=str(store.place(name)))[0] for name in store.names() if store.place(name).is_dir()}

    def list(self) -> list[VolumeInfo]:
        """Gives all volumes, by name."""
        return [VolumeInfo(self._engine, name, facts) for name in self._engine.volume_store.names() if (facts := self._engine.volume_store.facts(name))]
