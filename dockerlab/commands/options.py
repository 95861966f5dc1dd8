"""What `run` and `create` are told, read for the engine."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from dockerlab.commands import checks
from dockerlab.commands.call import Call
from dockerlab.commands.environment import lines, variables
from dockerlab.commands.mounting import mount
from dockerlab.commands.networking import networks, publications
from dockerlab.commands.privileges import device, security
from dockerlab.engine.options import RunOptions
from dockerlab.engine.resources import Resources
from dockerlab.engine.settings import host_environment
from dockerlab.errors import InvalidArgument, InvalidRequest
from dockerlab.oci.config import Healthcheck, env_map

__all__ = ["limits", "noted", "platform", "run_options", "streams"]


def run_options(call: Call) -> RunOptions:
    """Gives what `run` and `create` were told; raises InvalidArgument, InvalidRequest."""
    restart = _restart(call)
    named, published = networks(call), publications(call.flag("publish"))
    if named and named[0].name == "host" and (published or call.flag("publish-all")):
        call.surface.err("WARNING: Published ports are discarded when using host network mode\n")
    exposed = (*_ports(call.flag("expose")), *(f"{each.port}/{each.protocol}" for each in published))
    for server in call.flag("dns"):
        if ipaddress.ip_address(server).is_loopback:
            call.surface.err(f"WARNING: Localhost DNS ({server}) may fail in containers.\n")
    return RunOptions(
        name=call.flag("name"), env=variables(call.folder, call.flag("env-file"), call.flag("env"), host_environment()), workdir=call.flag("workdir"), user=call.flag("user"),
        volume=tuple(_absolute(word, call.folder) for word in call.flag("volume")), label=_labels(call), hostname=call.flag("hostname"),
        entrypoint=call.flag("entrypoint") if "entrypoint" in call.parsed.given else None, networks=named, read_only=call.flag("read-only"),
        cap_add=call.flag("cap-add"), cap_drop=call.flag("cap-drop"), **security(call.folder, call.flag("security-opt")), privileged=call.flag("privileged"),
        interactive=call.flag("interactive"), attached=streams(call), tty=call.flag("tty"), rm=call.flag("rm") and not call.parsed.values.get("explain"),
        replace=call.flag("replace"), explain=call.parsed.values.get("explain", False), stop_signal=call.flag("stop-signal"),
        stop_timeout=call.flag("stop-timeout") if "stop-timeout" in call.parsed.given else None, expose=exposed, group_add=call.flag("group-add"),
        ulimit=tuple(checks.ulimit(word) for word in call.flag("ulimit")), add_host=tuple(checks.extra_host(word) for word in call.flag("add-host")),
        resources=Resources(**limits(call)), mount=tuple(map(mount, call.flag("mount"))), tmpfs=call.flag("tmpfs"), volumes_from=call.flag("volumes-from"), shm_size=call.flag("shm-size"),
        domainname=call.flag("domainname"), oom_score_adj=call.flag("oom-score-adj"), sysctl=env_map(call.flag("sysctl")), pid=_mode(call, "pid"), ipc=call.flag("ipc"),
        uts=_mode(call, "uts"), platform=platform(call.flag("platform")), pull=_pull(call.flag("pull")), restart=restart, init=call.flag("init"), health=_health(call),
        device=tuple(device(word) for word in call.flag("device")), log_driver=call.flag("log-driver"), log_opt=env_map(call.flag("log-opt")),
        publish=published, publish_all=call.flag("publish-all"), link=call.flag("link"),
        dns=call.flag("dns"), dns_search=call.flag("dns-search"), dns_option=(*call.flag("dns-option"), *call.flag("dns-opt")),
    )  # fmt: skip


def streams(call: Call) -> tuple[str, ...]:
    """Gives the streams that whoever typed this has to do with: those of `-a`, else all, input only with `-i`; none with `-d`."""
    if call.parsed.values.get("detach"):
        return ()
    named = {word.lower() for word in call.flag("attach")} or {"stdin", "stdout", "stderr"}
    return tuple(name for name in ("stdin", "stdout", "stderr") if name in named and (name != "stdin" or call.flag("interactive")))


_LIMITS = ("memory", "memory-swap", "memory-reservation", "cpu-shares", "cpu-period", "cpu-quota", "cpuset-cpus", "cpuset-mems", "pids-limit")


def limits(call: Call) -> dict[str, Any]:
    """Gives the limits that were named, as `Resources` calls them; raises InvalidArgument."""
    given = call.parsed.given
    found = {name.replace("-", "_"): call.flag(name) for name in _LIMITS if name in given}
    if "cpus" in given:
        found["nano_cpus"] = call.flag("cpus")
    if "pids_limit" in found:
        found["pids_limit"] = max(found["pids_limit"], 0)
    if "memory-swappiness" in given and (value := call.flag("memory-swappiness")) != -1:
        if not 0 <= value <= 100:
            raise InvalidArgument(f"invalid value: {value}. Valid memory swappiness range is 0-100", hint="0 keeps memory, 100 swaps soonest")
        found["memory_swappiness"] = value
    return found


def _health(call: Call) -> Healthcheck | None:
    given = call.parsed.given
    names = ("health-cmd", "health-interval", "health-timeout", "health-start-period", "health-start-interval", "health-retries")
    if call.flag("no-healthcheck"):
        if any(call.flag(name) for name in names):
            raise InvalidArgument("--no-healthcheck conflicts with --health-* options", hint="leave out one of them")
        return Healthcheck(test=("NONE",))
    if not any(call.flag(name) for name in names):
        return None
    for name in names[1:]:
        if call.flag(name) < 0:
            raise InvalidArgument(f"--{name} cannot be negative", hint="leave it out for docker's default")
    interval, timeout, period, early = (round(call.flag(name) * 1e9) for name in names[1:5])
    test = ("CMD-SHELL", call.flag("health-cmd")) if "health-cmd" in given and call.flag("health-cmd") else ()
    return Healthcheck(test=test, interval=interval, timeout=timeout, start_period=period, start_interval=early, retries=call.flag("health-retries"))


def _mode(call: Call, name: str) -> str:
    mode = str(call.flag(name))
    if mode not in ("", "host") and not (name == "pid" and re.fullmatch("container:.+", mode)):
        raise InvalidArgument(f"--{name}: invalid {name.upper()} mode", hint="host, or leave it out")
    return mode


def _pull(word: str) -> str:
    if word not in ("always", "missing", "never"):
        raise InvalidArgument(f"invalid pull option: '{word}': must be one of \"always\", \"missing\" or \"never\"")
    return word


def platform(text: str) -> str:
    """Gives `os/architecture` as docker normalises it; raises InvalidArgument, whose words docker's client has from its library."""
    if not text:
        return ""
    parts = text.lower().split("/")
    known = {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64"}
    if len(parts) > 3 or not all(parts):
        raise InvalidRequest(f'error parsing specified platform: "{text}": cannot parse platform specifier: invalid argument', hint="write linux/amd64")
    if len(parts) == 1 and parts[0] not in ("linux", *known, *known.values()):
        raise InvalidRequest(f'error parsing specified platform: "{text}": unknown operating system or architecture: invalid argument', hint="write linux/amd64")
    if len(parts) == 1:
        parts = ["linux", parts[0]] if parts[0] != "linux" else ["linux", known.get(os.uname().machine, os.uname().machine)]
    return f"{parts[0]}/{known.get(parts[1], parts[1])}"


def _restart(call: Call) -> str:
    policy = checks.restart(call.flag("restart"))
    if call.flag("rm") and policy not in ("", "no"):
        raise InvalidArgument("conflicting options: cannot specify both --restart and --rm", hint="a container that is removed at its end cannot begin again")
    return policy


def _absolute(word: str, folder: Path) -> str:
    source, colon, rest = word.partition(":")
    return f"{(folder / source).absolute()}{colon}{rest}" if colon and source.startswith(".") else word


def _labels(call: Call) -> dict[str, str]:
    # A line without a value is read as in a file of variables, where it stands for the host's; labels have none there.
    return {**env_map(tuple(line for name in call.flag("label-file") for line in lines(call.folder, name) if "=" in line)), **env_map(tuple(call.flag("label")))}


def _ports(words: tuple[str, ...]) -> tuple[str, ...]:
    """Gives `80/tcp` for each port of `80`, `80/udp`, `80-90`; raises InvalidArgument."""
    found = []
    for word in words:
        span, _, protocol = word.partition("/")
        first, dash, last = span.partition("-")
        for number in (first, *([last] if dash else [])):
            if not number.isascii() or not number.isdigit():
                raise InvalidArgument(f'invalid range format for --expose: {word}, error: strconv.ParseUint: parsing "{number}": invalid syntax', hint="write 80, 80/udp or 80-90")
        if int(last or first) < int(first):
            raise InvalidArgument(f"invalid range format for --expose: {word}, error: invalid range specified for port: {span}", hint="the lower number stands first")
        found += [f"{port}/{(protocol or 'tcp').lower()}" for port in range(int(first), int(last or first) + 1)]
    return tuple(found)


@contextlib.contextmanager
def noted(call: Call) -> Iterator[Callable[[str], object]]:
    """Gives what writes the container's id into the file of `--cidfile`, which is made first and not left behind empty."""
    name = call.flag("cidfile")
    if not name:
        yield lambda ident: None
        return
    path = call.folder / name
    try:
        path.touch(exist_ok=False)
    except FileExistsError:
        raise InvalidArgument(f"container ID file found, make sure the other container isn't running or delete {name}", hint=f"rm {name}") from None
    except OSError as error:
        raise InvalidArgument(f"failed to create the container ID file: open {name}: {(error.strerror or '').lower()}", hint="make the folder first, or choose another") from error
    try:
        yield path.write_text
    except BaseException:
        path.unlink(missing_ok=True)
        raise
