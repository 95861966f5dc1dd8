"""The registry as the program of a container: `python -m dockerlab.registry serve [FOLDER | FILE.yml]` and `garbage-collect`, set by CNCF distribution's variables."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec

from dockerlab.errors import DockerlabError, InvalidArgument
from dockerlab.registry.access import Htpasswd, TokenAccess, signers
from dockerlab.registry.garbage import collect
from dockerlab.registry.notifying import Endpoint, Notifier
from dockerlab.registry.server import Access, RegistryApp
from dockerlab.registry.serving import Listening, access_log, serve
from dockerlab.registry.storage import Storage

__all__ = ["main", "program"]

_DEFAULT = Path(__file__).with_name("config.yml")
_FOLDER, _ADDRESS = "/var/lib/registry", "0.0.0.0:5000"
# The secret is CNCF's for uploads that several processes take in: here their state is on the disk that these share.
_KNOWN = {
    "REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", "REGISTRY_HTTP_ADDR", "REGISTRY_AUTH", "REGISTRY_AUTH_HTPASSWD_PATH", "REGISTRY_AUTH_HTPASSWD_REALM",
    "REGISTRY_AUTH_TOKEN_REALM", "REGISTRY_AUTH_TOKEN_SERVICE", "REGISTRY_AUTH_TOKEN_ISSUER", "REGISTRY_AUTH_TOKEN_ROOTCERTBUNDLE", "REGISTRY_NOTIFICATIONS_ENDPOINTS", "REGISTRY_LOG_LEVEL",
    "REGISTRY_HTTP_TLS_CERTIFICATE", "REGISTRY_HTTP_TLS_KEY", "REGISTRY_STORAGE_DELETE_ENABLED", "REGISTRY_STORAGE_MAINTENANCE_READONLY",
    "REGISTRY_HTTP_SECRET", "REGISTRY_STORAGE",
}  # fmt: skip


def program(words: list[str], variables: Mapping[str, str]) -> tuple[RegistryApp, Listening]:
    """Gives the application and where it listens; raises InvalidArgument for what is not known."""
    if words[:1] != ["serve"] or len(words) > 2:
        raise InvalidArgument(f"unknown command: {' '.join(words)}", hint="serve [FOLDER], or garbage-collect")
    if unknown := sorted(name for name in variables if name.startswith("REGISTRY_") and name not in _KNOWN):
        raise InvalidArgument(f"{unknown[0]} is not known to this registry", hint=f"known are {', '.join(sorted(_KNOWN))}")
    if variables.get("REGISTRY_STORAGE", "filesystem") != "filesystem":
        raise InvalidArgument(f"REGISTRY_STORAGE={variables['REGISTRY_STORAGE']} is not known to this registry", hint="it keeps what it has on a disk: filesystem")
    host, _, port = variables.get("REGISTRY_HTTP_ADDR", _ADDRESS).rpartition(":")
    if not port.isdigit():
        raise InvalidArgument(f"REGISTRY_HTTP_ADDR: {port!r} is no port", hint="HOST:PORT, or :PORT")
    certificate, key = variables.get("REGISTRY_HTTP_TLS_CERTIFICATE"), variables.get("REGISTRY_HTTP_TLS_KEY")
    read_only = "true" in variables.get("REGISTRY_STORAGE_MAINTENANCE_READONLY", "").lower()
    quiet = variables.get("REGISTRY_LOG_LEVEL", "info") not in ("info", "debug")
    app = RegistryApp(Storage(_folder(words[1:], variables)), access=_access(variables), read_only=read_only, told=_told(variables), log=None if quiet else access_log)
    return app, Listening(host or "0.0.0.0", int(port), certificate=Path(certificate) if certificate else None, key=Path(key) if key else None)


def _folder(words: list[str], variables: Mapping[str, str]) -> Path:
    place = Path(words[0]) if words else None
    if place and place.suffix in (".yml", ".yaml"):
        if not place.exists() or place.read_bytes() != _DEFAULT.read_bytes():
            raise InvalidArgument(f"{place} is not read by this registry", hint="set it by CNCF distribution's variables (REGISTRY_…), or run registry:debian, which reads it")
        place = None
    return place or Path(variables.get("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", _FOLDER))


def _access(variables: Mapping[str, str]) -> Access | None:
    kind = variables.get("REGISTRY_AUTH", "")
    if kind == "htpasswd":
        return Htpasswd(Path(variables.get("REGISTRY_AUTH_HTPASSWD_PATH", "/auth/htpasswd")), variables.get("REGISTRY_AUTH_HTPASSWD_REALM", "registry"))
    if kind == "token":
        names = ("REALM", "SERVICE", "ISSUER", "ROOTCERTBUNDLE")
        if missing := [name for name in names if not variables.get(f"REGISTRY_AUTH_TOKEN_{name}")]:
            raise InvalidArgument(f"REGISTRY_AUTH_TOKEN_{missing[0]} is missing", hint=", ".join(f"REGISTRY_AUTH_TOKEN_{name}" for name in names))
        realm, service, issuer, certificates = (variables[f"REGISTRY_AUTH_TOKEN_{name}"] for name in names)
        try:
            return TokenAccess(realm, service, issuer, signers(Path(certificates)))
        except ImportError as error:
            raise InvalidArgument(f"tokens need {error.name}, which is not here", hint="`dockerlab registry serve --token-realm …` beside a container, or registry:debian") from error
    if kind:
        raise InvalidArgument(f"REGISTRY_AUTH={kind} is not known to this registry", hint="htpasswd or token")
    return None


def _told(variables: Mapping[str, str]) -> Notifier | None:
    text = variables.get("REGISTRY_NOTIFICATIONS_ENDPOINTS", "")
    try:
        found = msgspec.json.decode(text, type=list[Endpoint]) if text else []
    except msgspec.DecodeError as error:
        raise InvalidArgument(f"REGISTRY_NOTIFICATIONS_ENDPOINTS: {error}", hint='a list as JSON: [{"name": "me", "url": "http://HOST/PATH"}]') from error
    for each in found:
        Endpoint.checked(each.url)
    return Notifier(found) if found else None


def _collected(words: list[str], variables: Mapping[str, str]) -> str:
    """`garbage-collect [-m] FILE.yml`, as CNCF distribution has it."""
    untagged = bool({"-m", "--delete-untagged"} & set(words))
    places = [word for word in words if not word.startswith("-")]
    if unknown := [word for word in words if word.startswith("-") and word not in ("-m", "--delete-untagged")]:
        raise InvalidArgument(f"unknown flag: {unknown[0]}", hint="garbage-collect [-m] FILE.yml")
    told = collect(Storage(_folder(places, variables)), untagged=untagged)
    return f"{told.blobs} blobs with {told.size} bytes freed; {told.manifests} manifests and {told.links} links removed"


def main() -> None:
    """Serves until SIGTERM."""
    try:
        if sys.argv[1:2] == ["garbage-collect"]:
            sys.stdout.write(_collected(sys.argv[2:], os.environ) + "\n")
            return
        app, listening = program(sys.argv[1:], os.environ)
        serve(app, listening, lambda host, port: sys.stderr.write(f"listening on {host}:{port}\n"))
    except DockerlabError as error:
        sys.exit(f"registry: {error}")


if __name__ == "__main__":
    main()
