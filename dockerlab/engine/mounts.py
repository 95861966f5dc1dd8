"""`--mount`, `--tmpfs`, `--volumes-from`: what their words mean. docker/cli opts/mount.go, moby volume/mounts/linux_parser.go."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from dockerlab.errors import InvalidArgument, InvalidRequest, NotSupportedHere

__all__ = ["MountWord", "borrowed", "checked", "mount_word", "tmpfs_options"]

_TRUE, _FALSE = ("1", "t", "T", "true", "TRUE", "True"), ("0", "f", "F", "false", "FALSE", "False")
_FLAGS = ("ro", "rw", "suid", "nosuid", "dev", "nodev", "exec", "noexec", "sync", "dirsync", "atime", "noatime", "diratime", "nodiratime", "relatime", "norelatime", "strictatime",
          "nostrictatime")  # fmt: skip
_VALUES = ("mode", "uid", "gid", "size", "nr_inodes", "nr_blocks", "mpol")
_ALIASES = {"src": "source", "dst": "target", "destination": "target", "ro": "readonly"}
_KINDS = {"volume-nocopy": "volume", "volume-label": "volume", "bind-propagation": "bind", "tmpfs-size": "tmpfs", "tmpfs-mode": "tmpfs"}
_LATER = ("volume-driver", "volume-opt", "volume-subpath", "bind-nonrecursive", "bind-recursive")


@dataclass(frozen=True, slots=True)
class MountWord:
    """What one `--mount` asks for."""

    type: str = "volume"
    source: str = ""
    target: str = ""
    readonly: bool = False
    nocopy: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)
    tmpfs: str = ""


def mount_word(text: str, size: Callable[[str], int]) -> MountWord:
    """Gives the meaning of `type=bind,source=…,target=…[,…]`; raises InvalidArgument in the words of docker's client. `size` reads an amount of bytes."""
    found: dict[str, Any] = {"type": "volume", "labels": {}, "tmpfs": []}
    for part in next(csv.reader([text]), []):
        name, equals, value = part.partition("=")
        key = _ALIASES.get(name.lower(), name.lower())
        if not equals and key not in ("readonly", "volume-nocopy"):
            raise InvalidArgument(f"invalid field '{part}' must be a key=value pair", hint="write type=bind,source=/here,target=/there")
        if key in _LATER:
            raise NotSupportedHere(f"{key} of --mount is not supported here: not done by dockerlab yet", reason="not done yet")
        _take(found, key, value if equals else "true", part, size)
    if not found.get("target"):
        raise InvalidArgument("target is required", hint="say where in the container: target=/there")
    wrong = next((key for key in found if _KINDS.get(key, found["type"]) != found["type"]), "")
    if wrong and found["type"] in ("bind", "volume", "tmpfs"):
        raise InvalidArgument(f"cannot mix '{_KINDS[wrong]}-*' options with mount type '{found['type']}'", hint=f"leave out {wrong}")
    return MountWord(
        found["type"].lower(), found.get("source", ""), found["target"], found.get("readonly", False), found.get("volume-nocopy", False), found["labels"], ",".join(found["tmpfs"])
    )


def _take(found: dict[str, Any], key: str, value: str, part: str, size: Callable[[str], int]) -> None:
    if key in ("type", "source", "target"):
        found[key] = value
    elif key in ("readonly", "volume-nocopy"):
        if value not in (*_TRUE, *_FALSE):
            raise InvalidArgument(f"invalid value for {key}: {value}", hint="write true or false")
        found[key] = value in _TRUE
    elif key == "volume-label":
        name, _, label = value.partition("=")
        found[key], found["labels"] = True, {**found["labels"], name: label}
    elif key == "bind-propagation":
        if value not in ("", "private", "rprivate"):
            raise NotSupportedHere(f"bind-propagation={value} is not supported here: mounts do not travel between container and host", reason="not done yet")
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


def checked(word: MountWord) -> MountWord:
    """Gives the word, once docker's daemon would take it; raises InvalidRequest."""
    wrong = f'invalid mount config for type "{word.type}":'
    if word.type not in ("bind", "volume", "tmpfs"):
        raise InvalidRequest(f"{wrong} mount type unknown", hint="name bind, volume or tmpfs")
    if word.type == "bind" and not word.source:
        raise InvalidRequest(f"{wrong} field Source must not be empty", hint="name the folder of this machine: source=/here")
    if word.type == "tmpfs" and word.source:
        raise InvalidRequest(f"{wrong} field Source must not be specified", hint="a tmpfs begins empty")
    for path in (*([word.source] if word.type == "bind" else []), word.target):
        if not PurePosixPath(path).is_absolute():
            raise InvalidRequest(f"{wrong} invalid mount path: '{path}' mount path must be absolute", hint="begin it with a slash")
    if PurePosixPath(word.target) == PurePosixPath("/"):
        raise InvalidRequest(f"{wrong} invalid specification: destination can't be '/'", hint="name a folder below it")
    if word.type == "bind" and not Path(word.source).exists():
        raise InvalidRequest(f"{wrong} bind source path does not exist: {word.source}", hint="-v makes a folder that is missing, --mount does not")
    if word.type == "volume" and word.readonly and not word.source:
        raise InvalidRequest(f"{wrong} must not set ReadOnly mode when using anonymous volumes", hint="give the volume a name")
    return word


def tmpfs_options(words: Sequence[str]) -> dict[str, str]:
    """Gives the options of each place of `--tmpfs PLACE[:OPTIONS]`; raises InvalidRequest."""
    found = {}
    for word in words:
        target, _, options = word.partition(":")
        if not PurePosixPath(target).is_absolute():
            raise InvalidRequest(f"invalid mount path: '{target}' mount path must be absolute", hint="begin the place in the container with a slash")
        for option in options.split(",") if options else []:
            if not (option in _FLAGS or ("=" in option and option.partition("=")[0] in _VALUES)):
                raise InvalidRequest(f'invalid tmpfs option ["{option}"]', hint="write size=64m,mode=1777,exec; tmpfs(5)")
        found[target] = options
    return found


def borrowed(words: Sequence[str], mounts: Callable[[str], Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """Gives the mounts of the containers that `--volumes-from CONTAINER[:ro|rw]` names, as they are kept; raises NotFound, InvalidRequest."""
    found: dict[str, dict[str, Any]] = {}
    for word in words:
        name, colon, mode = word.partition(":")
        if colon and mode not in ("ro", "rw", "z", "Z", "ro,z", "ro,Z", "z,ro", "Z,ro"):
            raise InvalidRequest(f"invalid mode: {mode}", hint="write ro or rw")
        for mount in mounts(name):
            found[mount["target"]] = {**mount, "readonly": mount["readonly"] or "ro" in mode.split(",")}
    return list(found.values())
