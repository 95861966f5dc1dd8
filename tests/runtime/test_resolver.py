"""Names: what is asked, what is answered, and bytes that are neither."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable, Sequence

from hypothesis import given
from hypothesis import strategies as st

from dockerlab.runtime import resolver
from dockerlab.runtime.resolver import Resolver, answered, asked

A, PTR, AAAA, MX = 1, 12, 28, 15


def query(name: str, kind: int = A, *, ident: int = 7, flags: int = 0x0100) -> bytes:
    labels = b"".join(bytes([len(part.encode())]) + part.encode() for part in name.split("."))
    return struct.pack("!6H", ident, flags, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!2H", kind, 1)


def addresses(message: bytes) -> list[str]:
    count, found, at = struct.unpack("!H", message[6:8])[0], [], len(message)
    for _ in range(count):
        at -= 16
        found.append(socket.inet_ntoa(message[at + 12 : at + 16]))
    return sorted(found)


def test_a_question_and_its_answer() -> None:
    question = asked(query("Web.Lab"))
    assert question is not None and (question.name, question.type, question.family) == ("web.lab", A, 1)
    reply = answered(query("web"), asked(query("web")), [(A, socket.inet_aton("10.1.2.3")), (A, socket.inet_aton("10.1.2.4"))])  # type: ignore[arg-type]
    assert reply[:2] == b"\0\x07" and struct.unpack("!H", reply[2:4])[0] == 0x8180 and addresses(reply) == ["10.1.2.3", "10.1.2.4"]


def test_what_is_no_question() -> None:
    for message in (b"", b"\0" * 12, query("a", flags=0x8100), query("a", flags=0x2800), query("a")[:-1], query("a")[:-5], struct.pack("!6H", 1, 0x100, 2, 0, 0, 0) + b"\1a\0\0\1\0\1", b"x" * 5000):
        assert asked(message) is None


@given(st.binary(max_size=600))
def test_any_bytes_are_read(message: bytes) -> None:
    question = asked(message)
    if question is not None:
        assert answered(message, question, [])[:2] == message[:2]


@given(st.binary(max_size=80))
def test_any_question_after_a_good_head(tail: bytes) -> None:
    message = struct.pack("!6H", 1, 0x0100, 1, 0, 0, 0) + tail
    question = asked(message)
    assert question is None or 12 < question.end <= len(message)


def served(talk: Callable[[int, int], Sequence[object]], servers: Sequence[str] = ()) -> list[object]:
    """Gives what a conversation with a resolver at two ports of 127.0.0.1 comes to."""

    async def main() -> list[object]:
        datagrams, streams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), socket.socket()
        for each in (datagrams, streams):
            each.bind(("127.0.0.1", 0))
        streams.listen()
        names = {"web": ["10.1.2.3", "10.1.2.4"]}
        serving = Resolver(datagrams, streams, names.get, lambda address: "web.lab" if address == "10.1.2.3" else None, lambda: servers)
        try:
            return list(await asyncio.get_running_loop().run_in_executor(None, talk, datagrams.getsockname()[1], streams.getsockname()[1]))
        finally:
            serving.close()

    return asyncio.run(main())


def test_known_names_by_datagram_and_by_stream() -> None:
    def talk(by_datagram: int, by_stream: int) -> list[object]:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line, socket.create_connection(("127.0.0.1", by_stream)) as stream:
            line.settimeout(5)
            stream.settimeout(5)
            found: list[object] = []
            for message in (query("WEB"), query("web", AAAA), query("3.2.1.10.in-addr.arpa", PTR), query("elsewhere")):
                line.sendto(message, ("127.0.0.1", by_datagram))
                found.append(line.recv(600))
            line.sendto(b"nonsense", ("127.0.0.1", by_datagram))
            line.sendto(query("web", ident=9), ("127.0.0.1", by_datagram))
            found.append(line.recv(600)[:2])
            both = query("web", ident=3), query("web", MX, ident=4)
            stream.sendall(b"".join(struct.pack("!H", len(message)) + message for message in both))
            for _ in both:
                (size,) = struct.unpack("!H", stream.recv(2, socket.MSG_WAITALL))
                found.append(stream.recv(size, socket.MSG_WAITALL))
            return found

    a, aaaa, ptr, other, ident, first, second = served(talk)
    assert addresses(a) == ["10.1.2.3", "10.1.2.4"] == addresses(first)  # type: ignore[arg-type]
    assert struct.unpack("!4H", aaaa[2:10])[2] == 0 and b"\3web\3lab\0" in ptr  # type: ignore[index,operator]
    assert struct.unpack("!H", other[2:4])[0] & 15 == 2, "nobody else is to be asked"  # type: ignore[index]
    assert ident == b"\0\x09" and second[:2] == b"\0\4"  # type: ignore[index]


def test_the_hosts_servers() -> None:
    assert all(socket.inet_pton(socket.AF_INET6 if ":" in server else socket.AF_INET, server) for server in resolver.host_servers())


def test_names_that_no_message_can_have() -> None:
    """A container may be called anything; who asks for such a name by its address is told that there is none."""

    async def main() -> list[int]:
        sockets = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), socket.socket()
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        sockets[1].listen()
        name = ""
        serving = Resolver(*sockets, lambda wanted: ["10.0.0.1"] if wanted in ("été", "") else None, lambda address: name, list)
        codes = []
        for name, asks in (("a" * 64, PTR), ("é" * 100 + ".lab", PTR), ("..", PTR), ("ok.lab", PTR), ("", 0), ("été", A)):  # noqa: B007 — the resolver reads it
            message = query("1.0.0.10.in-addr.arpa", PTR) if asks == PTR else query(name, A) if asks else struct.pack("!6H", 7, 0x100, 1, 0, 0, 0) + b"\0" + struct.pack("!2H", A, 1)
            reply = serving._known(message)
            codes.append(-1 if reply is None else reply[3] & 15)
        serving.close()
        return codes

    assert asyncio.run(main()) == [3, 3, 3, 0, -1, 0]
