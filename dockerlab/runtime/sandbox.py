"""The Sandbox protocol: start a process as isolated as this host permits, and say how isolated that is."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from dockerlab.errors import NotSupportedHere
from dockerlab.linux.probe import Finding
from dockerlab.oci.runtime import Spec

__all__ = ["Capabilities", "Sandbox", "by_name", "choose"]


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What the chosen tier can do; all that the rest of dockerlab needs to know of it.

    `direct`: this process is the container's root already. `owners`: files can have owners. `overlay`: "trusted", "user" or "" for none.
    `cgroups`: groups can be made. `mounts`: files and volumes can be mounted; else they are copied.
    `set_uid`: a set-uid program acts, truly or emulated. `namespaces`: processes, name and network can be its own. `binds`: volumes are seen where they
    lie, mounted or not. `says`: one sentence for people, with what is not enforced.
    """

    tier: str
    direct: bool
    owners: bool
    overlay: str
    cgroups: bool
    fresh_proc: bool
    says: str
    mounts: bool = True
    set_uid: bool = True
    namespaces: bool = True
    binds: bool = True


class Sandbox(Protocol):
    """One tier."""

    capabilities: Capabilities

    def enter(self, shared: int = -1) -> None:
        """Brings this single-threaded process into the container's world, where it is root; `shared` is a user namespace of the engine's that is there already. Raises OSError."""
        ...

    def adapt(self, spec: Spec) -> Spec:
        """Gives the spec as this tier can perform it: the same container, by the means that the host allows."""
        ...


def choose(findings: Sequence[Finding]) -> Sandbox:
    """Gives the strongest tier that truly works; raises NotSupportedHere with what was refused and what an administrator can do."""
    from dockerlab.runtime.chroot import ChrootSandbox
    from dockerlab.runtime.proot import ProotSandbox
    from dockerlab.runtime.root import RootSandbox
    from dockerlab.runtime.userns import UserSandbox

    ok = {finding.name for finding in findings if finding.ok}
    if "root" in ok:
        return RootSandbox("trusted" if "overlay" in ok else "", cgroups="cgroups" in ok)
    if {"user namespace", "mount"} <= ok:
        overlay = "user" if "overlay userxattr" in ok else ""
        return UserSandbox(overlay, ranged="id range" in ok, fresh_proc="fresh proc" in ok)
    if {"user namespace", "chroot inside", "listener"} <= ok:
        return UserSandbox("", ranged=False, fresh_proc=False, mounts=False)
    if "chroot" in ok:
        return ChrootSandbox()
    if {"proot", "listener", "landlock"} <= ok:
        return ProotSandbox()
    refused = "; ".join(f"{f.name}: {f.detail}" for f in findings if f.name in ("kernel", "root", "user namespace", "mount") and not f.ok)
    raise NotSupportedHere(f"this host lets nobody start a container here ({refused})", reason=refused, hint=_cure(findings))


def _cure(findings: Sequence[Finding]) -> str:
    """Gives what can be done about it: PRoot needs no privilege; the rest is for an administrator, by what was refused first."""
    if any(f.name == "proot" and f.detail == "proot is not installed" for f in findings):
        return f"install the package proot; or {_lifted(findings)}"
    return _lifted(findings)


def _lifted(findings: Sequence[Finding]) -> str:
    refused = next((f for f in findings if f.name in ("kernel", "user namespace", "mount") and not f.ok), None)
    if refused is None or refused.name == "kernel":
        return "use a Linux machine: Binder, WSL 2 or Lima give you one"
    if refused.name == "mount":
        return "ask an administrator to allow mount(2) here: the container that this runs in needs --security-opt seccomp=unconfined (and apparmor=unconfined)"
    if refused.errno == errno.ENOSPC:
        return "ask an administrator for user namespaces: sysctl user.max_user_namespaces is 0, or all are in use"
    if not refused.detail.startswith("unshare"):
        return "ask an administrator to let user namespaces be used (Ubuntu 24.04: sysctl kernel.apparmor_restrict_unprivileged_userns=0), or run as root"
    return (
        "ask an administrator to allow user namespaces: sysctl kernel.unprivileged_userns_clone=1 (Debian), "
        "or --security-opt seccomp=unconfined for the container that this runs in; or run as root"
    )


def by_name(name: str, overlay: str, options: dict[str, bool]) -> Sandbox:
    """Gives the tier that another process of the same engine has chosen."""
    from dockerlab.runtime.chroot import ChrootSandbox
    from dockerlab.runtime.root import RootSandbox
    from dockerlab.runtime.userns import UserSandbox

    if name == "chroot":
        return ChrootSandbox()
    if name == "proot":
        from dockerlab.runtime.proot import ProotSandbox

        return ProotSandbox()
    if name == "root":
        return RootSandbox(overlay, cgroups=options["cgroups"])
    return UserSandbox(overlay, ranged=options["owners"], fresh_proc=options["fresh_proc"], mounts=options["mounts"])
