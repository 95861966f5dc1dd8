"""Where things are, as the environment and `daemon.json` say."""

from __future__ import annotations

import contextlib
import hashlib
import ipaddress
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from dockerlab.errors import StoreError
from dockerlab.linux import dialling
from dockerlab.store.files import explain

__all__ = ["RegistrySettings", "Settings", "fixed_date", "host_environment", "looked_at", "source_date"]


@dataclass(frozen=True, slots=True)
class Settings:
    """`home` holds all state, `runtime` the sockets of running processes, `network` is that of containers which name none."""

    home: Path
    runtime: Path
    network: str = "bridge"

    @classmethod
    def find(cls, home: str | os.PathLike[str] | None = None) -> Settings:
        """Gives the settings for a home, by default $DOCKERLAB_HOME or the user's data folder. Raises StoreError."""
        if allowed := os.environ.get("DOCKERLAB_PUBLIC_ONLY"):
            dialling.restrict(allowed.split(","))
        chosen = home or os.environ.get("DOCKERLAB_HOME") or _data_folder()
        folder = Path(chosen).expanduser().absolute()
        with explain(folder):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not os.access(folder, os.W_OK):
            reason = "the file system is read-only" if os.statvfs(folder).f_flag & os.ST_RDONLY else "permission denied"
            raise StoreError(f"cannot write {folder}: {reason}", hint="set DOCKERLAB_HOME to a folder of your own")
        # A store holds set-user-id files of images: nobody else may reach them.
        if folder.stat().st_uid == os.geteuid() and folder.stat().st_mode & 0o077:
            os.chmod(folder, 0o700)
        return cls(folder, _runtime_folder(folder), os.environ.get("DOCKERLAB_NETWORK", "bridge"))


@dataclass(frozen=True, slots=True)
class RegistrySettings:
    """What is said about registries: `config` is docker's folder for a person, `document` what `daemon.json` in the store's folder says, in docker's words."""

    config: Path
    home: Path
    document: Mapping[str, Any]

    @classmethod
    def find(cls, home: Path) -> RegistrySettings:
        """Gives the settings; raises StoreError for a file that cannot be read. $DOCKER_CONFIG, `insecure-registries` and `registry-mirrors` are docker's."""
        path = home / "daemon.json"
        try:
            document = json.loads(path.read_bytes())
        except FileNotFoundError:
            document = {}
        except (OSError, ValueError) as error:
            raise StoreError(f"cannot read {path}: {error}", hint="mend the file, or remove it") from error
        config = os.environ.get("DOCKER_CONFIG") or os.path.expanduser("~/.docker")
        return cls(Path(config), home, document if isinstance(document, dict) else {})

    def _listed(self, key: str, variable: str) -> tuple[str, ...]:
        said = self.document.get(key)
        own = [str(each) for each in said] if isinstance(said, list) else []
        return (*os.environ.get(variable, "").replace(",", " ").split(), *own)

    @property
    def mirrors(self) -> tuple[str, ...]:
        """The registries that are asked before Docker Hub: `registry-mirrors`, or $DOCKERLAB_MIRROR."""
        return tuple(each.partition("://")[2].strip("/") if "://" in each else each for each in self._listed("registry-mirrors", "DOCKERLAB_MIRROR"))

    @property
    def hub(self) -> str:
        """The hub that stands in Docker Hub's place, http://HOST or https://HOST, "" for none: `hub`, or $DOCKERLAB_HUB."""
        return (os.environ.get("DOCKERLAB_HUB") or str(self.document.get("hub") or "")).rstrip("/")

    def insecure(self, host: str) -> bool:
        """Tells whether http, or a certificate that nobody vouches for, will do: `insecure-registries`, or $DOCKERLAB_INSECURE_REGISTRIES; names or networks."""
        name = urlsplit(f"//{host}").hostname or ""
        for each in self._listed("insecure-registries", "DOCKERLAB_INSECURE_REGISTRIES"):
            if each in (host, name):
                return True
            with contextlib.suppress(ValueError):
                if ipaddress.ip_address(name) in ipaddress.ip_network(each):
                    return True
        return any(each.startswith("http://") and each[7:].strip("/") == host for each in (self.hub, *self._listed("registry-mirrors", "DOCKERLAB_MIRROR")))

    def authorities(self, host: str) -> tuple[Path, ...]:
        """Gives the certificates that are trusted for a registry besides the system's: `certs.d/HOST/*.crt`, as docker keeps them."""
        folders = (self.home / "certs.d" / host, self.config / "certs.d" / host, Path("/etc/docker/certs.d") / host)
        return tuple(path for folder in folders if folder.is_dir() for path in sorted(folder.glob("*.crt"))) if "/" not in host and host not in (".", "..") else ()


def _data_folder() -> str:
    import platformdirs

    return platformdirs.user_data_dir("dockerlab")


def _places() -> Iterator[Path]:
    if own := os.environ.get("XDG_RUNTIME_DIR"):
        yield Path(own)
    yield Path(tempfile.gettempdir())


def _runtime_folder(home: Path) -> Path:
    mark = hashlib.sha256(os.fsencode(home)).hexdigest()[:10]
    name = f"dockerlab-{os.geteuid()}-{mark}"
    # The address of a unix socket holds 107 bytes; unix(7).
    folder = next((place / name for place in _places() if os.access(place, os.W_OK) and len(os.fsencode(place / name)) <= 80), Path("/tmp") / name)
    with explain(folder):
        folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if status.st_uid != os.geteuid() or status.st_mode & 0o077:
        raise StoreError(f"{folder} belongs to somebody else", hint="set XDG_RUNTIME_DIR to a folder of your own")
    return folder


def host_environment() -> dict[str, str]:
    """Gives the environment that `-e NAME` without a value takes from."""
    return dict(os.environ)


def looked_at() -> bool:
    """Tells whether a browser or an editor is in front of this kernel: its server says so. What executes notebooks without one says nothing."""
    return "JPY_SESSION_NAME" in os.environ or "VSCODE_PID" in os.environ


_fixed: ContextVar[int | None] = ContextVar("_fixed", default=None)


@contextmanager
def fixed_date(date: int | None) -> Iterator[None]:
    """Makes this the date, in seconds, of all that is made meanwhile; None leaves it to the environment."""
    token = _fixed.set(date)
    try:
        yield
    finally:
        _fixed.reset(token)


def source_date() -> int | None:
    """Gives the date that was fixed, or $SOURCE_DATE_EPOCH, in seconds, or None; reproducible-builds.org/specs/source-date-epoch."""
    fixed, text = _fixed.get(), os.environ.get("SOURCE_DATE_EPOCH", "")
    return fixed if fixed is not None else int(text) if text.isascii() and text.isdigit() else None
