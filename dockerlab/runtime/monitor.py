"""One process per container that outlives the notebook: it starts the first process, carries its streams, keeps its log, notes its end.

Two processes watch the container, so that no single kill leaves it alone: the monitor, and the parent of the pid namespace. Whichever of
them sees the other go kills the container's first process, and with it, by the kernel's rule, all of the container (pid_namespaces(7)).
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import signal
import socket
import stat
import struct
import termios
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from dockerlab.linux import cgroups, notify, seccomp, syscalls
from dockerlab.linux.door import Door
from dockerlab.oci.runtime import Spec
from dockerlab.runtime import init, refusals, wire
from dockerlab.store import snapshots, work
from dockerlab.store.containers import ContainerStore, State, frame, started_at
from dockerlab.store.files import publish

__all__ = ["Monitor"]

_NAMESPACES = {"mount": syscalls.CLONE_NEWNS, "pid": syscalls.CLONE_NEWPID, "ipc": syscalls.CLONE_NEWIPC, "uts": syscalls.CLONE_NEWUTS,
               "network": syscalls.CLONE_NEWNET, "cgroup": syscalls.CLONE_NEWCGROUP}  # fmt: skip
_PR_SET_CHILD_SUBREAPER = 36
_CHUNK = 1 << 16


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f") + "000Z"


class Monitor:
    """Runs in a child of the launcher, from the container's start to its end."""

    def __init__(self, request: dict[str, Any], connection: socket.socket, descriptors: list[int]) -> None:
        self.request, self.connection = request, connection
        self.folder = Path(request["folder"])
        self.spec = Spec.decode((self.folder / "bundle" / "config.json").read_bytes())
        names = [name for name in ("stdin", "stdout", "stderr") if name in request["attach"]]
        self.client = {name: descriptor if name == "stdin" else _unblocked(descriptor) for name, descriptor in zip(names, descriptors, strict=False)}
        self.terminal = self.spec.process.terminal
        self.log = open(self.folder / "log", "ab", buffering=0)
        self.full = False
        self.listener, self.own = -1, (0, 0)
        self.told: set[str] = set()
        self.state = State()
        self.grace = float(request.get("grace", 1.0))
        self.stopping = 0.0
        self.pending = b""
        self.streams: dict[str, int] = {}
        self.sources: dict[int, str] = {}
        # What a slow reader has not taken yet, and where it came from: nothing more is read there meanwhile.
        self.late: dict[int, tuple[int, bytes]] = {}

    def run(self) -> None:
        """Sees the container through."""
        os.setsid()
        syscalls.prctl(_PR_SET_CHILD_SUBREAPER, 1)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        code = 125
        try:
            code = self._through()
        except OSError as error:
            self._say({"failed": init.told(f"{error.filename or ''}: {error.strerror}".removeprefix(": ")), "code": 125})
        finally:
            self._end(code)

    def _through(self) -> int:
        group = self.request.get("cgroup", "")
        folders = cgroups.create(group) if group else []
        streams, theirs = self._streams()
        ours, sync = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        status_in, status_out = os.pipe()
        parent = os.fork()
        if parent == 0:
            # An end that stays open here would keep the program from ever seeing the end of its input.
            for descriptor in (*streams.values(), *self.client.values(), self.connection.fileno(), self.log.fileno(), status_in, ours.fileno()):
                os.close(descriptor)
            self._parent(sync, status_out, theirs)
        for descriptor in (*theirs, status_out):
            os.close(descriptor)
        sync.close()
        syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
        # The kernel lets ten milliseconds pass before it moves the first process (an RCU grace period), and moves the second at once:
        # meanwhile the container is built.
        cgroups.join(folders, parent)
        first, failure, extra = self._await_start(ours, folders)
        streams.update(extra)
        self.streams = streams
        if failure:
            os.waitpid(parent, 0)
            self._say({"failed": failure["message"], "code": failure["code"], "calls": failure.get("calls", [])})
            self._note(status="exited", exit_code=failure["code"], error=failure["message"], finished=_now())
            return int(failure["code"])
        return self._watch(parent, first, streams, status_in)

    def _streams(self) -> tuple[dict[str, int], list[int]]:
        """Gives our ends of the program's streams, and the three descriptors that the program shall have."""
        if self.terminal:
            null = os.open("/dev/null", os.O_RDWR)
            return {}, [null, os.dup(null), os.dup(null)]
        ours: dict[str, int] = {}
        if "stdin" in self.client:
            stdin, ours["stdin"] = os.pipe()
            os.set_blocking(ours["stdin"], False)
        else:
            stdin = os.open("/dev/null", os.O_RDONLY)
        ours["stdout"], stdout = os.pipe()
        ours["stderr"], stderr = os.pipe()
        return ours, [stdin, stdout, stderr]

    # The parent of the pid namespace

    def _parent(self, sync: socket.socket, status_out: int, theirs: list[int]) -> None:
        code = 125
        try:
            monitor = os.pidfd_open(os.getppid())
            flags = 0
            for namespace in self.spec.linux.namespaces:
                flags |= _NAMESPACES[namespace.type]
            syscalls.unshare(flags)
            child = os.fork()
            if child == 0:
                os.close(status_out)
                self._first(sync, theirs)
            syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
            sync.send(json.dumps({"pid": child}).encode())
            sync.close()
            for descriptor in theirs:
                os.close(descriptor)
            code = self._guard(child, monitor)
        except OSError as error:
            with contextlib.suppress(OSError):
                sync.send(json.dumps({"message": init.told(f"{error.filename}: {error.strerror}"), "code": 125}).encode())
        os.write(status_out, str(code).encode())
        os._exit(0)

    @staticmethod
    def _guard(child: int, monitor: int) -> int:
        first = os.pidfd_open(child)
        waiting = select.poll()
        waiting.register(first, select.POLLIN)
        waiting.register(monitor, select.POLLIN)
        if not any(descriptor == first for descriptor, _ in waiting.poll()):
            os.kill(child, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        return 128 - code if code < 0 else code

    def _first(self, sync: socket.socket, theirs: list[int]) -> None:
        k = Door()
        try:
            for wanted, descriptor in enumerate(theirs):
                os.dup2(descriptor, wanted)
            kept = os.dup(sync.fileno())
            sync = socket.socket(fileno=kept)
            init.run(k, self._start(sync))
        except init.InitFailed as error:
            answer = {"message": error.message, "code": error.code}
        except OSError as error:
            answer = {"message": init.told(f"{error.filename or 'the kernel'}: {error.strerror}"), "code": 125}
        except BaseException as error:
            answer = {"message": init.told(f"{type(error).__name__}: {error}"), "code": 125}
        with contextlib.suppress(OSError):
            sync.send(json.dumps(answer).encode())
        os._exit(0)

    def _start(self, sync: socket.socket) -> init.Start:
        profile = self.spec.linux.seccomp
        return init.Start(
            self.spec,
            str(self.folder / "bundle" / "rootfs"),
            tuple(snapshots.Mount(m["type"], m["source"], tuple(m["options"]), m["base"]) for m in self.request["mounts"]),
            self.request.get("user", ""),
            sync,
            tuple(self.request.get("fresh", ())),
            seccomp.compile_profile(profile) if profile else b"",
            seccomp.listens(profile) if profile else False,
            self.request.get("owners", True),
            sync,
            os.open(self.folder / "explain.json", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600) if self.request.get("explain") else -1,
            tuple((path, rights) for path, rights in self.request["only_id"]) if self.request.get("only_id") is not None else None,
        )

    # The monitor itself

    def _await_start(self, ours: socket.socket, folders: list[Path]) -> tuple[int, dict[str, Any] | None, dict[str, int]]:
        """Waits until the program runs, or could not; gives its pid, the failure, and a terminal's descriptor."""
        first, extra = 0, {}
        while True:
            try:
                data, descriptors, _, _ = socket.recv_fds(ours, 65536, 1)
            except ConnectionResetError:
                # An end that closed with our word unread: the kernel tells this once, before what was said last.
                continue
            if data == b"pty":
                extra["pty"] = descriptors[0]
            elif not data:
                # The socket closes itself at execve.
                return first, (None if first else {"message": init.told("the container's first process was killed"), "code": 137}), extra
            else:
                message = json.loads(data)
                if "listen" in message:
                    self.listener, self.own = descriptors[0], tuple(message["listen"])
                    continue
                if "pid" not in message:
                    return first, message, extra
                first = message["pid"]
                # One that has failed meanwhile is no process any more, and its message is the next.
                with contextlib.suppress(ProcessLookupError, BrokenPipeError):
                    cgroups.join(folders, first)
                    ours.send(b"go")

    def _watch(self, parent: int, first: int, streams: dict[str, int], status: int) -> int:
        self._note(status="running", pid=first, began=started_at(first), monitor=os.getpid(), monitor_began=started_at(os.getpid()), started=_now())
        self._say({"started": first})
        poller = select.poll()
        self.sources = {streams[name]: name for name in ("stdout", "stderr", "pty") if name in streams}
        for descriptor in (*self.sources, status):
            poller.register(descriptor, select.POLLIN)
        poller.register(self.connection, select.POLLIN)
        if self.listener >= 0:
            poller.register(self.listener, select.POLLIN)
        self._listen(poller, streams)
        code: int | None = None
        while code is None or self.sources:
            events = poller.poll(self._patience())
            self._hurry(first)
            for descriptor, event in events:
                if descriptor in self.sources:
                    self._carry(poller, descriptor)
                elif descriptor in self.late:
                    self._give(poller, descriptor, *self.late[descriptor])
                elif descriptor == status:
                    text = os.read(status, 16)
                    code = int(text) if text else 137
                    poller.unregister(status)
                elif descriptor == self.connection.fileno():
                    self._hear(poller, first)
                elif descriptor == self.listener:
                    self._refusal(poller)
                else:
                    self._feed(poller, streams, descriptor, event)
            if code is not None and self.late and self.state.status == "running":
                # The program has ended, whether or not somebody reads what it wrote.
                self._note(status="exited", exit_code=code, finished=_now(), pid=0)
            if code is not None and not events and not self.late:
                # Whoever still holds the pipe's other end is no process of the container: they all ended with the first.
                break
        os.waitpid(parent, 0)
        if self.state.status == "running":
            self._note(status="exited", exit_code=code, finished=_now(), pid=0)
        return code

    def _patience(self) -> int:
        return 100 if self.stopping else 1000

    def _hurry(self, first: int) -> None:
        if self.stopping and time.monotonic() > self.stopping:
            with contextlib.suppress(ProcessLookupError):
                os.kill(first, signal.SIGKILL)
            self.stopping = time.monotonic() + 1

    def _carry(self, poller: select.poll, source: int) -> None:
        """Carries what the program wrote to the log, and to the person."""
        name = self.sources[source]
        try:
            data = os.read(source, _CHUNK)
        except OSError:
            data = b""
        if not data:
            poller.unregister(source)
            del self.sources[source]
            return
        self._keep(frame(2 if name == "stderr" else 1, data))
        target = self.client.get("stdout" if name == "pty" else name)
        if target is not None:
            self._give(poller, target, source, data)

    def _keep(self, chunk: bytes) -> None:
        """Writes to the log; a full disk ends the log, not the program."""
        try:
            while chunk and not self.full:
                chunk = chunk[self.log.write(chunk) :]
        except OSError:
            self.full = True

    def _give(self, poller: select.poll, target: int, source: int, data: bytes) -> None:
        """Writes to the person what fits; the rest waits for them, and the program with it."""
        try:
            data = data[os.write(target, data) :]
        except BlockingIOError:
            pass
        except OSError:
            self._lost(poller, target, source)
            return
        if data and target not in self.late:
            poller.unregister(source)
            poller.register(target, select.POLLOUT)
        if data:
            self.late[target] = source, data
        else:
            self._taken(poller, target)

    def _taken(self, poller: select.poll, target: int) -> None:
        if target in self.late:
            source, _ = self.late.pop(target)
            poller.unregister(target)
            poller.register(source, select.POLLIN)

    def _lost(self, poller: select.poll, target: int, source: int) -> None:
        """Nobody reads any more: the program learns it as it would at the end of a pipeline."""
        self._taken(poller, target)
        name = self.sources[source]
        self.client.pop("stdout" if name == "pty" else name)
        if name != "pty":
            poller.unregister(source)
            del self.sources[source]
            os.close(self.streams.pop(name))

    def _listen(self, poller: select.poll, streams: dict[str, int]) -> None:
        if "stdin" in self.client:
            poller.register(self.client["stdin"], select.POLLIN)

    def _feed(self, poller: select.poll, streams: dict[str, int], descriptor: int, event: int) -> None:
        """Carries the person's input to the program, one block at a time: no more is read than the program has taken."""
        source, sink = self.client.get("stdin", -1), streams.get("pty", streams.get("stdin", -1))
        if descriptor == source and not self.pending:
            try:
                self.pending = os.read(source, _CHUNK)
            except OSError:
                self.pending = b""
            # An input that is not taken yet would be ready again and again.
            poller.unregister(source)
            if not self.pending:
                self.client.pop("stdin")
                if "pty" in streams:
                    self.pending = b"\x04"
                else:
                    os.close(streams.pop("stdin"))
                    return
        try:
            self.pending = self.pending[os.write(sink, self.pending) :]
        except BlockingIOError:
            pass
        except OSError:
            self.pending = b""
            self.client.pop("stdin", None)
        if "stdin" in streams:
            with contextlib.suppress(KeyError, OSError):
                poller.unregister(streams["stdin"])
            if self.pending:
                poller.register(streams["stdin"], select.POLLOUT)
        if not self.pending and "stdin" in self.client:
            poller.register(source, select.POLLIN)

    def _hear(self, poller: select.poll, first: int) -> None:
        try:
            message, _ = wire.receive(self.connection)
        except OSError:
            message = None
        if message is None:
            poller.unregister(self.connection)
            for target in list(self.late):
                self._taken(poller, target)
            self.client = {name: descriptor for name, descriptor in self.client.items() if name == "stdin"}
            if not self.request["detach"]:
                # The notebook or terminal that this container belongs to is gone.
                self._signal(first, signal.SIGTERM)
                self.stopping = time.monotonic() + self.grace
        elif "resize" in message and "pty" in self.streams:
            with contextlib.suppress(OSError):
                fcntl.ioctl(self.streams["pty"], termios.TIOCSWINSZ, struct.pack("HHHH", *message["resize"], 0, 0))
        elif "signal" in message:
            self._signal(first, message["signal"])
            if message.get("grace") is not None:
                self.stopping = time.monotonic() + message["grace"]

    def _refusal(self, poller: select.poll) -> None:
        """Says once for each kind of call why the kernel is about to refuse it."""
        try:
            asked = notify.next_call(self.listener)
        except OSError:
            poller.unregister(self.listener)
            return
        if asked is None:
            return
        name = seccomp.name_of(asked.number)
        text = refusals.why(name, asked.args, self.own)
        if text and text[:6] not in self.told:
            self.told.add(text[:6])
            self._say({"note": text})
        notify.let_go(self.listener, asked)

    @staticmethod
    def _signal(first: int, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(first, number)

    def _note(self, **facts: Any) -> None:
        self.state = msgspec.structs.replace(self.state, **facts)
        with contextlib.suppress(FileNotFoundError):
            publish(self.folder / "state.json", msgspec.json.encode(self.state))

    def _say(self, message: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):
            wire.send(self.connection, message)

    def _end(self, code: int) -> None:
        if group := self.request.get("cgroup"):
            cgroups.remove(group)
        if self.request.get("remove"):
            store = ContainerStore(self.folder.parent.parent)
            with contextlib.suppress(Exception):
                store.discard(store.get(self.folder.name))
            for path in self.request["remove"]:
                work.remove(path)
        self._say({"exit": code})


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
