"""Users, owners and devices for a container whose host gives it one user id: the monitor answers the calls that the kernel would refuse.

chown(2) notes an owner beside the file, stat(2) tells it, setuid(2) changes what getuid(2) says, mknod(2) leaves a note, and what another user
makes is that user's. So `apt-get`, `adduser`, `su` and `install -o` work, and layers get true owners. It helps programs along and is no wall:
what root may do inside, any of these users may, but for making files and changing modes. A container that *starts* as another user is held by
Landlock on top (`init`).
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from dockerlab.layers import owners
from dockerlab.layers.owners import Owned
from dockerlab.linux import calls, syscalls
from dockerlab.linux.notify import Asked, Listener, read_memory, read_text
from dockerlab.runtime import arguments, credentials
from dockerlab.runtime.arguments import AT_FDCWD, NOFOLLOW, flags_of, mode_of, packed, place_of, signed, umask_of
from dockerlab.runtime.copyup import CopyUp
from dockerlab.runtime.credentials import UNCHANGED, Credentials, Processes
from dockerlab.runtime.finding import INSIDE, File, Finder
from dockerlab.runtime.serving import Serving

__all__ = ["Circumstances", "Emulation", "copying_rules", "rules", "without_listener"]

_SET, _GET = ("setuid", "setreuid", "setresuid", "setgid", "setregid", "setresgid"), ("getuid", "geteuid", "getgid", "getegid")
_WATCHED = (
    "chown", "lchown", "fchown", "fchownat", "chmod", "fchmod", "fchmodat", *_SET, "setgroups", "setfsuid", "setfsgid", *_GET, "getresuid", "getresgid", "getgroups",
    "stat", "lstat", "fstat", "newfstatat", "creat", "mkdir", "mkdirat", "symlink", "symlinkat", "mknod", "mknodat", "execve", "execveat",
)  # fmt: skip
# The C library does without these: with stat, openat and fchmodat, which are answered here.
_ABSENT = ("statx", "openat2", "fchmodat2")
_ROOT = Owned(0, 0)


def rules(*, serving: bool = False, copying: bool = False) -> list[dict[str, Any]]:
    """Gives what a seccomp profile needs for this, as config-linux.md "Seccomp" words it.

    `serving`: devices have to be opened for the container; `copying`: its files are a whole copy (`copyup`).
    """
    return [
        {"names": _have((*_WATCHED, *(("open", "openat") if serving else ()))), "action": "SCMP_ACT_NOTIFY"},
        *(_having(name, place, os.O_CREAT) for name, place in (("open", 1), ("openat", 2))),
        *(copying_rules() if copying else []),
        {"names": ["prctl"], "action": "SCMP_ACT_NOTIFY", "args": [{"index": 0, "value": syscalls.PR_SET_KEEPCAPS, "op": "SCMP_CMP_EQ"}]},
        {"names": _have(_ABSENT), "action": "SCMP_ACT_ERRNO", "errnoRet": errno.ENOSYS},
    ]


def copying_rules() -> list[dict[str, Any]]:
    """Gives the rules for whole copies alone, where the kernel itself knows users."""
    opens = [_having(name, place, flag) for name, place in (("open", 1), ("openat", 2)) for flag in (os.O_WRONLY, os.O_RDWR)]
    return [{"names": _have(tuple(name for name in arguments.CHANGES if not name.startswith("open"))), "action": "SCMP_ACT_NOTIFY"}, *opens]


def _having(name: str, place: int, flag: int) -> dict[str, Any]:
    return {"names": _have((name,)), "action": "SCMP_ACT_NOTIFY", "args": [{"index": place, "value": flag, "valueTwo": flag, "op": "SCMP_CMP_MASKED_EQ"}]}


def without_listener() -> list[dict[str, Any]]:
    """Gives the rules for a host where another listener is in the way (seccomp_unotify(2): EBUSY): the calls succeed and do nothing."""
    names = ("chown", "lchown", "fchown", "fchownat", *_SET, "setgroups", "setfsuid", "setfsgid")
    return [{"names": _have(names), "action": "SCMP_ACT_ERRNO", "errnoRet": 0}]


def _have(names: tuple[str, ...]) -> list[str]:
    return [name for name in names if calls.number(name) >= 0]


def _id(word: int) -> int:
    return word & 0xFFFFFFFF


class _Refused(Exception):
    def __init__(self, number: int) -> None:
        self.number = number


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What a container's host and image ask of the emulation.

    `users`: the kernel knows one user only. `anybody`: some file of the image is another's than root's. `set_uid`: such programs act. `serving`: opens what
    only the host has. `root`: where the container's files stand, for PRoot. `writable`: with PRoot, the folders where it may change anything. `copies`: the files are
    a whole copy, with the image's hard links. `stays`: the root that no process of the container can change, if so. `ending` is told of each process that
    is about to end by itself, and its exit code.
    """

    users: bool = True
    anybody: bool = False
    set_uid: bool = True
    serving: Serving | None = None
    root: str = ""
    writable: tuple[str, ...] = ()
    copies: CopyUp | None = None
    stays: str = ""
    ending: Callable[[int, int], object] | None = None


class Emulation:
    """The answers for one container. `told` is given, once a kind, what a person should know of it."""

    def __init__(self, listener: Listener, first: Credentials, told: Callable[[str, str], object], around: Circumstances) -> None:
        self._listener, self._told, self._around = listener, told, around
        self._processes = Processes(first)
        self._find = Finder(around.stays)
        # Whether any file of the container may have an owner: until then stat(2) needs no look.
        self._any = around.anybody or not first.root or bool(around.root)
        self._serving, self._root, self._copies = around.serving, around.root, around.copies
        # What the kernel itself says of every file of ours; a user namespace in the container gives the id another number.
        self._shown = Owned(os.geteuid(), os.getegid()) if first.root or around.serving or around.root else Owned(first.ruid, first.rgid)
        # For file systems that keep no attributes: good as long as the container runs.
        self._table: dict[tuple[int, int], Owned] = {}
        self._handlers = {number: (name, getattr(self, f"_{_FAMILY[name]}")) for name in _FAMILY if (number := calls.number(name)) >= 0}

    def close(self) -> None:
        """Lets go of what it holds open."""
        self._find.close()

    def serve(self) -> bool:
        """Deals with the next call; False when nobody is left to ask."""
        try:
            asked = self._listener.next()
        except OSError:
            return False
        if asked is None:
            return True
        name, handler = self._handlers.get(asked.number, (calls.name_of(asked.number), None))
        if self._root and self._kept(name, asked):
            self._listener.refuse(asked, errno.EROFS)
            return True
        if name == "exit_group" and self._around.ending:
            self._around.ending(asked.pid, asked.args[0] & 0xFF)
        if self._copies:
            self._copy_up(name, asked)
        if not self._around.users or handler is None:
            self._listener.let_go(asked)
            return True
        try:
            handler(name, asked)
        except _Refused as refused:
            self._listener.refuse(asked, refused.number)
        except Exception:
            # A path that is not there, memory that is not the caller's: the kernel has the right words, and no fault of ours may end a container.
            self._listener.let_go(asked)
        return True

    def _kept(self, name: str, asked: Asked) -> bool:
        """Tells whether a call would change mode, owner, times or attributes of what a container under PRoot may only read: Landlock has no word for these."""
        if name not in arguments.MARKS:
            return False
        where = (signed(asked.args[0]), 0, 0) if name in ("fchmod", "fchown") else arguments.changed(name, asked)
        with contextlib.suppress(OSError), self._find.opened(asked, *where) as file:
            return not self._writable(file)
        return False

    def _writable(self, file: File) -> bool:
        place = os.readlink(f"/proc/self/fd/{file.fd}")
        return not self._root or any(f"{place}/".startswith(f"{folder}/") for folder in self._around.writable)

    def _copy_up(self, name: str, asked: Asked) -> None:
        folder, address, flags = arguments.changed(name, asked) if name in arguments.CHANGES else (AT_FDCWD, 0, 0)
        if address and self._copies:
            with contextlib.suppress(OSError), self._find.opened(asked, folder, address, flags) as file:
                self._copies.before_change(file.fd)

    # Users

    def _set_ids(self, name: str, asked: Asked) -> None:
        old = self._processes.of(asked.pid)
        count = {"setuid": 1, "setgid": 1, "setreuid": 2, "setregid": 2}.get(name, 3)
        ids = tuple(_id(word) for word in asked.args[:count])
        new = (credentials.with_user_call if "uid" in name else credentials.with_group_call)(name, ids, old)
        if new is None:
            raise _Refused(errno.EPERM)
        self._changed(asked, new)

    def _changed(self, asked: Asked, new: Credentials) -> None:
        if new != self._processes.of(asked.pid):
            self._processes.set(asked.pid, new)
            self._any = True
        self._listener.answer(asked)

    def _setgroups(self, name: str, asked: Asked) -> None:
        old = self._processes.of(asked.pid)
        count = asked.args[0] & 0xFFFFFFFF
        if not old.root:
            raise _Refused(errno.EPERM)
        if count > 65536:
            raise _Refused(errno.EINVAL)
        # The kernel keeps them in order.
        groups = tuple(sorted(struct.unpack(f"={count}I", read_memory(asked.pid, asked.args[1], 4 * count)))) if count else ()
        self._changed(asked, replace(old, groups=groups))

    def _prctl(self, name: str, asked: Asked) -> None:
        who = self._processes.of(asked.pid)
        if who.root and who.keeps != bool(asked.args[1]):
            self._processes.set(asked.pid, replace(who, keeps=bool(asked.args[1])))
        self._listener.let_go(asked)

    def _set_fs(self, name: str, asked: Asked) -> None:
        who = self._processes.of(asked.pid)
        self._listener.answer(asked, who.euid if name == "setfsuid" else who.egid)

    def _get_id(self, name: str, asked: Asked) -> None:
        who = self._processes.of(asked.pid)
        self._listener.answer(asked, {"getuid": who.ruid, "geteuid": who.euid, "getgid": who.rgid, "getegid": who.egid}[name])

    def _get_three(self, name: str, asked: Asked) -> None:
        who = self._processes.of(asked.pid)
        ids = (who.ruid, who.euid, who.suid) if name == "getresuid" else (who.rgid, who.egid, who.sgid)
        for address, value in zip(asked.args, ids, strict=False):
            self._listener.write(asked, address, struct.pack("=I", value))
        self._listener.answer(asked)

    def _getgroups(self, name: str, asked: Asked) -> None:
        groups = self._processes.of(asked.pid).groups
        room = signed(asked.args[0])
        if room and room < len(groups):
            raise _Refused(errno.EINVAL)
        if room and groups:
            self._listener.write(asked, asked.args[1], struct.pack(f"={len(groups)}I", *groups))
        self._listener.answer(asked, len(groups))

    def _exec(self, name: str, asked: Asked) -> None:
        who = self._processes.of(asked.pid)
        if who.keeps:
            who = replace(who, keeps=False)
            self._processes.set(asked.pid, who)
        if who.root or not self._around.set_uid:
            self._listener.let_go(asked)
            return
        folder, address, flags = (signed(asked.args[0]), asked.args[1], signed(asked.args[4])) if name == "execveat" else (AT_FDCWD, asked.args[0], 0)
        with self._find.found(asked, folder, address, flags) as file:
            status, owner = os.fstat(file.fd), self._owner(file) or _ROOT
            acts = stat.S_ISREG(status.st_mode)
            if acts:  # to open a pipe would be to wait for its other end
                with open(f"/proc/self/fd/{file.fd}", "rb", buffering=0) as program:
                    acts = program.read(2) != b"#!"
            bits = status.st_mode if acts else 0
            uid = owner.uid if bits & stat.S_ISUID else who.euid
            gid = owner.gid if bits & stat.S_ISGID and bits & stat.S_IXGRP else who.egid
            if credentials.may(who, owner.uid, owner.gid, status.st_mode, 1) and (uid, gid) != (who.euid, who.egid):
                self._told("set-id", f"{file.path} is set-{'uid' if uid != who.euid else 'gid'}: it runs as {'user' if uid != who.euid else 'group'} "
                                     f"{uid if uid != who.euid else gid}, emulated, since this host gives a container one user id")  # fmt: skip
                self._processes.set(asked.pid, replace(who, euid=uid, suid=uid, egid=gid, sgid=gid))
        self._listener.let_go(asked)

    # Owners

    def _chown(self, name: str, asked: Asked) -> None:
        if name == "fchownat":
            where = (signed(asked.args[0]), asked.args[1], signed(asked.args[4]))
            uid, gid = _id(asked.args[2]), _id(asked.args[3])
        else:
            where = (signed(asked.args[0]) if name == "fchown" else AT_FDCWD, 0 if name == "fchown" else asked.args[0], NOFOLLOW if name == "lchown" else 0)
            uid, gid = _id(asked.args[1]), _id(asked.args[2])
        with self._find.opened(asked, *where) as file:
            if not self._writable(file):
                raise _Refused(errno.EROFS)
            who, old = self._processes.of(asked.pid), self._owner(file) or _ROOT
            new = old._replace(uid=old.uid if uid == UNCHANGED else uid, gid=old.gid if gid == UNCHANGED else gid)
            own_group = new.uid == old.uid == who.euid and new.gid in (who.egid, *who.groups)
            if not (who.root or own_group):
                raise _Refused(errno.EPERM)
            if not self._listener.waits(asked):  # its number may be another's by now, and so all that was found with it
                return
            if new != old:
                self._note(file, new)
            status = os.fstat(file.fd)
            if stat.S_ISREG(status.st_mode) and status.st_mode & 0o6000:  # a new owner's program is not the old one's; chown(2)
                os.chmod(f"/proc/self/fd/{file.fd}", stat.S_IMODE(status.st_mode) & ~0o6000)
        self._listener.answer(asked)

    def _chmod(self, name: str, asked: Asked) -> None:
        who = self._processes.of(asked.pid)
        if not who.root:
            folder = signed(asked.args[0]) if name in ("fchmod", "fchmodat") else AT_FDCWD
            address = 0 if name == "fchmod" else asked.args[1] if name == "fchmodat" else asked.args[0]
            with self._find.opened(asked, folder, address, 0) as file:
                if (self._owner(file) or _ROOT).uid != who.euid:
                    raise _Refused(errno.EPERM)
        self._listener.let_go(asked)

    def _stat(self, name: str, asked: Asked) -> None:
        if not (self._any or self._serving):
            self._listener.let_go(asked)
            return
        if name == "newfstatat":
            where, buffer = (signed(asked.args[0]), asked.args[1], signed(asked.args[3])), asked.args[2]
        else:
            where = (signed(asked.args[0]) if name == "fstat" else AT_FDCWD, 0 if name == "fstat" else asked.args[0], NOFOLLOW if name == "lstat" else 0)
            buffer = asked.args[1]
        folder, address, flags = where
        path = read_text(asked.pid, address) if address else b""
        if self._serving and path and (host := self._serving.of_path(asked, folder, path)):
            self._listener.write(asked, buffer, packed(os.stat(host), _ROOT))
            self._listener.answer(asked)
            return
        with self._find.opened(asked, folder, address, flags, path) as file:
            owner, status = self._owner(file), file.status
        if owner is None or owner == self._shown:
            self._listener.let_go(asked)
            return
        self._listener.write(asked, buffer, packed(status, owner))
        self._listener.answer(asked)

    def _owner(self, file: File) -> Owned | None:
        """Gives whose something is: what is noted, else root; None where that is the kernel's to say."""
        status = file.status
        try:
            found = owners.at(file.fd) if owners.takes_notes(status.st_mode) or not file.named else owners.noted(file.named)
        except OSError:
            return self._table.get((status.st_dev, status.st_ino))
        # What is not ours on disk came into the container from the host.
        return found or self._table.get((status.st_dev, status.st_ino)) or (_ROOT if status.st_uid == os.geteuid() else None)

    def _note(self, file: File, owned: Owned) -> None:
        self._any = True
        status = os.fstat(file.fd)
        try:
            if owners.takes_notes(status.st_mode):
                owners.note_at(file.fd, owned)
            else:
                owners.note(file.named, owned)
        except OSError as error:
            if error.errno == errno.EROFS:
                raise _Refused(errno.EROFS) from None
            self._table[status.st_dev, status.st_ino] = owned

    # Making things

    def _make(self, name: str, asked: Asked) -> None:
        who = self._processes.of(asked.pid)
        device = name.startswith("mknod") and stat.S_IFMT(mode_of(name, asked)) in (stat.S_IFCHR, stat.S_IFBLK)
        if name in ("open", "openat", "creat"):
            flags = flags_of(name, asked)
            if self._serving and self._serving.opened(asked, place_of(name, asked)[0], read_text(asked.pid, place_of(name, asked)[1]), flags):
                return
            if not flags & os.O_CREAT:
                self._listener.let_go(asked)
                return
        if who.root != device:  # root's own files are root's without a note; who is not root makes no device
            self._listener.let_go(asked)
            return
        folder, address = place_of(name, asked)
        path = read_text(asked.pid, address)
        parent, _, last = path.rstrip(b"/").rpartition(b"/")
        with self._find.resolved(asked, folder, parent or (b"/" if path.startswith(b"/") else b"."), 0) as place:
            if os.path.lexists(target := f"/proc/self/fd/{place.fd}/{os.fsdecode(last)}") or last in (b"", b".", b".."):
                self._listener.let_go(asked)
                return
            if not self._writable(place):
                self._listener.let_go(asked)  # Landlock decides
                return
            self._may_make(asked, place, who)
            if not self._listener.waits(asked):
                return
            self._made(name, asked, who, target, place)

    def _made(self, name: str, asked: Asked, who: Credentials, target: str, place: File) -> None:
        mode, status = mode_of(name, asked) & ~umask_of(asked.pid), os.fstat(place.fd)
        inherited = status.st_mode & stat.S_ISGID
        owned = Owned(who.euid, (self._owner(place) or _ROOT).gid if inherited else who.egid)
        if name in ("open", "openat", "creat"):
            flags = flags_of(name, asked)
            descriptor = os.open(target, flags | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode & 0o7777)
            try:
                with File(os.dup(descriptor), target) as file:
                    self._note(file, owned)
                self._listener.give(asked, descriptor, close_on_exec=bool(flags & os.O_CLOEXEC))
            finally:
                os.close(descriptor)
            return
        if name.startswith("mkdir"):
            os.mkdir(target, mode & 0o1777)
            if inherited:
                # By a descriptor: under its name a symlink may stand by now.
                with File(os.open(target, os.O_PATH | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC), "") as folder:
                    os.chmod(f"/proc/self/fd/{folder.fd}", stat.S_IMODE(os.fstat(folder.fd).st_mode) | stat.S_ISGID)
        elif name.startswith("symlink"):
            os.symlink(read_text(asked.pid, asked.args[0]), target)
        else:
            owned = _node(mode, asked.args[3 if name == "mknodat" else 2], target, owned)
        with File(os.open(target, os.O_PATH | os.O_NOFOLLOW), target) as file:
            self._note(file, owned)
        self._listener.answer(asked)

    def _may_make(self, asked: Asked, place: File, who: Credentials) -> None:
        """Raises where mode bits refuse: another user makes nothing in a folder of root's, nor in one that it cannot reach."""
        with self._find.root(asked.pid) as root:
            path = os.readlink(f"/proc/self/fd/{place.fd}")
            if self._root and not f"{path}/".startswith(f"{self._root}/"):
                return  # PRoot's own affairs
            base = self._root or os.readlink(f"/proc/self/fd/{root.fd}").rstrip("/")
            inner = path.removeprefix(base).strip("/")
            steps = inner.split("/") if inner else []
            for count in range(len(steps) + 1):
                folder = syscalls.openat2(root.fd, "/".join((self._root, *steps[:count])).lstrip("/") or ".", os.O_PATH | os.O_DIRECTORY, resolve=INSIDE)
                with File(folder, "") as step:
                    owner = self._owner(step) or _ROOT
                    wanted = 3 if count == len(steps) else 1
                    if not credentials.may(who, owner.uid, owner.gid, os.fstat(step.fd).st_mode, wanted):
                        raise _Refused(errno.EACCES)


_FAMILY = {
    **dict.fromkeys(_SET, "set_ids"), "setfsuid": "set_fs", "setfsgid": "set_fs", **dict.fromkeys(_GET, "get_id"), "getresuid": "get_three", "getresgid": "get_three",
    "setgroups": "setgroups", "getgroups": "getgroups", "prctl": "prctl", "chown": "chown", "chmod": "chmod", "stat": "stat",
    "lchown": "chown", "fchown": "chown", "fchownat": "chown", "fchmod": "chmod", "fchmodat": "chmod", "lstat": "stat", "fstat": "stat", "newfstatat": "stat",
    **dict.fromkeys(("open", "openat", "creat", "mkdir", "mkdirat", "mknod", "mknodat", "symlink", "symlinkat"), "make"), "execve": "exec", "execveat": "exec",
}  # fmt: skip


def _node(mode: int, number: int, target: str, owned: Owned) -> Owned:
    """Makes what mknod(2) asks for, a device as an empty file with a note."""
    kind = stat.S_IFMT(mode)
    if kind not in (stat.S_IFCHR, stat.S_IFBLK):
        os.mknod(target, mode)
        return owned
    if not number:  # overlayfs's own sign for a deleted file
        raise _Refused(errno.EPERM)
    os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, stat.S_IMODE(mode)))
    return owned._replace(kind="char" if kind == stat.S_IFCHR else "block", device=(os.major(number), os.minor(number)))
