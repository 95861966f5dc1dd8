"""Bytes carried from a socket in one network namespace to one in another: a socket belongs to the namespace of whoever made it.

Between streams the kernel moves them by itself, splice(2); datagrams go one by one, and who sends them is remembered for a while.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import resource
import socket
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

__all__ = ["Connect", "Datagrams", "Door", "Streams", "Tasks", "relay"]

# Gives a socket of this type (SOCK_STREAM, SOCK_DGRAM) connected to where the bytes shall go. Raises OSError.
Connect = Callable[[int], Awaitable[socket.socket]]

_PIECE = 1 << 20
_TURN = 8
_FORGOTTEN = 90.0  # seconds without a datagram
_MOST_SENDERS, _MOST_KEPT = 1024, 64  # of a port; new ones at once, and datagrams of one that wait for its socket
_MOST_WAITING = 4 << 20  # bytes of them, of a port
_DESCRIPTORS = 6  # what a connection takes that is carried: two sockets, two pipes
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
            source.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)  # who went without a word is found out in the end
            ways.append(_Way(source, sink, over))
        await done
    except OSError:
        pass  # no descriptors are left for this one
    finally:
        for way in ways:
            way.close()
        one.close()
        other.close()


class Door:
    """A listening socket, and what is done with each connection. While `full` says so, or no descriptor is left, whoever comes waits until somebody goes."""

    def __init__(self, listening: socket.socket, enter: Callable[[socket.socket], object], full: Callable[[], bool] = lambda: False) -> None:
        self._listening, self._enter, self._full = listening, enter, full
        listening.setblocking(False)
        self._loop = asyncio.get_running_loop()
        self._open()

    def _open(self) -> None:
        if self._listening.fileno() >= 0:
            self._loop.add_reader(self._listening.fileno(), self._accept)

    def _accept(self) -> None:
        for _ in range(64):
            try:
                if self._full():
                    raise OSError(errno.EMFILE, "full")
                connection, _ = self._listening.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE):
                    self._loop.remove_reader(self._listening.fileno())
                    self._loop.call_later(0.1, self._open)
                return
            self._enter(connection)

    def close(self) -> None:
        """Lets nobody in any more."""
        self._loop.remove_reader(self._listening.fileno())
        self._listening.close()


class Streams:
    """A listening socket, each of whose connections is carried on to where `connect` leads: so many at once that other ports, and containers to come, still have their share."""

    _all = 0

    def __init__(self, listening: socket.socket, connect: Callable[[socket.socket], Awaitable[socket.socket]]) -> None:
        self._connect = connect
        self._tasks = Tasks()
        self._most = resource.getrlimit(resource.RLIMIT_NOFILE)[0] // _DESCRIPTORS
        listening.listen(1024)
        self._door = Door(listening, lambda connection: self._tasks.begin(self._serve(connection)), self._full)

    def _full(self) -> bool:
        return len(self._tasks) >= self._most // 4 or Streams._all >= self._most * 3 // 4

    async def _serve(self, connection: socket.socket) -> None:
        Streams._all += 1
        try:
            other = await self._connect(connection)
        except OSError:
            # Who listens for somebody else can refuse only by hanging up.
            connection.close()
        except BaseException:
            connection.close()
            raise
        else:
            await relay(connection, other)
        finally:
            Streams._all -= 1

    def close(self) -> None:
        """Hangs up on everybody and listens no more."""
        self._door.close()
        self._tasks.cancel()


class Datagrams:
    """A bound socket, each of whose senders gets a socket to where `connect` leads, and the answers."""

    def __init__(self, bound: socket.socket, connect: Connect) -> None:
        self._bound, self._connect = bound, connect
        self._senders: dict[object, tuple[socket.socket, list[float]]] = {}  # who was heard last comes last
        self._waiting: dict[object, list[bytes]] = {}
        self._tasks = Tasks()
        self._most = min(_MOST_SENDERS, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 16)
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
                other, _ = self._heard(sender)
                with contextlib.suppress(OSError):
                    other.send(data)
            elif sender in self._waiting:
                if len(self._waiting[sender]) < _MOST_KEPT and sum(map(len, (each for kept in self._waiting.values() for each in kept))) < _MOST_WAITING:
                    self._waiting[sender].append(data)
            elif len(self._waiting) < _MOST_KEPT:
                self._waiting[sender] = [data]
                self._tasks.begin(self._begin(sender))

    async def _begin(self, sender: object) -> None:
        try:
            other = await self._connect(socket.SOCK_DGRAM)
        except OSError:
            return
        finally:
            kept = self._waiting.pop(sender)
        if len(self._senders) >= self._most:
            self._drop(next(iter(self._senders)))
        other.setblocking(False)
        self._senders[sender] = (other, [self._loop.time()])
        self._loop.add_reader(other.fileno(), self._answer, sender, other)
        for data in kept:
            with contextlib.suppress(OSError):
                other.send(data)

    def _heard(self, sender: object) -> tuple[socket.socket, list[float]]:
        found = self._senders.pop(sender)
        found[1][0] = self._loop.time()
        self._senders[sender] = found
        return found

    def _answer(self, sender: Any, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            data = other.recv(65535)
            self._heard(sender)
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
