"""Whole folders on disk: removed, copied, and copied ahead for whoever needs one next."""

from __future__ import annotations

import errno
import json
import os
import shutil
import stat
import time
from pathlib import Path

from dockerlab.layers import archive
from dockerlab.store.files import locked, scratch_name

__all__ = ["copy", "copy_one", "folders", "linked", "mark", "marked", "remove", "spare"]

_DRIFT = 0.005  # seconds: a clock that is slewed is not set back


def remove(path: str) -> None:
    """Removes a tree, following no symlink; what is not there is no error."""
    parent, name = os.path.split(path)
    descriptor = os.open(parent, os.O_PATH | os.O_DIRECTORY)
    try:
        archive.remove_entry(descriptor, name)
    except FileNotFoundError:
        return
    finally:
        os.close(descriptor)


def folders(paths: list[str], like: str) -> None:
    """Makes folders with the mode, owner and time of the folder `like`: the root of a container is its image's root."""
    for path in paths:
        os.mkdir(path, 0o755)
        if like:
            shutil.copystat(like, path)
            status = os.stat(like)
            os.chown(path, status.st_uid, status.st_gid)


def mark(folder: str) -> None:
    """Notes that a snapshot's folder holds a fresh copy: `copied`, whose time says since when, with the inodes of its folders and the clock's offset.

    A file's own change time tells that it was written, moved or linked; that the folder above it was moved only the folder's inode tells. And a clock that was set back tells nothing.
    """
    top = f"{folder}/fs"
    inodes = {place[len(top) + 1 :]: os.stat(place).st_ino for place, _, _ in os.walk(top)}
    with open(f"{folder}/copied", "w", encoding="utf-8", errors="surrogateescape") as file:
        json.dump({"offset": _offset(), "folders": inodes}, file)


def marked(place: str) -> tuple[int, dict[str, int]]:
    """Gives since when (nanoseconds) a copy is the container's, and its folders' inodes; (0, {}) where nothing can be told, so that all has to be compared."""
    try:
        with open(place, encoding="utf-8", errors="surrogateescape") as file:
            document = json.load(file)
            since = os.fstat(file.fileno()).st_mtime_ns
        if _offset() < document["offset"] - _DRIFT:
            return 0, {}
        return since, document["folders"]
    except (OSError, ValueError, KeyError, TypeError):
        return 0, {}


def _offset() -> float:
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)


def copy(source: str, target: str, apart: str = "") -> None:
    """Copies a tree with owners, modes, times, attributes, devices and hard links; a folder where something else is mounted stays empty.

    The folder `apart` is left out: a store would be copied into itself.
    """
    made: dict[tuple[int, int], str] = {}
    top = os.stat(source)
    device = top.st_dev
    os.chown(target, top.st_uid, top.st_gid)
    left_out = os.stat(apart) if apart else None
    settle = [(source, target)]
    for folder, names, leaves in os.walk(source):
        here = target + folder[len(source) :]
        if left_out is not None:
            names[:] = [name for name in names if not os.path.samestat(os.lstat(f"{folder}/{name}"), left_out)]
        mounted = [name for name in names if os.lstat(f"{folder}/{name}").st_dev != device]
        for name in mounted:
            os.mkdir(f"{here}/{name}", 0o755)
        names[:] = [name for name in names if name not in mounted]
        for name in names + leaves:
            old, new = f"{folder}/{name}", f"{here}/{name}"
            copy_one(old, new, made)
            if os.path.isdir(new) and not os.path.islink(new):
                settle.append((old, new))
    for old, new in reversed(settle):
        shutil.copystat(old, new)


def copy_one(old: str, new: str, made: dict[tuple[int, int], str] | None = None) -> None:
    """Copies one thing, a folder without what it holds; a file that is in `made` already becomes a hard link."""
    made = {} if made is None else made
    status = os.lstat(old)
    key = (status.st_dev, status.st_ino)
    if stat.S_ISDIR(status.st_mode):
        os.mkdir(new, 0o700)
    elif key in made and linked(made[key], new):
        return
    elif stat.S_ISREG(status.st_mode):
        shutil.copyfile(old, new, follow_symlinks=False)
    elif stat.S_ISLNK(status.st_mode):
        os.symlink(os.readlink(old), new)
    else:
        os.mknod(new, status.st_mode, status.st_rdev)
    made[key] = new
    os.chown(new, status.st_uid, status.st_gid, follow_symlinks=False)
    if not stat.S_ISDIR(status.st_mode):
        shutil.copystat(old, new, follow_symlinks=False)


def linked(old: str, new: str) -> bool:
    """Gives a file a second name; False on a file system without hard links."""
    try:
        os.link(old, new, follow_symlinks=False)
    except OSError as error:
        if error.errno in (errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK):
            return False
        raise
    return True


def spare(source: str, target: str, patience: float = 0.0) -> None:
    """Makes a copy of a tree under a name where it is found whole or not at all; one that is there, or under way, stays. Holds `<target>.lock` meanwhile.

    For `patience` seconds it waits for somebody else's, as of a container that gives its own back.
    """
    until = time.monotonic() + patience
    while time.monotonic() < until and not os.path.isdir(target):
        time.sleep(0.05)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    with locked(Path(f"{target}.lock"), wait=False) as held:
        if not held or os.path.isdir(target):
            return
        draft = f"{os.path.dirname(target)}/{scratch_name()}"
        os.mkdir(draft)
        try:
            copy(source, draft)
            os.rename(draft, target)
        except OSError:  # the disk is full, or the image is gone: whoever needs a copy makes one
            remove(draft)
