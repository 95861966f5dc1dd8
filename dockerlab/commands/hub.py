"""dockerlab hub: a registry with accounts, organisations and builds."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dockerlab.commands.call import Call, Outcome
from dockerlab.commands.registry import listens, shown
from dockerlab.errors import NotSupportedHere

if TYPE_CHECKING:
    from dockerlab.hub.app import Hub

__all__ = ["adduser", "audit", "serve"]

_MISSING = "a hub needs packages that are not installed"


def _opened(call: Call, folder: Path, **settings: Any) -> Hub:
    try:
        from dockerlab.hub.app import Hub
    except ImportError as error:
        raise NotSupportedHere(f"{_MISSING}: {error.name}", reason="packages", hint="pip install 'dockerlab[hub]'") from error
    return Hub(folder, database=call.flag("database"), **settings)


def serve(call: Call) -> Outcome:
    """dockerlab hub serve."""
    from dockerlab.registry import serving

    folder = (call.folder / (call.args[0] if call.args else "hub")).absolute()
    listening = listens(call)
    hub, scheme = _opened(call, folder, **_settings(call)), "https" if listening.certificate else "http"
    with contextlib.ExitStack() as stack:

        def ready(host: str, port: int) -> None:
            call.out(f"hub of {folder}: listening at {hub.url or f'{scheme}://{shown(host)}:{port}'}/")
            if hub.events_secret:
                call.out(f"give the registry {hub.key.certificate} as its rootcertbundle, and this header for its notifications: Authorization: Bearer {hub.events_secret}")
            # Workers of this machine need no certificate and no proxy.
            inner = port if scheme == "http" else stack.enter_context(serving.Running(hub, serving.Listening(port=0, threads=8))).port
            near = "127.0.0.1" if scheme == "https" or host == "0.0.0.0" else "[::1]" if host == "::" else shown(host)
            hub.open(f"http://{near}:{inner}")

        try:
            serving.serve(hub, listening, ready, leaving=hub.queue.close)  # a worker that finds no hub any more would tell that its build has failed
        finally:
            hub.close()
    return Outcome()


def _settings(call: Call) -> Mapping[str, Any]:
    from dockerlab.hub.queue import local
    from dockerlab.hub.worker import Limits
    from dockerlab.registry.serving import access_log

    builders = max(call.flag("builders"), 1)
    return {
        "url": call.flag("url"), "registry": call.flag("registry"), "signup": not call.flag("no-signup"), "private": call.flag("allow-private"), "quota": call.flag("quota"),
        "workers": builders, "proxy": call.flag("trusted-proxy"),
        "executor": lambda: local(builders), "limits": Limits(seconds=call.flag("build-timeout")), "log": None if call.flag("quiet") else access_log,
    }  # fmt: skip


def adduser(call: Call) -> Outcome:
    """dockerlab hub adduser."""
    name = call.args[0]
    password = call.surface.stdin().decode(errors="replace").rstrip("\r\n") if call.flag("password-stdin") else call.surface.asked("Password: ", secret=True)
    hub = _opened(call, (call.folder / call.flag("folder")).absolute())
    try:
        hub.people.add(name, password)
    finally:
        hub.close()
    call.out(f"{name} may log in")
    return Outcome()


def audit(call: Call) -> Outcome:
    """dockerlab hub audit."""
    hub = _opened(call, (call.folder / (call.args[0] if call.args else "hub")).absolute())
    try:
        lines = hub.audit_all(call.flag("tail"))
    finally:
        hub.close()
    for each in reversed(lines):
        call.out(f"{each.at:%Y-%m-%dT%H:%M:%SZ} {each.actor or '-'} {each.address or '-'} {each.action}{f': {each.what}' if each.what else ''}")
    return Outcome()
