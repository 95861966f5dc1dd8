"""From an image's config and a person's options to a runtime specification; docker's defaults."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dockerlab.linux import capabilities
from dockerlab.oci.config import RunConfig, env_map, env_words
from dockerlab.oci.runtime import Capabilities, Linux, Mount, Namespace, Process, Rlimit, Root, Spec
from dockerlab.runtime import filters

__all__ = ["MASKED", "READONLY", "Device", "Options", "Volume", "environment", "generate", "sets"]

_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
MASKED = ("/proc/asound", "/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug",
          "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap")  # fmt: skip
READONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


@dataclass(frozen=True, slots=True)
class Volume:
    """A folder of the host, or a named volume's, at a place in the container; `mode` is what a person wrote behind the second colon."""

    source: str
    target: str
    readonly: bool = False
    fresh: bool = False
    propagation: str = ""
    mode: str = ""


@dataclass(frozen=True, slots=True)
class Device:
    """A device node of the host, at a place in the container; `mode` is what may be done with it (rwm)."""

    source: str
    target: str
    mode: str = "rwm"


@dataclass(frozen=True, slots=True)
class Options:
    """What `docker run` decides beyond the image's config."""

    hostname: str = ""
    network: str = "host"  # or "none", "container:ID", and any other word for one of its own
    terminal: bool = False
    readonly: bool = False
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    no_new_privileges: bool = False
    privileged: bool = False
    seccomp: str = ""
    unmasked: bool = False
    devices: tuple[Device, ...] = ()
    volumes: tuple[Volume, ...] = ()
    cgroup: str = ""
    limits: tuple[tuple[str, int, int], ...] = ()
    tmpfs: Mapping[str, str] = field(default_factory=dict)
    shm_size: int = 64 << 20
    domainname: str = ""
    oom_score_adj: int = 0
    sysctl: Mapping[str, str] = field(default_factory=dict)
    pid: str = ""
    ipc: str = ""
    uts: str = ""
    resources: Mapping[str, Any] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)


def generate(config: RunConfig, options: Options) -> Spec:
    """Gives the spec for one container; raises InvalidArgument for an unknown capability."""
    names = capabilities.available() if options.privileged else capabilities.chosen(options.cap_add, options.cap_drop)
    open_to_all = options.privileged or options.unmasked
    process = Process(
        terminal=options.terminal,
        args=(*(config.entrypoint or ()), *(config.cmd or ())),
        env=environment(config, options.hostname, terminal=options.terminal),
        cwd=config.working_dir or "/",
        capabilities=sets(names, config.user),
        no_new_privileges=options.no_new_privileges,
        oom_score_adj=options.oom_score_adj or None,
        rlimits=tuple(Rlimit(type=f"RLIMIT_{name.upper()}", soft=soft % 2**64, hard=hard % 2**64) for name, soft, hard in options.limits),
    )
    linux = Linux(
        namespaces=_namespaces(options),
        cgroups_path=options.cgroup,
        resources=options.resources,
        sysctl=options.sysctl,
        seccomp=filters.chosen("unconfined" if options.privileged else options.seccomp, names) or None,
        masked_paths=MASKED if not open_to_all else (),
        readonly_paths=READONLY if not open_to_all else (),
    )
    own = options.uts != "host"  # else the name would be given to the host
    return Spec(
        process=process, root=Root(readonly=options.readonly), hostname=options.hostname if own else "", domainname=options.domainname if own else "",
        mounts=_mounts(options), linux=linux, annotations=filters.marks("unconfined" if options.privileged else options.seccomp),
    )  # fmt: skip


def environment(config: RunConfig, hostname: str, *, terminal: bool, more: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """Gives the words of a program's environment: ours, the config's over them, and what `exec` adds over both."""
    own = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOSTNAME": hostname}
    return env_words({**own, **({"TERM": "xterm"} if terminal else {}), **env_map(config.env), **(more or {})})


def sets(names: tuple[str, ...], user: str) -> Capabilities:
    """Gives a program's capability sets: what root may have, a user has none of."""
    held = names if user.partition(":")[0] in ("", "0", "root") else ()
    return Capabilities(bounding=names, effective=held, permitted=held)


def _namespaces(options: Options) -> tuple[Namespace, ...]:
    """Gives those that are not the host's; one with a path is another container's, whose process is known once this one starts."""
    modes = {"pid": options.pid, "ipc": options.ipc, "uts": options.uts, "network": options.network}
    made = (Namespace(type=kind, path=f"/{mode}/{kind}" if mode.startswith("container:") else "") for kind, mode in modes.items() if mode != "host")
    return (Namespace(type="mount"), *made)


def _mounts(options: Options) -> tuple[Mount, ...]:
    kernel: tuple[Mount, ...] = (
        Mount(destination="/proc", type="proc", source="proc", options=("nosuid", "noexec", "nodev")),
        Mount(destination="/dev", type="tmpfs", source="tmpfs", options=("nosuid", "strictatime", "mode=755", "size=65536k")),
        Mount(destination="/dev/pts", type="devpts", source="devpts", options=("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5")),
        Mount(destination="/sys", type="sysfs", source="sysfs", options=("nosuid", "noexec", "nodev", "ro")),
        Mount(destination="/dev/mqueue", type="mqueue", source="mqueue", options=("nosuid", "noexec", "nodev")),
        Mount(destination="/dev/shm", type="tmpfs", source="shm", options=("nosuid", "noexec", "nodev", "mode=1777", f"size={options.shm_size // 1024}k")),
    )
    if options.ipc == "host":
        kernel = (*kernel[:-2], *(Mount(destination=place, source=place, options=("bind", "nosuid", "noexec", "nodev")) for place in ("/dev/mqueue", "/dev/shm") if os.path.isdir(place)))
    elif options.ipc.startswith("container:"):
        # Another container's: its process is known once this one starts, and `sharing` has the mount by then.
        kernel = (*kernel[:-1], Mount(destination="/dev/shm", type="shared", source="shm"))
    elif options.ipc == "none":
        kernel = kernel[:-1]
    if options.privileged:
        kernel = tuple(Mount(destination=m.destination, type=m.type, source=m.source, options=tuple(word for word in m.options if word != "ro")) for m in kernel)
    shown = ("nosuid", "noexec", "nodev", "relatime", *(() if options.privileged else ("ro",)))
    groups = (Mount(destination="/sys/fs/cgroup", type="cgroup", source="cgroup", options=shown),) if options.cgroup else ()
    devices = tuple(Mount(destination=f"/dev/{name}", source=f"/dev/{name}", options=("bind", "nosuid", "noexec")) for name in _DEVICES)
    devices += tuple(Mount(destination=device.target, source=device.source, options=("bind", "nosuid", "noexec")) for device in options.devices)
    files = tuple(Mount(destination=target, source=str(path), options=("rbind", "ro") if options.readonly else ("rbind",)) for target, path in options.files.items())
    # Deeper places come later, so that a volume inside a volume is seen.
    volumes = [Mount(destination=v.target, source=v.source, options=("rbind", v.propagation or "rprivate", "nodev", *(("ro",) if v.readonly else ()))) for v in options.volumes]
    volumes += [Mount(destination=target, type="tmpfs", source="tmpfs", options=("nosuid", "nodev", "noexec", *filter(None, words.split(",")))) for target, words in options.tmpfs.items()]
    volumes.sort(key=lambda mount: mount.destination.rstrip("/").count("/"))
    return (*kernel, *groups, *devices, *files, *volumes)
