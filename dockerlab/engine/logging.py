"""How a container's log is kept: docker's log drivers that make sense without a daemon, and their options."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from dockerlab.errors import InvalidRequest, NotSupportedHere
from dockerlab.store.containers import Record

__all__ = ["check", "described", "driver", "limits"]

_DRIVERS = ("json-file", "local", "none")
_KNOWN = ("labels", "labels-regex", "env", "env-regex", "tag", "compress", "mode", "max-buffer-size")
_UNITS = {"": 1, "b": 1, **{letter: 1000**power for power, letter in enumerate("kmgtp", 1)}}
_LARGEST = 2**63 - 1
# What the driver `local` does when nobody says otherwise.
_LOCAL = {"most": 20 * 1000**2, "files": 5}


def check(name: str, options: Mapping[str, str]) -> None:
    """Raises InvalidRequest in docker's words, NotSupportedHere for what docker has and dockerlab has not."""
    chosen = name or "json-file"
    if chosen in ("syslog", "journald", "gelf", "fluentd", "awslogs", "splunk", "gcplogs", "logentries", "etwlogs"):
        raise NotSupportedHere(f"--log-driver {chosen} is not supported here: logs are kept in the store", reason="not done yet", hint="name json-file, local or none")
    if chosen not in _DRIVERS:
        raise InvalidRequest(f'error looking up logging plugin {chosen}: plugin "{chosen}" not found', hint="name json-file, local or none")
    for option in options:
        if option in _KNOWN:
            raise NotSupportedHere(f"--log-opt {option} is not supported here: not done by dockerlab yet", reason="not done yet", hint="max-size and max-file are")
        if option not in ("max-size", "max-file") or chosen == "none":
            raise InvalidRequest(f"unknown log opt '{option}' for {chosen} log driver", hint="max-size and max-file are known")
    _sizes(options)


def _sizes(options: Mapping[str, str]) -> dict[str, int]:
    failed, found = "failed to initialize logging driver:", {}
    if size := options.get("max-size", ""):
        parts = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) ?([bkmgtp]?)(?:i?b)?", size.lower())
        if size != "-1" and not parts:
            raise InvalidRequest(f"{failed} invalid size: '{size}'", hint="write 10m")
        number = float(parts[1]) if parts else 0.0
        if parts and number == float("inf"):
            raise InvalidRequest(f'{failed} strconv.ParseFloat: parsing "{parts[1][:40]}": value out of range', hint="write 10m")
        found["most"] = min(int(number * _UNITS[parts[2]]), _LARGEST) if parts else 0
    if count := options.get("max-file", ""):
        if not re.fullmatch("[+-]?[0-9]+", count):
            raise InvalidRequest(f'{failed} strconv.Atoi: parsing "{count}": invalid syntax', hint="write a number")
        if len(count) > 18:
            raise InvalidRequest(f'{failed} strconv.Atoi: parsing "{count[:40]}": value out of range', hint="write a number")
        if int(count) < 1:
            raise InvalidRequest(f"{failed} max-file cannot be less than 1", hint="one file is the least")
        found["files"] = int(count)
    return found


def driver(record: Record) -> str:
    """Gives the name of the driver that a container was created with."""
    return str(record.host.get("log_driver") or "json-file")


def limits(record: Record) -> dict[str, int] | None:
    """Gives the limits of a container's log, as `Log` has them; None where none is kept."""
    name = driver(record)
    if name == "none":
        return None
    return {**(_LOCAL if name == "local" else {}), **_sizes(record.host.get("log_opt", {}))}


def described(record: Record) -> dict[str, Any]:
    """Gives what `inspect` says of it."""
    return {"Type": driver(record), "Config": dict(sorted(record.host.get("log_opt", {}).items()))}
