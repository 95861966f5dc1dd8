"""Hard links of an image, where a container has a whole copy of it: a name that is about to be changed first gets a file of its own.

overlayfs does the same: it copies a file up under one name and leaves its other names below as they were (kernel documentation, filesystems/overlayfs,
"Non-standard behavior"). So a container changes the same paths on every host. Links that the container makes itself stay links.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Sequence

__all__ = ["CopyUp"]


class CopyUp:
    """`links` are the paths below `root` that share their file with another in the image."""

    def __init__(self, root: str, links: Sequence[str]) -> None:
        self._root = root
        self._shared: set[tuple[int, int]] = set()
        for path in links:
            try:
                status = os.lstat(f"{root}/{path}")
            except OSError:
                continue
            if status.st_nlink > 1:
                self._shared.add((status.st_dev, status.st_ino))

    def __bool__(self) -> bool:
        return bool(self._shared)

    def before_change(self, descriptor: int) -> None:
        """Gives the name behind a descriptor a file of its own, if it still shares the image's; a name without a path has none. Raises OSError."""
        status = os.fstat(descriptor)
        if (status.st_dev, status.st_ino) not in self._shared or status.st_nlink < 2:
            return
        place = os.readlink(f"/proc/self/fd/{descriptor}")
        if not place.startswith(f"{self._root}/"):  # the container has its own mounts: the path is its own
            place = self._root + place
        if not os.path.samestat(os.lstat(place), status):
            return
        draft = f"{os.path.dirname(place)}/.copy-{secrets.token_hex(6)}"
        folder = os.stat(os.path.dirname(place))
        shutil.copyfile(place, draft, follow_symlinks=False)
        os.chown(draft, status.st_uid, status.st_gid)
        shutil.copystat(place, draft, follow_symlinks=False)
        os.rename(draft, place)
        os.utime(os.path.dirname(place), ns=(folder.st_atime_ns, folder.st_mtime_ns))
