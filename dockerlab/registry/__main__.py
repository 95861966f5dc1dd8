"""The registry as the program of a container: `python -m dockerlab.registry serve [FOLDER]`, set by CNCF distribution's variables."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from dockerlab.errors import DockerlabError, InvalidArgument
from dockerlab.registry.access import Htpasswd
from dockerlab.registry.server import RegistryApp
from dockerlab.registry.serving import Listening, access_log, serve
from dockerlab.registry.storage import Storage

__all__ = ["main", "program"]

_FOLDER, _ADDRESS = "/var/lib/registry", "0.0.0.0:5000"
_KNOWN = {
    "REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", "REGISTRY_HTTP_ADDR", "REGISTRY_AUTH", "REGISTRY_AUTH_HTPASSWD_PATH", "REGISTRY_AUTH_HTPASSWD_REALM",
    "REGISTRY_HTTP_TLS_CERTIFICATE", "REGISTRY_HTTP_TLS_KEY", "REGISTRY_STORAGE_DELETE_ENABLED", "REGISTRY_STORAGE_MAINTENANCE_READONLY",
}  # fmt: skip


def program(words: list[str], variables: Mapping[str, str]) -> tuple[RegistryApp, Listening]:
    """Gives the application and where it listens; raises InvalidArgument for what is not known."""
    if words[:1] != ["serve"] or len(words) > 2:
        raise InvalidArgument(f"unknown command: {' '.join(words)}", hint="serve [FOLDER]")
    if unknown := sorted(name for name in variables if name.startswith("REGISTRY_") and name not in _KNOWN):
        raise InvalidArgument(f"{unknown[0]} is not known to this registry", hint=f"known are {', '.join(sorted(_KNOWN))}")
    folder = Path(words[1] if len(words) > 1 else variables.get("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", _FOLDER))
    host, _, port = variables.get("REGISTRY_HTTP_ADDR", _ADDRESS).rpartition(":")
    if not port.isdigit():
        raise InvalidArgument(f"REGISTRY_HTTP_ADDR: {port!r} is no port", hint="HOST:PORT, or :PORT")
    kind, access = variables.get("REGISTRY_AUTH", ""), None
    if kind == "htpasswd":
        access = Htpasswd(Path(variables.get("REGISTRY_AUTH_HTPASSWD_PATH", "/auth/htpasswd")), variables.get("REGISTRY_AUTH_HTPASSWD_REALM", "registry"))
    elif kind:
        raise InvalidArgument(f"REGISTRY_AUTH={kind} is not known to this registry", hint="htpasswd")
    certificate, key = variables.get("REGISTRY_HTTP_TLS_CERTIFICATE"), variables.get("REGISTRY_HTTP_TLS_KEY")
    read_only = "true" in variables.get("REGISTRY_STORAGE_MAINTENANCE_READONLY", "").lower()
    app = RegistryApp(Storage(folder), access=access, read_only=read_only, log=access_log)
    return app, Listening(host or "0.0.0.0", int(port), certificate=Path(certificate) if certificate else None, key=Path(key) if key else None)


def main() -> None:
    """Serves until SIGTERM."""
    try:
        app, listening = program(sys.argv[1:], os.environ)
        serve(app, listening, lambda host, port: sys.stderr.write(f"listening on {host}:{port}\n"))
    except DockerlabError as error:
        sys.exit(f"registry: {error}")


if __name__ == "__main__":
    main()
