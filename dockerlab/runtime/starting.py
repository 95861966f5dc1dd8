"""From what the engine asks for to what a program's first process is told."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from dockerlab.linux import cgroups, loopback, seccomp
from dockerlab.oci.config import env_map, env_words
from dockerlab.oci.runtime import Mount, Spec
from dockerlab.runtime import chroot, init
from dockerlab.runtime.emulation import without_listener
from dockerlab.store import snapshots

__all__ = ["completed", "told_to_start"]


def completed(spec: Spec, request: Mapping[str, Any]) -> Spec:
    """Gives a bundle's spec with what is decided at each start: the variables of links, and what is lent to the container."""
    lent = request.get("lent") or {}
    words = [*request.get("variables", ()), *([f"{loopback.CURL}={os.path.dirname(next(iter(lent)))}"] if lent else [])]
    kept = () if chroot.is_chroot(spec) else ("ro",)  # of what has a second name nothing can be read-only
    mounts = tuple(Mount(destination=place, source=source, options=("rbind", *kept)) for place, source in lent.items())
    process = msgspec.structs.replace(spec.process, env=env_words({**env_map(words), **env_map(spec.process.env)})) if words else spec.process
    return msgspec.structs.replace(spec, process=process, mounts=(*spec.mounts, *mounts))


def told_to_start(spec: Spec, request: Mapping[str, Any], folder: Path, groups: Sequence[Path]) -> init.Start:
    """Gives all of it, for a program that shall be in the control groups `groups`; whatever this needs of the host's files is read here. Raises OSError."""
    profile, only_id = spec.linux.seccomp, request.get("only_id")
    return init.Start(
        spec=spec, rootfs=str(folder / "bundle" / "rootfs"), user=request.get("user", ""), user_groups=request.get("owners", True), mounts=snapshots.revived(request["mounts"]),
        fresh_volumes=tuple(request.get("fresh", ())), filter=seccomp.compile_profile(profile) if profile else b"",
        unheard=_unheard(profile) if profile and seccomp.listens(profile) else b"", only_id=None if only_id is None else tuple((path, rights) for path, rights in only_id),
        trace=os.open(folder / "explain.json", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600) if request.get("explain") else -1,
        joins=bool(request.get("joins")), groups=tuple(request.get("groups", ())), cgroups=tuple(map(str, groups)), doors=tuple(cgroups.doors(list(groups))),
        init=bool(request.get("init")) and spec.owns("pid"),  # elsewhere the parent takes leave of orphans, and signals reach every program
    )  # fmt: skip


def _unheard(profile: Mapping[str, Any]) -> bytes:
    rules = [rule for rule in profile["syscalls"] if rule["action"] != "SCMP_ACT_NOTIFY"]
    return seccomp.compile_profile({**profile, "syscalls": [*rules, *without_listener()]})
