"""The command server: an interpreter that has imported everything, with a worker forked ahead for the next command line that `client` hands it.

A worker does what `dockerlab.cli.main` does in a process of its own, with the client's descriptors, folder and environment. The server only starts it,
passes signals on, and tells the exit code. It is a cache: gone after ten idle minutes, when its socket or its own files change, and nothing is lost.
"""

from __future__ import annotations

import contextlib
import gc
import io
import os
import select
import shutil
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
from dockerlab.cli.main import main as ordinary
from dockerlab.commands.call import Surface
from dockerlab.commands.run import perform
from dockerlab.engine import Engine
from dockerlab.errors import DockerlabError
from dockerlab.linux import loopback, processes, syscalls
from dockerlab.linux.pages import Copies
from dockerlab.linux.probe import situation
from dockerlab.oci.runtime import Spec
from dockerlab.runtime import wire
from dockerlab.runtime.generate import Options, generate
from dockerlab.store.files import locked

__all__ = ["leave_one", "main"]

_TOLD = "told"  # what a worker is called that has told how its command line ended
_IDLE_SECONDS, _LOOK_SECONDS, _BREATH = 600, 30, 0.04
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


class _Nowhere(Surface):
    def out(self, text: str) -> None:
        """Shows nothing."""

    def err(self, text: str) -> None:
        """Shows nothing."""


class Rehearsal:
    """A store of its own, for command lines that are for nobody.

    What they compile at first use (patterns, decoders, the grammar) every worker then has. A worker does a few itself while it waits: what a process
    writes to for the first time after fork(2) the kernel has to copy, and that takes longer than the command line.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        shutil.rmtree(folder, ignore_errors=True)

    def whole(self) -> None:
        """What the server does once."""
        context = self._folder / "context"
        context.mkdir(parents=True)
        (context / "Dockerfile").write_text('FROM scratch AS one\nARG A=1\nENV B=$A\nCOPY . /\nWORKDIR /w\nLABEL a=b\nCMD ["c"]\n')
        self._do("build -t a context", "images", "history a", "inspect a", "ps -a", "network ls", "volume ls")
        loopback.declare(self._folder / "ports", (5000,))
        # Nobody listens there, no network is asked, and nobody's helper for passwords.
        meanwhile = {loopback.VARIABLE: str(self._folder / "ports"), "DOCKER_CONFIG": str(self._folder)}
        before = {name: os.environ.get(name) for name in meanwhile}
        os.environ.update(meanwhile)
        self._do("tag a localhost:5000/a", "push localhost:5000/a")
        for name, value in before.items():
            os.environ.pop(name)
            os.environ.update({name: value} if value is not None else {})
        self._create()
        _ = self._engine().world

    def short(self) -> None:
        """What each worker does."""
        self._do("ps -a", "inspect a")
        self._create()

    def end(self) -> None:
        """Leaves nothing behind."""
        shutil.rmtree(self._engine().settings.runtime, ignore_errors=True)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _engine(self) -> Engine:
        return Engine(self._folder / "home")

    def _create(self) -> None:
        """What `run` and `create` do before anything is on disk."""
        self._do("run --rm --network host --bad-flag a true")
        Spec.decode(generate(self._engine().images.get("a").config.config, Options()).encode())

    def _do(self, *lines: str) -> None:
        for line in lines:
            # Whatever goes wrong here (a module that was changed since, a full disk) will be told by a command line that is somebody's.
            with contextlib.suppress(Exception):
                str(perform(line.split(), self._engine, _Nowhere(), folder=self._folder).value)


@dataclass(slots=True)
class _Job:
    """A worker and the client that waits for it."""

    line: socket.socket
    pid: int
    ended: int


class _Server:
    def __init__(self, listener: socket.socket, place: str, rehearsal: Rehearsal) -> None:
        self._listener, self._place, self._rehearsal = listener, place, rehearsal
        self._own = os.stat(place).st_ino
        self._situation = situation("self")
        self._files = {m.__file__: os.stat(m.__file__).st_mtime_ns for n, m in sys.modules.items() if n.startswith("dockerlab") and m.__file__}
        self._jobs: dict[int, _Job] = {}
        self._stale = False
        self._copies = Copies()
        self._next = self._forked()

    def serve(self) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        gc.freeze()
        last = time.monotonic()
        while self._jobs or not (self._stale or time.monotonic() - last > _IDLE_SECONDS):
            waiting = select.poll()
            for descriptor in (self._listener.fileno(), *self._jobs):
                waiting.register(descriptor, select.POLLIN)
            ready = waiting.poll(_LOOK_SECONDS * 1000)
            for descriptor, _ in ready:
                last = time.monotonic()
                if descriptor == self._listener.fileno():
                    self._accept()
                elif descriptor in self._jobs:
                    self._hear(descriptor)
            self._stale = self._stale or not (ready or self._ours())
        if self._ours():
            os.unlink(self._place)

    def _ours(self) -> bool:
        with contextlib.suppress(OSError):
            return os.stat(self._place).st_ino == self._own
        return False

    def _fresh(self) -> bool:
        with contextlib.suppress(OSError):
            return all(os.stat(name).st_mtime_ns == time for name, time in self._files.items())
        return False

    def _accept(self) -> None:
        try:
            line, _ = self._listener.accept()
        except OSError:  # too many of them: who is not served takes the ordinary path
            time.sleep(0.01)
            return
        descriptors: list[int] = []
        try:
            data = self._understood(line, descriptors)
            worker, work = self._next
            with work:
                wire.send_bytes(work, data, [*descriptors, line.fileno()])
        except OSError:
            with contextlib.suppress(OSError):
                line.send(b"cold")
            line.close()
        else:
            job = _Job(line, worker, os.pidfd_open(worker))
            self._jobs[line.fileno()] = self._jobs[job.ended] = job
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        if self._next[1].fileno() < 0:
            self._next = self._forked()

    def _forked(self) -> tuple[int, socket.socket]:
        """Gives a worker that waits for its work, and where to hand it over."""
        ours, theirs = socket.socketpair()
        worker = os.fork()
        if worker:
            theirs.close()
            return worker, ours
        syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
        for held in (self._listener, ours, *(job.line for job in self._jobs.values())):
            held.close()
        if not select.select([theirs], [], [], _BREATH)[0]:  # the command line that has just begun needs the processors more
            self._rehearsal.short()
            self._copies.ahead(theirs)
        data, descriptors = wire.receive_bytes(theirs)
        if data is None:
            os._exit(0)
        _work(data.split(b"\0")[:-1], descriptors[:3], socket.socket(fileno=descriptors[3]), self._copies)

    def _understood(self, line: socket.socket, descriptors: list[int]) -> bytes:
        """Gives the message, and its descriptors into the list; raises OSError where this server is not the one to do it."""
        line.settimeout(1)
        pid, uid, _ = struct.unpack("3i", line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        data, received = wire.receive_bytes(line, 3)
        descriptors += received
        line.settimeout(None)
        if data is None:
            raise OSError("cut short")
        protocol, _, _ = data.partition(b"\0")
        if uid != os.geteuid() or situation(pid) != self._situation or protocol != client.PROTOCOL or len(descriptors) != 3:
            raise OSError("somebody else's server")
        if not self._fresh():
            self._stale = True
            raise OSError("our files have changed")
        return data

    def _hear(self, descriptor: int) -> None:
        job = self._jobs[descriptor]
        if descriptor == job.ended:
            code = os.waitstatus_to_exitcode(os.waitpid(job.pid, 0)[1])
            if code < 0:  # otherwise it has told the code itself
                with contextlib.suppress(OSError):
                    job.line.send(b"exit" + bytes([128 - code]))
            self._drop(job)
            return
        try:
            numbers = job.line.recv(16)
        except OSError:
            numbers = b""
        # A client that was killed takes its worker along, as if they were one; not a worker that has told the end.
        for number in numbers or ([] if processes.name(job.pid) == _TOLD else [signal.SIGKILL]):
            with contextlib.suppress(OSError):  # gone meanwhile, or no signal at all
                os.kill(job.pid, number)
        if not numbers:
            del self._jobs[descriptor]

    def _drop(self, job: _Job) -> None:
        for descriptor in (job.line.fileno(), job.ended):
            self._jobs.pop(descriptor, None)
        job.line.close()
        os.close(job.ended)


def _work(words: list[bytes], descriptors: list[int], line: socket.socket, copies: Copies) -> NoReturn:
    """Becomes the client: does its command line, tells the exit code, and ends."""
    for wanted, descriptor in enumerate(descriptors):
        os.dup2(descriptor, wanted)
    for descriptor in descriptors:
        os.close(descriptor)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with contextlib.suppress(OSError):
        line.send(b"+")
    code = 125
    try:
        os.chdir(words[1])
        count = int(words[2])
        os.environb.clear()
        os.environb.update(dict(word.split(b"=", 1) for word in words[3 + count :]))
        time.tzset()
        sys.argv = [os.fsdecode(word) for word in words[3 : 3 + count]]
        sys.stdin = io.TextIOWrapper(open(0, "rb", closefd=False), "utf-8", "surrogateescape")
        sys.stdout = io.TextIOWrapper(open(1, "wb", closefd=False), "utf-8", "surrogateescape", line_buffering=os.isatty(1))
        sys.stderr = io.TextIOWrapper(open(2, "wb", closefd=False), "utf-8", "backslashreplace", line_buffering=True)
        ordinary()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(bool(end.code))
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 1
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    with contextlib.suppress(OSError):
        processes.rename(_TOLD)
    with contextlib.suppress(OSError):
        line.send(b"exit" + bytes([code & 0xFF]))
    for descriptor in (0, 1, 2):  # who reads what it wrote waits for their end
        os.close(descriptor)
    with contextlib.suppress(OSError):
        copies.note()
    os._exit(code & 0xFF)
