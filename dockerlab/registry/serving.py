"""The registry behind a socket: cheroot's threads, sendfile(2) for blobs, several processes, TLS, an end in good order."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cheroot import wsgi
from cheroot.ssl.builtin import BuiltinSSLAdapter

from dockerlab.errors import InvalidArgument
from dockerlab.registry.messages import Slice

__all__ = ["Listening", "Running", "access_log", "bound", "serve"]

_TIMEOUT = 30  # seconds in which a client has to send or take something
_HEADERS = 64 << 10


class _Gateway(wsgi.Gateway_10):
    """Answers that are a part of a file go from the page cache to the socket."""

    def respond(self) -> None:
        answer = self.req.server.wsgi_app(self.env, self.start_response)
        if not isinstance(answer, Slice) or isinstance(self.req.conn.socket, ssl.SSLSocket):
            try:
                for block in answer:
                    self.write(block)
            finally:
                self.req.ensure_headers_sent()
                if hasattr(answer, "close"):
                    answer.close()
            return
        try:
            self.req.ensure_headers_sent()
            self.req.conn.wfile.flush()
            _send(self.req.conn.socket, answer)
        finally:
            answer.close()


def _send(target: socket.socket, part: Slice) -> None:
    offset, left = part.offset, part.length
    target.settimeout(_TIMEOUT)
    with contextlib.closing(os.fdopen(os.dup(part.descriptor), "rb", buffering=0)) as file:
        while left:
            sent = target.sendfile(file, offset, left)
            if not sent:
                raise ConnectionError("the file is shorter than it was")
            offset, left = offset + sent, left - sent


@dataclass(frozen=True, slots=True)
class Listening:
    """Where and how: several processes share one socket."""

    host: str = "127.0.0.1"
    port: int = 5000
    threads: int = 16
    processes: int = 1
    certificate: Path | None = None
    key: Path | None = None


def access_log(facts: Mapping[str, Any]) -> None:
    """Writes one JSON line for a request to stderr."""
    line = json.dumps({"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), **facts})
    sys.stderr.write(line + "\n")


class _Server(wsgi.Server):
    """One process's: its socket is bound before it starts, so that a port that is taken is found out while somebody can be told."""

    def __init__(self, app: Callable[..., Any], listening: Listening, bound: socket.socket) -> None:
        super().__init__((listening.host, listening.port), app, numthreads=listening.threads, server_name="dockerlab", timeout=_TIMEOUT, request_queue_size=256)
        self.gateway, self.max_request_header_size, self._bound = _Gateway, _HEADERS, bound
        if listening.certificate:
            self.ssl_adapter = BuiltinSSLAdapter(str(listening.certificate), str(listening.key or listening.certificate))

    def bind(self, family: int, type: int, proto: int = 0) -> socket.socket:
        self.socket = self._bound
        self.bind_addr = self._bound.getsockname()[:2]
        return self._bound

    def error_log(self, msg: str = "", level: int = 20, traceback: bool = False) -> None:
        if level >= 40:
            sys.stderr.write(f"{msg}\n")


def bound(listening: Listening, *, shared: bool = False) -> socket.socket:
    """Gives a socket with the port; raises InvalidArgument in docker's words where it cannot be had."""
    try:
        family, kind, proto, _, address = socket.getaddrinfo(listening.host, listening.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        sock = socket.socket(family, kind, proto)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(address)
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise InvalidArgument(f"listen tcp {listening.host}:{listening.port}: bind: {why}", hint="choose another port with --port") from error
    return sock


class Running:
    """A registry that answers from a thread of this process, until `stop`; for notebooks and tests."""

    def __init__(self, app: Callable[..., Any], listening: Listening) -> None:
        sock = bound(listening)
        self.host, self.port = sock.getsockname()[:2]
        self._server = _Server(app, listening, sock)
        self._server.prepare()
        self._thread = threading.Thread(target=self._server.serve, name="registry", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Lets the requests under way end, and closes the port."""
        self._server.stop()
        self._thread.join()

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def serve(app: Callable[..., Any], listening: Listening, ready: Callable[[str, int], object] = lambda host, port: None) -> None:
    """Answers until SIGTERM or SIGINT, then lets the requests under way end. Raises InvalidArgument where the port cannot be had."""
    first = bound(listening)
    host, port = first.getsockname()[:2]
    listening = replace(listening, port=port)
    if listening.processes <= 1:
        ready(host, port)
        _until_told(_Server(app, listening, first))
        return
    first.close()
    sockets = [bound(listening, shared=True) for _ in range(listening.processes)]
    ready(host, port)
    _supervised([_Server(app, listening, each) for each in sockets])


def _until_told(server: _Server) -> None:
    server.prepare()

    def end(*_: object) -> None:
        threading.Thread(target=server.stop).start()  # not in the thread that serves: it waits for that one

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    server.serve()


def _supervised(servers: list[_Server]) -> None:
    """Keeps a process for each server, a new one where one dies."""
    processes: dict[int, _Server] = {}
    ending = False

    def end(number: int, _: object) -> None:
        nonlocal ending
        ending = True
        for pid in processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    for server in servers:
        processes[_forked(server)] = server
    while processes:
        pid, _ = os.wait()
        server = processes.pop(pid)
        if not ending:
            time.sleep(0.1)
            processes[_forked(server)] = server


def _forked(server: _Server) -> int:
    pid = os.fork()
    if pid:
        return pid
    try:
        _until_told(server)
    finally:
        os._exit(0)
