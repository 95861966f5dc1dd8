"""What each kind of host refuses, and how a process that is root becomes one that lives on such a host."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass, field
from typing import Any

from dockerlab.linux import capabilities, seccomp, syscalls

__all__ = ["SHAPES", "Shape", "become"]

_MOUNTS = ("mount", "umount2", "pivot_root", "open_tree", "move_mount", "fsmount", "mount_setattr")
_MASKED = ("/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/scsi")


@dataclass(frozen=True, slots=True)
class Shape:
    """One kind of host.

    `user`: an ordinary user. `bounding`: all that a program there may ever hold, None for no limit. `contained`: the host is itself a container, with
    places of /proc masked and no writing to control groups. `profile`: what its filter of system calls does, in the runtime specification's words.
    """

    name: str
    says: str
    tier: str
    user: bool = True
    bounding: tuple[str, ...] | None = None
    no_new_privileges: bool = False
    contained: bool = False
    profile: dict[str, Any] = field(default_factory=dict)


def _profile(*rules: dict[str, Any]) -> dict[str, Any]:
    return {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": list(rules)}


def _rule(number: int, *names: str, having: int = 0) -> dict[str, Any]:
    args = [{"index": 0, "value": having, "valueTwo": having, "op": "SCMP_CMP_MASKED_EQ"}] if having else []
    return {"names": list(names), "action": "SCMP_ACT_ERRNO", "errnoRet": number, "args": args}


_NO_MOUNTS = _profile(_rule(errno.EACCES, *_MOUNTS))
# unshare(2) says yes and nothing follows: every later call meets the rights that the process had before, as under Ubuntu's AppArmor profile.
_REFUSED = _profile(
    _rule(0, "unshare", having=syscalls.CLONE_NEWUSER), _rule(errno.EPERM, "clone", having=syscalls.CLONE_NEWUSER), _rule(errno.ENOSYS, "clone3")
)  # fmt: skip
_DOCKER = capabilities.DEFAULT
_INSIDE: dict[str, Any] = {"no_new_privileges": True, "contained": True, "bounding": _DOCKER}

SHAPES: dict[str, Shape] = {
    shape.name: shape
    for shape in (
        Shape("root", "root of a virtual machine", "root", user=False),
        Shape("limited-root", "root without CAP_SYS_ADMIN under docker's filter (Colab-like)", "chroot", False, _DOCKER, False, True, seccomp.default_profile(_DOCKER)),
        Shape("ranged", "a user with a range of ids in /etc/subuid", "ranged"),
        Shape("single", "one id under no_new_privs (a container without a filter)", "single", **_INSIDE),
        Shape("no-mount", "the same with mount(2) refused (mybinder-like)", "", **_INSIDE, profile=_NO_MOUNTS),
        Shape("no-userns", "one id under docker's filter: no user namespace", "", **_INSIDE, profile=seccomp.default_profile(_DOCKER)),
        Shape("refused", "unshare succeeds and is refused after (Ubuntu-24.04-like)", "", profile=_REFUSED),
    )
}  # fmt: skip


def become(shape: Shape, uid: int, gid: int) -> None:
    """Turns this process, which is root and has one thread, into one of that host; there is no way back."""
    syscalls.unshare(syscalls.CLONE_NEWNS)
    syscalls.mount(None, "/", None, syscalls.MS_REC | syscalls.MS_PRIVATE)
    if shape.contained:
        _mask()
    if shape.bounding is not None:
        capabilities.drop_bounding(capabilities.mask(shape.bounding))
    if shape.profile:
        seccomp.install(seccomp.compile_profile(shape.profile))
    if shape.user:
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    elif shape.bounding is not None:
        held = capabilities.mask(shape.bounding)
        capabilities.apply(held, held, 0)
    if shape.no_new_privileges:
        capabilities.no_new_privileges()


def _mask() -> None:
    for path in _MASKED:
        if os.path.isdir(path):
            syscalls.mount("tmpfs", path, "tmpfs", syscalls.MS_RDONLY)
        elif os.path.exists(path):
            syscalls.mount("/dev/null", path, None, syscalls.MS_BIND)
    if os.path.isdir("/sys/fs/cgroup"):
        syscalls.mount("/sys/fs/cgroup", "/sys/fs/cgroup", None, syscalls.MS_BIND | syscalls.MS_REC)
        syscalls.mount_setattr_readonly("/sys/fs/cgroup")
