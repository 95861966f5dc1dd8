"""`docker update`: other limits and another restart policy for a container that is there."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from dockerlab.engine.options import check_restart
from dockerlab.engine.resources import Resources
from dockerlab.errors import InvalidRequest
from dockerlab.oci.runtime import Spec
from dockerlab.runtime import control
from dockerlab.store.containers import Record
from dockerlab.store.files import publish

if TYPE_CHECKING:
    from dockerlab.engine.container import Container

__all__ = ["limits", "tell", "updated"]


def limits(record: Record) -> Resources:
    """Gives what a container may use."""
    return Resources(**record.host.get("resources", {}))


def updated(record: Record, changes: Mapping[str, Any], restart: str | None) -> Record:
    """Gives what the container is to be kept as; raises InvalidRequest."""
    before, host = limits(record), dict(record.host)
    if before.memory and 0 < before.memory_swap <= changes.get("memory", 0) and "memory_swap" not in changes:
        raise _refused(record.id, "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time", "name --memory-swap too")
    host["resources"] = dataclasses.replace(before, **changes).checked().kept()
    if restart is not None:
        check_restart(restart)
        if host["rm"] and restart not in ("", "no"):
            why = "Restart policy cannot be updated because AutoRemove is enabled for the container"
            raise _refused(record.id, why, "a container that is removed at its end cannot begin again")
        host["restart"] = restart
    return msgspec.structs.replace(record, host=host)


def tell(container: Container, *, changed: bool) -> None:
    """Lets the bundle and the running container know its new limits; raises InvalidRequest where the kernel refuses them."""
    if not changed:
        return
    wanted, path = container.resources.described(), container.folder / "bundle" / "config.json"
    spec = Spec.decode(path.read_bytes())
    publish(path, msgspec.structs.replace(spec, linux=msgspec.structs.replace(spec.linux, resources=wanted)).encode())
    answer = control.ask(container.folder, {"resources": wanted}, timeout=10) if container.state.running else None
    if answer and "failed" in answer:
        raise _refused(container.id, answer["failed"], "the kernel refuses this value for what the container uses now")


def _refused(ident: str, why: str, hint: str) -> InvalidRequest:
    return InvalidRequest(f"Cannot update container {ident}: {why}", hint=hint)
