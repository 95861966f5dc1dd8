"""The file system of a container that does not run, put together for whoever has to reach into it; gone with the process that did so."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from typing import Any

from dockerlab.linux import syscalls
from dockerlab.linux.door import Door
from dockerlab.runtime import mounting
from dockerlab.runtime.failing import InitFailed
from dockerlab.store import snapshots

__all__ = ["assembled"]


def assembled(rootfs: str, mounts: Sequence[dict[str, Any]], volumes: Sequence[Sequence[str]]) -> int:
    """Gives a descriptor of the root: the snapshot on the folder `rootfs`, and each volume (source, target) at its place. Raises OSError."""
    k = Door()
    k.unshare(syscalls.CLONE_NEWNS)
    k.mount(None, "/", None, syscalls.MS_REC | syscalls.MS_SLAVE)
    for mount in snapshots.revived(mounts):
        mounting.mount_snapshot(k, mount, rootfs)
    root: int = k.open(rootfs, os.O_PATH | os.O_DIRECTORY)
    for source, target in volumes:
        with contextlib.suppress(OSError, InitFailed):  # a source that is gone: the container would not start, its other files are there
            place = mounting.place(k, root, target, is_file=not os.path.isdir(source))
            k.mount(source, f"/proc/self/fd/{place}", None, syscalls.MS_BIND | syscalls.MS_REC)
            os.close(place)
    return root
