"""Networks on disk: one file, `networks.json`, with a line for each. Which container has which address is the networks' own affair while they are up."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import msgspec

from dockerlab.errors import AlreadyExists, CorruptContent, InvalidArgument, InvalidRequest, NotFound
from dockerlab.store.containers import new_id, now
from dockerlab.store.files import locked, publish
from dockerlab.store.journal import Journal

__all__ = ["BUILT_IN", "Network", "NetworkStore", "checked"]

BUILT_IN = {"bridge": "bridge", "host": "host", "none": "null"}


class Network(msgspec.Struct, frozen=True, kw_only=True):
    """One network. `subnet` is "" for `host` and `none`; `chosen` tells that a person named it, else it may move out of another's way."""

    id: str
    name: str
    created: str
    driver: str = "bridge"
    subnet: str = ""
    gateway: str = ""
    ip_range: str = ""
    internal: bool = False
    attachable: bool = False
    chosen: bool = False
    labels: Mapping[str, str] = {}
    options: Mapping[str, str] = {}

    @property
    def built_in(self) -> bool:
        """Whether it is always there."""
        return self.name in BUILT_IN

    @property
    def device(self) -> str:
        """The name of its bridge: an interface's name has at most fifteen bytes."""
        return f"dl-{self.id[:12]}"

    @property
    def prefix(self) -> int:
        """The length of its subnet's prefix."""
        return IPv4Network(self.subnet).prefixlen

    def hosts(self) -> Iterator[str]:
        """Yields the addresses that a container may get when nobody names one."""
        subnet = IPv4Network(self.subnet)
        for address in IPv4Network(self.ip_range or self.subnet):
            if str(address) != self.gateway and address not in (subnet.network_address, subnet.broadcast_address):
                yield str(address)


def _pools() -> Iterator[IPv4Network]:
    """Yields where docker looks for a subnet, in its order."""
    for second in range(17, 32):
        yield IPv4Network(f"172.{second}.0.0/16")
    yield from IPv4Network("192.168.0.0/16").subnets(new_prefix=20)


class NetworkStore:
    """The file and its lock. `routes` gives the subnets that this host reaches without us, and which therefore are nobody's to take."""

    def __init__(self, root: Path, routes: Callable[[], Sequence[IPv4Network]]) -> None:
        self._path, self._lock, self._routes, self._journal = root / "networks.json", root / "networks.lock", routes, Journal(root)

    def all(self) -> list[Network]:
        """Gives all networks by name, the built-in ones among them. Raises CorruptContent, StoreError."""
        if not self._path.exists():
            with locked(self._lock):
                if not self._path.exists():
                    self._write([self._with_subnet(Network(id=new_id(), name=name, created=now(), driver=driver), []) for name, driver in BUILT_IN.items()])
        try:
            found = msgspec.json.decode(self._path.read_bytes(), type=list[Network])
        except msgspec.DecodeError as error:
            raise CorruptContent(f"networks.json is damaged: {error}", hint=f"remove {self._path}; networks of your own are to be created again") from error
        if missing := BUILT_IN.keys() - {network.name for network in found}:
            raise CorruptContent(f"networks.json is damaged: it lacks {min(missing)}", hint=f"remove {self._path}; networks of your own are to be created again")
        return sorted(found, key=lambda network: network.name)

    def find(self, text: str) -> Network:
        """Gives the network with this name, id or unambiguous start of an id; raises NotFound in docker's words."""
        every = self.all()
        exact = [n for n in every if n.name == text] or [n for n in every if n.id == text]
        found = exact or [n for n in every if text and n.id.startswith(text)]
        if len(found) > 1:
            raise NotFound(f"network {text} is ambiguous ({len(found)} matches found on ID prefix)", kind="network", name=text, hint="give more digits")
        if not found:
            raise NotFound(f"network {text} not found", kind="network", name=text, hint="list the networks with `docker network ls`")
        return found[0]

    def create(self, draft: Network) -> Network:
        """Adds a network, with a subnet where it names none; raises AlreadyExists, and InvalidRequest for a subnet that is another's."""
        self.all()
        with locked(self._lock):
            every = self.all()
            if any(network.name == draft.name for network in every):
                raise AlreadyExists(f"network with name {draft.name} already exists", kind="network", name=draft.name, hint=f"use it, or `docker network rm {draft.name}` first")
            made = self._with_subnet(msgspec.structs.replace(draft, id=new_id(), created=now()), every)
            self._write([*every, made])
        self._journal.note("network", "create", made.id, {"name": made.name, "type": made.driver})
        return made

    def remove(self, network: Network) -> None:
        """Takes a network away."""
        with locked(self._lock):
            self._write([other for other in self.all() if other.id != network.id])
        self._journal.note("network", "destroy", network.id, {"name": network.name, "type": network.driver})

    def settled(self, ident: str, busy: Iterable[IPv4Network]) -> Network:
        """Gives a network as it is to be put up: one whose subnet nobody chose moves where this host has come to reach that otherwise. Raises NotFound."""
        taken = list(busy)
        with locked(self._lock):
            every = self.all()
            network = next((n for n in every if n.id == ident), None)
            if network is None:
                raise NotFound(f"network {ident} not found", kind="network", name=ident)
            if network.chosen or not any(IPv4Network(network.subnet).overlaps(other) for other in taken):
                return network
            rest = [n for n in every if n.id != ident]
            moved = self._with_subnet(msgspec.structs.replace(network, subnet="", gateway=""), rest, taken)
            self._write([*rest, moved])
            return moved

    def _with_subnet(self, network: Network, every: Sequence[Network], busy: Sequence[IPv4Network] | None = None) -> Network:
        if network.driver != "bridge":
            return network
        own = [IPv4Network(other.subnet) for other in every if other.subnet]
        if not network.subnet:
            taken = [*own, *(self._routes() if busy is None else busy)]
            free = next((pool for pool in _pools() if not any(pool.overlaps(other) for other in taken)), None)
            if free is None:
                raise InvalidRequest("could not find an available, non-overlapping IPv4 address pool among the defaults to assign to the network", hint="name one: --subnet 10.1.2.0/24")
            return msgspec.structs.replace(network, subnet=str(free), gateway=str(free[1]))
        subnet = IPv4Network(network.subnet)
        if any(subnet.overlaps(other) for other in own):
            raise InvalidRequest("Pool overlaps with other one on this address space", hint="`docker network ls` and `inspect` show which subnets are taken")
        first = IPv4Network(network.ip_range)[1] if network.ip_range and IPv4Network(network.ip_range).num_addresses > 2 else subnet[1]
        return msgspec.structs.replace(network, gateway=network.gateway or str(first))

    def _write(self, networks: Sequence[Network]) -> None:
        publish(self._path, msgspec.json.format(msgspec.json.encode(list(networks)), indent=1))


def checked(subnet: str, gateway: str, ip_range: str) -> tuple[str, str, str]:
    """Gives subnet, gateway and range as the kernel writes them; raises InvalidArgument in docker's words."""
    if not subnet:
        if gateway or ip_range:
            raise InvalidArgument("every ip-range or gateway must have a corresponding subnet", hint="name the subnet as well")
        return "", "", ""
    try:
        whole = IPv4Network(subnet, strict=False)
    except ValueError:
        raise InvalidRequest(f"Invalid subnet {subnet} : invalid CIDR address: {subnet}", hint="write 10.1.2.0/24") from None
    if whole.prefixlen > 30:
        raise InvalidRequest("failed to allocate gateway (): No available addresses on this pool", hint="a gateway and a container need room: 10.1.2.0/24")
    part = ""
    if ip_range:
        try:
            within = IPv4Network(ip_range, strict=False)
        except ValueError:
            raise InvalidRequest(f"invalid range {ip_range}: invalid CIDR address: {ip_range}", hint="write 10.1.2.128/25") from None
        if not within.subnet_of(whole):
            raise InvalidArgument(f"no matching subnet for range {ip_range}", hint=f"name a part of {whole}")
        part = str(within)
    if gateway:
        try:
            address: IPv4Address | None = ipaddress.IPv4Address(gateway)
        except ValueError:
            address = None
        if address is None or address not in whole:
            raise InvalidArgument(f"no matching subnet for gateway {gateway}", hint=f"name an address of {whole}")
        if address in (whole.network_address, whole.broadcast_address):
            raise InvalidRequest(f"failed to allocate gateway ({gateway}): Address already in use", hint="the first and the last address of a subnet are nobody's")
    return str(whole), gateway, part
