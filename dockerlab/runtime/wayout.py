"""How containers reach what lies outside their networks, from the strongest means that this host gives.

`tied`: root ties the hub, the namespace with all bridges, to the host's own by a pair of links, and the host translates addresses. `tap`: slirp4netns does
in user space what root's kernel does, where it may open /dev/net/tun. `listening`: neither can be had; then every foreign address is made the hub's own, and
what arrives there at a few well-known ports is carried on from a socket of the host's namespace.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import socket
import struct
import subprocess
from collections import Counter
from collections.abc import Awaitable, Callable
from ipaddress import IPv4Address, IPv4Network
from typing import Any, TypeVar

from dockerlab.linux import netlink
from dockerlab.linux.routes import reached
from dockerlab.runtime.forwarding import Streams, Tasks

__all__ = ["PORTS", "Listening", "Tap", "Tied", "WayOut"]

PORTS = (80, 443, 22, 8080, 9418, 53)
_PATIENCE = 20.0
_HUB = "host0"
_DEVICE = "dlh-"  # what the names of host's ends begin with
_LAST = 1 << 24  # the priority of our routes: after everybody's
_HANDS, _HANDS_EACH = 256, 16  # questions of all, and of one sender, that wait for an answer
_PKTINFO = 8  # IP_PKTINFO, ip(7)

Result = TypeVar("Result")
# Runs a function in a thread that is in the hub, or in the host's namespace.
Run = Callable[[Callable[[], Result]], Awaitable[Result]]


class WayOut:
    """One of the means. `link` is the hub's link to the outside, "" for none; `device` the host's end of it; `host` the address at which the hub reaches this machine itself, "" for none."""

    name = "none"
    link = ""
    device = ""
    host = ""

    async def tell(self, subnet: str, *, internal: bool) -> None:
        """A network with this subnet is up from now on."""

    async def forget(self, subnet: str) -> None:
        """It is not any more."""

    def close(self) -> None:
        """Takes down what the kernel does not take down with the hub."""


class Tied(WayOut):
    """A pair of links between the hub and the host's namespace."""

    name, link = "tied", _HUB

    def __init__(self, outside: Run[Any], inside: Run[Any], hub: int) -> None:
        self._outside, self._inside, self._hub = outside, inside, hub
        self._links: netlink.Links | None = None
        self._rules: netlink.Rules | None = None
        self._gateway = ""
        self.device = f"{_DEVICE}{os.urandom(5).hex()}"

    async def open(self) -> None:
        """Ties the two; raises NetlinkError, OSError."""
        taken = reached()
        # Link-local addresses are nobody's, and two of them are enough; RFC 3927. A third octet of 169 holds what clouds serve there.
        third = random.choice([n for n in range(1, 255) if n != 169])
        first = IPv4Address(f"169.254.{third}.{4 * random.randrange(1, 63)}")
        while any(first in other for other in taken):
            first += 4
        self.host, mine = str(first + 1), str(first + 2)
        self._gateway = mine

        def here() -> None:
            self._links = links = netlink.Links()
            links.tie(self.device, self._hub, _HUB)
            links.address(self.device, self.host, 30)
            with contextlib.suppress(OSError), open("/proc/sys/net/ipv4/ip_forward", "r+") as file:
                if file.read().strip() == "0":
                    file.write("1\n")
            self._rules = netlink.Rules(self.device, owned=True)
            self._rules.masquerade(f"{mine}/32", self.device)
            self._rules.guard(self.device)  # the host's own may go in, as in docker; other engines' containers are not the host

        def there() -> None:
            with netlink.Links() as links:
                links.address(_HUB, mine, 30)
                links.up(_HUB)
                links.route("default", gateway=self.host)

        await self._outside(here)
        await self._inside(there)

    async def tell(self, subnet: str, *, internal: bool) -> None:
        """The host reaches the network's containers, as docker's root does, unless it reaches something else at these addresses."""
        if self._links:
            links = self._links
            await self._outside(lambda: links.route_beside(subnet, self._gateway, _LAST))

    async def forget(self, subnet: str) -> None:
        """The host looks for nobody there any more."""
        if self._links:
            links = self._links
            await self._outside(lambda: links.unroute(subnet, self._gateway, _LAST))

    def close(self) -> None:
        """The host's end of the pair goes with the hub, the table with its socket."""
        for each in (self._rules, self._links):
            if each:
                each.close()


class Tap(WayOut):
    """A program in the host's namespace that has a tap device in the hub: slirp4netns(1)."""

    name, link = "tap", "tap0"

    def __init__(self, hub: int) -> None:
        self._hub, self._held = hub, -1

    async def open(self) -> None:
        """Starts the program; raises OSError where there is none, or it cannot."""
        if not os.path.exists("/dev/net/tun"):
            raise OSError("there is no /dev/net/tun")
        if (program := shutil.which("slirp4netns")) is None:
            raise OSError("slirp4netns is not installed")
        await asyncio.to_thread(self._begin, program)

    def _begin(self, program: str) -> None:
        # The program ends when the other end of this pipe closes, however this process ends.
        theirs, self._held = os.pipe2(os.O_CLOEXEC)
        ready, told = os.pipe2(os.O_CLOEXEC)
        words = [program, "--configure", "--mtu=65520", "--disable-host-loopback", "--netns-type=path", f"--exit-fd={theirs}", f"--ready-fd={told}"]
        try:
            process = subprocess.Popen(
                [*words, f"/proc/self/fd/{self._hub}", self.link], pass_fds=[self._hub, theirs, told],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            )  # fmt: skip
        finally:
            os.close(theirs)
            os.close(told)
        with open(ready, "rb", buffering=0) as file:
            if file.read(1):
                return
        self.close()
        said = process.communicate(timeout=_PATIENCE)[1].decode(errors="replace").strip().splitlines()
        raise OSError(f"slirp4netns: {said[-1] if said else 'it ended'}")

    def close(self) -> None:
        """Ends the program."""
        if self._held >= 0:
            os.close(self._held)
        self._held = -1


class Listening(WayOut):
    """Every foreign address is the hub's own, and a few ports of it lead outside."""

    name = "listening"

    def __init__(self, inside: Run[Any]) -> None:
        self._inside = inside
        self._internal: set[IPv4Network] = set()
        self._asking: Counter[str] = Counter()
        self._streams: list[Streams] = []
        self._datagrams: socket.socket | None = None
        self._tasks = Tasks()

    async def open(self) -> None:
        """Makes the route and the listeners; raises NetlinkError, OSError."""

        def there() -> tuple[list[socket.socket], socket.socket]:
            with netlink.Links() as links:
                links.take_everything()
            made = []
            for port in PORTS:
                made.append(socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_CLOEXEC))
                made[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                made[-1].bind(("0.0.0.0", port))
            names = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            names.setsockopt(socket.IPPROTO_IP, _PKTINFO, 1)
            names.bind(("0.0.0.0", 53))
            return made, names

        listeners, self._datagrams = await self._inside(there)
        self._streams = [Streams(each, self._connect) for each in listeners]
        self._datagrams.setblocking(False)
        asyncio.get_running_loop().add_reader(self._datagrams.fileno(), self._hear)

    async def tell(self, subnet: str, *, internal: bool) -> None:
        """What comes from an internal network is not carried on, also where no rule of the kernel's keeps it."""
        if internal:
            self._internal.add(IPv4Network(subnet))

    async def forget(self, subnet: str) -> None:
        """The subnet may be another network's."""
        self._internal.discard(IPv4Network(subnet))

    async def _connect(self, accepted: socket.socket) -> socket.socket:
        """Gives a socket of the host's namespace, connected to where the container meant to go."""
        meant = accepted.getsockname()
        self._refuse_own(meant[0], accepted.getpeername()[0])
        outward = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        try:
            async with asyncio.timeout(_PATIENCE):
                await asyncio.get_running_loop().sock_connect(outward, meant)
        except BaseException:
            outward.close()
            raise
        return outward

    def _hear(self) -> None:
        if self._datagrams is None:
            return
        with contextlib.suppress(OSError):
            data, more, _, sender = self._datagrams.recvmsg(4096, 64)
            meant = next((socket.inet_ntoa(info[8:12]) for level, kind, info in more if (level, kind) == (socket.IPPROTO_IP, _PKTINFO)), "")
            # One that asks without end takes nobody else's turn.
            if meant and len(self._tasks) < _HANDS and self._asking[sender[0]] < _HANDS_EACH:
                self._asking[sender[0]] += 1
                self._tasks.begin(self._ask(data, meant, sender))

    async def _ask(self, data: bytes, meant: str, sender: Any) -> None:
        try:
            await self._answered(data, meant, sender)
        except (OSError, TimeoutError):
            pass
        finally:
            self._asking -= Counter([sender[0]])

    async def _answered(self, data: bytes, meant: str, sender: Any) -> None:
        loop = asyncio.get_running_loop()
        self._refuse_own(meant, sender[0])
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as outward:
            outward.connect((meant, 53))
            await loop.sock_sendall(outward, data)
            async with asyncio.timeout(5):
                answer = await loop.sock_recv(outward, 65535)
            # The answer comes from where the question went; ip(7), ipi_spec_dst.
            info = struct.pack("=I4s4s", 0, socket.inet_aton(meant), bytes(4))
            if self._datagrams:
                self._datagrams.sendmsg([answer], [(socket.IPPROTO_IP, _PKTINFO, info)], 0, sender)

    def close(self) -> None:
        """Listens no more."""
        for each in self._streams:
            each.close()
        if self._datagrams:
            asyncio.get_running_loop().remove_reader(self._datagrams.fileno())
            self._datagrams.close()
        self._tasks.cancel()

    def _refuse_own(self, meant: str, sender: str) -> None:
        """Raises OSError for an address of this machine's loopback, which a container has one of its own of, and for who may reach nobody outside."""
        if IPv4Address(meant).is_loopback or IPv4Address(sender).is_loopback or any(IPv4Address(sender) in subnet for subnet in self._internal):
            raise OSError("not a foreign address")
