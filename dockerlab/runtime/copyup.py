"""Hard links of an image, where a container has a whole copy of it: a name that is about to be changed first gets a file of its own.

overlayfs does the same: it copies a file up under one name and leaves its other names below as they were (kernel documentation, filesystems/overlayfs,
"Non-standard behavior"). So a container changes the same paths on every host. Links that the container makes itself stay links.
"""

from __future__ import annotations

import os
import secrets
import shutil
import stat
from collections.abc import Sequence

from dockerlab.linux import syscalls

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
        # Where the container has its own mounts, the path is its own.
        folder, _, name = place.removeprefix(f"{self._root}/").lstrip("/").rpartition("/")
        root = os.open(self._root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            # The container may rename what is on the way while this happens: no symlink is followed, and from here on no path is used.
            parent = syscalls.openat2(root, folder or ".", os.O_PATH | os.O_DIRECTORY, resolve=syscalls.RESOLVE_IN_ROOT | syscalls.RESOLVE_NO_SYMLINKS)
        finally:
            os.close(root)
        try:
            if os.path.samestat(os.stat(name, dir_fd=parent, follow_symlinks=False), status):
                _apart(descriptor, status, parent, name)
        finally:
            os.close(parent)


def _apart(descriptor: int, status: os.stat_result, parent: int, name: str) -> None:
    times = os.fstat(parent)
    draft = f".copy-{secrets.token_hex(6)}"
    if stat.S_ISLNK(status.st_mode):
        os.symlink(os.readlink("", dir_fd=descriptor), draft, dir_fd=parent)
        os.chown(draft, status.st_uid, status.st_gid, dir_fd=parent, follow_symlinks=False)
        os.utime(draft, ns=(status.st_atime_ns, status.st_mtime_ns), dir_fd=parent, follow_symlinks=False)
    elif stat.S_ISREG(status.st_mode):
        target = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=parent)
        with open(f"/proc/self/fd/{descriptor}", "rb") as source, open(target, "wb") as file:
            shutil.copyfileobj(source, file, 1 << 20)
            os.fchown(target, status.st_uid, status.st_gid)
            file.flush()
            shutil.copystat(f"/proc/self/fd/{descriptor}", f"/proc/self/fd/{target}")
    else:
        return
    os.rename(draft, name, src_dir_fd=parent, dst_dir_fd=parent)
    os.utime(f"/proc/self/fd/{parent}", ns=(times.st_atime_ns, times.st_mtime_ns))
