"""Links, addresses, routes and packet rules of a network namespace; rtnetlink(7), veth(4), nftables' netlink interface.

The only module that imports pyroute2, which takes a fifth of a second: only the process in which the networks live imports this.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.nftables.expressions import genex, masq, verdict
from pyroute2.nftables.main import NFTables

__all__ = ["Links", "NetlinkError", "Rules", "dropping_forwarder"]

_MAIN = 254
_DROP, _ACCEPT = 0, 1
_FORWARD, _POSTROUTING, _PREROUTING, _INPUT = "forward", "postrouting", "prerouting", "input"
_IN, _OUT = 6, 7  # NFT_META_IIFNAME, NFT_META_OIFNAME
_EQUAL, _OTHER = 0, 1
_OWNED = 2  # NFT_TABLE_F_OWNER: the table goes with the socket that made it


class Links:
    """The links of the network namespace that the calling thread is in. Raises NetlinkError, whose `code` is an errno."""

    def __init__(self) -> None:
        self._ip: Any = IPRoute()

    def __enter__(self) -> Links:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the socket."""
        self._ip.close()

    def index(self, name: str) -> int:
        """Gives a link's number, 0 for none."""
        return next(iter(self._ip.link_lookup(ifname=name)), 0)

    def up(self, name: str) -> None:
        """Starts a link."""
        self._ip.link("set", index=self.index(name), state="up")

    def bridge(self, name: str) -> None:
        """Makes a bridge, started, if there is none."""
        if not self.index(name):
            self._ip.link("add", ifname=name, kind="bridge")
        self.up(name)

    def tie(self, name: str, namespace: int, inside: str, *, bridge: str = "", mac: str = "") -> None:
        """Makes a pair of links: `name` here, on the bridge and started, and `inside` in the namespace behind an open descriptor."""
        peer = {"ifname": inside, "net_ns_fd": namespace, **({"address": mac} if mac else {})}
        master = {"master": self.index(bridge)} if bridge else {}
        self._ip.link("add", ifname=name, kind="veth", peer=peer, state="up", **master)

    def remove(self, name: str) -> None:
        """Takes a link away, if it is there; of a pair both ends go."""
        if index := self.index(name):
            with contextlib.suppress(NetlinkError):
                self._ip.link("del", index=index)

    def address(self, name: str, address: str, prefix: int) -> None:
        """Gives a link an address, if it has not got it."""
        broadcast = str(IPv4Network(f"{address}/{prefix}", strict=False).broadcast_address)
        try:
            self._ip.addr("add", index=self.index(name), prefixlen=prefix, address=address, broadcast=broadcast)
        except NetlinkError as error:
            if error.code != errno.EEXIST:
                raise

    def route(self, subnet: str, *, name: str = "", gateway: str = "") -> None:
        """Sends what is meant for a subnet (or `default`) to a link, or to a gateway, in place of what was there."""
        to = {"gateway": gateway} if gateway else {"oif": self.index(name), "scope": "link"}
        self._ip.route("replace", dst=subnet, **to)

    def route_beside(self, subnet: str, gateway: str, priority: int) -> None:
        """Sends what is meant for a subnet to a gateway where nothing else says where it goes: of several routes the one with the least priority counts."""
        with contextlib.suppress(NetlinkError):
            self._ip.route("append", dst=subnet, gateway=gateway, priority=priority)

    def unroute(self, subnet: str, gateway: str, priority: int) -> None:
        """Takes such a route away, if it is there."""
        with contextlib.suppress(NetlinkError):
            self._ip.route("del", dst=subnet, gateway=gateway, priority=priority)

    def without_default(self) -> None:
        """Leaves this namespace no way to anywhere else."""
        with contextlib.suppress(NetlinkError):
            self._ip.route("del", dst="default")

    def take_everything(self) -> None:
        """Makes every address without a route of its own one of this machine's: what is sent there arrives here. ip-route(8), type local."""
        self._ip.route("replace", family=socket.AF_INET, dst="0.0.0.0/0", oif=self.index("lo"), type="local", scope="host", table=_MAIN)


def _words(name: str, /, **values: Any) -> Any:
    return genex(name, values)


def _data(value: bytes) -> dict[str, Any]:
    return {"attrs": [("NFTA_DATA_VALUE", value)]}


def _link(which: int, name: str, how: int) -> list[Any]:
    # The kernel compares all sixteen bytes of an interface's name.
    return [_words("meta", key=which, dreg=1), _words("cmp", sreg=1, op=how, data=_data(name.encode().ljust(16, b"\0")))]


def _masked(mask: bytes) -> Any:
    return _words("bitwise", sreg=1, dreg=1, len=4, mask=_data(mask), xor=_data(bytes(4)))


def _address(subnet: str, offset: int, how: int = _EQUAL) -> list[Any]:
    net = IPv4Network(subnet)
    return [_words("payload", dreg=1, base=1, offset=offset, len=4), _masked(net.netmask.packed), _words("cmp", sreg=1, op=how, data=_data(net.network_address.packed))]


def _known() -> list[Any]:
    # ct state established,related
    return [_words("ct", key=0, dreg=1), _masked(struct.pack("=I", 6)), _words("cmp", sreg=1, op=_OTHER, data=_data(bytes(4)))]


def _echo() -> list[Any]:
    # ICMP, type echo request
    protocol = [_words("payload", dreg=1, base=1, offset=9, len=1), _words("cmp", sreg=1, op=_EQUAL, data=_data(bytes([socket.IPPROTO_ICMP])))]
    return [*protocol, _words("payload", dreg=1, base=2, offset=0, len=1), _words("cmp", sreg=1, op=_EQUAL, data=_data(b"\x08"))]


class Rules:
    """One table of our own for IPv4, in the calling thread's namespace; nobody else's are touched. Raises NetlinkError where the kernel has no nf_tables."""

    def __init__(self, name: str, *, owned: bool = False) -> None:
        self._name, self._tables = name, NFTables(nfgen_family=socket.AF_INET)
        try:
            # Under its own name this word would mean the message's flags.
            self._tables.table("add", kwarg={"name": name, **({"flags": _OWNED} if owned else {})})
        except BaseException:
            self._tables.close()
            raise

    def close(self) -> None:
        """Closes the socket."""
        self._tables.close()

    def remove(self) -> None:
        """Takes the table away."""
        with contextlib.suppress(NetlinkError):
            self._tables.table("del", name=self._name)

    def _chain(self, hook: str, kind: str, priority: int) -> None:
        self._tables.chain("add", table=self._name, name=hook, hook=hook, type=kind, priority=priority, policy=_ACCEPT)

    def _rule(self, chain: str, *parts: list[Any]) -> None:
        self._tables.rule("add", table=self._name, chain=chain, expressions=tuple(parts))

    def masquerade(self, subnet: str, link: str) -> None:
        """What leaves a subnet by another link than this one bears the address of the one that it leaves by."""
        self._chain(_POSTROUTING, "nat", 100)
        self._rule(_POSTROUTING, _address(subnet, 12), _link(_OUT, link, _OTHER), masq())

    def stand_in(self, bridge: str, host: str) -> None:
        """What the address `host` sends into a bridge bears the bridge's own, as docker's host has it there: who has no way out could not answer another."""
        self._chain(_POSTROUTING, "nat", 100)
        self._rule(_POSTROUTING, _address(f"{host}/32", 12), _link(_OUT, bridge, _EQUAL), masq())

    def lead(self, bridge: str, address: str, to: str) -> None:
        """What comes from a bridge and is meant for an address of this namespace goes to another machine's, or another namespace's."""
        self._chain(_PREROUTING, "nat", -100)
        target = [_words("immediate", dreg=1, data=_data(IPv4Address(to).packed)), _words("nat", type=1, family=socket.AF_INET, reg_addr_min=1)]
        self._rule(_PREROUTING, _link(_IN, bridge, _EQUAL), _address(f"{address}/32", 16), target)

    def separate(self, bridge: str, subnet: str, *, host: str = "", link: str = "", internal: bool = False) -> None:
        """Lets nothing into a bridge from elsewhere but answers, and what the address `host` sends by `link`; with `internal` nothing out of it but answers to that.

        What bears an address that is not of its bridge's subnet is nobody's: whoever may make raw packets, as docker's containers may, writes any.
        """
        self._chain(_FORWARD, "filter", 0)
        self._rule(_FORWARD, _link(_IN, bridge, _EQUAL), _address(subnet, 12, _OTHER), verdict(_DROP))
        self._rule(_FORWARD, _link(_OUT, bridge, _EQUAL), _known(), verdict(_ACCEPT))
        if host:
            self._rule(_FORWARD, _link(_OUT, bridge, _EQUAL), _link(_IN, link, _EQUAL), _address(f"{host}/32", 12), verdict(_ACCEPT))
            if internal:
                self._rule(_FORWARD, _link(_IN, bridge, _EQUAL), _address(f"{host}/32", 16), _known(), verdict(_ACCEPT))
        self._rule(_FORWARD, _link(_OUT, bridge, _EQUAL), _link(_IN, bridge, _OTHER), verdict(_DROP))
        if internal:
            self._rule(_FORWARD, _link(_IN, bridge, _EQUAL), _link(_OUT, bridge, _OTHER), verdict(_DROP))

    def guard(self, link: str) -> None:
        """Lets nothing of what is forwarded go out by a link but answers: what this namespace sends itself is not forwarded."""
        self._chain(_FORWARD, "filter", 0)
        self._rule(_FORWARD, _link(_OUT, link, _EQUAL), _known(), verdict(_ACCEPT))
        self._rule(_FORWARD, _link(_OUT, link, _EQUAL), verdict(_DROP))

    def closed(self, bridge: str, subnet: str) -> None:
        """Lets what comes from a bridge reach no address of this namespace outside a subnet."""
        self._chain(_INPUT, "filter", 0)
        self._rule(_INPUT, _link(_IN, bridge, _EQUAL), _address(subnet, 16), verdict(_ACCEPT))
        self._rule(_INPUT, _link(_IN, bridge, _EQUAL), verdict(_DROP))

    def unanswered(self, bridge: str, subnet: str) -> None:
        """Drops echo requests from a bridge that are meant for an address outside its subnet: nobody there would have answered."""
        self._chain(_INPUT, "filter", 0)
        self._rule(_INPUT, _link(_IN, bridge, _EQUAL), _address(subnet, 16), verdict(_ACCEPT))
        self._rule(_INPUT, _link(_IN, bridge, _EQUAL), _echo(), verdict(_DROP))


def dropping_forwarder() -> bool:
    """Tells whether this namespace's own firewall forwards nothing that it does not know: a base chain at the hook `forward` with the policy drop."""
    with contextlib.suppress(NetlinkError), contextlib.closing(NFTables(nfgen_family=socket.AF_INET)) as tables:
        for chain in tables.get_chains():
            hook = chain.get_attr("NFTA_CHAIN_HOOK")
            if hook and hook.get_attr("NFTA_HOOK_HOOKNUM") == 2 and chain.get_attr("NFTA_CHAIN_POLICY") == _DROP:
                return True
    return False
