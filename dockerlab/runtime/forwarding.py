"""Bytes carried from a socket in one network namespace to one in another: a socket belongs to the namespace of whoever made it.

Between streams the kernel moves them by itself, splice(2); datagrams go one by one, and who sends them is remembered for a while.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

__all__ = ["Connect", "Datagrams", "Streams", "Tasks", "relay"]

# Gives a socket of this type (SOCK_STREAM, SOCK_DGRAM) connected to where the bytes shall go. Raises OSError.
Connect = Callable[[int], Awaitable[socket.socket]]

_PIECE = 1 << 20
_TURN = 8
_FORGOTTEN = 90.0  # seconds without a datagram
_MOST_SENDERS = 1024
_F_SETPIPE_SZ = 1031


class Tasks:
    """What goes on beside: a loop holds its tasks weakly, so somebody has to keep them."""

    def __init__(self) -> None:
        self._going: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._going)

    def begin(self, work: Coroutine[Any, Any, None]) -> None:
        """Begins something, and keeps it until it is done."""
        task = asyncio.get_running_loop().create_task(work)
        self._going.add(task)
        task.add_done_callback(self._going.discard)

    def cancel(self) -> None:
        """Ends all of them."""
        for task in self._going:
            task.cancel()


class _Way:
    """One direction: what comes out of `source` goes into `sink`, through a pipe, and its end too."""

    def __init__(self, source: socket.socket, sink: socket.socket, over: Callable[[bool], None]) -> None:
        self._loop, self._source, self._sink, self._over = asyncio.get_running_loop(), source, sink, over
        self._out, self._in = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        with contextlib.suppress(OSError):  # the user has too many large pipes: a small one does it as well
            import fcntl

            fcntl.fcntl(self._in, _F_SETPIPE_SZ, _PIECE)
        self._held, self._ended, self.open = 0, False, True
        self._loop.add_reader(source.fileno(), self._take)

    def _take(self) -> None:
        """Takes what is there, a few pieces at most: others want their turn."""
        for _ in range(_TURN):
            try:
                got = os.splice(self._source.fileno(), self._in, _PIECE)
            except BlockingIOError:
                return
            except OSError:
                self._over(True)
                return
            if not got:
                self._ended = True
                self._loop.remove_reader(self._source.fileno())
            self._held += got
            if not self._give() or self._ended:
                return

    def _give(self) -> bool:
        """Empties the pipe; where the other end takes no more, nothing more is taken in until it does. Tells whether all went."""
        while self._held:
            try:
                self._held -= os.splice(self._out, self._sink.fileno(), self._held)
            except BlockingIOError:
                self._loop.remove_reader(self._source.fileno())
                self._loop.add_writer(self._sink.fileno(), self._again)
                return False
            except OSError:
                self._over(True)
                return False
        if self._ended:
            with contextlib.suppress(OSError):
                self._sink.shutdown(socket.SHUT_WR)
            self._over(False)
        return True

    def _again(self) -> None:
        self._loop.remove_writer(self._sink.fileno())
        if not self._ended:
            self._loop.add_reader(self._source.fileno(), self._take)
        self._give()

    def close(self) -> None:
        """Lets go of everything but the sockets."""
        if not self.open:
            return
        self.open = False
        self._loop.remove_reader(self._source.fileno())
        self._loop.remove_writer(self._sink.fileno())
        os.close(self._out)
        os.close(self._in)


async def relay(one: socket.socket, other: socket.socket) -> None:
    """Carries both ways between two connected streams until both have ended, or one is broken; closes them."""
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    left = 2

    def over(broken: bool) -> None:
        nonlocal left
        left -= 1
        if (broken or not left) and not done.done():
            done.set_result(None)

    ways: list[_Way] = []
    try:
        for source, sink in ((one, other), (other, one)):
            source.setblocking(False)
            source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            ways.append(_Way(source, sink, over))
        await done
    except OSError:
        pass  # no descriptors are left for this one
    finally:
        for way in ways:
            way.close()
        one.close()
        other.close()


class Streams:
    """A listening socket, each of whose connections is carried on to where `connect` leads."""

    def __init__(self, listening: socket.socket, connect: Callable[[socket.socket], Awaitable[socket.socket]]) -> None:
        self._listening, self._connect = listening, connect
        self._tasks = Tasks()
        listening.setblocking(False)
        listening.listen(1024)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(listening.fileno(), self._accept)

    def _accept(self) -> None:
        for _ in range(64):
            try:
                connection, _ = self._listening.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE):  # no room: whoever waits does so until somebody goes
                    self._loop.remove_reader(self._listening.fileno())
                    self._loop.call_later(0.1, self._attend)
                return
            self._tasks.begin(self._serve(connection))

    def _attend(self) -> None:
        if self._listening.fileno() >= 0:
            self._loop.add_reader(self._listening.fileno(), self._accept)

    async def _serve(self, connection: socket.socket) -> None:
        try:
            other = await self._connect(connection)
        except OSError:
            # Who listens for somebody else can refuse only by hanging up.
            connection.close()
            return
        except BaseException:
            connection.close()
            raise
        await relay(connection, other)

    def close(self) -> None:
        """Hangs up on everybody and listens no more."""
        self._loop.remove_reader(self._listening.fileno())
        self._listening.close()
        self._tasks.cancel()


class Datagrams:
    """A bound socket, each of whose senders gets a socket to where `connect` leads, and the answers."""

    def __init__(self, bound: socket.socket, connect: Connect) -> None:
        self._bound, self._connect = bound, connect
        self._senders: dict[object, tuple[socket.socket, list[float]]] = {}
        self._waiting: set[object] = set()
        self._tasks = Tasks()
        self._loop = asyncio.get_running_loop()
        bound.setblocking(False)
        self._loop.add_reader(bound.fileno(), self._take)
        self._sweeping = self._loop.call_later(_FORGOTTEN / 3, self._sweep)

    def _take(self) -> None:
        for _ in range(64):
            try:
                data, sender = self._bound.recvfrom(65535)
            except OSError:
                return
            if sender in self._senders:
                other, seen = self._senders[sender]
                seen[0] = self._loop.time()
                with contextlib.suppress(OSError):
                    other.send(data)
            elif sender not in self._waiting and len(self._senders) + len(self._waiting) < _MOST_SENDERS:
                self._waiting.add(sender)
                self._tasks.begin(self._begin(sender, data))

    async def _begin(self, sender: object, data: bytes) -> None:
        try:
            other = await self._connect(socket.SOCK_DGRAM)
        except OSError:
            return
        finally:
            self._waiting.discard(sender)
        other.setblocking(False)
        self._senders[sender] = (other, [self._loop.time()])
        self._loop.add_reader(other.fileno(), self._answer, sender, other)
        with contextlib.suppress(OSError):
            other.send(data)

    def _answer(self, sender: Any, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            data = other.recv(65535)
            self._senders[sender][1][0] = self._loop.time()
            self._bound.sendto(data, sender)

    def _sweep(self) -> None:
        old = self._loop.time() - _FORGOTTEN
        for sender in [sender for sender, (_, seen) in self._senders.items() if seen[0] < old]:
            self._drop(sender)
        self._sweeping = self._loop.call_later(_FORGOTTEN / 3, self._sweep)

    def _drop(self, sender: object) -> None:
        other, _ = self._senders.pop(sender)
        self._loop.remove_reader(other.fileno())
        other.close()

    def close(self) -> None:
        """Forgets everybody and listens no more."""
        self._sweeping.cancel()
        self._loop.remove_reader(self._bound.fileno())
        self._bound.close()
        self._tasks.cancel()
        for sender in list(self._senders):
            self._drop(sender)
