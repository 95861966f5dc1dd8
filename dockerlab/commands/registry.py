"""dockerlab registry: a registry of one's own."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from dockerlab.commands.call import Call, Outcome
from dockerlab.commands.columns import human_size
from dockerlab.errors import InvalidArgument

if TYPE_CHECKING:
    from dockerlab.registry.server import Access
    from dockerlab.registry.serving import Listening

__all__ = ["gc", "listens", "serve", "shown"]


def serve(call: Call) -> Outcome:
    """dockerlab registry serve."""
    from dockerlab.registry import serving
    from dockerlab.registry.notifying import Endpoint, Notifier
    from dockerlab.registry.server import RegistryApp
    from dockerlab.registry.storage import Storage

    listening = listens(call, processes=max(call.flag("processes"), 1))
    storage = Storage((call.folder / (call.args[0] if call.args else "registry")).absolute(), quota=call.flag("quota"))
    told = Notifier([Endpoint.checked(url) for url in call.flag("notify")]) if call.flag("notify") else None
    app = RegistryApp(storage, access=_access(call), read_only=call.flag("read-only"), told=told, log=None if call.flag("quiet") else serving.access_log)
    serving.serve(app, listening, partial(_ready, call, storage.root, bool(listening.certificate)))
    return Outcome()


def _access(call: Call) -> Access | None:
    from dockerlab.registry.access import Htpasswd, TokenAccess, signers

    words = {name: call.flag(f"token-{name}") for name in ("cert", "issuer", "realm", "service")}
    if call.flag("htpasswd"):
        if any(words.values()):
            raise InvalidArgument("--htpasswd and tokens exclude each other")
        return Htpasswd(call.folder / call.flag("htpasswd"))
    if not any(words.values()):
        return None
    if missing := [name for name, word in words.items() if not word]:
        raise InvalidArgument(f"--token-{missing[0]} is missing", hint="tokens need --token-realm URL, --token-service, --token-issuer and --token-cert FILE")
    return TokenAccess(words["realm"], words["service"], words["issuer"], signers(call.folder / words["cert"]))


def _ready(call: Call, root: Path, secure: bool, host: str, port: int) -> None:
    call.out(f"registry of {root}: listening at {'https' if secure else 'http'}://{shown(host)}:{port}/v2/")


def listens(call: Call, *, processes: int = 1) -> Listening:
    """Gives where --listen, --tls-cert and --tls-key have a server listen; raises InvalidArgument."""
    from dockerlab.registry.serving import Listening

    host, _, port = call.flag("listen").rpartition(":")
    if not port.isdigit() or int(port) > 65535:
        raise InvalidArgument(f'invalid argument "{call.flag("listen")}" for "--listen"', hint="write HOST:PORT, or :PORT for every address of this machine")
    certificate, key = call.flag("tls-cert"), call.flag("tls-key")
    if bool(certificate) != bool(key):
        raise InvalidArgument("--tls-cert and --tls-key belong together")
    for name in filter(None, (certificate, key)):
        try:
            (call.folder / name).open("rb").close()
        except OSError as error:
            raise InvalidArgument(f"open {name}: {(error.strerror or '').lower()}", hint="--tls-cert and --tls-key are PEM files") from error
    return Listening(host.strip("[]") or "0.0.0.0", int(port), processes=processes, certificate=call.folder / certificate if certificate else None, key=call.folder / key if key else None)


def shown(host: str) -> str:
    """Gives an address as one types it into a browser of this machine."""
    return f"[{host}]" if ":" in host else "localhost" if host in ("0.0.0.0", "127.0.0.1") else host


def gc(call: Call) -> Outcome:
    """dockerlab registry gc."""
    from dockerlab.registry.garbage import collect
    from dockerlab.registry.storage import Storage

    root = call.folder / call.args[0]
    if not (root / "docker" / "registry" / "v2").is_dir():
        raise InvalidArgument(f"{root} holds no registry", hint="name the folder that `registry serve` was given, or /var/lib/registry")
    told = collect(Storage(root), untagged=call.flag("delete-untagged"), young=0 if call.flag("now") else 3600)
    call.out(f"{told.blobs} blobs with {human_size(told.size)} freed; {told.manifests} manifests, {told.links} links and {told.uploads} uploads removed")
    return Outcome()
