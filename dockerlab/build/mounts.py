"""`RUN --mount`: what is there while one command runs, and in no layer afterwards (Dockerfile reference, "RUN --mount")."""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING

from dockerlab.build import instructions as ins
from dockerlab.build.context import Picked
from dockerlab.build.steps import RunMount
from dockerlab.errors import BuildFailed, DockerfileError

if TYPE_CHECKING:
    from dockerlab.build.preparing import Preparer

__all__ = ["prepared", "refused"]

_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


def refused(mount: ins.Mount) -> str:
    """Gives why a mount cannot be had, "" where it can."""
    options = dict(mount.options)
    if "$" in mount.type:
        return "RUN --mount with a variable as its type"
    if mount.type == "ssh":
        return "RUN --mount=type=ssh"
    return "RUN --mount=type=secret,env" if mount.type == "secret" and "env" in options else ""


def prepared(scope: Preparer, step: ins.Run, mount: ins.Mount) -> RunMount | None:
    """Gives a mount with its variables replaced, None for a secret that is not here and not required. Raises BuildFailed, DockerfileError."""
    options = {name: scope.expand(value) for name, value in mount.options}
    target = posixpath.normpath(posixpath.join("/", scope.stage.run.working_dir, scope.expand(mount.target)))
    ident = options.get("id", "")
    owner = _number(step, options, "uid", 10), _number(step, options, "gid", 10)
    if mount.type == "secret":
        ident = ident or scope.expand(mount.source) or posixpath.basename(target)
        return _secret(scope, ident, target if mount.target else f"/run/secrets/{ident}", _number(step, options, "mode", 8, 0o400), owner, options)
    if target == "/":
        raise BuildFailed(f'invalid mount target "{target}"', hint="name a folder below the root")
    if mount.type == "tmpfs":
        return RunMount("tmpfs", target, writable=True, size=_bytes(step, options.get("size", "")))
    source = _source(scope, mount) if mount.type == "bind" or mount.from_ else None
    if mount.type == "bind":
        return RunMount("bind", target, source, writable=mount.read_only is False)
    if options.get("sharing", "shared") not in ("shared", "private", "locked"):
        raise _wrong(step, f'unsupported sharing "{options["sharing"]}"', options["sharing"], "write one of shared, private, locked")
    return RunMount("cache", target, source, mount.read_only is not True, ident or target, options.get("sharing", "shared"), _number(step, options, "mode", 8, 0o755), owner)


def _secret(scope: Preparer, ident: str, target: str, mode: int, owner: tuple[int, int], options: dict[str, str]) -> RunMount | None:
    data = scope.host.secret(ident)
    if data is not None:
        return RunMount("secret", target, ident=ident, mode=mode, owner=owner, data=data)
    if options.get("required", "false").lower() in ("", "1", "t", "true"):
        raise BuildFailed(f"secret {ident}: not found", hint=f"give it: docker build --secret id={ident},src=FILE")
    return None


def _source(scope: Preparer, mount: ins.Mount) -> Picked:
    where = scope.source(mount.from_, numbers=False) if mount.from_ else scope.context
    path = posixpath.normpath("/" + scope.expand(mount.source)).strip("/") or "."
    found = where.look(path)
    if found is None:
        error = where.missing(path)
        raise BuildFailed(f'failed to calculate checksum of "/{path}": not found', hint=error.hint)
    return found


def _number(step: ins.Run, options: dict[str, str], name: str, base: int, default: int = 0) -> int:
    text = options.get(name, "")
    if not re.fullmatch(r"[0-7]{1,4}|0[0-7]{4}" if base == 8 else r"[0-9]{1,9}", text or "0"):
        raise _wrong(step, f"invalid value {text} for {name}", text, "write an octal mode such as 0700" if base == 8 else "write a number")
    return int(text, base) if text else default


def _bytes(step: ins.Run, text: str) -> int:
    found = re.fullmatch(r"([0-9]{1,15})([kmg]?)i?b?", text.lower() or "0")
    if not found:
        raise _wrong(step, f"invalid size: '{text}'", text, "write a number and a unit, as in 64m")
    return int(found[1]) * _UNITS[found[2]]


def _wrong(step: ins.Run, message: str, at: str, hint: str) -> DockerfileError:
    return step.node.error(message, at=at, hint=hint)
