"""Verbs on volumes."""

from __future__ import annotations

from functools import partial
from typing import Any

from dockerlab.commands.call import Call, Outcome
from dockerlab.commands.each import attempts, told
from dockerlab.commands.filters import TRUTH, condition, labelled, named, passes
from dockerlab.commands.go_text import NilMap, Struct
from dockerlab.commands.rows import Rows
from dockerlab.commands.showing import shown
from dockerlab.engine.volumes import VolumeInfo
from dockerlab.errors import NotFound
from dockerlab.oci.config import env_map

__all__ = ["VOLUME_HEADS", "create", "inspect", "look", "ls", "rm", "volume_facts", "volume_row"]

VOLUME_HEADS = {"Driver": "DRIVER", "Name": "VOLUME NAME", "Scope": "SCOPE", "Mountpoint": "MOUNTPOINT", "Labels": "LABELS", "Links": "LINKS", "Size": "SIZE",
            "Availability": "AVAILABILITY", "Group": "GROUP", "Status": "STATUS"}  # fmt: skip
_TESTS = ("dangling", "driver", "label", "name")


def create(call: Call) -> Outcome:
    """docker volume create."""
    volume = call.engine.volumes.create(call.args[0] if call.args else "", labels=env_map(tuple(call.flag("label"))))
    call.out(volume.name)
    return Outcome(volume)


def ls(call: Call) -> Outcome:
    """docker volume ls."""
    tests = [condition(word, _TESTS) for word in call.flag("filter")]
    found = [volume for volume in call.engine.volumes.list() if passes(tests, partial(_fits, volume))]
    rows = [volume_row(volume) for volume in found]
    shown_as = "{{.Name}}" if call.flag("quiet") else call.flag("format")
    return Outcome(Rows(rows, VOLUME_HEADS, default="table {{.Driver}}\t{{.Name}}", format=shown_as, caption=f"volumes: {len(rows)}"))


def volume_row(volume: VolumeInfo) -> dict[str, Any]:
    """Gives one line of `volume ls`, without a size."""
    labels = volume.labels or {}
    return {
        "Driver": "local", "Name": volume.name, "Scope": "local", "Mountpoint": str(volume.mountpoint), "Labels": ",".join(f"{k}={v}" for k, v in sorted(labels.items())),
        "Links": "N/A", "Size": "N/A", "Availability": "N/A", "Group": "N/A", "Status": "N/A", "Label": lambda name: labels.get(name, ""),
    }  # fmt: skip


def _fits(volume: VolumeInfo, name: str, value: str) -> bool:
    if name == "dangling":
        return (not volume.users) == TRUTH[value.lower()]
    if name == "label":
        return labelled(volume.labels or {}, value)
    return named(value, volume.name) if name == "name" else value == "local"


def rm(call: Call) -> Outcome:
    """docker volume rm."""

    def remove(name: str) -> None:
        try:
            call.engine.volumes.get(name).remove()
        except NotFound:
            if not call.flag("force"):
                raise
        call.out(name)

    return Outcome(exit_code=told(call, attempts(remove, call.args)))


def inspect(call: Call) -> Outcome:
    """docker volume inspect."""
    return shown(call, look)


def look(call: Call, name: str) -> dict[str, Any]:
    """Gives the facts of the volume called so; raises NotFound in the words of docker's client."""
    try:
        return volume_facts(call.engine.volumes.get(name))
    except NotFound as error:
        raise NotFound(f"Error response from daemon: {error.message}") from None


def volume_facts(volume: VolumeInfo) -> dict[str, Any]:
    """Gives a volume's facts."""
    return Struct({
        "CreatedAt": volume.created, "Driver": "local", "Labels": dict(sorted((volume.labels or {}).items())) or NilMap(), "Mountpoint": str(volume.mountpoint), "Name": volume.name,
        "Options": NilMap(), "Scope": "local",
    })  # fmt: skip
