"""`--mount`, `--tmpfs`, `--volumes-from`: what the daemon makes of them; moby volume/mounts/linux_parser.go."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from dockerlab.engine.binds import PROPAGATIONS, clean
from dockerlab.errors import InvalidRequest

__all__ = ["MountWord", "borrowed", "checked", "tmpfs_options"]

_FLAGS = ("ro", "rw", "suid", "nosuid", "dev", "nodev", "exec", "noexec", "sync", "dirsync", "atime", "noatime", "diratime", "nodiratime", "relatime", "norelatime", "strictatime",
          "nostrictatime")  # fmt: skip
_VALUES = ("mode", "uid", "gid", "size", "nr_inodes", "nr_blocks", "mpol")


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
    propagation: str = ""

    def described(self) -> dict[str, Any]:
        """Gives the word as `inspect` shows it in HostConfig.Mounts; moby api/types/mount."""
        tmpfs = dict(option.split("=", 1) for option in self.tmpfs.split(",") if option)
        kept: dict[str, Any] = {"Type": self.type, "Source": self.source, "Target": self.target, "ReadOnly": self.readonly}
        if self.propagation:
            kept["BindOptions"] = {"Propagation": self.propagation}
        if self.nocopy or self.labels:
            kept["VolumeOptions"] = {**({"NoCopy": True} if self.nocopy else {}), **({"Labels": dict(self.labels)} if self.labels else {}), "DriverConfig": {}}
        if tmpfs:
            kept["TmpfsOptions"] = {**({"SizeBytes": int(tmpfs["size"])} if "size" in tmpfs else {}), **({"Mode": int(tmpfs["mode"], 8)} if "mode" in tmpfs else {})}
        return {name: value for name, value in kept.items() if value}


def checked(word: MountWord) -> MountWord:
    """Gives the word, once docker's daemon would take it; raises InvalidRequest."""
    wrong = f'invalid mount config for type "{word.type}":'
    if word.type not in ("bind", "volume", "tmpfs"):
        raise InvalidRequest(f"{wrong} mount type unknown", hint="name bind, volume or tmpfs")
    if word.type == "bind" and not word.source:
        raise InvalidRequest(f"{wrong} field Source must not be empty", hint="name the folder of this machine: source=/here")
    if word.propagation and word.propagation not in PROPAGATIONS:
        raise InvalidRequest(f"{wrong} invalid propagation mode: {word.propagation}", hint=f"write one of {', '.join(PROPAGATIONS)}")
    if word.type == "tmpfs" and word.source:
        raise InvalidRequest(f"{wrong} field Source must not be specified", hint="a tmpfs begins empty")
    for path in (*([word.source] if word.type == "bind" else []), word.target):
        if not PurePosixPath(path).is_absolute():
            raise InvalidRequest(f"{wrong} invalid mount path: '{path}' mount path must be absolute", hint="begin it with a slash")
    if clean(word.target) == "/":
        raise InvalidRequest(f"{wrong} invalid specification: destination can't be '/'", hint="name a folder below it")
    if word.type == "bind" and not Path(word.source).exists():
        raise InvalidRequest(f"{wrong} bind source path does not exist: {word.source}", hint="-v makes a folder that is missing, --mount does not")
    if word.type == "volume" and word.readonly and not word.source:
        raise InvalidRequest(f"{wrong} must not set ReadOnly mode when using anonymous volumes", hint="give the volume a name")
    return replace(word, target=clean(word.target))


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
        found[clean(target)] = options
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
