"""Verbs on volumes."""

from __future__ import annotations

from typing import Any

from dockerlab.commands.call import Call, Outcome
from dockerlab.commands.each import attempts, told
from dockerlab.commands.filters import labelled
from dockerlab.commands.rows import Rows
from dockerlab.commands.showing import shown
from dockerlab.engine.volumes import VolumeInfo
from dockerlab.errors import InvalidRequest, NotFound
from dockerlab.oci.config import env_map

__all__ = ["create", "inspect", "ls", "rm"]

_VOLUMES = {"Driver": "DRIVER", "Name": "VOLUME NAME", "Scope": "SCOPE", "Mountpoint": "MOUNTPOINT", "Labels": "LABELS", "Links": "LINKS", "Size": "SIZE",
            "Availability": "AVAILABILITY", "Group": "GROUP", "Status": "STATUS"}  # fmt: skip
_TESTS = ("dangling", "driver", "label", "name")
_TRUTH = {"true": True, "1": True, "false": False, "0": False}


def create(call: Call) -> Outcome:
    """docker volume create."""
    volume = call.engine.volumes.create(call.args[0] if call.args else "", labels=env_map(tuple(call.flag("label"))))
    call.out(volume.name)
    return Outcome(volume)


def ls(call: Call) -> Outcome:
    """docker volume ls."""
    tests = [_test(word) for word in call.flag("filter")]
    found = [volume for volume in call.engine.volumes.list() if _passes(volume, tests)]
    rows = [_row(volume) for volume in found]
    shown_as = "{{.Name}}" if call.flag("quiet") else call.flag("format")
    return Outcome(Rows(rows, _VOLUMES, default="table {{.Driver}}\t{{.Name}}", format=shown_as, caption=f"volumes: {len(rows)}"))


def _row(volume: VolumeInfo) -> dict[str, Any]:
    labels = volume.labels or {}
    return {
        "Driver": "local", "Name": volume.name, "Scope": "local", "Mountpoint": str(volume.mountpoint), "Labels": ",".join(f"{k}={v}" for k, v in sorted(labels.items())),
        "Links": "N/A", "Size": "N/A", "Availability": "N/A", "Group": "N/A", "Status": "N/A", "Label": lambda name: labels.get(name, ""),
    }  # fmt: skip


def _test(word: str) -> tuple[str, str]:
    name, _, value = word.partition("=")
    if name not in _TESTS:
        raise InvalidRequest(f"Invalid filter '{name}'", hint=f"filter by {', '.join(_TESTS)}")
    if name == "dangling" and value.lower() not in _TRUTH:
        raise InvalidRequest(f"Invalid filter 'dangling=[{value}]'", hint="write true or false")
    return name, value


def _passes(volume: VolumeInfo, tests: list[tuple[str, str]]) -> bool:
    """Tells whether one value of each kind of filter fits, and every label, as docker has it."""
    for name in {name for name, _ in tests}:
        values = [value for other, value in tests if other == name]
        fits = [_fits(volume, name, value) for value in values]
        if not (all(fits) if name == "label" else any(fits)):
            return False
    return True


def _fits(volume: VolumeInfo, name: str, value: str) -> bool:
    if name == "dangling":
        return (not volume.users) == _TRUTH[value.lower()]
    if name == "label":
        return labelled(volume.labels or {}, value)
    return value in volume.name if name == "name" else value == "local"


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

    def facts(call: Call, name: str) -> dict[str, Any]:
        try:
            return volume_facts(call.engine.volumes.get(name))
        except NotFound as error:
            raise NotFound(f"Error response from daemon: {error.message}") from None

    return shown(call, facts)


def volume_facts(volume: VolumeInfo) -> dict[str, Any]:
    """Gives a volume's facts."""
    return {
        "CreatedAt": volume.created, "Driver": "local", "Labels": dict(sorted((volume.labels or {}).items())) or None, "Mountpoint": str(volume.mountpoint), "Name": volume.name,
        "Options": None, "Scope": "local",
    }  # fmt: skip
