"""A lesson's ports where nobody may bind one, or somebody else has them: sockets of its own (`linux.loopback`), and a way to them for `curl`.

curl can be told of one socket for everything (`--unix-socket`, which it reads from a file). A thread of this process listens there and leads each connection
to the port that its request is for.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import threading
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from dockerlab.linux import loopback

__all__ = ["Indoors", "indoors"]

_HOST = re.compile(rb"^host:[ \t]*(\S+)[ \t]*\r$", re.IGNORECASE | re.MULTILINE)
_TLS = b"\x16"
_PIECE = 1 << 16


class Indoors:
    """Has `ports` of localhost be sockets in a folder, from now on until `close`."""

    def __init__(self, folder: Path, ports: Sequence[int], why: str) -> None:
        self.why, self._before = why, os.environ.get(loopback.CURL)
        loopback.declare(folder, ports)
        loopback.lend(folder)
        self._door = loopback.listening(str(folder / "door"))
        os.chmod(folder / "door", 0o666)  # for every user of a container; of this machine's, the folder is one's own
        os.environ[loopback.CURL] = str(folder)
        self._runner, self._ending = asyncio.Runner(loop_factory=asyncio.new_event_loop), asyncio.Event()
        self._loop = self._runner.get_loop()
        self._thread = threading.Thread(target=self._run, name="door", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Has all ports be TCP's again."""
        os.environ.pop(loopback.VARIABLE, None)
        os.environ.pop(loopback.CURL, None)
        if self._before is not None:
            os.environ[loopback.CURL] = self._before
        with contextlib.suppress(RuntimeError):  # it has ended already
            self._loop.call_soon_threadsafe(self._ending.set)
        self._thread.join()

    def _run(self) -> None:
        with self._runner:
            self._runner.run(self._serve())

    async def _serve(self) -> None:
        async with await asyncio.start_unix_server(_lead, sock=self._door):
            await self._ending.wait()


async def _lead(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Leads one connection to the port that its first request names."""
    with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError), contextlib.closing(writer):
        head = await reader.readexactly(1)
        if head == _TLS:  # which tells nobody in the clear whom it is for
            return
        head += await reader.readuntil(b"\r\n\r\n")
        named = _HOST.search(head)
        parts = urlsplit(f"//{named[1].decode('latin-1')}" if named else "//")
        host, port = parts.hostname or "", parts.port or 80
        place = loopback.stand_in(host, port)
        inward, outward = await (asyncio.open_unix_connection(place) if place else asyncio.open_connection(host, port))
        with contextlib.closing(outward):
            outward.write(head)
            await asyncio.gather(_carry(reader, outward), _carry(inward, writer))


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(_PIECE):
            writer.write(data)
            await writer.drain()
    finally:
        with contextlib.suppress(OSError):
            writer.write_eof()


def indoors(folder: Path, ports: Sequence[int], *, any_port: bool = False) -> Indoors | None:
    """Gives the lesson's ports as sockets in a folder where one of them cannot be had, None where all can; with `any_port` other ports will do as well."""
    why = loopback.refusal([0] if any_port else ports)
    return Indoors(folder, ports, why) if why else None
