"""What a program reads and writes, carried between it, its log and the people at it; kept apart from its life.

Several people may look at one program. All of them get everything, and the slowest sets the pace: nothing is read from the program while somebody has
not taken what it wrote before.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import stat
import struct
import termios
from collections.abc import Callable

from dockerlab.runtime.detaching import Keys
from dockerlab.store.logs import Log

__all__ = ["Person", "Streams"]

_CHUNK = 1 << 16


class Person:
    """Whose descriptors (`given`: stdin, stdout, stderr) are carried to and fro; `left` is done when they type the keys that let go."""

    def __init__(self, given: dict[str, int], *, keys: Keys | None = None, left: Callable[[], object] = lambda: None) -> None:
        self.given = {name: descriptor if name == "stdin" else _unblocked(descriptor) for name, descriptor in given.items()}
        self.keys, self.left = keys, left


class Streams:
    """The streams of one program. `log` is where its output is kept, if anywhere; `stdin` tells whether anybody may ever type.

    `once`: the program's input ends with that of the first person, as `docker run -i` has it.
    """

    def __init__(self, people: list[Person], log: Log | None, *, terminal: bool, stdin: bool, once: bool = True) -> None:
        self.people, self.terminal, self._stdin, self._once = people, terminal, stdin, once
        self.log = log
        self.full = self._redraw = False
        self.activation = -1  # a listening socket that the program shall have as its input
        self.pending = b""
        self.ours: dict[str, int] = {}
        self.sources: dict[int, str] = {}
        # What a slow reader has not taken yet, and where it came from: nothing more is read there meanwhile.
        self.late: dict[int, tuple[int, bytes]] = {}
        self.poller = select.poll()
        self._watched: dict[int, int] = {}

    def open(self) -> list[int]:
        """Makes the pipes; gives the three descriptors that the program shall have."""
        if self.terminal:
            null = os.open("/dev/null", os.O_RDWR)
            return [null, os.dup(null), os.dup(null)]
        if self._stdin:
            stdin, self.ours["stdin"] = os.pipe()
            os.set_blocking(self.ours["stdin"], False)
        elif self.activation >= 0:
            stdin, self.activation = self.activation, -1
        else:
            stdin = os.open("/dev/null", os.O_RDONLY)
        self.ours["stdout"], stdout = os.pipe()
        self.ours["stderr"], stderr = os.pipe()
        return [stdin, stdout, stderr]

    def held(self) -> list[int]:
        """Gives every descriptor that the program must not inherit."""
        theirs = [descriptor for person in self.people for descriptor in person.given.values()]
        return [*self.ours.values(), *theirs, *([self.log.fileno()] if self.log else []), *([self.activation] if self.activation >= 0 else [])]

    def begin(self, poller: select.poll) -> None:
        """Watches the streams with `poller` from now on."""
        self.poller = poller
        self.sources = {self.ours[name]: name for name in ("stdout", "stderr", "pty") if name in self.ours}
        if "pty" in self.ours:
            os.set_blocking(self.ours["pty"], False)
        self._settle()

    def add(self, person: Person) -> None:
        """Lets one more look, and type; a shell that waits at its prompt draws it anew once they tell their size."""
        self.people.append(person)
        self._redraw = True
        self._settle()

    def carry(self, descriptor: int) -> None:
        """Does what is to be done at a descriptor that is ready."""
        if descriptor == self._sink:
            self._type()
        if descriptor in self.sources:
            self._carry(descriptor)
        elif descriptor in self.late:
            self._give(descriptor, *self.late[descriptor])
        elif descriptor != self._sink:
            self._hear(descriptor)
        self._settle()

    def lose(self, person: Person, *, typing: bool = False) -> None:
        """Somebody is not there any more; with `typing` what is left of their input is still read."""
        for name, descriptor in list(person.given.items()):
            if not (name == "stdin" and typing):
                self.late.pop(descriptor, None)
                os.close(person.given.pop(name))
        if not person.given and person in self.people:
            self.people.remove(person)
        self._settle()

    def close(self) -> None:
        """Lets go of everything: the program has ended, and nobody hears more of it."""
        for descriptor in self._watched:
            self.poller.unregister(descriptor)
        for descriptor in {*self.ours.values(), *(d for person in self.people for d in person.given.values())}:
            os.close(descriptor)
        if self.activation >= 0:
            os.close(self.activation)
            self.activation = -1
        if self.log:
            self.log.close()
        self.people, self.ours, self.sources, self.late, self._watched = [], {}, {}, {}, {}

    def resize(self, rows: int, columns: int) -> None:
        """Tells the terminal its size."""
        if "pty" in self.ours:
            with contextlib.suppress(OSError, struct.error):
                for more in (1, 0) if self._redraw else (0,):  # the same size once more is no news; TIOCSWINSZ(2const)
                    fcntl.ioctl(self.ours["pty"], termios.TIOCSWINSZ, struct.pack("HHHH", rows + more, columns, 0, 0))
                self._redraw = False

    def _settle(self) -> None:
        """Waits for what can be carried now, and for nothing else."""
        blocked, wanted = {source for source, _ in self.late.values()}, dict.fromkeys(self.late, select.POLLOUT)
        wanted |= {source: select.POLLIN for source in self.sources if source not in blocked}
        if self.pending:
            wanted[self._sink] = wanted.get(self._sink, 0) | select.POLLOUT
        elif self._sink >= 0:
            wanted |= dict.fromkeys(self._typists(), select.POLLIN)
        for descriptor in self._watched.keys() - wanted.keys():
            self.poller.unregister(descriptor)
        for descriptor, events in wanted.items():
            if self._watched.get(descriptor) != events:
                self.poller.register(descriptor, events)
        self._watched = wanted

    # From the program

    def _carry(self, source: int) -> None:
        """Carries what the program wrote to the log, and to the people."""
        name = self.sources[source]
        try:
            data = os.read(source, _CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            del self.sources[source]
            return
        self._keep(2 if name == "stderr" else 1, data)
        stream = "stdout" if name == "pty" else name
        for target in [person.given[stream] for person in self.people if stream in person.given]:
            self._give(target, source, data)

    def _keep(self, stream: int, data: bytes) -> None:
        """Writes to the log; a full disk ends the log, not the program."""
        try:
            if self.log and not self.full:
                self.log.write(stream, data)
        except OSError:
            self.full = True

    def _give(self, target: int, source: int, data: bytes) -> None:
        """Writes to a person what fits; the rest waits for them, and the program with it."""
        try:
            data = data[os.write(target, data) :]
        except BlockingIOError:
            pass
        except OSError:
            self._lost(target, source)
            return
        if data:
            self.late[target] = source, data
        else:
            self.late.pop(target, None)

    def _lost(self, target: int, source: int) -> None:
        """Somebody reads no more: where nobody else does, the program learns it as it would at the end of a pipeline."""
        self.late.pop(target, None)
        name = self.sources.get(source, "")
        for person in self.people:
            person.given = {stream: descriptor for stream, descriptor in person.given.items() if descriptor != target}
        os.close(target)
        if name in self.ours and name != "pty" and not any(name in person.given for person in self.people):
            del self.sources[source]
            os.close(self.ours.pop(name))

    # To the program

    @property
    def _sink(self) -> int:
        return self.ours.get("pty", self.ours.get("stdin", -1))

    def _typists(self) -> dict[int, Person]:
        return {person.given["stdin"]: person for person in self.people if "stdin" in person.given}

    def _hear(self, descriptor: int) -> None:
        """Takes the next block that somebody has typed: no more is read than the program has taken."""
        person = self._typists().get(descriptor)
        if person is None or self.pending:
            return
        try:
            self.pending = os.read(descriptor, _CHUNK)
        except OSError:
            self.pending = b""
        if not self.pending:
            os.close(person.given.pop("stdin"))
            if self._once:
                self._end_input()
            return
        if person.keys:
            self.pending, left = person.keys.feed(self.pending)
            if left:
                self.lose(person)
                person.left()
        self._type()

    def _end_input(self) -> None:
        if "pty" in self.ours:
            self.pending = b"\x04"
            self._type()
        elif "stdin" in self.ours:
            os.close(self.ours.pop("stdin"))

    def _type(self) -> None:
        """Writes to the program what it takes."""
        try:
            self.pending = self.pending[os.write(self._sink, self.pending) :] if self.pending else b""
        except BlockingIOError:
            pass
        except OSError:
            self.pending = b""
            for person in self._typists().values():
                os.close(person.given.pop("stdin"))


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
