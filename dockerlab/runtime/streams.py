"""What a container's program reads and writes, carried between it, its log and the person; kept apart from the container's life."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import stat
import struct
import termios
from pathlib import Path

from dockerlab.store.containers import frame

__all__ = ["Streams"]

_CHUNK = 1 << 16


class Streams:
    """The streams of one program. `given` are the person's descriptors by name, `log` is where the output is kept, if anywhere."""

    def __init__(self, given: dict[str, int], log: Path | None, *, terminal: bool) -> None:
        self.client = {name: descriptor if name == "stdin" else _unblocked(descriptor) for name, descriptor in given.items()}
        self.terminal = terminal
        self.log = open(log, "ab", buffering=0) if log else None
        self.full = False
        self.pending = b""
        self.ours: dict[str, int] = {}
        self.sources: dict[int, str] = {}
        # What a slow reader has not taken yet, and where it came from: nothing more is read there meanwhile.
        self.late: dict[int, tuple[int, bytes]] = {}
        self.poller = select.poll()

    def open(self) -> list[int]:
        """Makes the pipes; gives the three descriptors that the program shall have."""
        if self.terminal:
            null = os.open("/dev/null", os.O_RDWR)
            return [null, os.dup(null), os.dup(null)]
        if "stdin" in self.client:
            stdin, self.ours["stdin"] = os.pipe()
            os.set_blocking(self.ours["stdin"], False)
        else:
            stdin = os.open("/dev/null", os.O_RDONLY)
        self.ours["stdout"], stdout = os.pipe()
        self.ours["stderr"], stderr = os.pipe()
        return [stdin, stdout, stderr]

    def held(self) -> list[int]:
        """Gives every descriptor that the program must not inherit."""
        return [*self.ours.values(), *self.client.values(), *([self.log.fileno()] if self.log else [])]

    def begin(self, poller: select.poll) -> None:
        """Watches the streams with `poller` from now on."""
        self.poller = poller
        self.sources = {self.ours[name]: name for name in ("stdout", "stderr", "pty") if name in self.ours}
        for descriptor in self.sources:
            poller.register(descriptor, select.POLLIN)
        if "stdin" in self.client:
            poller.register(self.client["stdin"], select.POLLIN)

    def carry(self, descriptor: int) -> None:
        """Does what is to be done at a descriptor that is ready."""
        if descriptor in self.sources:
            self._carry(descriptor)
        elif descriptor in self.late:
            self._give(descriptor, *self.late[descriptor])
        else:
            self._feed(descriptor)

    def lose_person(self) -> None:
        """Nobody is there any more to show output to; input may still come."""
        for target in list(self.late):
            self._taken(target)
        self.client = {name: descriptor for name, descriptor in self.client.items() if name == "stdin"}

    def resize(self, rows: int, columns: int) -> None:
        """Tells the terminal its size."""
        if "pty" in self.ours:
            with contextlib.suppress(OSError):
                fcntl.ioctl(self.ours["pty"], termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def _carry(self, source: int) -> None:
        """Carries what the program wrote to the log, and to the person."""
        name = self.sources[source]
        try:
            data = os.read(source, _CHUNK)
        except OSError:
            data = b""
        if not data:
            self.poller.unregister(source)
            del self.sources[source]
            return
        self._keep(frame(2 if name == "stderr" else 1, data))
        target = self.client.get("stdout" if name == "pty" else name)
        if target is not None:
            self._give(target, source, data)

    def _keep(self, chunk: bytes) -> None:
        """Writes to the log; a full disk ends the log, not the program."""
        try:
            while chunk and self.log and not self.full:
                chunk = chunk[self.log.write(chunk) :]
        except OSError:
            self.full = True

    def _give(self, target: int, source: int, data: bytes) -> None:
        """Writes to the person what fits; the rest waits for them, and the program with it."""
        try:
            data = data[os.write(target, data) :]
        except BlockingIOError:
            pass
        except OSError:
            self._lost(target, source)
            return
        if data and target not in self.late:
            self.poller.unregister(source)
            self.poller.register(target, select.POLLOUT)
        if data:
            self.late[target] = source, data
        else:
            self._taken(target)

    def _taken(self, target: int) -> None:
        if target in self.late:
            source, _ = self.late.pop(target)
            self.poller.unregister(target)
            self.poller.register(source, select.POLLIN)

    def _lost(self, target: int, source: int) -> None:
        """Nobody reads any more: the program learns it as it would at the end of a pipeline."""
        self._taken(target)
        name = self.sources[source]
        self.client.pop("stdout" if name == "pty" else name)
        if name != "pty":
            self.poller.unregister(source)
            del self.sources[source]
            os.close(self.ours.pop(name))

    def _feed(self, descriptor: int) -> None:
        """Carries the person's input to the program, one block at a time: no more is read than the program has taken."""
        source, sink = self.client.get("stdin", -1), self.ours.get("pty", self.ours.get("stdin", -1))
        if descriptor == source and not self.pending:
            try:
                self.pending = os.read(source, _CHUNK)
            except OSError:
                self.pending = b""
            # An input that is not taken yet would be ready again and again.
            self.poller.unregister(source)
            if not self.pending:
                self.client.pop("stdin")
                if "pty" in self.ours:
                    self.pending = b"\x04"
                else:
                    os.close(self.ours.pop("stdin"))
                    return
        try:
            self.pending = self.pending[os.write(sink, self.pending) :]
        except BlockingIOError:
            pass
        except OSError:
            self.pending = b""
            self.client.pop("stdin", None)
        if "stdin" in self.ours:
            with contextlib.suppress(KeyError, OSError):
                self.poller.unregister(self.ours["stdin"])
            if self.pending:
                self.poller.register(self.ours["stdin"], select.POLLOUT)
        if not self.pending and "stdin" in self.client:
            self.poller.register(source, select.POLLIN)


def _unblocked(descriptor: int) -> int:
    """Gives a pipe or a terminal opened anew, so that a slow reader does not keep us waiting; anything else as it is.

    The mode of the descriptor itself is shared with whoever handed it to us, and not ours to change; open(2), O_NONBLOCK.
    """
    if not (stat.S_ISFIFO(os.fstat(descriptor).st_mode) or os.isatty(descriptor)):
        return descriptor
    try:
        own = os.open(f"/proc/self/fd/{descriptor}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return descriptor
    os.close(descriptor)
    return own
