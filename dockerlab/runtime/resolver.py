"""The name server that a container of a user-defined network finds at 127.0.0.11: names of its networks from us, all others from the host's servers.

Messages are RFC 1035's. What asks is hostile: it may hold any bytes, and ask faster than anybody answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import random
import socket
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from dockerlab.runtime import hostfiles
from dockerlab.runtime.forwarding import Door, Tasks

__all__ = ["ADDRESS", "Question", "Resolver", "answered", "asked", "host_servers"]

ADDRESS = "127.0.0.11"
_A, _PTR, _AAAA, _INTERNET = 1, 12, 28, 1
_NO_ERROR, _FAILED, _NO_NAME = 0, 2, 3
_SECONDS = 600  # how long docker lets a name be remembered
_MOST, _PATIENCE, _HANDS = 4096, 5.0, 64

# Gives the addresses of a name, or None where it is nobody's here; and the name of an address.
Lookup = Callable[[str], Sequence[str] | None]


@dataclass(frozen=True, slots=True)
class Question:
    """What a message asks: the name in lower case without the last dot, and where in the message the question ends."""

    name: str
    type: int
    family: int
    end: int


def asked(message: bytes) -> Question | None:
    """Gives the question of a standard query; None for anything else."""
    if not 12 < len(message) <= _MOST:
        return None
    _, flags, questions, _, _, _ = struct.unpack("!6H", message[:12])
    if flags & 0xF800 or questions != 1:
        return None
    labels, at = [], 12
    while at < len(message) and message[at]:
        size = message[at]
        if size > 63 or at + 1 + size >= len(message):
            return None
        labels.append(message[at + 1 : at + 1 + size].decode("utf-8", "replace").lower())
        at += 1 + size
    if at + 5 > len(message):
        return None
    kind, family = struct.unpack("!2H", message[at + 1 : at + 5])
    return Question(".".join(labels), kind, family, at + 5)


def answered(message: bytes, question: Question, records: Sequence[tuple[int, bytes]], code: int = _NO_ERROR) -> bytes:
    """Gives the reply to a query: records as (type, data), all of the name that was asked for."""
    (flags,) = struct.unpack("!H", message[2:4])
    head = message[:2] + struct.pack("!5H", 0x8080 | flags & 0x0100 | code, 1, len(records), 0, 0)
    told = b"".join(b"\xc0\x0c" + struct.pack("!2HIH", kind, _INTERNET, _SECONDS, len(data)) + data for kind, data in records)
    return head + message[12 : question.end] + told


def _encoded(name: str) -> bytes | None:
    """Gives a name as a message has it; None for one that no message can have, RFC 1035 section 2.3.4."""
    labels = [label.encode() for label in name.split(".")]
    encoded = b"".join(bytes([len(label) & 0xFF]) + label for label in labels) + b"\0"
    return encoded if all(0 < len(label) < 64 for label in labels) and len(encoded) <= 255 else None


def host_servers() -> list[str]:
    """Gives the name servers of this host; resolv.conf(5)."""
    found = []
    for server in hostfiles.servers(hostfiles.resolver()):
        with contextlib.suppress(ValueError):
            found.append(str(ipaddress.ip_address(server.partition("%")[0])))
    return found or ["127.0.0.1"]


class Resolver:
    """Serves one container. `servers` gives whom to ask for what is not here, [] where nobody is to be asked."""

    def __init__(self, datagrams: socket.socket, streams: socket.socket, forward: Lookup, reverse: Callable[[str], str | None], servers: Callable[[], Sequence[str]]) -> None:
        self._datagrams, self._forward, self._reverse, self._servers = datagrams, forward, reverse, servers
        self._loop = asyncio.get_running_loop()
        self._tasks = Tasks()
        datagrams.setblocking(False)
        self._loop.add_reader(datagrams.fileno(), self._hear)
        self._door = Door(streams, self._accept)

    def _hear(self) -> None:
        for _ in range(_HANDS):
            try:
                message, sender = self._datagrams.recvfrom(_MOST)
            except OSError:
                return
            known = self._known(message)
            if known:
                with contextlib.suppress(OSError):
                    self._datagrams.sendto(known, sender)
            elif known is None and len(self._tasks) < _HANDS:  # else it asks again
                self._tasks.begin(self._pass_on(message, sender))

    async def _pass_on(self, message: bytes, sender: Any) -> None:
        answer = await self._elsewhere(message, stream=False)
        with contextlib.suppress(OSError):
            self._datagrams.sendto(answer, sender)

    def _known(self, message: bytes) -> bytes | None:
        """Gives the reply where the name is ours, b"" for what is no query, None where others are to be asked."""
        question = asked(message)
        if question is None:
            return b""
        if question.family != _INTERNET:
            return None
        if question.type == _PTR and question.name.endswith(".in-addr.arpa"):
            name = self._reverse(".".join(reversed(question.name.removesuffix(".in-addr.arpa").split("."))))
            if name is None:
                return None
            encoded = _encoded(name)
            return answered(message, question, [(_PTR, encoded)]) if encoded else answered(message, question, [], _NO_NAME)
        found = self._forward(question.name) if question.name else None
        if found is None:
            return None
        addresses = random.sample(found, len(found)) if question.type == _A else []
        return answered(message, question, [(_A, ipaddress.IPv4Address(address).packed) for address in addresses])

    async def _elsewhere(self, message: bytes, *, stream: bool) -> bytes:
        question = asked(message)
        for server in self._servers():
            with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
                async with asyncio.timeout(_PATIENCE):
                    return await (self._by_stream if stream else self._by_datagram)(server, message)
        # Docker's resolver fails where nobody can be asked: a name may be there for all it knows.
        return answered(message, question, [], _FAILED) if question else b""

    async def _by_datagram(self, server: str, message: bytes) -> bytes:
        family = socket.AF_INET6 if ":" in server else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as connection:
            connection.connect((server, 53))
            await self._loop.sock_sendall(connection, message)
            while True:
                answer = await self._loop.sock_recv(connection, 65535)
                if answer[:2] == message[:2]:
                    return answer

    async def _by_stream(self, server: str, message: bytes) -> bytes:
        reader, writer = await asyncio.open_connection(server, 53)
        try:
            writer.write(struct.pack("!H", len(message)) + message)
            (size,) = struct.unpack("!H", await reader.readexactly(2))
            return await reader.readexactly(size)
        finally:
            writer.close()

    def _accept(self, connection: socket.socket) -> None:
        if len(self._tasks) >= _HANDS:
            connection.close()
            return
        self._tasks.begin(self._serve(connection))

    async def _serve(self, connection: socket.socket) -> None:
        reader, writer = await asyncio.open_connection(sock=connection)
        try:
            with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
                while True:
                    async with asyncio.timeout(2 * _PATIENCE):
                        (size,) = struct.unpack("!H", await reader.readexactly(2))
                        message = await reader.readexactly(size)
                    known = self._known(message)
                    answer = await self._elsewhere(message, stream=True) if known is None else known
                    if not answer:
                        return
                    writer.write(struct.pack("!H", len(answer)) + answer)
                    await writer.drain()
        finally:
            writer.close()

    def close(self) -> None:
        """Answers no more."""
        self._loop.remove_reader(self._datagrams.fileno())
        self._datagrams.close()
        self._door.close()
        self._tasks.cancel()
