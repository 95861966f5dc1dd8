"""Trees taken away, however deep and whatever they hold."""

from __future__ import annotations

import os
import stat

__all__ = ["is_mounted", "remove_entry"]


def remove_entry(folder: int, name: str) -> None:
    """Removes a name and all below it, following no symlink."""
    if not stat.S_ISDIR(os.lstat(name, dir_fd=folder).st_mode):
        os.unlink(name, dir_fd=folder)
        return
    top = _entered(folder, name)
    try:
        _empty(top)
    finally:
        os.close(top)
    os.rmdir(name, dir_fd=folder)


def is_mounted(folder: int, name: str) -> bool:
    """Tells whether something is mounted at a name: unlink(2) from another mount namespace would take the mount away from whoever sees it; proc_pid_fdinfo(5)."""
    descriptor = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    try:
        return _mount_of(descriptor) != _mount_of(folder)
    finally:
        os.close(descriptor)


def _mount_of(descriptor: int) -> str:
    with open(f"/proc/self/fdinfo/{descriptor}") as lines:
        return next((line for line in lines if line.startswith("mnt_id:")), "")


def _entered(folder: int, name: str) -> int:
    os.chmod(name, 0o700, dir_fd=folder)
    return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)


def _empty(top: int) -> None:
    # Folders may be nested deeper than descriptors and stack reach, so each one is moved up here before it is emptied.
    pending, moved = [name for name in os.listdir(top) if not _unlinked(top, name)], 0
    while pending:
        name = pending.pop()
        inner = _entered(top, name)
        try:
            for child in os.listdir(inner):
                if not _unlinked(inner, child):
                    moved += 1
                    pending.append(f".{os.getpid()}.{moved}.{os.urandom(8).hex()}")
                    os.chmod(child, 0o700, dir_fd=inner)
                    os.rename(child, pending[-1], src_dir_fd=inner, dst_dir_fd=top)
        finally:
            os.close(inner)
        os.rmdir(name, dir_fd=top)


def _unlinked(folder: int, name: str) -> bool:
    if stat.S_ISDIR(os.lstat(name, dir_fd=folder).st_mode):
        return False
    os.unlink(name, dir_fd=folder)
    return True
