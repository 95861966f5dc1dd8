"""Mounting inside a new root, step 2 to 5 of `init`: never outside, whatever symlinks the image has; mount(2), mount_setattr(2), mount_namespaces(7)."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Sequence

from dockerlab.linux import syscalls
from dockerlab.linux.door import Door
from dockerlab.oci.runtime import Mount
from dockerlab.runtime.failing import InitFailed, not_started, told
from dockerlab.store import snapshots

__all__ = ["make_marks", "make_readonly", "mask", "mount_inside", "mount_snapshot", "place", "travelling"]

_FLAGS = {
    "ro": syscalls.MS_RDONLY, "nosuid": syscalls.MS_NOSUID, "nodev": syscalls.MS_NODEV, "noexec": syscalls.MS_NOEXEC, "bind": syscalls.MS_BIND,
    "rbind": syscalls.MS_BIND | syscalls.MS_REC, "noatime": syscalls.MS_NOATIME, "relatime": syscalls.MS_RELATIME,
    "strictatime": syscalls.MS_STRICTATIME, "remount": syscalls.MS_REMOUNT,
    "sync": 16, "dirsync": 128, "nodiratime": syscalls.MS_NODIRATIME, "rprivate": syscalls.MS_REC | syscalls.MS_PRIVATE, "private": syscalls.MS_PRIVATE,
    "rslave": syscalls.MS_REC | syscalls.MS_SLAVE, "slave": syscalls.MS_SLAVE, "rshared": syscalls.MS_REC | syscalls.MS_SHARED, "shared": syscalls.MS_SHARED,
}  # fmt: skip
_OPPOSITES = {
    "rw": "ro", "suid": "nosuid", "dev": "nodev", "exec": "noexec", "atime": "noatime", "diratime": "nodiratime", "norelatime": "relatime", "nostrictatime": "strictatime",
}  # fmt: skip


def mount_snapshot(k: Door, mount: snapshots.Mount, target: str) -> None:
    """Mounts one part of a snapshot."""
    if mount.base:
        k.chdir(mount.base)
    flags, data = _options(mount.options)
    k.mount(mount.source, target, None if mount.type == "bind" else mount.type, flags | (0 if mount.type == "bind" else syscalls.MS_NODEV), data)
    if mount.type == "bind":
        k.mount(None, target, None, syscalls.MS_REMOUNT | syscalls.MS_BIND | syscalls.MS_NODEV | _locked_flags(target))


def _show_groups(k: Door, root: int, destination: str, folders: Sequence[str], *, readonly: bool) -> None:
    """The container's own control groups, to be read: one folder on version 2, one a controller on version 1; cgroups(7)."""
    only = syscalls.MS_NOSUID | syscalls.MS_NOEXEC | syscalls.MS_NODEV
    several = folders and os.path.exists(f"{folders[0]}/tasks")
    below = place(k, root, destination, is_file=False)
    if several:
        k.mount("tmpfs", f"/proc/self/fd/{below}", "tmpfs", only, "mode=755,size=64k")
    elif folders:
        k.mount(folders[0], f"/proc/self/fd/{below}", None, syscalls.MS_BIND)
    os.close(below)
    target = place(k, root, destination, is_file=False)
    for folder in folders if several else ():
        # Nothing of the image's is in a file system that was mounted this moment.
        name = os.path.relpath(folder, "/sys/fs/cgroup").partition("/")[0]
        k.mkdir(name, 0o755, dir_fd=target)
        inner = k.open(name, os.O_PATH | os.O_DIRECTORY, dir_fd=target)
        k.mount(folder, f"/proc/self/fd/{inner}", None, syscalls.MS_BIND)
        os.close(inner)
    if readonly:  # once all of them are there, with what lies below
        k.mount_setattr_readonly(f"/proc/self/fd/{target}", recursive=True)
    os.close(target)


def _options(words: tuple[str, ...]) -> tuple[int, str]:
    """Gives the flags and the data of mount(2); a later word takes an earlier one back."""
    flags = 0
    for word in words:
        flags = flags & ~_FLAGS[_OPPOSITES[word]] if word in _OPPOSITES else flags | _FLAGS.get(word, 0)
    return flags, ",".join(word for word in words if word not in _FLAGS and word not in _OPPOSITES)


def _locked_flags(path: str) -> int:
    """Gives the flags that an inherited mount has and a remount in a user namespace must repeat; mount_namespaces(7)."""
    try:
        have = os.statvfs(path).f_flag
    except OSError:
        return 0
    pairs = ((os.ST_NOSUID, syscalls.MS_NOSUID), (os.ST_NODEV, syscalls.MS_NODEV), (os.ST_NOEXEC, syscalls.MS_NOEXEC), (os.ST_RDONLY, syscalls.MS_RDONLY),
             (os.ST_NOATIME, syscalls.MS_NOATIME), (os.ST_NODIRATIME, syscalls.MS_NODIRATIME), (os.ST_RELATIME, syscalls.MS_RELATIME))  # fmt: skip
    return sum(flag for bit, flag in pairs if have & bit)


def travelling(k: Door, mounts: Sequence[Mount]) -> dict[str, int]:
    """Gives, by destination, a copy of what is mounted at each source below which mounts travel both ways: taken before the host's mounts are let go.

    Raises InitFailed where mounts at a source do not travel the way that was asked for, in docker's words; daemon/oci_linux.go.
    """
    trees = {}
    for mount in mounts:
        wanted = {word.removeprefix("r") for word in mount.options} & {"shared", "slave"} if mount.type == "bind" else set()
        if not wanted:
            continue
        point, fields = _mount_point(os.path.realpath(mount.source))
        if not any(field.startswith(("shared:", *(["master:"] if wanted == {"slave"} else []))) for field in fields):
            raise InitFailed(f"path {mount.source} is mounted on {point} but it is not a {'shared' if wanted == {'shared'} else 'shared or slave'} mount", 128)
        if wanted == {"shared"}:
            trees[mount.destination] = k.open_tree(mount.source, recursive=True)
    return trees


def _mount_point(path: str) -> tuple[str, list[str]]:
    """Gives the mount that a path lies in and its optional fields; proc(5), mountinfo."""
    best: tuple[str, list[str]] = ("", [])
    with open("/proc/self/mountinfo", "rb") as file:
        for line in file:
            fields = line.split(b" - ")[0].split()
            point = os.fsdecode(re.sub(rb"\\([0-7]{3})", lambda code: bytes([int(code[1], 8)]), fields[4]))
            if len(point) >= len(best[0]) and (path == point or path.startswith(point.rstrip("/") + "/")):
                best = point, [field.decode() for field in fields[6:]]
    return best


def mount_inside(k: Door, root: int, mount: Mount, *, fresh: Sequence[str], groups: Sequence[str], trees: dict[str, int]) -> None:
    """Mounts one of a spec's mounts; `fresh` volumes begin with what the image has there, `groups` are the folders of the container's own control groups.

    `trees` are mounts that are there already and are put in their places: another container's memory, and what `travelling` gives.
    """
    if mount.type == "cgroup":
        _show_groups(k, root, mount.destination, groups, readonly="ro" in mount.options)
        return
    is_file = mount.type == "bind" and not os.path.isdir(mount.source)
    target = place(k, root, mount.destination, is_file=is_file)
    try:
        path = f"/proc/self/fd/{target}"
        flags, data = _options(mount.options)
        if (tree := trees.pop(mount.destination, -1)) >= 0:
            k.move_mount(tree, target)
            os.close(tree)
        elif mount.type != "bind":
            k.mount(mount.source or mount.type, path, mount.type, flags, data)
            return
        else:
            if mount.source in fresh:
                _copy_up(root, path, mount.source)
            k.mount(mount.source, path, None, flags & (syscalls.MS_BIND | syscalls.MS_REC))
    except NotADirectoryError as error:
        what = f'error during container init: error mounting "{mount.source}" to rootfs at "{mount.destination}"'
        why = "Are you trying to mount a directory onto a file (or vice-versa)? Check if the specified host path exists and is the expected type"
        raise not_started(f"{what}: mount {mount.source}:{mount.destination}: not a directory: unknown: {why}", 127) from error
    finally:
        os.close(target)
    travels = syscalls.MS_PRIVATE | syscalls.MS_SLAVE | syscalls.MS_SHARED
    rest, apart = flags & ~(syscalls.MS_BIND | syscalls.MS_REC | travels), flags & travels & ~syscalls.MS_SHARED
    if rest or apart:
        # The descriptor still shows the place below the new mount: look again.
        over = place(k, root, mount.destination, is_file=is_file)
        path = f"/proc/self/fd/{over}"
        if apart:  # private: what the host mounts below the source from now on is not for the container
            k.mount(None, path, None, syscalls.MS_REC | apart)
        if rest:
            k.mount(None, path, None, syscalls.MS_REMOUNT | syscalls.MS_BIND | rest | _locked_flags(path))
        if rest & syscalls.MS_RDONLY and flags & syscalls.MS_REC:
            k.mount_setattr_readonly(path)
        os.close(over)


def place(k: Door, root: int, path: str, *, is_file: bool, hops: int = 40) -> int:
    """Gives a descriptor of the place to mount on, made if missing, also where a symlink says that it were, never outside the root whatever symlinks the image has.

    The folder's time is put back: an empty place made by the engine is not something that the container changed.
    """
    inner = path.strip("/")
    try:
        return k.openat2(root, inner, os.O_PATH)  # type: ignore[no-any-return]
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise InitFailed(told(f"cannot mount on {path}: {error.strerror}")) from error
    parent_path, _, name = inner.rpartition("/")
    parent = place(k, root, parent_path, is_file=False, hops=hops) if parent_path else os.dup(root)
    try:
        if to := _link(name, parent):
            if not hops:
                raise InitFailed(told(f"cannot mount on {path}: {os.strerror(errno.ELOOP)}"))
            return place(k, root, to if to.startswith("/") else f"{parent_path}/{to}", is_file=is_file, hops=hops - 1)
        times = os.stat(f"/proc/self/fd/{parent}")
        if is_file:
            os.close(k.open(name, os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644, dir_fd=parent))
        else:
            k.mkdir(name, 0o755, dir_fd=parent)
        os.utime(f"/proc/self/fd/{parent}", ns=(times.st_atime_ns, times.st_mtime_ns))
    except OSError as error:
        raise InitFailed(told(f"cannot make {path} to mount on: {error.strerror}")) from error
    finally:
        os.close(parent)
    return k.openat2(root, inner, os.O_PATH)  # type: ignore[no-any-return]


def make_marks(k: Door, root: int) -> None:
    """Makes what docker has in every container: an empty /.dockerenv, by which programs know where they are, and /etc/mtab (mount(8)) where the image has none."""
    os.close(place(k, root, "/.dockerenv", is_file=True))
    etc = place(k, root, "/etc", is_file=False)
    try:
        times = os.stat(f"/proc/self/fd/{etc}")
        k.symlink("/proc/mounts", "mtab", dir_fd=etc)
        os.utime(f"/proc/self/fd/{etc}", ns=(times.st_atime_ns, times.st_mtime_ns))
    except FileExistsError:
        pass
    finally:
        os.close(etc)


def _link(name: str, folder: int) -> str:
    """Gives where a symlink leads to that leads nowhere yet, "" for what is none."""
    try:
        return os.readlink(name, dir_fd=folder)
    except OSError:
        return ""


def _copy_up(root: int, source: str, volume: str) -> None:
    """A new, empty volume begins with what the image has at its place, as docker's named volumes do; /proc, /sys and /dev are no part of the image."""
    from dockerlab.store import trees

    if os.path.isdir(source) and os.stat(source).st_dev == os.fstat(root).st_dev and not os.listdir(volume):
        trees.copy(f"{source}/.", volume)


def mask(k: Door, path: str) -> None:
    """Puts nothing in the place of a file or folder of the kernel's."""
    if os.path.isdir(path):
        k.mount("tmpfs", path, "tmpfs", syscalls.MS_RDONLY, "size=0,nr_inodes=1")
    elif os.path.exists(path):
        k.mount("/dev/null", path, None, syscalls.MS_BIND)


def make_readonly(k: Door, path: str) -> None:
    """Lets nobody in the container write below a path."""
    if not os.path.exists(path):
        return
    k.mount(path, path, None, syscalls.MS_BIND | syscalls.MS_REC)
    k.mount(None, path, None, syscalls.MS_REMOUNT | syscalls.MS_BIND | syscalls.MS_RDONLY | _locked_flags(path))
