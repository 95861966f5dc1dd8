"""`docker cp` as the container's root: the functions of `work` that reach into one container's files.

`root` is a descriptor of its root folder; `devices` are those of the file systems that are its own, all of them where none are named.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from dockerlab.layers import exchange, owners
from dockerlab.layers.archive import Style
from dockerlab.layers.owners import Owned
from dockerlab.store.opening import open_layer

__all__ = ["lay", "look", "take"]


def look(root: int, path: str, devices: Sequence[int] = ()) -> dict[str, Any] | None:
    """Gives mode, size and link target of what lies at a path, None for nothing."""
    try:
        found = exchange.found(root, path, devices)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return {"mode": found.mode, "size": found.size, "target": found.target}


def take(root: int, path: str, descriptor: int, called: str, on_disk: bool, devices: Sequence[int] = ()) -> None:
    """Writes what lies at a path as a tar to an open descriptor; see `layers.exchange`."""

    def owner(inner: str, place: str, status: os.stat_result) -> Owned:
        return Owned(status.st_uid, status.st_gid) if on_disk else owners.noted(place) or Owned(0, 0)

    with open(descriptor, "wb", buffering=1 << 16, closefd=False) as file:
        exchange.take(root, path, file.write, name=called, owner=owner, devices=devices)


def lay(root: int, path: str, descriptor: int, style: dict[str, Any], devices: Sequence[int] = ()) -> None:
    """Lays a tar from an open descriptor, compressed or not, down in the folder at a path."""
    with open(descriptor, "rb", closefd=False) as file:
        exchange.lay(root, path, open_layer(file), Style(**style), devices)
