"""`--mount`: what its words mean; docker/cli opts/mount.go."""

from __future__ import annotations

import csv
import io
from typing import Any

from dockerlab.commands.grammar import TRUTH
from dockerlab.commands.quantities import size
from dockerlab.engine.mounts import MountWord
from dockerlab.errors import InvalidArgument, NotSupportedHere

__all__ = ["mount"]

_ALIASES = {"src": "source", "dst": "target", "destination": "target", "ro": "readonly"}
_KINDS = {"volume-nocopy": "volume", "volume-label": "volume", "bind-propagation": "bind", "tmpfs-size": "tmpfs", "tmpfs-mode": "tmpfs"}
_LATER = ("volume-driver", "volume-opt", "volume-subpath", "bind-nonrecursive", "bind-recursive")


def mount(text: str) -> MountWord:
    """Gives the meaning of `type=bind,source=…,target=…[,…]`; raises InvalidArgument in the words of docker's client."""
    found: dict[str, Any] = {"type": "volume", "labels": {}, "tmpfs": []}
    try:
        parts = next(csv.reader(io.StringIO(text, newline="")), [])
    except csv.Error as error:
        raise InvalidArgument(f"invalid field {text!r}: {error}", hint="write type=bind,source=/here,target=/there") from None
    for part in parts:
        name, equals, value = part.partition("=")
        key = _ALIASES.get(name.lower(), name.lower())
        if not equals and key not in ("readonly", "volume-nocopy"):
            raise InvalidArgument(f"invalid field '{part}' must be a key=value pair", hint="write type=bind,source=/here,target=/there")
        if key in _LATER:
            raise NotSupportedHere(f"{key} of --mount is not supported here: not done by dockerlab yet", reason="not done yet")
        _take(found, key, value if equals else "true", part)
    if not found.get("target"):
        raise InvalidArgument("target is required", hint="say where in the container: target=/there")
    wrong = next((key for key in found if _KINDS.get(key, found["type"]) != found["type"]), "")
    if wrong and found["type"] in ("bind", "volume", "tmpfs"):
        raise InvalidArgument(f"cannot mix '{_KINDS[wrong]}-*' options with mount type '{found['type']}'", hint=f"leave out {wrong}")
    return MountWord(
        found["type"].lower(), found.get("source", ""), found["target"], found.get("readonly", False), found.get("volume-nocopy", False), found["labels"], ",".join(found["tmpfs"]),
        found.get("bind-propagation", ""),
    )  # fmt: skip


def _take(found: dict[str, Any], key: str, value: str, part: str) -> None:
    if key in ("type", "source", "target"):
        found[key] = value
    elif key in ("readonly", "volume-nocopy"):
        if value not in TRUTH:
            raise InvalidArgument(f"invalid value for {key}: {value}", hint="write true or false")
        found[key] = TRUTH[value]
    elif key == "volume-label":
        name, _, label = value.partition("=")
        found[key], found["labels"] = True, {**found["labels"], name: label}
    elif key == "bind-propagation":
        found[key] = value
    elif key == "tmpfs-size":
        try:
            found[key] = size(value)
        except ValueError:
            raise InvalidArgument(f"invalid value for {key}: {value}", hint="write 64m") from None
        found["tmpfs"] = [*found["tmpfs"], f"size={found[key]}"]
    elif key == "tmpfs-mode":
        if not value or any(digit not in "01234567" for digit in value):
            raise InvalidArgument(f"invalid value for {key}: {value}", hint="write an octal number: 1777")
        found[key], found["tmpfs"] = True, [*found["tmpfs"], f"mode={value}"]
    elif key != "consistency":
        raise InvalidArgument(f"unexpected key '{part.partition('=')[0]}' in '{part}'", hint="docker run --help names the options")
