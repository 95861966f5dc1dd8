"""What is asked for when a port is published, and what comes of it."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Publication", "Published"]


class Publication(NamedTuple):
    """What is asked for: an address of the host ("" for every one), its ports of which one serves (0, 0 for any), the container's port, tcp or udp."""

    host: str
    first: int
    last: int
    port: int
    protocol: str


class Published(NamedTuple):
    """What came of it: the address and the port of the host, the container's port, tcp or udp."""

    host: str
    host_port: int
    port: int
    protocol: str
