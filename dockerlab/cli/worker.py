"""A worker of the command server: a process that was forked ahead, and does a command line as if it were the client that asks for it.

It ends with its command line, so that nothing of one is left for the next. Only after those that start no container and read no input does it stay, for others of
them: such a line takes a third of the time where Python has done it before in the same process.
"""

from __future__ import annotations

import contextlib
import gc
import io
import os
import resource
import select
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from typing import Any, NoReturn

from dockerlab.cli.main import main as ordinary
from dockerlab.engine import current
from dockerlab.linux import dialling, processes
from dockerlab.linux.pages import Copies
from dockerlab.runtime import wire

__all__ = ["TOLD", "Worker", "stays"]

TOLD = "told"  # what a worker is called that has told how its command line ended, and has none since
_FREE = b"."  # what it says when it has cleaned up after it
_BUSY = "dockerlab"
_STAYING = frozenset((b"history", b"images", b"inspect", b"ps", b"pull", b"push", b"search", b"tag"))
_BREATH = 0.04  # seconds
_LARGE = 192 << 20  # bytes
_SIGNALLED = 128  # exit codes from here on
_OBJECTS = 50_000  # until garbage is looked for: most command lines make fewer
_SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGWINCH)


def stays(data: bytes) -> bool:
    """Tells of a client's message whether a worker that stays may do it."""
    return any(word in _STAYING for word in data.split(b"\0", 5)[4:5])


class Worker:
    """What waits at `door` for a client's message, whose descriptors are the three standard ones and the way back to the client."""

    def __init__(self, door: socket.socket, copies: Copies) -> None:
        self._door, self._copies = door, copies
        self._surroundings: list[bytes] = []
        self._descriptors = 0
        self._handlers: dict[int, Any] = {}

    def wait(self, rehearse: Callable[[], object]) -> NoReturn:
        """Does command lines, and ends the process."""
        if not select.select([self._door], [], [], _BREATH)[0]:  # the command line that has just begun needs the processors more
            with contextlib.suppress(Exception):  # its store was taken away, say: that is nobody's command line
                rehearse()
            self._copies.ahead(self._door)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self._handlers = {number: signal.getsignal(number) for number in _SIGNALS}
        self._descriptors = len(os.listdir("/proc/self/fd"))
        gc.set_threshold(_OBJECTS)
        while True:
            data, descriptors = wire.receive_bytes(self._door)
            if data is None:
                os._exit(0)
            code, tidy = self._served(data, descriptors)
            _let_go()
            if not (tidy and stays(data) and self._as_before()):
                with contextlib.suppress(OSError):
                    self._copies.note()
                os._exit(code)
            self._door.send(_FREE)

    def _served(self, data: bytes, descriptors: list[int]) -> tuple[int, bool]:
        """Does a command line and tells the client; gives the exit code, and whether it came to an end that its command knew of."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, descriptors.pop()) as line:
            for wanted, descriptor in enumerate(descriptors):
                os.dup2(descriptor, wanted)
                os.close(descriptor)
            try:
                processes.rename(_BUSY)
                line.send(b"+")
            except OSError:  # whoever asked has gone, and was told nothing
                return 0, False
            code, tidy = self._done(data.split(b"\0")[:-1])
            for number, handler in self._handlers.items():
                if signal.getsignal(number) is not handler:
                    signal.signal(number, handler)
            with contextlib.suppress(OSError):
                processes.rename(TOLD)
            with contextlib.suppress(OSError):
                line.send(b"exit" + bytes([code]))
        return code, tidy

    def _done(self, words: list[bytes]) -> tuple[int, bool]:
        """Becomes the client and does its command line."""
        code, tidy = 125, True
        try:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            count = int(words[2])
            sys.argv = [os.fsdecode(word) for word in words[3 : 3 + count]]
            sys.stdin = io.TextIOWrapper(open(0, "rb", closefd=False), "utf-8", "surrogateescape")
            sys.stdout = io.TextIOWrapper(open(1, "wb", closefd=False), "utf-8", "surrogateescape", line_buffering=os.isatty(1))
            sys.stderr = io.TextIOWrapper(open(2, "wb", closefd=False), "utf-8", "backslashreplace", line_buffering=True)
            self._surround(words[1], words[3 + count :])
            ordinary()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(bool(end.code))
        except BaseException:
            sys.excepthook(*sys.exc_info())
            code, tidy = 1, False
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        except (OSError, ValueError):
            pass
        except BaseException as end:  # a signal, while nobody read
            code = end.code if isinstance(end, SystemExit) and isinstance(end.code, int) else 130
        return code & 0xFF, tidy and code < _SIGNALLED

    def _surround(self, folder: bytes, environment: list[bytes]) -> None:
        """Takes over the client's folder and environment; an engine is what it is by these, and serves as long as they are the same."""
        os.chdir(folder)
        if self._surroundings != [folder, *environment]:
            self._surroundings = [folder, *environment]
            current.use(None)
            tempfile.tempdir = None
            os.environb.clear()
            os.environb.update(dict(word.split(b"=", 1) for word in environment))
            time.tzset()

    def _as_before(self) -> bool:
        """Tells whether the last command line has left this process as it was: no child, no thread, no open file, no heap of memory."""
        with contextlib.suppress(ChildProcessError):
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            return False
        if len(os.listdir("/proc/self/fd")) != self._descriptors:
            gc.collect()
            if len(os.listdir("/proc/self/fd")) != self._descriptors:
                return False
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
        return threading.active_count() == 1 and not dialling.restricted() and most < _LARGE


def _let_go() -> None:
    """Keeps nothing of the client's open: who reads what it wrote waits for the end."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    os.close(nothing)
    for stream in (sys.stdin, sys.stdout, sys.stderr):  # what could not be written is not the next one's
        with contextlib.suppress(OSError, ValueError):
            stream.close()
    os.chdir("/")
