"""Bytes through the middle: both ways, to the end of each, however slow somebody reads."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import socket
import threading
from collections.abc import Callable

from dockerlab.runtime.forwarding import Datagrams, Door, Streams


def carried(server: Callable[[socket.socket], None], client: Callable[[int], object]) -> object:
    """Gives what a client comes to that reaches a server through `Streams`; none of the descriptors of this process stays open."""
    before = len(os.listdir("/proc/self/fd"))
    with socket.socket() as behind:
        behind.bind(("127.0.0.1", 0))
        behind.listen()

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    line, _ = behind.accept()
                    threading.Thread(target=server, args=(line,), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()

        async def main() -> object:
            front = socket.socket()
            front.bind(("127.0.0.1", 0))

            async def connect(_: socket.socket) -> socket.socket:
                made = socket.socket()
                made.setblocking(False)
                await asyncio.get_running_loop().sock_connect(made, behind.getsockname())
                return made

            serving = Streams(front, connect)
            try:
                return await asyncio.get_running_loop().run_in_executor(None, client, front.getsockname()[1])
            finally:
                await asyncio.sleep(0.1)
                serving.close()
                await asyncio.sleep(0)

        result = asyncio.run(main())
        behind.shutdown(socket.SHUT_RDWR)
    assert len(os.listdir("/proc/self/fd")) <= before + 1
    return result


def test_much_both_ways_and_half_closed() -> None:
    def echo(line: socket.socket) -> None:
        with line:
            while data := line.recv(65536):
                line.sendall(data)

    def client(port: int) -> object:
        data = os.urandom(1 << 20) * 24
        with socket.create_connection(("127.0.0.1", port)) as line:

            def send() -> None:
                line.sendall(data)
                line.shutdown(socket.SHUT_WR)

            thread = threading.Thread(target=send)
            thread.start()
            seen = hashlib.sha256()
            while piece := line.recv(1 << 16):
                seen.update(piece)
            thread.join()
        return seen.digest() == hashlib.sha256(data).digest()

    assert carried(echo, client) is True


def test_who_does_not_read_holds_the_other_back() -> None:
    sent = []

    def pour(line: socket.socket) -> None:
        line.settimeout(0.5)
        with line, contextlib.suppress(OSError):
            while True:
                sent.append(line.send(b"x" * 65536))

    def client(port: int) -> object:
        with socket.create_connection(("127.0.0.1", port)) as line:
            line.recv(1)
            threading.Event().wait(1.0)
            return sum(sent)

    assert int(carried(pour, client)) < 64 << 20  # type: ignore[call-overload]


def test_many_and_broken_ones() -> None:
    def answer(line: socket.socket) -> None:
        with line:
            line.sendall(b"hello " + line.recv(100))

    def client(port: int) -> object:
        lines = [socket.create_connection(("127.0.0.1", port)) for _ in range(100)]
        for number, line in enumerate(lines):
            if number % 2:
                line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # closed with a reset
                line.close()
            else:
                line.sendall(b"%d" % number)
        found = []
        for number, line in enumerate(lines):
            if not number % 2:
                found.append(line.recv(100, socket.MSG_WAITALL) == b"hello %d" % number)
                line.close()
        return all(found) and len(found)

    assert carried(answer, client) == 50


def test_nobody_behind() -> None:
    async def main() -> bytes:
        front = socket.socket()
        front.bind(("127.0.0.1", 0))

        async def connect(_: socket.socket) -> socket.socket:
            raise ConnectionRefusedError

        serving = Streams(front, connect)

        def client() -> bytes:
            with socket.create_connection(("127.0.0.1", front.getsockname()[1])) as line:
                line.settimeout(5)
                return line.recv(1)

        try:
            return await asyncio.get_running_loop().run_in_executor(None, client)
        finally:
            serving.close()

    assert asyncio.run(main()) == b""


def test_datagrams_go_back_to_who_asked() -> None:
    async def main() -> list[bytes]:
        behind, front = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
        for each in (behind, front):
            each.bind(("127.0.0.1", 0))

        async def connect(kind: int) -> socket.socket:
            made = socket.socket(socket.AF_INET, kind)
            made.connect(behind.getsockname())
            return made

        serving = Datagrams(front, connect)

        def talk() -> list[bytes]:
            clients = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(3)]
            found = []
            for number, each in enumerate([*clients, clients[0]]):
                each.settimeout(5)
                each.connect(front.getsockname())
                each.send(b"%d" % number)
                data, sender = behind.recvfrom(100)
                behind.sendto(b"for " + data, sender)
                found.append(each.recv(100))
            for each in clients:
                each.close()
            return found

        try:
            return await asyncio.get_running_loop().run_in_executor(None, talk)
        finally:
            serving.close()
            behind.close()

    assert asyncio.run(main()) == [b"for 0", b"for 1", b"for 2", b"for 3"]


def test_datagrams_that_come_at_once_all_arrive() -> None:
    """Those of a new sender wait for its socket; of too many senders the one that was silent longest is forgotten."""

    async def main() -> tuple[list[bytes], bytes]:
        behind, front = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
        for each in (behind, front):
            each.bind(("127.0.0.1", 0))
            each.settimeout(5)

        async def connect(kind: int) -> socket.socket:
            await asyncio.sleep(0.05)
            made = socket.socket(socket.AF_INET, kind)
            made.connect(behind.getsockname())
            return made

        place = front.getsockname()
        serving = Datagrams(front, connect)

        def talk() -> tuple[list[bytes], bytes]:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
                for number in range(10):
                    one.sendto(b"%d" % number, place)
                burst = [behind.recv(100) for _ in range(10)]
            for _ in range(8):
                several = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(150)]
                for start in range(0, 150, 50):
                    for each in several[start : start + 50]:
                        each.sendto(b"x", place)
                    for _ in range(50):
                        behind.recv(100)
                for each in several:
                    each.close()
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
                last.sendto(b"late", place)
                return burst, behind.recv(100)

        try:
            return await asyncio.get_running_loop().run_in_executor(None, talk)
        finally:
            serving.close()
            behind.close()

    assert asyncio.run(main()) == ([b"%d" % number for number in range(10)], b"late")


def test_no_descriptor_is_left() -> None:
    """Whoever comes waits, and is let in once somebody has gone; nobody spins meanwhile."""

    async def main() -> tuple[bool, bytes]:
        listening = socket.socket()
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        full, let_in = True, []
        asked = 0

        def is_full() -> bool:
            nonlocal asked
            asked += 1
            return full

        door = Door(listening, let_in.append, is_full)
        with socket.create_connection(listening.getsockname()) as line:
            await asyncio.sleep(0.5)
            waited = not let_in and asked < 20
            full = False
            await asyncio.sleep(0.3)
            let_in[0].sendall(b"in")
            line.settimeout(5)
            heard = line.recv(2)
        door.close()
        let_in[0].close()
        return waited, heard

    assert asyncio.run(main()) == (True, b"in")
