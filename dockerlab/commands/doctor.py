"""`doctor`: one page on what a container on this host can do, what is kept up by the engine, what is missing, and what would lift each limit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from dockerlab.commands.call import Call, Outcome
from dockerlab.commands.columns import table
from dockerlab.errors import NotSupportedHere
from dockerlab.linux.probe import Finding
from dockerlab.runtime.sandbox import Capabilities
from dockerlab.widgets import html

__all__ = ["Ability", "Page", "abilities", "doctor"]

_RANGE = "ask for a range of ids in /etc/subuid and /etc/subgid, and install the package uidmap"
_MOUNT = "start the container that this runs in with --security-opt seccomp=unconfined, or ask for mount(2)"
_NAMESPACES = "ask for user namespaces: sysctl kernel.unprivileged_userns_clone=1 (Debian), kernel.apparmor_restrict_unprivileged_userns=0 (Ubuntu)"
_TAP = "install the package slirp4netns, and ask for /dev/net/tun"
_DISK = "set DOCKERLAB_HOME to a folder on a disk of its own: overlayfs cannot be stacked on this one"
_GROUPS = "run as root, or ask for a delegated control group (systemd: Delegate=yes)"
_WORDS = {"live": "✓ live", "kept up": "◐ kept up", "missing": "✕ missing"}
_TINTS = {"live": "added", "kept up": "changed", "missing": "deleted"}


@dataclass(frozen=True, slots=True)
class Ability:
    """One thing that a container does: for real, kept up by the engine where the kernel would refuse it, or not at all; how, where the lessons need it, the cure."""

    name: str
    state: Literal["live", "kept up", "missing"]
    how: str
    lessons: str = ""
    lift: str = ""


def abilities(able: Capabilities, findings: Sequence[Finding]) -> list[Ability]:
    """Gives what follows for containers from the tier that was chosen."""
    namespaced, bound = able.namespaces, able.binds
    cure = _MOUNT if "user namespace" in {finding.name for finding in findings if finding.ok} else _NAMESPACES
    mounted, owned = "" if able.mounts else cure, "" if able.owners else _RANGE
    return [
        Ability("root file system of its own", "live" if able.mounts else "kept up", _root(able), "all", mounted),
        Ability("copies of an image", "live" if able.overlay else "kept up", _COPIES[bool(able.overlay)], "1", "" if able.overlay else mounted or _DISK),
        Ability("processes of its own", "live" if namespaced else "missing", _processes(able), "1, B10", mounted),
        Ability("name and network of its own", "live" if namespaced else "missing", _NAMES[namespaced], "B8", "" if namespaced else cure),
        _way_out(able, findings, cure),
        Ability("owners of files", "live" if able.owners else "kept up", _OWNERS[able.owners], "A2, B2, B9", owned),
        Ability("other users", "live" if able.owners else "kept up", _USERS[able.owners], "B8, B9, B11", owned),
        Ability("set-uid programs", _set_uid(able), _set_uid_how(able), "B9", owned if able.set_uid else cure),
        Ability("volumes", "live" if bound else "kept up", _volumes(able), "A6, C5", "" if bound else cure),
        Ability("limits and counting", "live" if able.cgroups else "kept up", _LIMITS[able.cgroups], "B10", "" if able.cgroups else _GROUPS),
        Ability("a wall around it", "live" if namespaced else "missing", _wall(able), "", "" if namespaced else cure),
    ]


_COPIES = {True: "layers are joined by overlayfs", False: "each container gets a whole copy: slower, and larger on disk"}
_NAMES = {True: "hostname; bridges, user-defined networks, --net none", False: "hostname and network are this machine's"}
_OWNERS = {True: "as on disk", False: "noted beside the files; chown, install and tar work, layers get true owners"}
_USERS = {True: "the kernel's", False: "su and adduser work; -u is held by Landlock, who changes user later is not kept from root's files"}
_LIMITS = {True: "control groups", False: "memory and processes are watched, and too much is the container's end; processors have no limit"}


def _way_out(able: Capabilities, findings: Sequence[Finding], cure: str) -> Ability:
    name, lessons = "a way out of its networks", "A2, B5, C5"
    if not able.namespaces:
        return Ability(name, "kept up", "they are this machine's network; a published port leads to the same machine's port", lessons, cure)
    if able.direct:
        return Ability(name, "live", "a pair of links to this machine, which translates addresses (nftables)", lessons)
    if any(finding.name == "tap" and finding.ok for finding in findings):
        return Ability(name, "live", "slirp4netns", lessons)
    return Ability(name, "kept up", "name lookups and the ports 22, 80, 443, 8080 and 9418 of others; ping reaches nobody outside", lessons, _TAP)


def _processes(able: Capabilities) -> str:
    if able.mounts:
        return "its own process numbers, its own /proc"
    return "its own process numbers, but no /proc: ps and top are blind" if able.namespaces else "sees and shares this machine's process numbers"


def _volumes(able: Capabilities) -> str:
    if able.mounts:
        return "mounted"
    return "bound by PRoot" if able.binds else "copied in at the start, and back at the end"


def _root(able: Capabilities) -> str:
    if able.mounts:
        return "mounted and swapped in (pivot_root)"
    return "paths are rewritten by PRoot, several times slower" if able.binds else "a folder that chroot makes the root, held by Landlock"


def _set_uid(able: Capabilities) -> Literal["live", "kept up", "missing"]:
    if not able.set_uid:
        return "missing"
    return "live" if able.owners else "kept up"


def _set_uid_how(able: Capabilities) -> str:
    if not able.set_uid:
        return "do not act: a run says so beforehand"
    return "the kernel's" if able.owners else "emulated, and said so each time"


def _wall(able: Capabilities) -> str:
    if not able.namespaces:
        return "Landlock only: run nothing here that you do not trust"
    inside = "root inside is root of this machine" if able.direct else "a user namespace: root inside is you outside"
    return f"namespaces, capabilities and seccomp, as docker's; {inside}"


class Page:
    """What `doctor` shows."""

    def __init__(self, tier: str, says: str, found: Sequence[Ability]) -> None:
        self.tier, self.says, self.abilities = tier, says, list(found)

    def __str__(self) -> str:
        rows = [[a.name, _WORDS[a.state], a.how, a.lessons] for a in self.abilities]
        lifts = dict.fromkeys(a.lift for a in self.abilities if a.lift)
        lines = [f"Tier: {self.tier}", self.says, "", table(["A CONTAINER HERE HAS", "", "HOW", "LESSONS"], rows).rstrip("\n")]
        return "\n".join([*lines, *(["", "What would lift the limits:", *(f"- {_listed(self.abilities, lift)}: {lift}" for lift in lifts)] if lifts else [])])

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        rows, limited = [], any(a.lift for a in self.abilities)
        for a in self.abilities:
            mark = html.cell(_WORDS[a.state], tint=_TINTS[a.state], style="white-space:nowrap")
            texts = (a.how, a.lessons, *([a.lift] if limited else []))
            cells = [html.cell(html.escape(a.name), tag="th", scope="row"), mark, *(html.cell(html.escape(text)) for text in texts)]
            rows.append(f"<tr>{''.join(cells)}</tr>")
        head = ["a container here has", "state", "how", "lessons", *(["what would lift it"] if limited else [])]
        shown = html.table(head, rows, caption=f"Tier {self.tier}: what this host can do")
        return {"text/plain": str(self), "text/html": f"<p>{html.escape(self.says)}</p>{shown}"}


def _listed(found: Sequence[Ability], lift: str) -> str:
    return ", ".join(a.name for a in found if a.lift == lift)


def doctor(call: Call) -> Outcome:
    """dockerlab doctor."""
    engine = call.engine
    try:
        able = engine.capabilities
    except NotSupportedHere as error:
        return Outcome(Page("none", error.message, [Ability("a container", "missing", error.message, "all", error.hint)]))
    return Outcome(Page(able.tier, able.says, abilities(able, engine.findings)))
