"""What a person may ask of a new container, and what becomes of it together with the image's own settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from dockerlab.engine.mounts import MountWord
from dockerlab.engine.resources import Resources
from dockerlab.errors import InvalidRequest
from dockerlab.oci.config import Healthcheck, RunConfig, env_map, env_words
from dockerlab.runtime.detaching import parse
from dockerlab.runtime.generate import Device
from dockerlab.runtime.ports import Publication

__all__ = ["Attach", "Device", "NetworkWord", "Publication", "RunOptions", "check_health", "check_modes", "check_restart", "detach_keys", "merged"]


@dataclass(frozen=True, slots=True)
class NetworkWord:
    """One network that a container is to be in, by name, with its other names there and the address that it wants."""

    name: str
    aliases: tuple[str, ...] = ()
    ip: str = ""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What `docker run` may say beside image and command; names are docker's flags. `networks` says more of them than `network`, which "" leaves to the settings;
    `seccomp` is "" for docker's profile, `unconfined`, or a profile's text.
    """

    name: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    workdir: str = ""
    user: str = ""
    volume: tuple[str, ...] = ()
    mount: tuple[MountWord, ...] = ()
    tmpfs: tuple[str, ...] = ()
    volumes_from: tuple[str, ...] = ()
    shm_size: int = 0
    label: Mapping[str, str] = field(default_factory=dict)
    hostname: str = ""
    entrypoint: str | None = None
    network: str = ""
    networks: tuple[NetworkWord, ...] = ()
    link: tuple[str, ...] = ()
    publish: tuple[Publication, ...] = ()
    publish_all: bool = False
    read_only: bool = False
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    no_new_privileges: bool = False
    privileged: bool = False
    seccomp: str = ""
    unmasked: bool = False
    security_opt: tuple[str, ...] = ()
    device: tuple[Device, ...] = ()
    log_driver: str = ""
    log_opt: Mapping[str, str] = field(default_factory=dict)
    interactive: bool = False
    attached: tuple[str, ...] | None = None
    tty: bool = False
    rm: bool = False
    replace: bool = False
    explain: bool = False
    stop_signal: str = ""
    stop_timeout: int | None = None
    expose: tuple[str, ...] = ()
    group_add: tuple[str, ...] = ()
    ulimit: tuple[tuple[str, int, int], ...] = ()
    add_host: tuple[tuple[str, str], ...] = ()
    dns: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    dns_option: tuple[str, ...] = ()
    restart: str = ""
    domainname: str = ""
    oom_score_adj: int = 0
    sysctl: Mapping[str, str] = field(default_factory=dict)
    pid: str = ""
    ipc: str = ""
    uts: str = ""
    platform: str = ""
    pull: str = "missing"
    init: bool = False
    health: Healthcheck | None = None
    resources: Resources = field(default_factory=Resources)


@dataclass(frozen=True, slots=True)
class Attach:
    """The descriptors that an attached container reads from and writes to."""

    stdin: int | None = None
    stdout: int | None = None
    stderr: int | None = None

    def given(self) -> dict[str, int]:
        """Gives those that are there."""
        pairs = (("stdin", self.stdin), ("stdout", self.stdout), ("stderr", self.stderr))
        return {name: descriptor for name, descriptor in pairs if descriptor is not None}


def merged(image: RunConfig, command: Sequence[str], chosen: RunOptions) -> RunConfig:
    """Gives the settings of a container: the image's, with what was asked for on top. A new entrypoint forgets the image's command."""
    env = {**chosen.env, **{k: v for k, v in env_map(image.env).items() if k not in chosen.env}}
    entrypoint, cmd = image.entrypoint, image.cmd
    if chosen.entrypoint is not None:
        entrypoint, cmd = ((chosen.entrypoint,) if chosen.entrypoint else None), None
    return msgspec.structs.replace(
        image, env=env_words(env), entrypoint=entrypoint, cmd=tuple(command) if command else cmd, user=chosen.user or image.user,
        working_dir=chosen.workdir or image.working_dir, labels={**image.labels, **chosen.label}, stop_signal=chosen.stop_signal or image.stop_signal,
        healthcheck=_health(image.healthcheck, chosen.health), exposed_ports={**image.exposed_ports, **{port: {} for port in chosen.expose}},
    )  # fmt: skip


def _health(image: Healthcheck | None, chosen: Healthcheck | None) -> Healthcheck | None:
    """Gives the check with what was asked for in place of the image's."""
    if image is None or chosen is None:
        return chosen or image
    return msgspec.structs.replace(image, **{name: value for name, value in msgspec.structs.asdict(chosen).items() if value})


def check_health(check: Healthcheck | None) -> None:
    """Raises InvalidRequest for times that docker's daemon refuses."""
    for name, value in (("Interval", check.interval), ("Timeout", check.timeout), ("StartPeriod", check.start_period), ("StartInterval", check.start_interval)) if check else ():
        if 0 < value < 10**6:
            raise InvalidRequest(f"{name} in Healthcheck cannot be less than 1ms", hint="write 500ms, 30s or 2m")


def detach_keys(text: str) -> list[int]:
    """Gives the bytes of a key sequence as docker writes it; raises InvalidRequest."""
    try:
        return list(parse(text))
    except ValueError as error:
        raise InvalidRequest(f"Invalid escape keys ({text}) provided", hint=f"{error}; letters, or ctrl- and one more, with commas between") from None


def check_modes(chosen: RunOptions) -> None:
    """Raises InvalidRequest, or NotSupportedHere, for namespaces that a container cannot have."""
    if chosen.ipc not in ("", "none", "private", "shareable", "host") and not chosen.ipc.startswith("container:"):
        raise InvalidRequest(f"Invalid IPC mode: {chosen.ipc}", hint="name private, shareable, none or host")
    if chosen.uts == "host" and chosen.hostname:
        raise InvalidRequest("conflicting options: hostname and the UTS mode", hint="with --uts host the container has this machine's name")
    if not -1000 <= chosen.oom_score_adj <= 1000:
        raise InvalidRequest(f"Invalid value {chosen.oom_score_adj}, range for oom score adj is [-1000, 1000]", hint="below zero: killed later than others")


def check_restart(policy: str) -> None:
    """Raises InvalidRequest for what is no restart policy."""
    name, _, most = policy.partition(":")
    hint = "name no, always, unless-stopped or on-failure[:most]"
    if name not in ("", "no", "always", "unless-stopped", "on-failure"):
        raise InvalidRequest(f"invalid restart policy '{name}'", hint=hint)
    if int(most or 0) and name != "on-failure":
        raise InvalidRequest(f"maximum retry count cannot be used with restart policy '{name}'", hint=hint)
    if int(most or 0) < 0:
        raise InvalidRequest("maximum retry count cannot be negative", hint=hint)
