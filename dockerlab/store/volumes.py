"""Named volumes: `volumes/<name>/_data`, with `volume.json` beside it where there is more to say than a name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from dockerlab.errors import InvalidRequest
from dockerlab.store.files import explain, publish
from dockerlab.store.journal import Journal
from dockerlab.store.snapshots import Work

__all__ = ["Facts", "VolumeStore"]

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a volume beside its name: `created` is its folder's time, `labels` are on disk, None for one that was made by mounting it."""

    created: str = ""
    labels: Mapping[str, str] | None = None


# How docker marks what nobody has named.
ANONYMOUS = {"com.docker.volume.anonymous": ""}


def volume_name(source: Path) -> str:
    """Gives the name of the volume whose files lie in a folder, "" for a folder of the host."""
    return source.parent.name if source.name == "_data" and source.parent.parent.name == "volumes" else ""


class VolumeStore:
    """Folders that outlive containers."""

    def __init__(self, root: Path, work: Work) -> None:
        self.root, self._work, self._journal = root / "volumes", work, Journal(root)
        with explain(root):
            self.root.mkdir(exist_ok=True)

    def place(self, name: str) -> Path:
        """Gives the folder that is mounted."""
        return self.root / name / "_data"

    def ensure(self, name: str, *, labels: Mapping[str, str] | None = None) -> tuple[Path, bool]:
        """Gives the volume's folder, made if missing, and whether it is empty; raises InvalidRequest in docker's words."""
        if not _NAME.fullmatch(name):
            raise InvalidRequest(
                f'create {name}: "{name}" includes invalid characters for a local volume name, only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. '
                "If you intended to pass a host directory, use absolute path"
            )
        folder = self.place(name)
        with explain(folder):
            if not folder.exists():
                if len(name) == 1:
                    raise InvalidRequest(f"create {name}: volume name is too short, names should be at least two alphanumeric characters", hint=f"call it {name}1, say")
                folder.parent.mkdir(exist_ok=True)
                if labels is not None:  # before the folder that makes it a volume: who reads now sees it with its labels or not at all
                    publish(folder.parent / "volume.json", msgspec.json.encode({"labels": labels}))
                folder.mkdir(exist_ok=True)
                self._journal.note("volume", "create", name, {"driver": "local"})
        return folder, not any(folder.iterdir())

    def facts(self, name: str) -> Facts | None:
        """Gives what is known of a volume; None where there is none."""
        if not _NAME.fullmatch(name):
            return None
        try:
            begun = datetime.fromtimestamp(self.place(name).parent.stat().st_mtime, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            self.place(name).stat()
        except OSError:
            return None
        try:
            found = msgspec.json.decode((self.root / name / "volume.json").read_bytes(), type=Facts)
        except (FileNotFoundError, msgspec.DecodeError):
            found = Facts()
        return msgspec.structs.replace(found, created=begun)

    def names(self) -> list[str]:
        """Gives the names of all volumes."""
        return sorted(folder.name for folder in self.root.iterdir())

    def remove(self, name: str) -> None:
        """Removes a volume with all that it holds, or nothing."""
        if (self.root / name).exists():
            self._work("remove", path=str(self.root / name))
            self._journal.note("volume", "destroy", name, {"driver": "local"})
