"""Files and volumes without mount(2): copied into the container's folder before it starts, and volumes copied back after it has ended.

Only what the container changed goes back, and only what it deleted is deleted: the host may have written to the folder meanwhile. So may another
container, which has put a symlink where this one had a folder: nothing on the way to what is written is followed.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import stat
from collections.abc import Iterator, Sequence

from dockerlab.linux import syscalls
from dockerlab.linux.door import Door
from dockerlab.oci.runtime import Mount
from dockerlab.runtime import mounting
from dockerlab.store import trees

__all__ = ["Laid", "begin_fresh", "empty", "lay_in", "prepare", "take_back"]

# What was laid into a volume's place: path below it → [mode, time of change in nanoseconds, size].
Laid = dict[str, dict[str, list[int]]]


_DEVICES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9)}


def prepare(root: str, mounts: Sequence[Mount], *, devices: bool) -> None:
    """Makes the places that mounts would cover, and /dev: with `devices` real ones, else empty files that the monitor opens the host's for."""
    k, base = Door(), os.open(root, os.O_PATH | os.O_DIRECTORY)
    try:
        for mount in mounts:
            _make_place(root, mount)
        for name in ("/proc", "/sys"):
            os.close(mounting.place(k, base, name, is_file=False))
        dev = mounting.place(k, base, "/dev", is_file=False)
        for name, numbers in _DEVICES.items():
            with contextlib.suppress(FileExistsError):
                kind = stat.S_IFCHR if devices else stat.S_IFREG
                os.mknod(name, kind | 0o666, os.makedev(*numbers) if devices else 0, dir_fd=dev)
                os.chmod(f"/proc/self/fd/{dev}/{name}", 0o666)
        for name in () if devices else ("tty", "ptmx"):
            with contextlib.suppress(FileExistsError):
                os.mknod(name, stat.S_IFREG | 0o666, dir_fd=dev)
        for name in ("shm", "mqueue", "pts"):
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, dir_fd=dev)
                os.chmod(f"/proc/self/fd/{dev}/{name}", 0o1777)
        os.close(dev)
        mounting.make_marks(k, base)
    finally:
        os.close(base)


def lay_in(root: str, mounts: Sequence[Mount], fresh: Sequence[str], store: str = "") -> Laid:
    """Copies files and volumes to the places where mounts would be and gives what was laid; a `fresh` volume begins with what the image has there.

    `root` is the container's folder, in which the places exist; `store`, which holds it, is not copied into itself. Raises OSError.
    """
    laid: Laid = {}
    for mount in mounts:
        _make_place(root, mount)  # again: laying a volume around it has emptied the folder
        if stat.S_ISSOCK(os.stat(mount.source).st_mode):
            _link(root, mount)
            continue
        with _Place(root, mount.destination) as place:
            if not os.path.isdir(mount.source):
                # An image may have a device there: writing to it would be writing to the host's disk.
                if not stat.S_ISREG(os.stat(place).st_mode):
                    raise OSError(errno.EINVAL, "not an ordinary file", mount.destination)
                os.chmod(place, 0o600)  # of the last start it may be read-only
                shutil.copyfile(mount.source, place)
                os.chmod(place, stat.S_IMODE(os.stat(mount.source).st_mode) & 0o777)
                continue
            if mount.source not in fresh:
                for name in os.listdir(place):
                    trees.remove(f"{place}/{name}")
                trees.copy(f"{mount.source}/.", place, store)
            laid[mount.destination] = {} if mount.source in fresh else dict(_states(place, _inner(mount, mounts)))
    return laid


def _link(root: str, mount: Mount) -> None:
    """Makes a socket a second name inside: whoever connects by that reaches who listens. Raises OSError, on another file system as well."""
    if "ro" in mount.options:
        raise OSError(errno.EROFS, "a socket cannot be given read-only where nothing can be mounted", mount.destination)
    draft, source = f".dockerlab-{secrets.token_hex(8)}", os.open(mount.source, os.O_PATH)
    try:
        with _Place(root, os.path.dirname(mount.destination)) as folder:
            # Python follows the link to what is open only where a folder is named: then it is linkat(2), AT_SYMLINK_FOLLOW.
            os.link(f"/proc/self/fd/{source}", f"{folder}/{draft}", src_dir_fd=source, follow_symlinks=True)
            try:
                os.rename(f"{folder}/{draft}", f"{folder}/{os.path.basename(mount.destination)}")
            finally:
                with contextlib.suppress(FileNotFoundError):  # rename(2) leaves both where they are names of one file already: of a start before
                    os.unlink(f"{folder}/{draft}")
    except OSError as error:
        raise OSError(error.errno, f"a socket cannot be given here: {(error.strerror or '').lower()}", mount.destination) from error
    finally:
        os.close(source)


def _make_place(root: str, mount: Mount) -> None:
    base = os.open(root, os.O_PATH | os.O_DIRECTORY)
    try:
        os.close(mounting.place(Door(), base, mount.destination, is_file=not os.path.isdir(mount.source)))
    finally:
        os.close(base)


def begin_fresh(root: str, mounts: Sequence[Mount], fresh: Sequence[str]) -> None:
    """Copies what the image has at a new volume's place into the volume, where the volume itself will be seen."""
    for mount in mounts:
        if mount.source in fresh and not os.listdir(mount.source):
            with _Place(root, mount.destination) as place:
                trees.copy(f"{place}/.", mount.source)


def empty(root: str, mount: Mount) -> None:
    """Makes the folder that stands for a tmpfs, and leaves nothing in it."""
    base = os.open(root, os.O_PATH | os.O_DIRECTORY)
    try:
        os.close(mounting.place(Door(), base, mount.destination, is_file=False))
    finally:
        os.close(base)
    with _Place(root, mount.destination) as place:
        for name in os.listdir(place):
            trees.remove(f"{place}/{name}")
        os.chmod(place, next((int(word[5:], 8) for word in mount.options if word.startswith("mode=")), 0o1777))


def take_back(root: str, mounts: Sequence[Mount], laid: Laid) -> None:
    """Does to the volumes on the host what the container did to their places."""
    for mount in mounts:
        if mount.destination not in laid or "ro" in mount.options or not os.path.isdir(mount.source):
            continue
        before = laid[mount.destination]
        with _Place(root, mount.destination) as place:
            inner = _inner(mount, mounts)
            after = dict(_states(place, inner))
            for path in sorted(path for path in before.keys() - after.keys() if not _within(path, inner)):
                with contextlib.suppress(FileNotFoundError, NotADirectoryError), _Place(mount.source, os.path.dirname(path), follow=False) as folder:
                    trees.remove(f"{folder}/{os.path.basename(path)}")
            for path in sorted(after, key=lambda path: path.split("/")):
                if before.get(path) != after[path]:
                    with _Place(mount.source, os.path.dirname(path), follow=False) as folder:
                        _carry(f"{place}/{path}", f"{folder}/{os.path.basename(path)}")


class _Place:
    """A path that leads to a place inside a root, whatever symlinks the container has made; without `follow` one on the way is an error (ELOOP)."""

    def __init__(self, root: str, path: str, *, follow: bool = True) -> None:
        base = os.open(root, os.O_PATH | os.O_DIRECTORY)
        try:
            resolve = syscalls.RESOLVE_IN_ROOT if follow else syscalls.RESOLVE_IN_ROOT | syscalls.RESOLVE_NO_SYMLINKS
            self._descriptor = syscalls.openat2(base, path.strip("/") or ".", os.O_PATH, resolve=resolve)
        finally:
            os.close(base)

    def __enter__(self) -> str:
        return f"/proc/self/fd/{self._descriptor}"

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)


def _inner(mount: Mount, mounts: Sequence[Mount]) -> tuple[str, ...]:
    """Gives the places below a mount where others are, as paths below it: what lies there is none of its own."""
    prefix = f"{mount.destination.rstrip('/')}/"
    return tuple(other.destination.rstrip("/").removeprefix(prefix) for other in mounts if other.destination.startswith(prefix))


def _within(path: str, places: Sequence[str]) -> bool:
    return any(path == place or path.startswith(f"{place}/") for place in places)


def _states(place: str, apart: Sequence[str]) -> Iterator[tuple[str, list[int]]]:
    for folder, names, leaves in os.walk(place):
        inner = folder[len(place) :].lstrip("/")
        names[:] = [name for name in names if not _within(f"{inner}/{name}".lstrip("/"), apart)]
        for name in names + [leaf for leaf in leaves if not _within(f"{inner}/{leaf}".lstrip("/"), apart)]:
            status = os.lstat(f"{folder}/{name}")
            yield f"{inner}/{name}" if inner else name, [status.st_mode, 0 if stat.S_ISDIR(status.st_mode) else status.st_mtime_ns, 0 if stat.S_ISDIR(status.st_mode) else status.st_size]


def _carry(source: str, target: str) -> None:
    """Copies one thing over whatever stands at `target`; a folder without what it holds."""
    status = os.lstat(source)
    try:
        there = os.lstat(target)
    except FileNotFoundError:
        there = None
    if stat.S_ISDIR(status.st_mode):
        if there is not None and not stat.S_ISDIR(there.st_mode):
            trees.remove(target)
            there = None
        if there is None:
            os.mkdir(target)
        folder = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            shutil.copystat(source, f"/proc/self/fd/{folder}")
        finally:
            os.close(folder)
        return
    if there is not None and stat.S_ISDIR(there.st_mode):
        trees.remove(target)
    # A name that nobody can have prepared: a symlink there would be written through.
    draft = f"{target[: target.rindex('/')]}/.dockerlab-{secrets.token_hex(8)}"
    trees.copy_one(source, draft)
    os.rename(draft, target)
