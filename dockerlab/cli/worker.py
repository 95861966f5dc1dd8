"""A worker of the command server: a process that was forked ahead, and does a command line as if it were the client that asks for it.

It ends with its command line, so that nothing of one is left for the next. Only after those that start no program and read no input does it stay, for others of
them: such a line takes a third of the time where Python has done it before in the same process.
"""

from __future__ import annotations

import contextlib
import gc
import io
import os
import select
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from typing import NoReturn

from dockerlab.cli.main import main as ordinary
from dockerlab.engine import current
from dockerlab.linux import dialling, processes
from dockerlab.linux.pages import Copies
from dockerlab.runtime import wire

__all__ = ["FREE", "TOLD", "stays", "wait"]

TOLD = "told"  # what a worker is called that has told how its command line ended, and has none since
FREE = b"."  # what it says when it has cleaned up after it
_BUSY = "dockerlab"
_STAYING = frozenset((b"history", b"images", b"inspect", b"ps", b"pull", b"push", b"search", b"tag"))
_BREATH = 0.04  # seconds
_LARGE = 128 << 20  # bytes
_SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGWINCH)


def stays(data: bytes) -> bool:
    """Tells of a client's message whether a worker that stays may do it."""
    return any(word in _STAYING for word in data.split(b"\0", 5)[4:5])


def wait(door: socket.socket, rehearse: Callable[[], object], copies: Copies) -> NoReturn:
    """Does what is handed over at `door`, and ends; a message is a client's, its descriptors the three standard ones and the way back to the client."""
    if not select.select([door], [], [], _BREATH)[0]:  # the command line that has just begun needs the processors more
        with contextlib.suppress(Exception):  # its store was taken away, say: that is nobody's command line
            rehearse()
        copies.ahead(door)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    handlers = {number: signal.getsignal(number) for number in _SIGNALS}
    own = len(os.listdir("/proc/self/fd"))
    gc.set_threshold(50_000)
    while True:
        data, descriptors = wire.receive_bytes(door)
        if data is None:
            os._exit(0)
        with socket.socket(fileno=descriptors[3]) as line:
            words = data.split(b"\0")[:-1]
            code, tidy = _done(words, descriptors[:3], line)
            for number, handler in handlers.items():
                signal.signal(number, handler)
            with contextlib.suppress(OSError):
                processes.rename(TOLD)
            with contextlib.suppress(OSError):
                line.send(b"exit" + bytes([code & 0xFF]))
        _let_go()
        if not (tidy and stays(data) and _as_before(own)):
            with contextlib.suppress(OSError):
                copies.note()
            os._exit(code & 0xFF)
        door.send(FREE)


def _done(words: list[bytes], descriptors: list[int], line: socket.socket) -> tuple[int, bool]:
    """Becomes the client and does its command line; gives the exit code, and whether it came to an end that its command knew of."""
    for wanted, descriptor in enumerate(descriptors):
        os.dup2(descriptor, wanted)
    for descriptor in descriptors:
        os.close(descriptor)
    with contextlib.suppress(OSError):
        processes.rename(_BUSY)
    try:
        line.send(b"+")
    except OSError:  # whoever asked has gone, and was told nothing
        return 0, True
    signal.signal(signal.SIGINT, signal.default_int_handler)
    code, tidy = 125, True
    try:
        os.chdir(words[1])
        count = int(words[2])
        _surround(words[3 + count :])
        sys.argv = [os.fsdecode(word) for word in words[3 : 3 + count]]
        sys.stdin = io.TextIOWrapper(open(0, "rb", closefd=False), "utf-8", "surrogateescape")
        sys.stdout = io.TextIOWrapper(open(1, "wb", closefd=False), "utf-8", "surrogateescape", line_buffering=os.isatty(1))
        sys.stderr = io.TextIOWrapper(open(2, "wb", closefd=False), "utf-8", "backslashreplace", line_buffering=True)
        ordinary()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(bool(end.code))
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code, tidy = 1, False
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    return code, tidy


def _surround(words: list[bytes]) -> None:
    """Takes over the client's environment; an engine is what it is by one, and serves as long as that is the same."""
    wanted = dict(word.split(b"=", 1) for word in words)
    if os.environb != wanted:
        current.use(None)
        tempfile.tempdir = None
        os.environb.clear()
        os.environb.update(wanted)
        time.tzset()


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


def _as_before(descriptors: int) -> bool:
    """Tells whether the last command line has left this process as it was: no thread, no child, no open file, no heap of memory."""
    with contextlib.suppress(ChildProcessError):
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        return False
    if len(os.listdir("/proc/self/fd")) != descriptors:
        gc.collect()
    return not dialling.restricted() and threading.active_count() == 1 and len(os.listdir("/proc/self/fd")) == descriptors and processes.anonymous(os.getpid()) < _LARGE
