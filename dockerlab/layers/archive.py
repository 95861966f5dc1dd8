"""Layers laid down: a tar applied to a folder (OCI image-spec, layer.md); `packing` is the way back.

Applying never leaves the folder, whatever the archive says: every name is resolved by the kernel with the folder as its root, and names
that try to climb out are refused before anything of them is written.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from dockerlab.errors import UnsafeArchive
from dockerlab.layers import owners, tar
from dockerlab.layers.index import Entry, parent_of
from dockerlab.layers.packing import OPAQUE_NAME, WHITEOUT
from dockerlab.layers.removal import is_mounted, remove_entry
from dockerlab.linux import syscalls

__all__ = ["safe", "Style", "apply", "as_marker", "remove_entry"]

_KEPT = 200


@dataclass(frozen=True, slots=True)
class Style:
    """How an archive is laid down: `whiteout` is "overlay" (markers on disk), "plain" (things below are removed), or "" where the archive is no layer:
    then no name means anything, a folder replaces a folder only, and no symlink may lead out, as `docker cp` has it.

    `xattr` is the opaque mark to use, `owners` and `devices` say whether this process can set owners and make device nodes, `notes` that what it cannot
    is noted beside the files (`layers.owners`).
    """

    whiteout: str = "plain"
    xattr: str = "user.overlay.opaque"
    owners: bool = True
    devices: bool = True
    notes: bool = False


def apply(stream: tar.Reader, root: str, style: Style, *, limits: tar.Limits | None = None) -> list[Entry]:
    """Lays a layer's tar down in the folder `root` and gives the layer's table of contents.

    Raises UnsafeArchive for a name that climbs out, a hard link out of the archive's own tree, a name that stands twice, or a bomb;
    CorruptContent for what is no tar. What was written before stays for the caller to remove.
    """
    with _Target(root, style) as target:
        table: dict[str, Entry] = {}
        for entry, body in tar.read(stream, limits=limits):
            entry = safe(entry)
            marker = as_marker(entry) if style.whiteout else None
            if not style.whiteout:
                _may_be_copied(entry, root)
            _no_twin(table, marker or entry)
            if marker:
                target.mark(marker)
            else:
                target.put(entry, body)
            table[(marker or entry).path + ("\0" if marker else "")] = marker or entry
        target.settle(e for e in table.values() if e.kind == "dir")
    return sorted(table.values(), key=lambda e: not e.marker)


def safe(entry: Entry) -> Entry:
    """Gives an entry whose names stay inside a root and can be names on a disk; raises UnsafeArchive."""
    for name, what in ((entry.path, "name"), (entry.link if entry.kind == "link" else "", "hard link target")):
        if name.startswith("/") or ".." in name.split("/") or "\0" in name:
            raise UnsafeArchive(f"archive entry leaves its root: {what} {name!r}", entry=entry.path, hint="make the archive from inside its root folder")
        if any(len(os.fsencode(part)) > 255 for part in name.split("/")):
            raise UnsafeArchive(f"archive entry has a name of more than 255 bytes: {name[:40]!r}…", entry=entry.path)
    if "\0" in entry.link or any("\0" in key for key in entry.xattrs):
        raise UnsafeArchive("archive entry holds a NUL where no file system can", entry=entry.path)
    if not entry.path and entry.kind != "dir":
        raise UnsafeArchive("archive would replace its own root", entry=entry.path)
    return entry


def _may_be_copied(entry: Entry, root: str) -> None:
    """Raises UnsafeArchive for what no copy brings into a container: the kernel's own whiteout, a symlink that leads out of the folder."""
    if entry.kind == "char" and entry.device == (0, 0):
        raise UnsafeArchive(f"/{entry.path} is a whiteout device", entry=entry.path)
    if entry.kind == "symlink" and not entry.link.startswith("/") and os.path.normpath(f"{parent_of(entry.path)}/{entry.link}".lstrip("/")).startswith(".."):
        raise UnsafeArchive(f'invalid symlink "{os.path.join(os.readlink(root) if os.path.islink(root) else root, entry.path)}" -> "{entry.link}"', entry=entry.path)


def as_marker(entry: Entry) -> Entry | None:
    """Gives the deletion that an entry stands for, or None; raises UnsafeArchive for one of a folder itself or its parent."""
    folder, _, name = entry.path.rpartition("/")
    if entry.kind == "char" and entry.device == (0, 0):
        # The kernel's own whiteout: overlayfs would take it as one, so it is one for everybody.
        return Entry(entry.path, "whiteout")
    if name == OPAQUE_NAME:
        return Entry(folder, "opaque")
    if not name.startswith(WHITEOUT):
        return None
    hidden = name.removeprefix(WHITEOUT)
    if not hidden or hidden in (".", ".."):
        raise UnsafeArchive(f"whiteout of {hidden!r}", entry=entry.path)
    # Names that begin with .wh..wh. are aufs's own book-keeping and mean nothing in an OCI layer.
    return Entry(f"{folder}/{hidden}" if folder else hidden, "whiteout") if not hidden.startswith(WHITEOUT) else Entry(entry.path, "whiteout")


def _no_twin(table: dict[str, Entry], entry: Entry) -> None:
    other = table.get(entry.path + ("\0" if entry.marker else ""))
    if other and not (other.kind == entry.kind == "dir"):
        raise UnsafeArchive(f"archive holds /{entry.path} twice", entry=entry.path, hint="a layer may name each path once (OCI image-spec, layer.md)")


class _Target:
    """The folder that an archive is laid down in; keeps folders open, since archives go folder by folder."""

    def __init__(self, root: str, style: Style) -> None:
        self.style = style
        self.root = os.open(root, os.O_PATH | os.O_DIRECTORY)
        self._open: dict[str, int] = {}
        self._own: set[str] = {""}
        self._hidden: set[str] = set()

    def __enter__(self) -> _Target:
        return self

    def __exit__(self, *_: object) -> None:
        self._forget()
        os.close(self.root)

    def _forget(self) -> None:
        for descriptor in self._open.values():
            os.close(descriptor)
        self._open.clear()

    def _next(self) -> None:
        if len(self._open) > _KEPT:  # only between two entries: in the middle of one, the descriptors are in use
            self._forget()

    def folder(self, path: str) -> int:
        """Gives a descriptor of the folder `path`, making what is missing; a symlink on the way is followed inside the root."""
        missing: list[str] = []
        while path and path not in self._open:
            missing.append(path)
            path = parent_of(path)
        parent, passing = self._open.get(path, self.root), -1
        try:
            while missing:
                place = missing.pop()
                inner = self._enter(parent, place.rpartition("/")[2], place)
                if passing >= 0:
                    os.close(passing)
                passing = inner
                if not missing or len(self._open) < _KEPT:
                    self._open[place], passing = inner, -1
                parent = inner
        except BaseException:
            if passing >= 0:
                os.close(passing)
            raise
        return parent

    def _enter(self, parent: int, name: str, path: str) -> int:
        flags = os.O_PATH | os.O_DIRECTORY
        for _ in range(2):
            try:
                return _open_in_root(self.root, parent, name, path, flags)
            except FileNotFoundError:
                if _exists(parent, name):
                    raise UnsafeArchive(f"archive entry passes through the symlink /{path}, which leads nowhere", entry=path) from None
                self._mkdir(parent, name, path, 0o755)
            except NotADirectoryError:
                self._remove(parent, name, path)
                self._mkdir(parent, name, path, 0o755)
            except OSError as error:
                raise _told(error, path) from error
        raise UnsafeArchive(f"archive entry needs /{path} as a folder", entry=path)

    def put(self, entry: Entry, body: tar.Body) -> None:
        """Makes what the entry describes."""
        parent, _, name = entry.path.rpartition("/")
        self._next()
        if not entry.path:
            return
        self._claim(entry.path)
        try:
            folder = self.folder(parent)
            self._make_room(folder, name, entry)
            self._make(folder, name, entry, body)
            self._dress(folder, name, entry)
        except OSError as error:
            raise _told(error, entry.path) from error

    def _claim(self, path: str) -> None:
        while path not in self._own:
            self._own.add(path)
            path = parent_of(path)

    def _make_room(self, folder: int, name: str, entry: Entry) -> None:
        try:
            status = os.lstat(name, dir_fd=folder)
        except FileNotFoundError:
            return
        folders = (entry.kind == "dir") + stat.S_ISDIR(status.st_mode)
        if folders == 1 and not self.style.whiteout:
            what = ("non-directory", "directory") if entry.kind == "dir" else ("directory", "non-directory")
            raise UnsafeArchive(f'cannot overwrite {what[0]} "{entry.path}" with {what[1]} "{entry.path}"', entry=entry.path)
        if folders < 2:
            self._remove(folder, name, entry.path)

    def _remove(self, folder: int, name: str, path: str) -> None:
        for known in [p for p in self._open if p == path or p.startswith(path + "/")]:
            os.close(self._open.pop(known))
        if not self.style.whiteout and is_mounted(folder, name):
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), path)
        remove_entry(folder, name)

    def _make(self, folder: int, name: str, entry: Entry, body: tar.Body) -> None:
        kind = entry.kind
        if kind == "dir":
            _existing(lambda: self._mkdir(folder, name, entry.path, 0o700))
        elif kind == "symlink":
            os.symlink(entry.link, name, dir_fd=folder)
        elif kind == "link":
            self._link(folder, name, entry)
        elif kind == "fifo":
            os.mkfifo(name, 0o600, dir_fd=folder)
        elif kind in ("char", "block") and self.style.devices:
            form = stat.S_IFCHR if kind == "char" else stat.S_IFBLK
            os.mknod(name, form | 0o600, os.makedev(*entry.device), dir_fd=folder)
        else:
            self._write(folder, name, body)

    def _mkdir(self, folder: int, name: str, path: str, mode: int) -> None:
        os.mkdir(name, mode, dir_fd=folder)
        if self.style.whiteout == "overlay" and path in self._hidden:
            # Whiteout and folder of one name in one layer: the folder begins empty.
            with _opened(folder, name) as place:
                os.setxattr(place, self.style.xattr, b"y")

    def _link(self, folder: int, name: str, entry: Entry) -> None:
        parent, _, target = entry.link.rpartition("/")
        try:
            _link(self.folder(parent), target, folder, name)
        except FileNotFoundError:
            raise UnsafeArchive(
                f"hard link /{entry.path} points to /{entry.link}, which the archive does not hold", entry=entry.path, hint="a hard link's target must stand before it in the same archive"
            ) from None

    def _write(self, folder: int, name: str, body: tar.Body) -> None:
        descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=folder)
        with open(descriptor, "wb", buffering=0) as file:
            for block in body.blocks():
                while block:  # a raw write on a disk that fills up takes a part of it, and says so only the next time
                    block = block[file.write(block) :]

    def _dress(self, folder: int, name: str, entry: Entry) -> None:
        if entry.kind == "link":
            return
        if self.style.owners:
            os.chown(name, entry.uid, entry.gid, dir_fd=folder, follow_symlinks=False)
        elif self.style.notes:
            self._note(folder, name, entry)
        if entry.kind != "symlink":
            # A folder keeps its owner's rights until all that it holds has been written.
            os.chmod(name, entry.mode | (0o700 if entry.kind == "dir" else 0), dir_fd=folder)
        if entry.xattrs:
            _set_xattrs(folder, name, entry)
        os.utime(name, ns=(entry.mtime * 10**9, entry.mtime * 10**9), dir_fd=folder, follow_symlinks=False)

    @staticmethod
    def _note(folder: int, name: str, entry: Entry) -> None:
        kind: Literal["", "char", "block"] = "char" if entry.kind == "char" else "block" if entry.kind == "block" else ""
        if not (entry.uid or entry.gid or kind):
            return
        owned = owners.Owned(entry.uid, entry.gid, kind, entry.device)
        with contextlib.suppress(OSError):  # a file system without attributes: the layer's table of contents still knows
            if entry.kind in ("symlink", "fifo"):
                owners.note(f"/proc/self/fd/{folder}/{name}", owned)
            else:
                with _opened(folder, name) as place:
                    os.setxattr(place, owners.OWNER, owned.encode())

    def mark(self, marker: Entry) -> None:
        """Hides what lies below; what this archive itself has put there stays."""
        self._next()
        try:
            parent, _, name = marker.path.rpartition("/")
            if marker.kind == "opaque":
                if marker.path and marker.path not in self._own:
                    self._make_room(self.folder(parent), name, Entry(marker.path, "dir"))
                self._opaque(marker.path)
            elif marker.path not in self._own:
                self._white_out(self.folder(parent), name, marker.path)
            elif stat.S_ISDIR(os.lstat(name, dir_fd=self.folder(parent)).st_mode):
                self._opaque(marker.path)
        except OSError as error:
            raise _told(error, marker.path) from error

    def _white_out(self, folder: int, name: str, path: str) -> None:
        if _exists(folder, name):
            self._remove(folder, name, path)
        self._hidden.add(path)
        if self.style.whiteout == "overlay":
            os.mknod(name, stat.S_IFCHR, 0, dir_fd=folder)

    def _opaque(self, path: str) -> None:
        folder = self.folder(path)
        if self.style.whiteout == "overlay":
            os.setxattr(f"/proc/self/fd/{folder}", self.style.xattr, b"y")
            return
        for name in os.listdir(f"/proc/self/fd/{folder}"):
            child = f"{path}/{name}" if path else name
            if child not in self._own:
                self._remove(folder, name, child)

    def settle(self, entries: Iterable[Entry]) -> None:
        """Gives folders their modes and times, deepest first, now that nothing more is written into them."""
        for entry in sorted(entries, key=lambda e: -e.path.count("/")):
            self._next()
            parent, _, name = entry.path.rpartition("/")
            try:
                with _opened(self.folder(parent), name or ".", os.O_DIRECTORY) as place:
                    os.chmod(place, entry.mode)
                    os.utime(place, ns=(entry.mtime * 10**9, entry.mtime * 10**9))
            except (FileNotFoundError, NotADirectoryError):
                # A later entry has put something else there, by another way to the same folder.
                continue
            except OSError as error:
                raise _told(error, entry.path) from error


def _open_in_root(root: int, parent: int, name: str, path: str, flags: int) -> int:
    try:
        status = os.lstat(name, dir_fd=parent)
        if not stat.S_ISLNK(status.st_mode):
            return os.open(name, flags | os.O_NOFOLLOW, dir_fd=parent)
        return syscalls.openat2(root, path, flags)
    except OSError as error:
        if error.errno in (errno.ENOSYS, errno.EPERM, errno.ELOOP):
            raise UnsafeArchive(f"archive entry passes through the symlink /{path}", entry=path) from error
        raise


def _link(parent: int, target: str, folder: int, name: str) -> None:
    try:
        os.link(target, name, src_dir_fd=parent, dst_dir_fd=folder, follow_symlinks=False)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK):
            raise
        # A file system without hard links: the same content under both names.
        with _opened(parent, target) as source, _opened(folder, ".") as place:
            shutil.copy2(source, f"{place}/{name}", follow_symlinks=True)


def _existing(make: Callable[[], object]) -> None:
    try:
        make()
    except FileExistsError:
        return


def _exists(folder: int, name: str) -> bool:
    try:
        os.lstat(name, dir_fd=folder)
    except FileNotFoundError:
        return False
    return True


@contextlib.contextmanager
def _opened(folder: int, name: str, flags: int = 0) -> Iterator[str]:
    """Gives a path to what is called so itself, never to what a symlink of that name points to."""
    descriptor = os.open(name, os.O_PATH | os.O_NOFOLLOW | flags, dir_fd=folder)
    try:
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def _set_xattrs(folder: int, name: str, entry: Entry) -> None:
    if entry.kind == "symlink":
        return
    with _opened(folder, name) as place:
        for key, value in entry.xattrs.items():
            if ".overlay." in key or key.startswith(owners.PREFIX):
                continue
            try:
                os.setxattr(place, key, value)
            except OSError as error:
                # What this host refuses stays in the layer's table of contents. ENOSPC here: no room beside the file, not a full disk.
                if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EINVAL) and not (error.errno == errno.ENOSPC and len(value) > 1000):
                    raise


def _told(error: OSError, path: str) -> Exception:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO):
        return error
    if error.errno == errno.ELOOP:
        return UnsafeArchive(f"archive entry /{path} runs in a circle of symlinks", entry=path)
    return UnsafeArchive(f"archive entry /{path[:200]} cannot be laid down: {error.strerror}", entry=path)
