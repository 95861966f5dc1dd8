"""cheroot's requests, made strict: lengths that two readers could read differently are refused, bodies are read block by block, what is not read ends the connection."""

from __future__ import annotations

import contextlib
import os
import re
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable
from typing import Any

from cheroot import errors, server, wsgi
from cheroot.ssl.builtin import BuiltinSSLAdapter

from dockerlab.errors import RegistryError
from dockerlab.registry.messages import Slice
from dockerlab.registry.protocol import refusal

__all__ = ["Connection", "Deadlines", "Gateway", "Secure"]

_LINE = 1 << 12
_NOT_TLS = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 48\r\nConnection: close\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"
_SOON = 2.0
_GRACE, _LEAST = 20.0, 500  # seconds after which a body has to have come at so many bytes a second
_LENGTH = re.compile(rb"\d{1,18}")
_SIZE = re.compile(rb"([0-9a-fA-F]{1,15})(?:[ \t]*;[^\r\n]*)?\r\n")


class _Pace:
    """How fast a body comes, or goes: a socket's own timeout begins anew with each byte, so that who sends one now and then would keep a thread for ever."""

    def __init__(self) -> None:
        self._began, self._got, self._room = time.monotonic(), 0, bytearray()

    def read(self, source: Any, size: int) -> bytes:
        """Gives so many bytes, fewer at the end; raises RegistryError (408) where too few come in too long a time."""
        if len(self._room) < size:
            self._room = bytearray(size)
        filled, view = 0, memoryview(self._room)
        while filled < size and (count := source.readinto1(view[filled:size])):
            filled += count
            self._took(count)
        return bytes(view[:filled])

    def slow(self, size: int) -> bool:
        """Counts so many bytes more; True where they are too few for the time that has gone."""
        self._got += size
        return (spent := time.monotonic() - self._began) > _GRACE and self._got < _LEAST * spent

    def _took(self, size: int) -> None:
        if self.slow(size):
            raise refusal("SIZE_INVALID", message="the body comes too slowly", status=408)


class _Plain:
    """A body of a length that was told."""

    def __init__(self, source: Any, length: int) -> None:
        self._source, self.left, self._pace = source, length, _Pace()

    def read(self, size: int = 1 << 16) -> bytes:
        data = self._pace.read(self._source, min(size, self.left))
        self.left -= len(data)
        return data


class _Chunked:
    """A body in chunks (RFC 9112, section 7.1), given on as it comes: a chunk may be larger than the memory."""

    def __init__(self, source: Any) -> None:
        # What is left is not known; after an error nobody knows where the next request begins.
        self._source, self._chunk, self.left, self._broken, self._pace = source, 0, 1, False, _Pace()

    def read(self, size: int = 1 << 16) -> bytes:
        if not self.left or self._broken:
            return b""
        try:
            return self._read(size)
        except RegistryError:
            self._broken = True
            raise

    def _read(self, size: int) -> bytes:
        if not self._chunk:
            found = _SIZE.fullmatch(self._source.readline(_LINE))
            if not found:
                raise refusal("SIZE_INVALID", message="a chunk's size cannot be read")
            self._chunk = int(found[1], 16)
            if not self._chunk:
                self._trailers()
                return b""
        data = self._pace.read(self._source, min(size, self._chunk))
        self._chunk -= len(data)
        if not data or (not self._chunk and self._source.read(2) != b"\r\n"):
            raise refusal("SIZE_INVALID", message="a chunk is not as long as was said")
        return data

    def _trailers(self) -> None:
        for _ in range(20):
            if self._source.readline(_LINE) in (b"\r\n", b""):
                self.left = 0
                return
        raise refusal("SIZE_INVALID", message="too many trailers")


class _Request(server.HTTPRequest):
    def parse_request(self) -> None:
        with self.server.deadlines.watched(self.conn.socket):
            super().parse_request()

    def read_request_headers(self) -> bool:
        if not super().read_request_headers():  # type: ignore[no-untyped-call]
            return False
        length, chunked = self.inheaders.get(b"Content-Length"), self.inheaders.get(b"Transfer-Encoding")
        # Whoever stands before this server may believe the other one: RFC 9112, section 6.3.
        if (length is not None and not _LENGTH.fullmatch(length)) or (length is not None and chunked is not None):
            self.close_connection = True
            self.simple_response("400 Bad Request", "the length of the body is not clear")
            return False
        return True

    def respond(self) -> None:
        self.rfile = _Chunked(self.conn.rfile) if self.chunked_read else _Plain(self.conn.rfile, int(self.inheaders.get(b"Content-Length", 0)))
        self.server.gateway(self).respond()
        self.ensure_headers_sent()

    def send_headers(self) -> None:
        body, self.rfile = self.rfile, _Plain(self.conn.rfile, 0)  # cheroot would read what is left in one piece
        if body.left:
            self.close_connection = True
        super().send_headers()


class Connection(server.HTTPConnection):
    """A connection whose requests are strict."""

    RequestHandlerClass = _Request
    spoken = False  # whether something has come, or was waited for

    def communicate(self) -> bool:
        """Answers one request; False where the connection ends."""
        return self._secured() and bool(super().communicate())  # type: ignore[no-untyped-call]

    def _secured(self) -> bool:
        if not isinstance(self.socket, ssl.SSLSocket) or self.socket.version():
            return True
        try:
            with self.server.deadlines.watched(self.socket):
                self.socket.do_handshake()
            return True
        except ssl.SSLError as error:
            if error.reason == "HTTP_REQUEST":
                with contextlib.suppress(OSError):
                    socket.socket.sendall(self.socket, _NOT_TLS)
        except (OSError, ValueError):
            pass
        return False


class Secure(BuiltinSSLAdapter):
    """TLS whose handshake is the affair of the thread that serves the connection: the one that accepts them waits for nobody."""

    def wrap(self, sock: socket.socket) -> tuple[ssl.SSLSocket, dict[str, str]]:
        """Gives the socket to be, and what an application is told of it; raises FatalSSLAlert for one that is closed again."""
        try:
            return self.context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False), {"wsgi.url_scheme": "https", "HTTPS": "on"}
        except OSError as error:
            raise errors.FatalSSLAlert(*error.args) from error


class Gateway(wsgi.Gateway_10):
    """Answers that are a part of a file go from the page cache to the socket."""

    def respond(self) -> None:
        answer = self.req.server.wsgi_app(self.env, self.start_response)
        try:
            if isinstance(answer, Slice) and not isinstance(self.req.conn.socket, ssl.SSLSocket):
                self.req.ensure_headers_sent()
                self.req.conn.wfile.flush()
                _send(self.req.conn.socket, answer)
                return
            for block in answer:
                self.write(block)
            self.req.ensure_headers_sent()
        finally:
            if hasattr(answer, "close"):
                answer.close()


def _send(target: socket.socket, part: Slice) -> None:
    offset, left, taken = part.offset, part.length, _Pace()
    ready, patience = select.poll(), (target.gettimeout() or _GRACE) * 1000
    ready.register(target, select.POLLOUT)
    while left:
        try:
            sent = os.sendfile(target.fileno(), part.descriptor, offset, left)
        except BlockingIOError:
            if not ready.poll(patience):
                raise TimeoutError("timed out") from None
            continue
        if not sent:
            raise ConnectionError("the file is shorter than it was")
        offset, left = offset + sent, left - sent
        if taken.slow(sent):
            raise ConnectionError("the answer is taken too slowly")


class Deadlines:
    """Ends connections that have not told what they want in `seconds`: a socket's own timeout begins anew with each byte. Where that keeps `many` threads, soon. Calls `tend` once a second."""

    def __init__(self, seconds: float, many: int, tend: Callable[[], object]) -> None:
        self._seconds, self._many, self._tend, self._waiting, self._lock = seconds, many, tend, dict[int, tuple[float, socket.socket]](), threading.Lock()
        self._ended, self._thread = threading.Event(), threading.Thread(target=self._watch, name="deadlines", daemon=True)

    def start(self) -> None:
        """Begins to watch, in a thread of its own."""
        self._thread.start()

    def stop(self) -> None:
        """Watches no longer; what `tend` was at is done."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()

    @contextlib.contextmanager
    def watched(self, connection: socket.socket) -> Any:
        """Gives the block so many seconds."""
        key = threading.get_ident()
        with self._lock:
            self._waiting[key] = time.monotonic(), connection
        try:
            yield
        finally:
            with self._lock:
                self._waiting.pop(key, None)

    def _watch(self) -> None:
        while not self._ended.wait(1):
            self._tend()
            with self._lock:
                seconds = min(self._seconds, _SOON) if len(self._waiting) >= self._many else self._seconds
                late = [connection for since, connection in self._waiting.values() if since + seconds < time.monotonic()]
            for connection in late:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
