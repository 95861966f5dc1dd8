"""Who one is at which registry: docker's own `config.json`, read and written so that `docker login` and ours share it, and its credential helpers.

Formats: docker's cli/config/configfile, and docker/docker-credential-helpers (JSON through stdin and stdout, never on a command line).
"""

from __future__ import annotations

import base64
import json
import os
import re
import stat
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dockerlab.errors import DockerlabError, InvalidArgument, RegistryError, StoreError
from dockerlab.oci.reference import DEFAULT_REGISTRY
from dockerlab.oci.visible import visible
from dockerlab.store.files import locked, publish

__all__ = ["HUB", "Keychain", "Login", "address", "publish_secret"]

# Docker Hub's entry has the address of a protocol that is long gone.
HUB = "https://index.docker.io/v1/"
_TOKEN = "<token>"  # what a helper says instead of a user's name when it holds an identity token
_MISSING = "credentials not found in native keychain"


@dataclass(frozen=True, slots=True)
class Login:
    """A user's name and secret, or an identity token (OAuth 2 refresh token). Its text shows no secret."""

    username: str = ""
    password: str = ""
    token: str = ""

    def __repr__(self) -> str:
        return f"Login({self.username!r})"


def address(registry: str) -> str:
    """Gives the key under which a registry's login is kept."""
    return HUB if registry in (DEFAULT_REGISTRY, "index.docker.io", "registry-1.docker.io") else registry


class Keychain:
    """The file `config.json` of a folder, by default ~/.docker or $DOCKER_CONFIG; what it holds besides logins stays as it is."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "config.json"

    def _read(self) -> dict[str, Any]:
        try:
            document = json.loads(self.path.read_bytes())
        except FileNotFoundError:
            return {}
        except (ValueError, OSError, RecursionError) as error:
            raise StoreError(f"cannot read {self.path}: {error}", hint="mend the file, or set DOCKER_CONFIG to another folder") from error
        parts = [document.get(name) or {} for name in ("auths", "credHelpers")] if isinstance(document, dict) else []
        if not parts or not all(isinstance(part, dict) for part in parts):
            raise StoreError(f"{self.path} is not as docker writes it", hint="mend the file, or set DOCKER_CONFIG to another folder")
        return dict(document)

    def _change(self, key: str, entry: dict[str, str] | None) -> None:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        target = Path(os.path.realpath(self.path))  # the file may be a link to where a person keeps such things
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with locked(target.with_name(".dockerlab-config.lock")):
            document = self._read()
            # Older clients wrote other names for the same registry: one of them would be found before this one.
            auths = {known: value for known, value in (document.get("auths") or {}).items() if _host(known) != _host(key)}
            if entry is not None:
                auths[key] = entry
            document["auths"] = auths
            publish_secret(target, json.dumps(document, indent="\t").encode())

    def _helper(self, document: Mapping[str, Any], key: str) -> str:
        helpers = document.get("credHelpers") or {}
        name = str(helpers.get(key) or document.get("credsStore") or "")
        if name and not re.fullmatch(r"[A-Za-z0-9._-]+", name):
            raise StoreError(f"{self.path}: {name!r} is no credential helper's name", hint="mend credsStore or credHelpers")
        return name

    def get(self, registry: str) -> Login | None:
        """Gives what is known for a registry; raises StoreError, RegistryError where a helper fails."""
        document, key = self._read(), address(registry)
        if name := self._helper(document, key):
            return _asked(name, key)
        auths = document.get("auths") or {}
        for known in sorted(auths, key=lambda each: each != key):
            if isinstance(auths[known], dict) and _host(known) == _host(key):
                return _decoded(auths[known])
        return None

    def plain(self, registry: str) -> bool:
        """Tells whether a login would be kept in the file itself, readable by whoever reads the file."""
        return not self._helper(self._read(), address(registry))

    def put(self, registry: str, login: Login) -> None:
        """Keeps a login; raises StoreError, RegistryError."""
        key = address(registry)
        if ":" in login.username:
            raise InvalidArgument("a user's name holds no colon: nobody could tell where the password begins")
        if name := self._helper(self._read(), key):
            secret = {"ServerURL": key, "Username": _TOKEN if login.token else login.username, "Secret": login.token or login.password}
            _ran(name, "store", json.dumps(secret))
            self._change(key, {})
            return
        packed = base64.b64encode(f"{login.username}:{login.password}".encode()).decode()
        self._change(key, {"auth": base64.b64encode(f"{login.username}:".encode()).decode(), "identitytoken": login.token} if login.token else {"auth": packed})

    def remove(self, registry: str) -> bool:
        """Forgets a login; False where none was known."""
        document, key = self._read(), address(registry)
        known = [each for each in document.get("auths") or {} if _host(each) == _host(key)]
        if name := self._helper(document, key):
            _ran(name, "erase", key, fine=True)
        if known:
            self._change(key, None)
        return bool(known)


def _host(key: str) -> str:
    """Older clients wrote `https://host/v1/` where newer ones write `host`."""
    if key == HUB:
        return key
    return re.sub(r"^https?://", "", key).partition("/")[0]


def _decoded(entry: Mapping[str, Any]) -> Login | None:
    try:
        username, colon, password = base64.b64decode(str(entry.get("auth", "")).strip(), validate=True).decode().partition(":")
    except ValueError:
        return None
    if token := str(entry.get("identitytoken") or ""):
        return Login(username, token=token)
    if colon:
        return Login(username, password.rstrip("\0"))
    username, password = str(entry.get("username") or ""), str(entry.get("password") or "")
    return Login(username, password) if username else None


def _asked(name: str, key: str) -> Login | None:
    told = _ran(name, "get", key, fine=True)
    if told is None:
        return None
    try:
        document = json.loads(told)
        username, secret = str(document["Username"]), str(document["Secret"])
    except (ValueError, KeyError, TypeError) as error:
        raise RegistryError(f"docker-credential-{name} answered what cannot be read", hint="try the helper by hand") from error
    return Login(token=secret) if username == _TOKEN else Login(username, secret)


def _ran(name: str, verb: str, given: str, *, fine: bool = False) -> str | None:
    try:
        done = subprocess.run([f"docker-credential-{name}", verb], input=given, capture_output=True, text=True, timeout=60, check=False)
    except FileNotFoundError as error:
        raise _helper_failed(name, verb, "executable file not found in $PATH") from error
    except (OSError, UnicodeDecodeError) as error:
        raise _helper_failed(name, verb, "it cannot be run" if isinstance(error, OSError) else "it answered what cannot be read") from error
    except subprocess.TimeoutExpired as error:
        raise _helper_failed(name, verb, "it does not end") from error
    if done.returncode == 0:
        return done.stdout
    if fine and _MISSING in done.stdout + done.stderr:
        return None
    # What it was given may stand in what it says.
    raise _helper_failed(name, verb, f"it ended with {done.returncode}" if verb == "store" else visible((done.stdout + done.stderr).strip())[:200])


def _helper_failed(name: str, verb: str, why: str) -> DockerlabError:
    return RegistryError(f"error {'getting' if verb == 'get' else 'storing' if verb == 'store' else 'erasing'} credentials - err: docker-credential-{name}: {why}",
                         hint="install the helper, or take credsStore out of config.json")  # fmt: skip


def publish_secret(path: Path, data: bytes) -> None:
    """Writes a file that nobody else may read, at no moment."""
    mask = os.umask(0o077)
    try:
        publish(path, data, sync=True)
    finally:
        os.umask(mask)
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        path.chmod(0o600)
