"""Ports of the host that lead to a container: bound before its program starts, so that a conflict is found then."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterable, Sequence
from typing import Any

from dockerlab.runtime.forwarding import Connect, Datagrams, Streams
from dockerlab.runtime.ports import Publication, Published

__all__ = ["PublishFailed", "Taken", "publish", "serve"]

_TYPES = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
_FIRST, _LAST = 32768, 61000  # from where docker takes a port that nobody names; ip(7), ip_local_port_range


class PublishFailed(Exception):
    """Why a port cannot be had, in docker's words."""


def _families(host: str) -> list[tuple[int, str]]:
    if host:
        return [(socket.AF_INET6 if ":" in host else socket.AF_INET, host)]
    return [(socket.AF_INET, "0.0.0.0"), *([(socket.AF_INET6, "::")] if os.path.exists("/proc/net/if_inet6") else [])]


def _bound(host: str, port: int, protocol: str) -> list[tuple[str, socket.socket]]:
    """Gives the sockets at one port, all of them or none. Raises OSError."""
    made: list[tuple[str, socket.socket]] = []
    try:
        for family, address in _families(host):
            try:
                each = socket.socket(family, _TYPES[protocol] | socket.SOCK_CLOEXEC)
            except OSError as error:
                if error.errno == errno.EAFNOSUPPORT and made:
                    continue
                raise
            made.append((address, each))
            if protocol == "tcp":
                each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                each.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            try:
                each.bind((address, port))
                if protocol == "tcp":
                    each.listen(1024)  # two sockets may be bound to a port, but only one listens
            except OSError as error:
                if error.errno == errno.EADDRNOTAVAIL and family == socket.AF_INET6 and not host:
                    made.pop()[1].close()
                    continue
                raise
    except BaseException:
        for _, each in made:
            each.close()
        raise
    return made


class Taken:
    """The ports that containers have, and from where on one that nobody names is looked for: behind the last that was found."""

    _next = _FIRST

    def __init__(self, ours: Iterable[Published]) -> None:
        self._hosts: dict[tuple[int, str], set[str]] = {}
        for each in ours:
            self.add(each)

    def add(self, each: Published) -> None:
        """One more."""
        self._hosts.setdefault((each.host_port, each.protocol), set()).add(each.host)

    def has(self, wanted: Publication, port: int) -> bool:
        """Tells whether a port is somebody's at an address that is wanted."""
        hosts = self._hosts.get((port, wanted.protocol), set())
        return bool(hosts if not wanted.host else hosts & {wanted.host, "0.0.0.0", "::"})

    def ports(self, wanted: Publication) -> Iterable[int]:
        """Gives the ports to try, in this order."""
        if wanted.first:
            return range(wanted.first, wanted.last + 1)
        return (*range(Taken._next, _LAST), *range(_FIRST, Taken._next))

    def found(self, wanted: Publication, told: Sequence[Published]) -> None:
        """These are somebody's now."""
        for each in told:
            self.add(each)
            if not wanted.first:
                Taken._next = each.host_port + 1 if each.host_port + 1 < _LAST else _FIRST


def publish(wanted: Publication, taken: Taken) -> tuple[list[Published], list[tuple[str, socket.socket]]]:
    """Gives what is published, and the sockets. Raises PublishFailed."""
    shown = wanted.host or "0.0.0.0"
    failure = f"Bind for {shown}:{wanted.first} failed: port is already allocated"
    for port in taken.ports(wanted):
        if taken.has(wanted, port):
            failure = f"Bind for {shown}:{port} failed: port is already allocated"
            continue
        try:
            made = _bound(wanted.host, port, wanted.protocol)
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            failure = f"Error starting userland proxy: listen {wanted.protocol}{6 if ':' in shown else 4} {shown}:{port}: bind: {why}"
            if error.errno == errno.EADDRINUSE:
                continue
            raise PublishFailed(failure) from error
        told = [Published(address, port, wanted.port, wanted.protocol) for address, _ in made]
        taken.found(wanted, told)
        return told, made
    if not wanted.first or wanted.last > wanted.first:
        failure = f"Bind for {shown}:{wanted.first} failed: all ports are allocated"
    raise PublishFailed(failure)


def serve(bound: socket.socket, protocol: str, connect: Connect) -> Streams | Datagrams:
    """Carries what arrives at a bound socket to where `connect` leads."""
    if protocol == "udp":
        return Datagrams(bound, connect)

    async def reach(_: Any) -> socket.socket:
        return await connect(socket.SOCK_STREAM)

    return Streams(bound, reach)
