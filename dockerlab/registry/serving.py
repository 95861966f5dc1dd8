"""The registry behind a socket: cheroot's threads, sendfile(2) for blobs, several processes, TLS, an end in good order."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

from cheroot import wsgi

from dockerlab.errors import InvalidArgument, StoreError
from dockerlab.linux import loopback, syscalls
from dockerlab.registry.wire import Connection, Deadlines, Gateway, Secure

__all__ = ["Listening", "Running", "access_log", "bound", "serve"]

_TIMEOUT = 30  # seconds in which a client has to send or take something
_HEADERS = 64 << 10
_WAITING = 512  # connections that are open and want nothing
_BUSY, _MORE = 512, 32  # threads where all are at slow work, and how many more a second
_ENDING = (signal.SIGTERM, signal.SIGINT)
_REST = 3  # seconds without a request
_DEATHS = 5  # of processes that lived less than a second, one after another


@dataclass(frozen=True, slots=True)
class Listening:
    """Where and how: several processes share one socket."""

    host: str = "127.0.0.1"
    port: int = 5000
    threads: int = 64
    processes: int = 1
    certificate: Path | None = None
    key: Path | None = None


def access_log(facts: Mapping[str, Any]) -> None:
    """Writes one JSON line for a request to stderr."""
    line = json.dumps({"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), **facts})
    sys.stderr.write(line + "\n")


def _trim() -> None:
    """Gives back what the C library keeps of memory that was used: each of its arenas, one for some threads, holds on to its own (malloc_trim(3))."""
    with contextlib.suppress(AttributeError):  # musl has no such thing
        ctypes.CDLL(None).malloc_trim(0)


class _Server(wsgi.Server):
    """One process's: its socket is bound before it starts, so that a port that is taken is found out while somebody can be told."""

    def __init__(self, app: Callable[..., Any], listening: Listening, bound: socket.socket) -> None:
        super().__init__((listening.host, listening.port), app, numthreads=listening.threads, max=_BUSY, server_name="dockerlab", timeout=_TIMEOUT, request_queue_size=256, shutdown_timeout=_TIMEOUT)
        self.gateway, self.max_request_header_size, self._bound, self._rested = Gateway, _HEADERS, bound, 0
        self.ConnectionClass, self.deadlines, self.keep_alive_conn_limit = Connection, Deadlines(_TIMEOUT, many=listening.threads // 2, tend=self._tend), _WAITING
        if listening.certificate:
            self.ssl_adapter = Secure(str(listening.certificate), str(listening.key or listening.certificate))

    def bind(self, family: int, type: int, proto: int = 0) -> socket.socket:
        self.socket = self._bound
        self.bind_addr = self._bound.getsockname() if self._bound.family == socket.AF_UNIX else self._bound.getsockname()[:2]
        return self._bound

    def prepare(self) -> None:
        super().prepare()
        self.deadlines.start()

    def process_conn(self, conn: Connection) -> None:
        # Who has said nothing yet needs no thread.
        if not conn.spoken and self.can_add_keepalive_connection:
            conn.spoken = True
            self.put_conn(conn)
            return
        super().process_conn(conn)

    def _tend(self) -> None:
        idle, self._rested = self.requests.idle, self._rested + 1
        if not idle:
            self.requests.grow(_MORE)
        elif idle > 2 * self.requests.min:
            self.requests.shrink(_MORE)
        if idle < self.requests.min:
            self._rested = 0
        elif self._rested == _REST:
            _trim()

    def stop(self) -> None:
        self.deadlines.stop()
        super().stop()

    def error_log(self, msg: str = "", level: int = 20, traceback: bool = False) -> None:
        if level >= 40:
            sys.stderr.write(f"{msg}\n")


def bound(listening: Listening, *, shared: bool = False) -> socket.socket:
    """Gives a socket with the port, or the one that stands for it (`loopback`); raises InvalidArgument in docker's words where it cannot be had."""
    try:
        if place := loopback.claim(listening.host, listening.port):
            return loopback.listening(place)
        family, kind, proto, _, address = socket.getaddrinfo(listening.host, listening.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        sock = socket.socket(family, kind, proto)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(address)
        sock.listen(256)
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise InvalidArgument(f"listen tcp {listening.host}:{listening.port}: bind: {why}", hint="choose another one: --listen HOST:PORT") from error
    return sock


def _named(sock: socket.socket, listening: Listening) -> tuple[str, int]:
    return (listening.host, listening.port) if sock.family == socket.AF_UNIX else sock.getsockname()[:2]


class Running:
    """A registry that answers from a thread of this process, until `stop`; for notebooks and tests."""

    def __init__(self, app: Callable[..., Any], listening: Listening) -> None:
        sock = bound(listening)
        self.host, self.port = _named(sock, listening)
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


def serve(
    app: Callable[..., Any], listening: Listening, ready: Callable[[str, int], object] = lambda host, port: None, *, leaving: Callable[[], object] = lambda: None
) -> None:  # fmt: skip
    """Answers until SIGTERM or SIGINT, then lets the requests under way end. A socket that came as standard input and listens is taken in the place of the port.

    `leaving` is done once it was told to end, where one process serves, while it still answers.
    Raises InvalidArgument where the port cannot be had, StoreError where no process lives.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    first = (given := loopback.activated()) or bound(listening)
    host, port = _named(first, listening)
    listening = replace(listening, port=port)
    if listening.processes <= 1:
        _until_told(_Server(app, listening, first), lambda: ready(host, port), leaving)
        return
    same = [first.dup() for _ in range(listening.processes)] if given or first.family == socket.AF_UNIX else []
    first.close()  # a port is shared by those alone who all say so
    sockets = same or [bound(listening, shared=True) for _ in range(listening.processes)]
    _Crew([_Server(app, listening, each) for each in sockets]).run(lambda: ready(host, port))


def _until_told(server: _Server, ready: Callable[[], object] = lambda: None, leaving: Callable[[], object] = lambda: None) -> None:
    enders: list[threading.Thread] = []

    def leave() -> None:
        try:
            leaving()
        finally:
            server.stop()

    def end(*_: object) -> None:
        enders.append(threading.Thread(target=leave))  # not in the thread that serves: it waits for that one
        enders[-1].start()

    server.prepare()
    for number in _ENDING:
        signal.signal(number, end)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)
    ready()
    server.serve()
    for ender in enders:  # it lets the requests under way end
        ender.join()


class _Crew:
    """A process for each server, a new one where one dies."""

    def __init__(self, servers: list[_Server]) -> None:
        self._waiting, self._working = list(servers), dict[int, tuple[_Server, float]]()
        self._ending, self._quick = False, 0

    def run(self, ready: Callable[[], object]) -> None:
        """Serves until it is told to end."""
        for number in _ENDING:
            signal.signal(number, self._end)
        self._fork_all()
        ready()
        while self._working:
            pid, _ = os.wait()
            server, began = self._working.pop(pid)
            self._quick = self._quick + 1 if time.monotonic() - began < 1 else 0
            if self._quick >= _DEATHS:
                self._end()
            if not self._ending:
                self._waiting.append(server)
                time.sleep(0.1)
                self._fork_all()
        if self._quick >= _DEATHS:
            raise StoreError("the registry's processes end as soon as they begin", hint="look at what they wrote on standard error")

    def _end(self, *_: object) -> None:
        self._ending = True
        for pid in list(self._working):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)

    def _fork_all(self) -> None:
        # What comes between a fork and the note of its pid would miss the new process.
        signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
        try:
            while self._waiting and not self._ending:
                server = self._waiting.pop()
                pid = os.fork()
                if not pid:
                    self._work(server)
                self._working[pid] = server, time.monotonic()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)

    @staticmethod
    def _work(server: _Server) -> NoReturn:
        code = 0
        try:
            syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGTERM)
            _until_told(server)
        except BaseException:
            traceback.print_exc()
            code = 1
        os._exit(code)
