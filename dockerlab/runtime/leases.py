"""What a container has of its networks: the switch's own nouns."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass, field
from typing import Any

from dockerlab.runtime import resolver
from dockerlab.runtime.forwarding import Datagrams, Streams
from dockerlab.runtime.ports import Published
from dockerlab.store.networks import Network

__all__ = ["Endpoint", "Lease", "Refused"]


class Refused(Exception):
    """Something that a lease asked for and cannot have, in docker's words."""


@dataclass(slots=True)
class Endpoint:
    """One container in one network."""

    network: Network
    id: str
    address: str
    mac: str
    link: str
    inside: str
    aliases: list[str]

    def facts(self) -> dict[str, Any]:
        """What its monitor is told."""
        network = self.network
        return {"network": network.id, "name": network.name, "endpoint": self.id, "ip": self.address, "prefix": network.prefix, "gateway": network.gateway,
                "mac": self.mac, "aliases": self.aliases}  # fmt: skip


@dataclass(eq=False, slots=True)
class Lease:
    """What one container has."""

    connection: socket.socket
    container: str = ""
    name: str = ""
    namespace: int = -1
    links: dict[str, str] = field(default_factory=dict)
    servers: list[str] = field(default_factory=list)
    resolve: bool = False
    endpoints: dict[str, Endpoint] = field(default_factory=dict)
    joining: set[str] = field(default_factory=set)
    published: list[Published] = field(default_factory=list)
    serving: list[Streams | Datagrams] = field(default_factory=list)
    resolver: resolver.Resolver | None = None
    questions: asyncio.Queue[tuple[dict[str, Any], list[int]] | None] = field(default_factory=asyncio.Queue)

    def main(self) -> Endpoint | None:
        """The endpoint that leads outside: docker takes the first by name."""
        return min((e for e in self.endpoints.values() if not e.network.internal), key=lambda e: e.network.name, default=None)

    def own(self) -> list[Endpoint]:
        """Those in networks where names are resolved."""
        return [e for e in self.endpoints.values() if not e.network.built_in]
