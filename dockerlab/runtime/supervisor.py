"""What stands around every program in a container, the first one and those of `exec`: a parent, and a process that carries its streams.

Two processes watch the program, so that no single kill leaves it alone: the supervisor, and the parent, which alone is in the way between the host's
namespaces and the container's. Whichever of them sees the other go kills the program.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from dockerlab.linux import cgroups, syscalls
from dockerlab.linux.door import Door
from dockerlab.linux.notify import Listener
from dockerlab.oci.runtime import Spec
from dockerlab.runtime import chroot, confined, descendants, init, proot, wire
from dockerlab.runtime.copyup import CopyUp
from dockerlab.runtime.credentials import Credentials
from dockerlab.runtime.emulation import Circumstances, Emulation
from dockerlab.runtime.failing import InitFailed, told
from dockerlab.runtime.network import NetworkFailed
from dockerlab.runtime.serving import Serving
from dockerlab.runtime.spare import Spare
from dockerlab.runtime.starting import told_to_start
from dockerlab.runtime.streams import Person, Streams
from dockerlab.store.logs import Log

__all__ = ["NAMESPACES", "Begun", "Supervisor"]

NAMESPACES = {"mount": syscalls.CLONE_NEWNS, "pid": syscalls.CLONE_NEWPID, "ipc": syscalls.CLONE_NEWIPC, "uts": syscalls.CLONE_NEWUTS,
              "network": syscalls.CLONE_NEWNET, "cgroup": syscalls.CLONE_NEWCGROUP}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Begun:
    """A program that was started: itself, where its parent tells its end; or the failure."""

    first: int
    status: int
    failure: dict[str, Any] | None


class Supervisor:
    """Sees one program through. `request` is what the engine asked for, `connection` leads to whom it belongs, `person` is how they read and write, `log` is the file that keeps the output."""

    def __init__(self, folder: Path, spec: Spec, request: dict[str, Any], connection: socket.socket, person: Person, log: Path | None) -> None:
        self.folder, self.spec, self.request, self.log = folder, spec, request, log
        self.poller = select.poll()
        self.deeds: dict[int, Callable[[], object]] = {}
        self.told: set[str] = set()
        self.own = self.parent = self.first = 0
        self.grace = float(request.get("grace", 1.0))
        self.spare: Spare | None = None
        self.settled: Callable[[], object] = lambda: None
        self.prepare(connection, person)

    def prepare(self, connection: socket.socket, person: Person) -> None:
        """Makes ready for a program that somebody begins."""
        self.connection, self.person = connection, person
        person.left = self._left
        stdin = "stdin" in person.given or bool(self.request.get("stdin"))
        log = Log(self.log, **self.request.get("log", {})) if self.log else None
        self.streams = Streams([person] if person.given else [], log, terminal=self.spec.process.terminal, stdin=stdin, once=bool(self.request.get("once", "stdin" in person.given)))
        self.emulation: Emulation | None = None
        self.listener = -1
        self.early: list[str] | None = []
        self.code: int | None = None
        self.stopping = 0.0

    def become(self) -> None:
        """Leaves what this process was forked from: its session, its signals. Orphans of the container come to this process."""
        self.own = os.getpid()
        os.setsid()
        syscalls.prctl(syscalls.PR_SET_CHILD_SUBREAPER, 1)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)

    # What the two kinds do in their own way

    def enter(self, kinds: int) -> None:
        """Brings the parent, and so what it forks, into the container's namespaces of these kinds. Raises OSError."""
        raise NotImplementedError

    def memory(self) -> int:
        """Gives a mount of memory that another container shares; -1 for none. Raises OSError."""
        return -1

    def introduce(self, sync: socket.socket) -> None:
        """In the parent: it is in the namespaces, and forks the program next."""

    def meet(self, namespace: int) -> None:
        """What `introduce` has sent: the network namespace."""
        os.close(namespace)

    def constrain(self, folders: list[Path]) -> None:
        """Limits what the control group may use, before the program begins. Raises OSError."""

    def leave(self, *, abandoned: bool) -> None:
        """In the parent: the program has ended; `abandoned` tells that the supervisor was killed."""

    def meanwhile(self) -> None:
        """In the supervisor, while the container is built."""

    def thaw(self) -> None:
        """Lets a paused program go on, since it has to end."""

    def finish(self) -> None:
        """In the supervisor: the program has ended; takes leave of its parent."""
        with contextlib.suppress(ChildProcessError):  # where no pid namespace ends the rest, an end that was noted early did so too
            os.waitpid(self.parent, 0)

    def ended(self, code: int) -> None:
        """The program has ended, whether or not somebody still reads what it wrote; may be told twice."""

    def look_after(self) -> None:
        """Done now and then while the program runs."""

    def held(self) -> list[int]:
        """Gives every descriptor that neither the parent nor the program must inherit."""
        return [*self.streams.held(), self.connection.fileno()]

    @property
    def pace(self) -> int:
        """The milliseconds within which something is looked after."""
        return 100 if self.stopping else 1000

    @property
    def has_pids(self) -> bool:
        """Whether the kernel ends all of the container with its first process; pid_namespaces(7)."""
        return self.spec.owns("pid")

    # The start

    def begin(self, folders: list[Path]) -> Begun:
        """Starts the program, in the control groups `folders`. Raises OSError."""
        theirs = self.streams.open()
        ours, sync = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        status_in, status_out = os.pipe()
        spare, self.spare = self.spare, None
        self.parent = parent = (spare.take((sync.fileno(), status_out, *theirs), folders) if spare else 0) or os.fork()
        if parent == 0:
            # An end that stays open here would keep the program from ever seeing the end of its input.
            for descriptor in (*self.held(), status_in, ours.fileno()):
                os.close(descriptor)
            self.be_parent(sync, status_out, theirs, folders)
        for descriptor in (*theirs, status_out):
            os.close(descriptor)
        sync.close()
        syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
        # On version 2 the kernel lets ten milliseconds pass before it moves the first process, and moves the second at once:
        # this one stays where it is, and meanwhile the container is built.
        cgroups.stay(folders)
        self.meanwhile()
        guard = os.pidfd_open(parent)
        self.first, failure = self._await_start(ours, folders, guard)
        os.close(guard)
        if failure:
            os.waitpid(parent, 0)
        return Begun(self.first, status_in, failure)

    def stand_in(self, supervisor: int) -> None:
        """Makes ready to be the parent of a program that the process `supervisor` sees through; see `spare`."""
        for descriptor in self.held():  # streams and log are the supervisor's
            os.close(descriptor)
        self.become()
        self.own = supervisor
        if not self.request.get("explain"):
            told_to_start(self.spec, self.request, self.folder, [])

    def be_parent(self, sync: socket.socket, status_out: int, theirs: list[int], folders: list[Path]) -> NoReturn:
        """Brings itself into the namespaces, forks the program, waits for its end and tells it."""
        code = 125
        try:
            supervisor = os.pidfd_open(self.own)
            syscalls.prctl(syscalls.PR_SET_CHILD_SUBREAPER, 1)
            syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
            start, kinds = told_to_start(self.spec, self.request, self.folder, folders), 0
            sys.meta_path.clear()  # whatever would be imported from here on, a codec too, would be looked for in the container's files, and run as root
            for namespace in self.spec.linux.namespaces:
                kinds |= NAMESPACES[namespace.type]  # its own, and those that it shares
            if kinds:
                start.shared = self.memory()
                self.enter(kinds)
            self.introduce(sync)
            child = os.fork()
            if child == 0:
                os.close(status_out)
                self._first(start, sync, theirs)
            sync.send(json.dumps({"pid": child}).encode())
            sync.close()
            for descriptor in (*theirs, *start.doors):
                os.close(descriptor)
            with contextlib.suppress(Exception):
                self.settled()
            code = self._guard(child, supervisor)
            self.leave(abandoned=os.getppid() != self.own)
        except OSError as error:
            with contextlib.suppress(OSError):
                sync.send(json.dumps({"message": told(f"{error.filename}: {error.strerror}"), "code": 125}).encode())
        os.write(status_out, str(code).encode())
        os._exit(0)

    def _guard(self, child: int, supervisor: int) -> int:
        """Waits for the program, and kills it when the supervisor goes; gives its exit code."""
        first = os.pidfd_open(child)
        waiting = select.poll()
        waiting.register(first, select.POLLIN)
        waiting.register(supervisor, select.POLLIN)
        if not any(descriptor == first for descriptor, _ in waiting.poll()):
            os.kill(child, signal.SIGKILL)
            self.thaw()
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        return 128 - code if code < 0 else code

    def _first(self, start: init.Start, sync: socket.socket, theirs: list[int]) -> NoReturn:
        k = Door()
        try:
            for wanted, descriptor in enumerate(theirs):
                os.dup2(descriptor, wanted)
            start.sync = sync
            elsewhere = chroot.is_chroot(self.spec) or proot.is_proot(self.spec)
            (confined if elsewhere else init).run(k, start)
        except InitFailed as error:
            answer = {"message": error.message, "code": error.code}
        except OSError as error:
            answer = {"message": told(f"{error.filename or 'the kernel'}: {error.strerror}"), "code": 125}
        except BaseException as error:
            answer = {"message": told(f"{type(error).__name__}: {error}"), "code": 125}
        with contextlib.suppress(OSError):
            sync.send(json.dumps(answer).encode())
        os._exit(0)

    def _await_start(self, ours: socket.socket, folders: list[Path], guard: int) -> tuple[int, dict[str, Any] | None]:
        """Waits until the program runs, or could not; gives its pid, and the failure. `guard` is a pidfd of the parent."""
        first = 0
        while True:
            ready, _, _ = select.select([ours.fileno(), guard, *([self.listener] if self.emulation else [])], [], [])
            if self.listener in ready:
                self.answer()
            if ours.fileno() not in ready:
                if guard in ready:
                    # Killed before its child has asked to die with it: that is this process's child now, and would wait for ever.
                    for pid in descendants.children(os.getpid()):
                        with contextlib.suppress(ProcessLookupError):
                            os.kill(pid, signal.SIGKILL)
                    return first, {"message": told("the container's parent process was killed"), "code": 137}
                continue
            try:
                data, descriptors, _, _ = socket.recv_fds(ours, 65536, 1)
            except ConnectionResetError:
                # An end that closed with our word unread: the kernel tells this once, before what was said last.
                continue
            if data == b"pty":
                self.streams.ours["pty"] = descriptors[0]
            elif not data:
                # The socket closes itself at execve.
                return first, (None if first else {"message": told("the container's first process was killed"), "code": 137})
            else:
                message = json.loads(data)
                if "listen" in message:
                    self._listen(descriptors[0], message["listen"])
                    continue
                if "namespace" in message:
                    self.meet(descriptors[0])
                    continue
                if "pid" not in message:
                    return first, message
                first = message["pid"]
                # One that has failed meanwhile is no process any more, and its message is the next.
                with contextlib.suppress(ProcessLookupError, BrokenPipeError):
                    try:
                        self.constrain(folders)
                    except NetworkFailed as error:
                        os.kill(first, signal.SIGKILL)
                        return first, {"message": str(error), "code": 125}
                    ours.send(b"go")

    # Answers for the kernel

    def _listen(self, descriptor: int, ids: list[int]) -> None:
        uid, gid, *groups = ids
        self.listener = descriptor
        first = Credentials.of(uid, gid, tuple(sorted(groups)))
        listener, request = Listener(descriptor), self.request
        root = request["mounts"][0]["source"]
        around = Circumstances(
            users=not request.get("owners", True),
            anybody=bool(request.get("owned")),
            set_uid=not request.get("no_new_privileges", False),
            serving=Serving(listener, self.spec, self.tell_once) if chroot.is_chroot(self.spec) else None,
            root=root if proot.is_proot(self.spec) else "",
            writable=proot.writable(self.spec, root),
            copies=CopyUp(root, request["links"]) if request.get("links") else None,
            # Without mounts nobody has CAP_SYS_CHROOT; PRoot makes its own roots up.
            stays=os.path.realpath(root) if chroot.is_chroot(self.spec) else "/" if proot.is_proot(self.spec) else "",
            ending=self._program_ends if proot.is_proot(self.spec) else None,
        )
        self.emulation = Emulation(listener, first, self.tell_once, around)

    def answer(self) -> bool:
        """Answers one call that the program made; False when there is nobody left to ask."""
        if self.emulation is None or not self.emulation.serve():
            self._deaf()
            return False
        return True

    def _deaf(self) -> None:
        if self.listener >= 0:
            self.neglect(self.listener)
            os.close(self.listener)
        if self.emulation:
            self.emulation.close()
        self.emulation, self.listener = None, -1

    def _program_ends(self, pid: int, code: int) -> None:
        """PRoot waits for all that it traces, and gives the code of whoever ends last: what else runs ends before the program, as without PRoot it would with it."""
        with contextlib.suppress(OSError, IndexError):
            if descendants.parent(pid) == self.first:
                self.code = code
                for other in set(descendants.below(self.first)) - {pid}:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(other, signal.SIGKILL)

    def tell_once(self, kind: str, text: str) -> None:
        """Tells a person something that the container's host makes so, once a kind."""
        if kind in self.told:
            return
        self.told.add(kind)
        if self.early is None:
            self.say({"note": text})
        else:
            self.early.append(text)

    def say_started(self) -> None:
        """Tells that the program runs, which is the first thing to be told, and then what came up before."""
        early, self.early = self.early or [], None
        self.say({"started": self.first})
        for text in early:
            self.say({"note": text})

    # The time in between

    def attend(self, descriptor: int, deed: Callable[[], object]) -> None:
        """Does something whenever a descriptor is ready."""
        self.deeds[descriptor] = deed
        self.poller.register(descriptor, select.POLLIN)

    def neglect(self, descriptor: int) -> None:
        """Does it no more."""
        if self.deeds.pop(descriptor, None):
            self.poller.unregister(descriptor)

    def watch(self, begun: Begun) -> int:
        """Carries the streams and does what is asked until the program has ended; gives its exit code."""
        code: int | None = None

        def end() -> None:
            nonlocal code
            text = os.read(begun.status, 16)
            if not text and self.first:  # the parent was killed, perhaps before the program had asked to die with it
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self.first, signal.SIGKILL)
            code = self.code if self.code is not None else int(text) if text else 137
            self.neglect(begun.status)
            os.close(begun.status)

        self.attend(begun.status, end)
        self.attend(self.connection.fileno(), self._hear)
        if self.emulation:
            self.attend(self.listener, self.answer)
        self.streams.begin(self.poller)
        while code is None or self.streams.sources:
            events = self.poller.poll(self.pace)
            self._hurry()
            self.look_after()
            for descriptor, _ in events:
                self.deeds.get(descriptor, lambda: self.streams.carry(descriptor))()  # noqa: B023 — called at once
            if code is not None and self.streams.late:
                self.ended(code)
            if code is not None and not events and not self.streams.late:
                # Whoever still holds the pipe's other end is no process of the container: they all ended with the first.
                break
        self.first = 0
        self._deaf()
        self.finish()
        self.ended(code)
        return code

    def _left(self) -> None:
        """Who began the program let go of its terminal, by the keys for that: it runs on."""
        self.request["detach"] = True
        self.say({"detached": True})

    def _hurry(self) -> None:
        if self.stopping and time.monotonic() > self.stopping:
            self.signal(signal.SIGKILL)
            self.stopping = time.monotonic() + 1

    def _hear(self) -> None:
        if self.hear(self.connection):
            return
        self.neglect(self.connection.fileno())
        self.streams.lose(self.person, typing=True)
        if not self.request["detach"]:
            # The notebook or terminal that this program belongs to is gone.
            self.signal(signal.SIGTERM)
            self.stopping = time.monotonic() + self.grace

    def hear(self, connection: socket.socket) -> bool:
        """Does what somebody at the program asks for; False when they are gone."""
        try:
            message, _ = wire.receive(connection)
        except OSError:
            message = None
        if message is None:
            return False
        if "resize" in message:
            self.streams.resize(*message["resize"])
        elif "signal" in message:
            self.signal(message["signal"])
            if message.get("grace") is not None:
                self.stopping = time.monotonic() + message["grace"]
        return True

    def signal(self, number: int) -> None:
        """Sends the program a signal, if there is one."""
        if not self.first:
            return
        # PRoot lets most signals pass by: what it runs is its child.
        for pid in descendants.children(self.first) if proot.is_proot(self.spec) and number != signal.SIGKILL else [self.first]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def say(self, message: dict[str, Any]) -> None:
        """Tells whom the program belongs to something."""
        with contextlib.suppress(OSError):
            wire.send(self.connection, message)
