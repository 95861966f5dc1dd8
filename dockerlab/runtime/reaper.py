"""`--init`: a first process that takes leave of orphans, and hands signals on to the program, which is its child.

The kernel gives the first process of a pid namespace every orphan in it, and lets no signal end it that it does not handle; pid_namespaces(7).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
from typing import NoReturn

from dockerlab.linux import processes, syscalls

__all__ = ["begin"]

_ALL = set(range(1, 65)) - {32, 33}
# What a process does to itself is no news for its child.
_OWN = {signal.SIGFPE, signal.SIGILL, signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGTRAP, signal.SIGSYS, signal.SIGTTIN, signal.SIGTTOU}
_PR_SET_NAME = 15


def begin(words: tuple[str, ...]) -> None:
    """Returns in a child, which becomes the program; this process stays and sees to it, as docker's own init would be called for these words."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _ALL)
    child = os.fork()
    if child:
        _see_to(child, words)
    # A group of its own, in the foreground: keys that send signals shall reach the program once.
    os.setpgid(0, 0)
    with contextlib.suppress(OSError):
        os.tcsetpgrp(0, os.getpgrp())


def _see_to(child: int, words: tuple[str, ...]) -> NoReturn:
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)  # what the engine had in memory is still in ours
    _rename("docker-init", ("/sbin/docker-init", "--", *words))
    code = 0
    while True:
        number = signal.sigwait(_ALL)
        if number == signal.SIGCHLD:
            with contextlib.suppress(ChildProcessError):
                while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                    if ended[0] == child:
                        code = os.waitstatus_to_exitcode(ended[1])
                        os._exit(128 - code if code < 0 else code)
        elif number not in _OWN:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, number)


def _rename(name: str, words: tuple[str, ...]) -> None:
    """Gives this process another name and command line, for ps(1); proc(5), /proc/PID/stat fields 48 and 49."""
    short = ctypes.create_string_buffer(name.encode())
    syscalls.prctl(_PR_SET_NAME, ctypes.addressof(short))
    try:
        fields = processes.stat("self")
    except OSError:
        return
    start, end = int(fields[45]), int(fields[46])
    if end > start:
        text = b"".join(os.fsencode(word) + b"\0" for word in words)[: end - start]
        ctypes.memmove(start, text.ljust(end - start, b"\0"), end - start)
