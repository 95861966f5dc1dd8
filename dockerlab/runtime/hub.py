"""The namespace in which all bridges of an engine are, and one thread that lives in it: setns(2) moves a thread alone.

The hub goes with its process, and every bridge, link and rule with the hub: nothing of it is left on the host, however the process ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Network
from pathlib import Path
from typing import TypeVar

from dockerlab.linux import netlink, syscalls
from dockerlab.linux.routes import reached
from dockerlab.runtime.wayout import Listening, Tap, Tied, WayOut
from dockerlab.store.networks import Network

__all__ = ["Hub"]

Result = TypeVar("Result")
_NAMESPACE = "/proc/thread-self/ns/net"
_SPARE = 4


class Hub:
    """Bridges, and the way out of them. `tied` tells whether this process may tie the hub to the host's namespace, `tap` whether slirp4netns may be tried; `memory` is a file that outlives a hub."""

    def __init__(self, *, tied: bool, tap: bool, memory: Path) -> None:
        self._tied, self._tap, self._memory = tied, tap, memory
        self._before = ""
        self._threads = ThreadPoolExecutor(1, "hub")
        self._outside = ThreadPoolExecutor(1, "host")
        self._spare: deque[socket.socket] = deque()
        self._up: dict[str, netlink.Rules | None] = {}
        self.notes: list[str] = []
        self.way = WayOut()
        self.namespace = -1

    async def inside(self, deed: Callable[[], Result]) -> Result:
        """Gives what a function gives that runs in the hub."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, deed)

    async def outside(self, deed: Callable[[], Result]) -> Result:
        """The same for one that runs in the host's namespace, but where no event loop runs: pyroute2 has its own."""
        return await asyncio.get_running_loop().run_in_executor(self._outside, deed)

    async def visit(self, namespace: int, deed: Callable[[], Result]) -> Result:
        """The same for one that runs in the namespace behind an open descriptor."""

        def there() -> Result:
            syscalls.setns(namespace, syscalls.CLONE_NEWNET)
            try:
                return deed()
            finally:
                syscalls.setns(self.namespace, syscalls.CLONE_NEWNET)

        return await self.inside(there)

    async def open(self) -> None:
        """Makes the hub and finds a way out of it. Raises OSError, NetlinkError."""

        def make() -> None:
            syscalls.unshare(syscalls.CLONE_NEWNET)
            self.namespace = os.open(_NAMESPACE, os.O_RDONLY | os.O_CLOEXEC)
            self.links = netlink.Links()
            self.links.up("lo")

        await self.inside(make)
        for way in await self._ways():
            try:
                await way.open()
            except (OSError, netlink.NetlinkError) as error:
                way.close()
                self.notes.append(f"containers have no way out by {way.name}: {error}")
                continue
            self.way = way
            break
        # The kernel takes a hub down a little after its process was killed: until then the host has routes that lead there.
        with contextlib.suppress(OSError):
            self._before = self._memory.read_text()
        self._memory.write_text(self.way.device)
        if self.way.name == "listening":
            self.notes = ["this host gives containers no way out but by name lookups and the ports 22, 80, 443, 8080 and 9418 of others; ping reaches nobody outside"]
        await self.inside(lambda: _forward(wanted=bool(self.way.link)))

    async def _ways(self) -> list[Tied | Tap | Listening]:
        ways: list[Tied | Tap | Listening] = [Listening(self.inside)]
        if self._tap:
            ways.insert(0, Tap(self.namespace))
        # A host whose firewall forwards nothing unknown, as docker's may: its owner's affair, and there are ways that ask it nothing.
        if self._tied and not await self.outside(netlink.dropping_forwarder):
            ways.insert(0, Tied(self.outside, self.inside, self.namespace))
        return ways

    def busy(self) -> list[IPv4Network]:
        """Gives the subnets that the host reaches by itself."""
        return reached(without={self.way.device, self._before})

    async def raise_network(self, network: Network) -> None:
        """Makes a network's bridge and its rules, once. Raises OSError, NetlinkError."""
        if network.id in self._up:
            return

        def make() -> netlink.Rules | None:
            self.links.bridge(network.device)
            self.links.address(network.device, network.gateway, network.prefix)
            try:
                return self._ruled(network)
            except netlink.NetlinkError as error:
                # Without rules nothing may be forwarded, else networks would reach each other.
                _forward(wanted=False)
                out = "" if self.way.name == "listening" else ", and containers have no way out of their networks"
                self.notes.append(f"this kernel has no nf_tables ({error}): nothing is forwarded between networks{out}")
                return None

        self._up[network.id] = await self.inside(make)
        await self.way.tell(network.subnet, internal=network.internal)

    def _ruled(self, network: Network) -> netlink.Rules:
        rules, way = netlink.Rules(network.device), self.way
        if way.link:
            if not network.internal:
                rules.masquerade(network.subnet, network.device)
                if way.host:  # with docker the gateway is the host itself
                    rules.lead(network.device, network.gateway, way.host)
            rules.separate(network.device, network.subnet, host=way.host, link=way.link, internal=network.internal)
            if network.internal:
                rules.closed(network.device, network.subnet)
                if way.host:
                    rules.stand_in(network.device, way.host)
        else:
            rules.separate(network.device, network.subnet, internal=network.internal)
            (rules.closed if network.internal else rules.unanswered)(network.device, network.subnet)
        return rules

    async def lower(self, network: Network) -> None:
        """Takes a network down that nobody is in any more."""
        if network.id not in self._up:
            return
        rules = self._up.pop(network.id)

        def remove() -> None:
            self.links.remove(network.device)
            if rules:
                rules.remove()
                rules.close()

        await self.inside(remove)
        await self.way.forget(network.subnet)

    async def reach(self, kind: int, address: str, port: int) -> socket.socket:
        """Gives a socket of the hub, connected to a container. Raises OSError."""
        made = self._spare.popleft() if kind == socket.SOCK_STREAM and self._spare else await self.inside(lambda: _made(kind))
        if kind == socket.SOCK_STREAM and len(self._spare) < _SPARE:
            asyncio.get_running_loop().call_soon(self._restock)
        try:
            async with asyncio.timeout(20):
                await asyncio.get_running_loop().sock_connect(made, (address, port))
        except BaseException:
            made.close()
            raise
        return made

    def _restock(self) -> None:
        def keep(task: asyncio.Future[socket.socket]) -> None:
            if not task.cancelled() and not task.exception():
                self._spare.append(task.result())

        asyncio.get_running_loop().run_in_executor(self._threads, lambda: _made(socket.SOCK_STREAM)).add_done_callback(keep)

    def close(self) -> None:
        """Takes down what does not go with this process."""
        self.way.close()


def _made(kind: int) -> socket.socket:
    return socket.socket(socket.AF_INET, kind | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)


def _forward(*, wanted: bool) -> None:
    # Where /proc/sys is read-only, a namespace has what the host's own has.
    with contextlib.suppress(OSError), open("/proc/sys/net/ipv4/ip_forward", "w") as file:
        file.write("1" if wanted else "0")
