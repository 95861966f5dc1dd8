"""The command server: an interpreter that has imported everything, with a worker forked ahead for the next command line that `client` hands it.

A worker does what `dockerlab.cli.main` does in a process of its own, with the client's descriptors, folder and environment. The server only starts it,
passes signals on, and tells the exit code. It is a cache: gone after ten idle minutes, when its socket or its own files change, and nothing is lost.
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import NoReturn

from dockerlab import commands
from dockerlab.cli import client
from dockerlab.cli.rehearsal import Rehearsal
from dockerlab.cli.sources import Sources
from dockerlab.cli.worker import TOLD, Worker, stays
from dockerlab.errors import DockerlabError
from dockerlab.linux import processes, syscalls
from dockerlab.linux.pages import Copies
from dockerlab.linux.probe import situation
from dockerlab.runtime import wire
from dockerlab.store.files import locked

__all__ = ["leave_one", "main"]

_IDLE_SECONDS, _LOOK_SECONDS = 600, 30
_PATIENCE = struct.pack("@ll", 1, 0)  # seconds and microseconds for a client to say what it wants; socket(7)
# What commands import when they need it, beside each other.
_LATER = (
    "dockerlab.engine.current", "dockerlab.engine.distribution", "dockerlab.recipes.busybox", "dockerlab.runtime.chroot", "dockerlab.runtime.proot", "dockerlab.runtime.root",
    "dockerlab.runtime.userns", "platformdirs", "sqlite3", "json", "tempfile", "isal.isal_zlib", "ssl", "urllib3", "urllib.request", "encodings.idna",
)  # fmt: skip
_CODE = "import sys; sys.path[:] = {path!r}; from dockerlab.cli.server import main; main()"


def leave_one() -> None:
    """Starts a server where none listens; it outlives this process. Does nothing with DOCKERLAB_SERVER=0."""
    if os.environ.get("DOCKERLAB_SERVER") == "0" or sys.platform != "linux":
        return
    path = [entry for entry in sys.path if entry]
    with contextlib.suppress(OSError):
        subprocess.Popen(
            [sys.executable, "-S", "-E", "-c", _CODE.format(path=path)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True, cwd="/",
        )  # fmt: skip


def main() -> None:
    """Serves until nobody has asked for ten minutes."""
    place = client.address()
    folder = Path(place).parent
    folder.mkdir(mode=0o700, exist_ok=True)
    if not client.private(str(folder)):
        return
    with locked(Path(f"{place}.lock"), wait=False) as held:
        if not held:
            return
        for name in (*(f"{commands.__name__}.{module.name}" for module in iter_modules(commands.__path__)), *_LATER):
            with contextlib.suppress(ImportError):
                import_module(name)
        rehearsal = Rehearsal(Path(f"{place}.rehearsal"))
        with contextlib.suppress(DockerlabError, OSError):
            rehearsal.whole()
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(place)
        listener.bind(place)
        listener.listen(64)
        _Server(listener, place, rehearsal).serve()
        with contextlib.suppress(OSError):
            rehearsal.end()


@dataclass(slots=True, eq=False)
class _Forked:
    """A worker, seen from here: where work is handed over to it, its pidfd, and the client that waits for it."""

    pid: int
    door: socket.socket
    ended: int
    line: socket.socket | None = None
    busy: bool = False


class _Server:
    def __init__(self, listener: socket.socket, place: str, rehearsal: Rehearsal) -> None:
        self._listener, self._place, self._rehearsal = listener, place, rehearsal
        self._own = os.stat(place).st_ino
        self._situation = situation("self")
        self._sources = Sources()
        self._workers: dict[int, _Forked] = {}  # by each of their descriptors that is listened to
        self._stale = False
        self._copies = Copies()
        self._stayed: _Forked | None = None
        self._ahead: _Forked | None = self._forked()

    def serve(self) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        gc.freeze()
        last = looked = time.monotonic()
        while any(worker.busy for worker in self._workers.values()) or not (self._stale or time.monotonic() - last > _IDLE_SECONDS):
            waiting = select.poll()
            for descriptor in (*self._workers, self._listener.fileno()):
                waiting.register(descriptor, select.POLLIN)
            ready = [descriptor for descriptor, _ in waiting.poll(_LOOK_SECONDS * 1000 + 1)]
            for descriptor in ready:
                last = time.monotonic()
                if descriptor == self._listener.fileno():  # the last: a descriptor that it opens may have been another's
                    self._accept()
                elif descriptor in self._workers:
                    self._hear(descriptor)
            if time.monotonic() - looked > _LOOK_SECONDS:
                looked = time.monotonic()
                self._stale = self._stale or not (self._ours() and self._sources.same(every=True))
        if self._ours():
            os.unlink(self._place)

    def _ours(self) -> bool:
        with contextlib.suppress(OSError):
            return os.stat(self._place).st_ino == self._own
        return False

    def _accept(self) -> None:
        self._make_ready()  # the one that was ahead may have died; and now nothing of a client's is open here
        try:
            line, _ = self._listener.accept()
        except OSError:  # too many of them: who is not served takes the ordinary path
            time.sleep(0.01)
            return
        descriptors: list[int] = []
        try:
            data = self._understood(line, descriptors)
            self._hand_over(data, descriptors, line)
        except OSError:
            with contextlib.suppress(OSError):
                line.send(b"cold")
            line.close()
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        self._make_ready()

    def _make_ready(self) -> None:
        with contextlib.suppress(OSError):  # too many processes, or descriptors
            self._ahead = self._ahead or self._forked()

    def _hand_over(self, data: bytes, descriptors: list[int], line: socket.socket) -> None:
        """Has a worker do it: one that has stayed, where it may; raises OSError."""
        worker = self._stayed if self._stayed and stays(data) else self._ahead
        if not worker:
            raise OSError("there is nobody to do it")
        self._stayed, self._ahead = (None if kept is worker else kept for kept in (self._stayed, self._ahead))
        wire.send_bytes(worker.door, data, [*descriptors, line.fileno()])
        worker.line, worker.busy = line, True
        self._workers[line.fileno()] = worker
        if not stays(data):
            self._leave(worker)

    def _forked(self) -> _Forked:
        """Gives a worker that waits for its work; raises OSError."""
        ours, theirs = socket.socketpair()
        pid = os.fork()
        if pid:
            theirs.close()
            try:
                worker = _Forked(pid, ours, os.pidfd_open(pid))
            except OSError:
                ours.close()  # it ends then
                os.waitpid(pid, 0)
                raise
            self._workers[worker.ended] = self._workers[ours.fileno()] = worker
            return worker
        try:
            self._become_worker(ours, theirs)
        finally:  # whatever happens, no worker goes on as a server
            os._exit(1)

    def _become_worker(self, ours: socket.socket, theirs: socket.socket) -> NoReturn:
        syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
        for descriptor in {self._listener.fileno(), self._sources.watch, ours.fileno(), *self._workers} - {-1}:
            os.close(descriptor)
        Worker(theirs, self._copies).wait(self._rehearsal.short)

    def _understood(self, line: socket.socket, descriptors: list[int]) -> bytes:
        """Gives the message, and its descriptors into the list; raises OSError where this server is not the one to do it."""
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _PATIENCE)
        pid, uid, _ = struct.unpack("3i", line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        data, received = wire.receive_bytes(line, 3)
        descriptors += received
        if data is None:
            raise OSError("cut short")
        protocol, _, _ = data.partition(b"\0")
        if uid != os.geteuid() or situation(pid) != self._situation or protocol != client.PROTOCOL or len(descriptors) != 3:
            raise OSError("somebody else's server")
        if self._stale or not self._sources.same():
            self._stale = True
            raise OSError("our files have changed")
        return data

    def _hear(self, descriptor: int) -> None:
        worker = self._workers[descriptor]
        if descriptor == worker.ended:
            self._buried(worker)
        elif descriptor == worker.door.fileno():
            self._freed(worker)
        else:
            self._passed_on(worker)

    def _buried(self, worker: _Forked) -> None:
        code = os.waitstatus_to_exitcode(os.waitpid(worker.pid, 0)[1])
        if code < 0 and worker.line:  # otherwise it has told the code itself
            with contextlib.suppress(OSError):
                worker.line.send(b"exit" + bytes([128 - code]))
        self._hang_up(worker)
        self._leave(worker)
        del self._workers[worker.ended]
        os.close(worker.ended)

    def _freed(self, worker: _Forked) -> None:
        """Keeps a worker that has said that it is free; one of them is enough."""
        try:
            free = bool(worker.door.recv(1))
        except OSError:  # it was killed before it has read what it should do
            free = False
        if free:
            self._hang_up(worker)
            worker.busy = False
        if free and not self._stayed:
            self._stayed = worker
        else:  # or it ends
            self._leave(worker)

    def _passed_on(self, worker: _Forked) -> None:
        assert worker.line
        try:
            numbers = worker.line.recv(16)
        except OSError:
            numbers = b""
        # A client that was killed takes its worker along, as if they were one; not a worker that has told the end, or has not begun: that one finds nobody to tell.
        for number in numbers or ([] if processes.name(worker.pid) == TOLD else [signal.SIGKILL]):
            with contextlib.suppress(OSError):  # gone meanwhile, or no signal at all
                os.kill(worker.pid, number)
        if not numbers:
            self._hang_up(worker)

    def _hang_up(self, worker: _Forked) -> None:
        if worker.line:
            del self._workers[worker.line.fileno()]
            worker.line.close()
            worker.line = None

    def _leave(self, worker: _Forked) -> None:
        """Hands nothing over to a worker any more: it ends once it has done what it has."""
        if worker.door.fileno() >= 0:
            del self._workers[worker.door.fileno()]
            worker.door.close()
        self._ahead, self._stayed = (None if kept is worker else kept for kept in (self._ahead, self._stayed))
