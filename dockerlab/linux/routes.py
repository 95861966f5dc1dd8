"""What a host reaches already; proc(5), /proc/net/route."""

from __future__ import annotations

import socket
import struct
from collections.abc import Collection
from ipaddress import IPv4Network
from pathlib import Path

__all__ = ["reached"]


def reached(*, without: Collection[str] = ()) -> list[IPv4Network]:
    """Gives the subnets that this network namespace has routes to, but for the default one and those by the devices `without`; [] where there is no /proc."""
    try:
        lines = Path("/proc/thread-self/net/route").read_text().splitlines()[1:]
    except OSError:
        return []
    found = []
    for line in lines:
        device, where, _, _, _, _, _, mask = line.split()[:8]
        if device not in without and int(mask, 16):
            address, ones = (struct.pack("=I", int(text, 16)) for text in (where, mask))
            found.append(IPv4Network(f"{socket.inet_ntoa(address)}/{socket.inet_ntoa(ones)}", strict=False))
    return found
