"""The tiers of an ordinary user: a user namespace with a range of ids (subuid), or with one id only."""

from __future__ import annotations

import os

import msgspec

from dockerlab.linux import idmap, seccomp, syscalls
from dockerlab.linux.probe import with_range
from dockerlab.oci.runtime import Mount, Spec
from dockerlab.runtime import chroot, emulation, filters
from dockerlab.runtime.sandbox import Capabilities

__all__ = ["UserSandbox"]

_RANGED = "user namespace with a range of ids: root inside is you outside, other users are ids of your range"
_SINGLE = (
    "user namespace with one id: everything inside is you; owners, users and devices are kept by the engine (chown, su, adduser and apt-get work), "
    "but one emulated user is not kept from another's files; a container that starts as another user is held to that user's rights by Landlock"
)


_NO_MOUNTS = (
    "; this host refuses mount(2): the container's root is a chroot that Landlock holds it to, there is no /proc inside, volumes are copied in and back"
)


class UserSandbox:
    """All containers of an engine share the launcher's user namespace, in which the launcher is root."""

    def __init__(self, overlay: str, *, ranged: bool, fresh_proc: bool, mounts: bool = True) -> None:
        self._ranged, self._fresh_proc, self._mounts = ranged, fresh_proc, mounts
        name = ("ranged" if ranged else "single") + ("" if mounts else "-chroot")
        says = (_RANGED if ranged else _SINGLE) + ("" if mounts else _NO_MOUNTS)
        self.capabilities = Capabilities(name, False, ranged, overlay, False, fresh_proc, says, mounts, binds=mounts)

    def enter(self, shared: int = -1) -> None:
        """Makes the user namespace, or joins the one that is there, and becomes root in it."""
        uid, gid = os.geteuid(), os.getegid()
        if shared >= 0 and _joined(shared):
            pass
        elif self._ranged:
            with_range(idmap.ranges("uid"), idmap.ranges("gid"))
        else:
            syscalls.unshare(syscalls.CLONE_NEWUSER)
            idmap.write_own(idmap.single(0, uid), idmap.single(0, gid))
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)

    def adapt(self, spec: Spec) -> Spec:
        """Gives the spec with mounts that a user namespace may perform."""
        if not self._mounts:
            spec = chroot.adapted(spec, namespaces=True)
            linux = msgspec.structs.replace(spec.linux, seccomp=seccomp.extended(filters.of(spec), emulation.rules(serving=True, copying=True)) or None)
            return msgspec.structs.replace(spec, linux=linux)
        mounts = tuple(adapted for mount in spec.mounts if (adapted := self._mount(mount, spec.owns("network") or spec.joins("network"), spec.owns("pid") or spec.joins("pid"))))
        if self._ranged:
            return msgspec.structs.replace(spec, mounts=mounts)
        linux = msgspec.structs.replace(spec.linux, seccomp=seccomp.extended(filters.of(spec), emulation.rules(copying=not self.capabilities.overlay)) or None)
        return msgspec.structs.replace(spec, mounts=mounts, linux=linux)

    def _mount(self, mount: Mount, own_network: bool, own_pids: bool) -> Mount | None:
        if mount.type == "proc" and not (self._fresh_proc and own_pids):
            # A masked /proc is locked: it may be bound with all that is mounted in it, but not shown anew. The same is true of that of another pid namespace.
            return Mount(destination=mount.destination, source="/proc", options=("rbind", "nosuid", "noexec", "nodev"))
        if mount.type == "sysfs" and not own_network:
            return Mount(destination=mount.destination, source="/sys", options=("rbind", "ro", "nosuid", "noexec", "nodev"))
        if mount.type == "devpts" and not self._ranged:
            return msgspec.structs.replace(mount, options=tuple(word for word in mount.options if word != "gid=5"))
        return mount


def _joined(descriptor: int) -> bool:
    try:
        syscalls.setns(descriptor, syscalls.CLONE_NEWUSER)
    except OSError:
        return False
    return True
