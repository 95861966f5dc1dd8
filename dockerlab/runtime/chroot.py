"""The tiers without mount(2): the container's root is a folder that chroot(2) makes the root.

Nothing can be mounted, so what a container needs from outside is laid into its folder and, for volumes, taken back at its end (`laying`). chroot(2) is
no wall by itself: the right to do it again is dropped, and Landlock allows the folder and nothing else. Source: chroot(2), landlock(7).
"""

from __future__ import annotations

import msgspec

from dockerlab.errors import NotSupportedHere
from dockerlab.linux import seccomp
from dockerlab.oci.runtime import Capabilities as CapabilitySets
from dockerlab.oci.runtime import Mount, Namespace, Spec
from dockerlab.runtime import emulation, filters
from dockerlab.runtime.sandbox import Capabilities

__all__ = ["MARK", "ChrootSandbox", "adapted", "is_chroot", "laid", "refuse_network"]

MARK = "org.dockerlab.root"
_SAYS = (
    "chroot as root without CAP_SYS_ADMIN: real owners and users, but no namespaces: processes and network are this machine's, there is no /proc inside, "
    "volumes are copied in and back; Landlock holds the container to its folder; no security boundary"
)


class ChrootSandbox:
    """Root that may neither mount nor make namespaces, as in Colab or an ordinary container."""

    def __init__(self) -> None:
        self.capabilities = Capabilities("chroot", True, True, "", False, False, _SAYS, mounts=False, set_uid=False, namespaces=False, binds=False)

    def enter(self, shared: int = -1) -> None:
        """Nothing to do: root is root already."""

    def adapt(self, spec: Spec) -> Spec:
        """Gives the spec for a chroot without namespaces; raises NotSupportedHere for a network of its own."""
        refuse_network(spec)
        spec = adapted(spec, namespaces=False)
        linux = msgspec.structs.replace(spec.linux, seccomp=seccomp.extended(filters.of(spec), emulation.copying_rules()) or None)
        return msgspec.structs.replace(spec, linux=linux)


def refuse_network(spec: Spec) -> None:
    """Raises NotSupportedHere for a network of its own, which no host without namespaces gives."""
    if spec.owns("network") or spec.joins("network"):
        raise NotSupportedHere("this host gives a container no network of its own", reason="no namespaces", hint="leave --net none away: the container shares this machine's network")


def adapted(spec: Spec, *, namespaces: bool) -> Spec:
    """Gives the spec with the files and volumes that can be laid in, and without what only mount(2) gives."""
    mounts = laid(spec)
    process = spec.process
    if process.capabilities:
        kept = CapabilitySets(**{name: tuple(word for word in words if word != "CAP_SYS_CHROOT") for name, words in msgspec.structs.asdict(process.capabilities).items()})
        process = msgspec.structs.replace(process, capabilities=kept)
    # Landlock asks for this of whoever lacks CAP_SYS_ADMIN.
    process = msgspec.structs.replace(process, no_new_privileges=process.no_new_privileges or not namespaces)
    own: tuple[Namespace, ...] = tuple(n for n in spec.linux.namespaces if n.type not in ("mount", "cgroup")) if namespaces else ()
    profile = filters.of(spec, process.capabilities.bounding) if process.capabilities else None
    linux = msgspec.structs.replace(spec.linux, namespaces=own, seccomp=profile or None, masked_paths=(), readonly_paths=())
    return msgspec.structs.replace(spec, process=process, mounts=mounts, linux=linux, annotations={**spec.annotations, MARK: "chroot"})


def laid(spec: Spec) -> tuple[Mount, ...]:
    """Gives the mounts of a spec that files and folders can stand for: /dev and what is in it is made otherwise."""
    return tuple(mount for mount in spec.mounts if mount.type in ("bind", "tmpfs") and not f"{mount.destination}/".startswith("/dev/"))


def is_chroot(spec: Spec) -> bool:
    """Tells whether a spec was made by `adapted`."""
    return spec.annotations.get(MARK) == "chroot"
