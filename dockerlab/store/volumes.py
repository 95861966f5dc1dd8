"""Named volumes: `volumes/<name>/_data`."""

from __future__ import annotations

import re
from pathlib import Path

from dockerlab.errors import InvalidRequest
from dockerlab.store.files import explain
from dockerlab.store.snapshots import Work

__all__ = ["VolumeStore"]

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")


class VolumeStore:
    """Folders that outlive containers."""

    def __init__(self, root: Path, work: Work) -> None:
        self.root, self._work = root / "volumes", work
        with explain(root):
            self.root.mkdir(exist_ok=True)

    def ensure(self, name: str) -> tuple[Path, bool]:
        """Gives the volume's folder, made if missing, and whether it is empty; raises InvalidRequest in docker's words."""
        if not _NAME.fullmatch(name):
            raise InvalidRequest(
                f'create {name}: "{name}" includes invalid characters for a local volume name, only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. '
                "If you intended to pass a host directory, use absolute path"
            )
        folder = self.root / name / "_data"
        with explain(folder):
            folder.mkdir(parents=True, exist_ok=True)
        return folder, not any(folder.iterdir())

    def names(self) -> list[str]:
        """Gives the names of all volumes."""
        return sorted(folder.name for folder in self.root.iterdir())

    def remove(self, name: str) -> None:
        """Removes a volume with all that it holds, or nothing."""
        if (self.root / name).exists():
            self._work("remove", path=str(self.root / name))
