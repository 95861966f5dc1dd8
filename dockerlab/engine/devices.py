"""Devices of the host that a container is given: `--device`, and all of them for `--privileged`."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence

from dockerlab.errors import ContainerError, NotSupportedHere
from dockerlab.runtime.generate import Device
from dockerlab.runtime.sandbox import Capabilities

__all__ = ["denied", "every", "given"]

# What every container may use whatever is said of it: null, zero, full, random, urandom, tty, ptmx; moby oci/devices.
_ALWAYS = {(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 2)}

# What a container has a place of its own for, or makes itself.
_OWN = ("pts", "shm", "mqueue", "fd", "stdin", "stdout", "stderr", "console", "ptmx", "core", "null", "zero", "full", "random", "urandom", "tty")


def given(devices: Sequence[Device], able: Capabilities) -> tuple[Device, ...]:
    """Gives the device nodes that the words name, a folder's each by itself; raises ContainerError in docker's words, NotSupportedHere."""
    if devices and not able.mounts:
        raise NotSupportedHere("this host gives a container no device: that needs mount(2)", reason="no mounts", hint="leave out --device")
    found: list[Device] = []
    for device in devices:
        told = f'error gathering device information while adding custom device "{device.source}":'
        try:
            mode = os.stat(device.source).st_mode
        except OSError as error:
            raise ContainerError(f"{told} {(error.strerror or '').lower()}", exit_code=127) from error
        if stat.S_ISDIR(mode):
            inner = [Device(path, device.target + path.removeprefix(device.source), device.mode) for path in _nodes(device.source, _OWN if os.path.realpath(device.source) == "/dev" else ())]
            found += inner
        if not (_is_node(mode) or (stat.S_ISDIR(mode) and inner)):
            raise ContainerError(f"{told} not a device node", exit_code=125)
        found += [device] if _is_node(mode) else []
    return tuple(found)


def denied(devices: Sequence[Device], able: Capabilities) -> list[str]:
    """Gives what is not to be done with the devices, as the rules of version 1's controller; cgroups(7), "devices". To make a node is allowed to all."""
    rules = []
    for device in given(devices, able):
        status, refused = os.stat(device.source), "".join(letter for letter in "rw" if letter not in device.mode)
        major, minor = os.major(status.st_rdev), os.minor(status.st_rdev)
        if refused and (major, minor) not in _ALWAYS:
            rules.append(f"{'c' if stat.S_ISCHR(status.st_mode) else 'b'} {major}:{minor} {refused}")
    return rules


def every() -> tuple[Device, ...]:
    """Gives all device nodes of the host but those that a container has anyway."""
    return tuple(Device(path, path) for path in _nodes("/dev", _OWN))


def _is_node(mode: int) -> bool:
    return stat.S_ISCHR(mode) or stat.S_ISBLK(mode)


def _nodes(folder: str, without: Sequence[str]) -> Iterator[str]:
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda e: e.name):
            if entry.name in without:
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from _nodes(entry.path, ())
            elif _is_node(entry.stat(follow_symlinks=False).st_mode):
                yield entry.path
