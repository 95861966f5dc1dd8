"""A lesson's ports where nobody may bind one, or somebody else has them: sockets of its own (`linux.loopback`), and a proxy by which `curl` finds them.

curl can be told of one socket for everything (`--unix-socket`, which it reads from a file). A thread of this process listens there and leads each connection
to the port that its first request names.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import socket
import threading
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from dockerlab.linux import loopback

__all__ = ["Indoors"]

_HOST = re.compile(rb"^host:[ \t]*(\S+)[ \t]*\r$", re.IGNORECASE | re.MULTILINE)
_TLS = b"\x16"  # RFC 8446, section 5.1
_PIECE = 1 << 16
_MOST = 256  # connections at a time, with two descriptors each; the others wait
_PATIENCE = 30.0  # seconds for a request's head


class Indoors:
    """From now on until `close`, and in what this process starts: `ports` of localhost are sockets in a folder once one of them cannot be had.

    `why` is the reason, "" while all can be had. Raises OSError.
    """

    def __init__(self, folder: Path, ports: Sequence[int], *, any_port: bool = False) -> None:
        self.why = loopback.refusal([0] if any_port else ports)
        self._folder, self._before = folder, {name: os.environ.get(name) for name in (loopback.VARIABLE, loopback.CURL)}
        folder.mkdir(mode=0o700, exist_ok=True)
        self._proxy = loopback.listening(str(folder / "proxy"))
        self._proxy.setblocking(False)
        os.chmod(folder / "proxy", 0o666)  # for every user of a container; of this machine's, the folder is one's own
        loopback.declare(folder, ports if self.why else (), wanted=() if any_port else ports)
        os.environ.update({loopback.VARIABLE: str(folder), loopback.CURL: str(folder)})
        self._loop = asyncio.new_event_loop()
        self._ending = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="ports", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Has all ports be TCP's again."""
        for name, value in self._before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        with contextlib.suppress(RuntimeError):  # it has ended already
            self._loop.call_soon_threadsafe(self._ending.set)
        self._thread.join()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _run(self) -> None:
        with contextlib.closing(self._loop), self._proxy:
            self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        going = {self._loop.create_task(self._accept(asyncio.Semaphore(_MOST)))}
        await self._ending.wait()
        going |= asyncio.all_tasks() - {asyncio.current_task()}
        for task in going:
            task.cancel()
        await asyncio.gather(*going, return_exceptions=True)

    async def _accept(self, places: asyncio.Semaphore) -> None:
        going: set[asyncio.Task[None]] = set()  # a loop holds its tasks weakly

        def done(task: asyncio.Task[None]) -> None:
            going.discard(task)
            places.release()

        while True:
            await places.acquire()
            try:
                connection, _ = await self._loop.sock_accept(self._proxy)
            except OSError:  # this process has too many descriptors open
                places.release()
                await asyncio.sleep(0.1)
                continue
            task = self._loop.create_task(_lead(connection))
            going.add(task)
            task.add_done_callback(done)


async def _lead(connection: socket.socket) -> None:
    """Leads one connection to the port that its first request names."""
    with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
        reader, writer = await asyncio.open_unix_connection(sock=connection)
        with contextlib.closing(writer):
            async with asyncio.timeout(_PATIENCE):
                head = await reader.readexactly(1)
                if head == _TLS:  # its port is told to nobody in the clear
                    return
                head += await reader.readuntil(b"\r\n\r\n")
                named = _HOST.search(head)
                if not named:
                    return
                parts = urlsplit(f"//{named[1].decode('latin-1')}")
                host, port = parts.hostname or "localhost", parts.port or 80
                place = loopback.stand_in(host, port)
                inward, outward = await (asyncio.open_unix_connection(place) if place else asyncio.open_connection(host, port))
            with contextlib.closing(outward):
                outward.write(head)
                # Who is refused in the middle of a body still gets to read why.
                await asyncio.gather(_carry(reader, outward), _carry(inward, writer), return_exceptions=True)


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(_PIECE):
            writer.write(data)
            await writer.drain()
    finally:
        with contextlib.suppress(OSError, RuntimeError):
            writer.write_eof()
