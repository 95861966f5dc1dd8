"""How `run` and `create` are told of a container's rights: --security-opt and --device, with the errors of docker's client."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dockerlab.engine.options import Device
from dockerlab.errors import InvalidArgument, InvalidRequest, NotSupportedHere

__all__ = ["device", "security"]

_TRUTH = {"": True, "true": True, "1": True, "false": False, "0": False}
_HINT = "dockerlab takes no-new-privileges, seccomp=FILE, seccomp=unconfined and systempaths=unconfined"


def security(folder: Path, words: Sequence[str]) -> dict[str, Any]:
    """Gives what --security-opt says, by `RunOptions`' names; a profile's file is looked for in `folder`. Raises InvalidArgument, InvalidRequest, NotSupportedHere."""
    found: dict[str, Any] = {"security_opt": []}
    for word in words:
        name, _, value = word.partition("=" if "=" in word else ":")
        if name == word and name != "no-new-privileges":
            raise InvalidArgument(f'Invalid --security-opt: "{word}"', hint=_HINT)
        if word == "systempaths=unconfined":
            found["unmasked"] = True
            continue
        if name == "seccomp":
            found["seccomp"] = "" if value == "builtin" else value if value == "unconfined" else _profile(folder, value)
            word = f"seccomp={found['seccomp'] or value}"
        elif name == "no-new-privileges" and value in _TRUTH:
            found["no_new_privileges"] = _TRUTH[value]
        elif name == "apparmor" and value != "unconfined":
            raise NotSupportedHere("AppArmor profiles are not supported here: seccomp and capabilities hold a container", reason="not done by dockerlab yet", hint="leave out apparmor=")
        elif name == "label" and value != "disable":
            raise NotSupportedHere("SELinux labels are not supported here: seccomp and capabilities hold a container", reason="not done by dockerlab yet", hint="leave out label=")
        elif name not in ("apparmor", "label"):
            raise InvalidRequest(f'invalid --security-opt 2: "{word}"', hint=_HINT)
        found["security_opt"].append(word)
    return {**found, "security_opt": tuple(found["security_opt"])}


def _profile(folder: Path, name: str) -> str:
    try:
        text = (folder / name).read_bytes()
    except OSError as error:
        raise InvalidArgument(f"opening seccomp profile ({name}) failed: open {name}: {(error.strerror or '').lower()}", hint="name a file of this machine") from error
    try:
        return json.dumps(json.loads(text), separators=(",", ":"))
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(f"compacting json for seccomp profile ({name}) failed: {error}", hint="the file is no JSON") from error


def device(text: str) -> Device:
    """Gives the meaning of `HOST[:CONTAINER][:rwm]`; raises InvalidArgument."""
    parts = text.split(":")
    if not text or len(parts) > 3:
        raise InvalidArgument(f"bad format for path: {text}", hint="write /dev/name, or /dev/name:/dev/other")
    if "=" in text and not text.startswith("/"):
        raise NotSupportedHere("devices of CDI are not supported here", reason="not done by dockerlab yet", hint="name a device node: /dev/name")
    source, target, mode = parts[0], parts[0], "rwm"
    if len(parts) == 2:
        if _is_mode(parts[1]):
            mode = parts[1]
        else:
            target = parts[1]
    elif len(parts) == 3:
        target, mode = parts[1], parts[2]
        if not _is_mode(mode):
            raise InvalidArgument(f"bad mode specified: {mode}", hint="write some of r, w and m")
    if not target.startswith("/"):
        raise InvalidArgument(f"{target} is not an absolute path", hint="write /dev/name, or /dev/name:/dev/other")
    return Device(source, target, mode)


def _is_mode(text: str) -> bool:
    return bool(text) and set(text) <= set("rwm") and len(set(text)) == len(text)
