"""The process in which the networks of an engine live: bridges, addresses, names, published ports.

A container's monitor holds a connection to it, its lease: what the container has lasts as long as the connection does. Nothing here is an authority. A
switch that was killed is started again by whichever monitor sees it gone first, and all of them ask for what they had.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import secrets
import select
import signal
import socket
import traceback
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

from dockerlab.errors import DockerlabError
from dockerlab.linux import netlink, syscalls
from dockerlab.linux.routes import reached
from dockerlab.runtime import forwarding, publishing, resolver, wire
from dockerlab.runtime.forwarding import Tasks
from dockerlab.runtime.hub import Hub
from dockerlab.runtime.leases import Endpoint, Lease, Refused
from dockerlab.runtime.ports import Publication
from dockerlab.runtime.publishing import PublishFailed
from dockerlab.store.files import locked
from dockerlab.store.networks import Network, NetworkStore

__all__ = ["main"]

_IDLE = 600.0
_SETTLING = 1.0  # seconds in which, after a crash, addresses are kept for who had them


class Switch:
    """All leases, and the hub, which is made when the first network is needed."""

    def __init__(self, path: str, root: Path, *, tied: bool, tap: bool, isolated: bool, settling: bool, owner: int) -> None:
        self._path, self._store = path, NetworkStore(root, reached)
        self._tied, self._tap, self._isolated, self._owner = tied, tap, isolated, owner
        self._leases: set[Lease] = set()
        self._hub: Hub | None = None
        self._lock = asyncio.Lock()
        self._loop = asyncio.get_running_loop()
        self._tasks = Tasks()
        self._settled = self._loop.time() + (_SETTLING if settling else 0)
        self._deeds: dict[str, Callable[[Lease, dict[str, Any], list[int]], Coroutine[Any, Any, dict[str, Any]]]] = {
            "attach": self._attach, "connect": self._connect, "disconnect": self._disconnect, "rename": self._rename, "detach": self._detach, "forget": self._forget,
        }  # fmt: skip

    async def run(self, listening: socket.socket) -> None:
        """Serves until nobody has a lease and the launcher has gone, or nobody has asked for long."""
        door = forwarding.Door(listening, self._accept)
        idle = 0.0
        while True:
            await asyncio.sleep(1)
            idle = 0.0 if self._leases else idle + 1.0
            if (idle >= _IDLE or (idle and _ready(self._owner))) and self._leave(listening, door):
                break
        if self._hub:
            self._hub.close()

    def _leave(self, listening: socket.socket, door: forwarding.Door) -> bool:
        """Takes this switch off its place, unless somebody has come meanwhile; whoever starts another one holds the same lock."""
        with locked(Path(f"{self._path}.lock")):
            if _ready(listening.fileno()) or self._leases:
                return False
            door.close()
            with contextlib.suppress(OSError):
                os.unlink(self._path)
            return True

    # Who asks

    def _accept(self, connection: socket.socket) -> None:
        lease = Lease(connection)
        self._loop.add_reader(connection.fileno(), self._hear, lease)
        self._tasks.begin(self._serve(lease))

    def _hear(self, lease: Lease) -> None:
        try:
            message, descriptors = wire.receive_soon(lease.connection)
        except (OSError, ValueError):
            message, descriptors = None, []
        if message is None:
            self._loop.remove_reader(lease.connection.fileno())
            lease.questions.put_nowait(None)
            for descriptor in descriptors:
                os.close(descriptor)
            return
        lease.questions.put_nowait((message, descriptors))

    async def _serve(self, lease: Lease) -> None:
        while (question := await lease.questions.get()) is not None:
            message, descriptors = question
            if message.get("do") != "attach":
                for descriptor in descriptors:
                    os.close(descriptor)
            try:
                if message.get("do") == "userns":
                    self._lend(lease.connection)
                    continue
                answer = await self._deeds[message["do"]](lease, message, descriptors)
            except Refused as error:
                answer = {"failed": str(error)}
            except DockerlabError as error:
                answer = {"failed": error.message}
            except (OSError, netlink.NetlinkError) as error:
                answer = {"failed": f"this host refuses a container its network: {error.args[-1] if isinstance(error, netlink.NetlinkError) else error}"}
            except Exception as error:
                traceback.print_exc()
                answer = {"failed": f"the switch failed: {type(error).__name__}: {error}"}
            with contextlib.suppress(OSError):
                wire.send(lease.connection, answer)
        await self._release(lease)
        lease.connection.close()

    def _lend(self, connection: socket.socket) -> None:
        """Hands out this process's user namespace: a launcher that is started later joins it, so that all containers of an engine share one."""
        descriptor = os.open("/proc/self/ns/user", os.O_RDONLY | os.O_CLOEXEC)
        with contextlib.suppress(OSError):
            wire.send(connection, {}, [descriptor])
        os.close(descriptor)

    # What they ask for

    async def _attach(self, lease: Lease, message: dict[str, Any], descriptors: list[int]) -> dict[str, Any]:
        await self._release(lease)
        lease.container, lease.name, lease.links, lease.servers = message["container"], message["name"], message.get("links", {}), message.get("dns", [])
        lease.namespace, lease.resolve = descriptors[0] if descriptors else -1, bool(message.get("resolve"))
        self._leases.add(lease)
        try:
            if self._isolated:
                await self._open()
                for wanted in message["networks"]:
                    await self._add(lease, wanted)
            await self._publish(lease, [Publication(*each) for each in message.get("ports", ())])
            if message.get("again") and self._hub:
                # The hub of a switch that was killed goes a little later than that, and with it the other ends of its links.
                names = [each.inside for each in lease.endpoints.values()]
                await self._hub.visit(lease.namespace, lambda: _unplug_here(names))
            await self._plug(lease, list(lease.endpoints.values()))
        except BaseException:
            await self._release(lease)
            raise
        return self._told(lease)

    async def _connect(self, lease: Lease, message: dict[str, Any], _: list[int]) -> dict[str, Any]:
        endpoint = await self._add(lease, message["network"])
        try:
            await self._plug(lease, [endpoint])
        except BaseException:
            await self._unplugged(lease, endpoint)
            raise
        return self._told(lease)

    async def _disconnect(self, lease: Lease, message: dict[str, Any], _: list[int]) -> dict[str, Any]:
        endpoint = lease.endpoints.get(message["network"])
        if endpoint and self._hub:
            await self._unplugged(lease, endpoint)
            hub, main = self._hub, lease.main()
            if lease.namespace >= 0:
                await hub.visit(lease.namespace, lambda: _default(main))
        return self._told(lease)

    async def _unplugged(self, lease: Lease, endpoint: Endpoint) -> None:
        lease.endpoints.pop(endpoint.network.id, None)
        if hub := self._hub:
            await hub.inside(lambda: hub.links.remove(endpoint.link))

    async def _rename(self, lease: Lease, message: dict[str, Any], _: list[int]) -> dict[str, Any]:
        lease.name = message["name"]
        return {}

    async def _detach(self, lease: Lease, message: dict[str, Any], _: list[int]) -> dict[str, Any]:
        await self._release(lease)
        return {}

    async def _forget(self, lease: Lease, message: dict[str, Any], _: list[int]) -> dict[str, Any]:
        """Removes a network that nobody is in, nor is about to be: both are settled here, one after the other."""
        async with self._lock:
            network = self._store.find(message["network"])
            if any(network.id in each.endpoints or network.id in each.joining for each in self._leases):
                return {"used": True}
            self._store.remove(network)
            if self._hub:
                await self._hub.lower(network)
        return {}

    def _told(self, lease: Lease) -> dict[str, Any]:
        notes = self._hub.notes if self._hub else []
        return {"endpoints": [e.facts() for e in lease.endpoints.values()], "ports": [list(each) for each in lease.published], "resolver": lease.resolver is not None,
                "host": self._hub.way.host if self._hub else "127.0.0.1", "notes": notes}  # fmt: skip

    # How it is done

    async def _open(self) -> Hub:
        async with self._lock:
            if self._hub is None:
                hub = Hub(tied=self._tied, tap=self._tap, memory=Path(f"{self._path}.hub"))
                await hub.open()
                self._hub = hub
        return self._hub

    async def _add(self, lease: Lease, wanted: dict[str, Any]) -> Endpoint:
        """Gives a lease a place in a network that is up by then, but no link yet."""
        hub, ident = await self._open(), wanted["id"]
        lease.joining.add(ident)
        try:
            return await self._placed(lease, wanted, hub)
        finally:
            lease.joining.discard(ident)

    async def _placed(self, lease: Lease, wanted: dict[str, Any], hub: Hub) -> Endpoint:
        async with self._lock:
            network = self._store.settled(wanted["id"], () if any(wanted["id"] in each.endpoints for each in self._leases) else hub.busy())
            if network.id in lease.endpoints:
                raise Refused(f"endpoint with name {lease.name} already exists in network {network.name}")
            await hub.raise_network(network)
        address = await self._address(network, wanted.get("ip", ""), wanted.get("prefer", ""))
        numbers = [int(e.inside[3:]) for e in lease.endpoints.values()]
        mac = "02:42:" + ":".join(f"{int(part):02x}" for part in address.split("."))
        made = Endpoint(network, secrets.token_hex(32), address, mac, f"dlv-{secrets.token_hex(4)}", f"eth{max(numbers, default=-1) + 1}", list(wanted.get("aliases", ())))
        lease.endpoints[network.id] = made
        return made

    async def _address(self, network: Network, wanted: str, prefer: str) -> str:
        taken = {e.address for each in self._leases if (e := each.endpoints.get(network.id))} | {network.gateway}
        if wanted:
            if wanted in taken:
                raise Refused("Address already in use")
            return wanted
        if prefer and prefer not in taken and prefer in network.hosts():
            return prefer
        if (left := self._settled - self._loop.time()) > 0:
            await asyncio.sleep(left)
            return await self._address(network, wanted, prefer)
        for address in network.hosts():
            if address not in taken:
                return address
        raise Refused(f"no available IPv4 addresses on this network's address pools: {network.name} ({network.id})")

    async def _plug(self, lease: Lease, endpoints: list[Endpoint]) -> None:
        """Makes the links, and what is at the container's end of them."""
        if not endpoints or not self._hub:
            return
        hub, main = self._hub, lease.main()

        def tie() -> None:
            for each in endpoints:
                hub.links.tie(each.link, lease.namespace, each.inside, bridge=each.network.device, mac=each.mac)

        def configure() -> tuple[socket.socket, socket.socket] | None:
            # As docker does where a network has no IPv6: no address of that kind at all.
            with contextlib.suppress(OSError), open("/proc/sys/net/ipv6/conf/all/disable_ipv6", "w") as file:
                file.write("1")
            with netlink.Links() as links:
                links.up("lo")
                for each in endpoints:
                    links.address(each.inside, each.address, each.network.prefix)
                    links.up(each.inside)
                _default(main, links)
            return _name_sockets() if lease.resolver is None and (lease.resolve or lease.own()) else None

        await hub.inside(tie)
        if sockets := await hub.visit(lease.namespace, configure):
            lease.resolver = resolver.Resolver(*sockets, lambda name: self._named(lease, name), lambda address: self._called(lease, address), lambda: self._servers(lease))

    async def _publish(self, lease: Lease, wanted: list[Publication]) -> None:
        """Binds the ports; the container has its address by now."""
        main, most = lease.main(), resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 4
        if self._isolated and main is None:
            return  # from a network without a way out nothing is published
        if 2 * len(wanted) > most:
            raise Refused(f"{len(wanted)} published ports are too many: this host lets one process open {4 * most} files, and each port takes two of them")
        taken = publishing.Taken(each for other in self._leases for each in other.published)
        for number, each in enumerate(wanted):
            if number % 16 == 15:  # others want their turn
                await asyncio.sleep(0)
            try:
                told, sockets = publishing.publish(each, taken)
            except PublishFailed as error:
                raise Refused(f"driver failed programming external connectivity on endpoint {lease.name} ({main.id if main else lease.container}): {error}") from error
            lease.published += told
            if not self._isolated and told[0].host_port == each.port:
                for _, bound in sockets:  # the program itself listens there
                    bound.close()
                continue
            lease.serving += [publishing.serve(bound, each.protocol, self._reach(lease, each.port)) for _, bound in sockets]

    def _reach(self, lease: Lease, port: int) -> Callable[[int], Coroutine[Any, Any, socket.socket]]:
        async def connect(kind: int) -> socket.socket:
            if self._isolated and self._hub:
                main = lease.main()
                if main is None:
                    raise OSError("the container is in no network any more")
                return await self._hub.reach(kind, main.address, port)
            made = socket.socket(socket.AF_INET, kind | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
            try:
                await self._loop.sock_connect(made, ("127.0.0.1", port))
            except BaseException:
                made.close()
                raise
            return made

        return connect

    async def _release(self, lease: Lease) -> None:
        """Takes back all that a container has. Its links go with its namespace, or here where that is still somebody's."""
        self._leases.discard(lease)
        for each in lease.serving:
            each.close()
        if lease.resolver:
            lease.resolver.close()
        gone, namespace = list(lease.endpoints.values()), lease.namespace
        lease.serving, lease.published, lease.resolver, lease.endpoints, lease.namespace = [], [], None, {}, -1
        if namespace >= 0:
            os.close(namespace)
        if gone and self._hub:
            links, names = self._hub.links, [endpoint.link for endpoint in gone]
            self._tasks.begin(self._hub.inside(lambda: _unplug(links, names)))

    # Names

    def _mates(self, lease: Lease) -> Iterator[tuple[Lease, Endpoint]]:
        for mine in lease.own():
            for other in self._leases:
                if found := other.endpoints.get(mine.network.id):
                    yield other, found

    def _named(self, lease: Lease, name: str) -> list[str] | None:
        wanted = next((other for alias, other in lease.links.items() if alias.lower() == name), name).lower()
        found = []
        for other, endpoint in self._mates(lease):
            names = [other.name, other.container[:12], *endpoint.aliases]
            if any(wanted in (own.lower(), f"{own}.{endpoint.network.name}".lower()) for own in names):
                found.append(endpoint.address)
        return found or None

    def _called(self, lease: Lease, address: str) -> str | None:
        return next((f"{other.name}.{endpoint.network.name}" for other, endpoint in self._mates(lease) if endpoint.address == address), None)

    def _servers(self, lease: Lease) -> list[str]:
        if lease.main() is None:
            return []  # what a closed network asks shall not reach anybody by way of names either
        return lease.servers or resolver.host_servers()


def _ready(descriptor: int) -> bool:
    return bool(select.select([descriptor], [], [], 0)[0])


def _default(main: Endpoint | None, links: netlink.Links | None = None) -> None:
    """Sets the way out of the namespace that the thread is in."""
    with contextlib.ExitStack() as stack:
        links = links or stack.enter_context(netlink.Links())
        if main:
            links.route("default", gateway=main.network.gateway)
        else:
            links.without_default()


def _unplug(links: netlink.Links, names: list[str]) -> None:
    for name in names:
        links.remove(name)


def _unplug_here(names: list[str]) -> None:
    with netlink.Links() as links:
        _unplug(links, names)


def _name_sockets() -> tuple[socket.socket, socket.socket]:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC), socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    for each in made:
        each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        each.bind((resolver.ADDRESS, 53))
    made[1].listen(64)
    return made


def main(path: str, settings: dict[str, Any], owner: int, ready: int) -> None:
    """Serves at the socket `path`; `owner` is a pidfd of the launcher, `ready` is written to once it listens."""
    os.umask(0o077)
    os.chdir("/")
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    settling = os.path.exists(path)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # a connection that is carried takes six
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    draft = f"{path}.{os.getpid()}"
    with wire.address(draft) as place:
        listening.bind(place)
    listening.listen(256)

    async def serve() -> None:
        switch = Switch(path, Path(settings["root"]), tied=settings["tied"], tap=settings["tap"], isolated=settings["isolated"], settling=settling, owner=owner)
        os.rename(draft, path)
        os.write(ready, b"1")
        os.close(ready)
        await switch.run(listening)

    asyncio.run(serve())

