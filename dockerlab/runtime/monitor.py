"""One process per container that outlives the notebook: it starts the first process, carries its streams, keeps its log, notes its end.

Two processes watch the container, so that no single kill leaves it alone: the monitor, and the parent of the pid namespace. Whichever of
them sees the other go kills the container's first process, and with it, by the kernel's rule, all of the container (pid_namespaces(7)).
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from dockerlab.errors import StoreError
from dockerlab.linux import cgroups, seccomp, syscalls
from dockerlab.linux.door import Door
from dockerlab.linux.notify import Listener
from dockerlab.oci.runtime import Spec
from dockerlab.runtime import chroot, confined, control, descendants, init, laying, proot, wire
from dockerlab.runtime.copyup import CopyUp
from dockerlab.runtime.credentials import Credentials
from dockerlab.runtime.emulation import Circumstances, Emulation, without_listener
from dockerlab.runtime.serving import Serving
from dockerlab.runtime.streams import Streams
from dockerlab.store import snapshots, work
from dockerlab.store.containers import ContainerStore, State, started_at
from dockerlab.store.files import publish, scratch_name

__all__ = ["Monitor"]

_NAMESPACES = {"mount": syscalls.CLONE_NEWNS, "pid": syscalls.CLONE_NEWPID, "ipc": syscalls.CLONE_NEWIPC, "uts": syscalls.CLONE_NEWUTS,
               "network": syscalls.CLONE_NEWNET, "cgroup": syscalls.CLONE_NEWCGROUP}  # fmt: skip
_PR_SET_CHILD_SUBREAPER = 36


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f") + "000Z"


class Monitor:
    """Runs in a child of the launcher, from the container's start to its end."""

    def __init__(self, request: dict[str, Any], connection: socket.socket, descriptors: list[int]) -> None:
        self.request, self.connection = request, connection
        self.folder = Path(request["folder"])
        self.spec = Spec.decode((self.folder / "bundle" / "config.json").read_bytes())
        names = [name for name in ("stdin", "stdout", "stderr") if name in request["attach"]]
        self.streams = Streams(dict(zip(names, descriptors, strict=False)), self.folder / "log", terminal=self.spec.process.terminal)
        self.emulation: Emulation | None = None
        self.listener = -1
        self.told: set[str] = set()
        self.own = 0
        self.state = State()
        self.grace = float(request.get("grace", 1.0))
        self.stopping = 0.0
        self.asked: socket.socket | None = None
        self.waiting: list[socket.socket] = []

    def run(self) -> None:
        """Sees the container through."""
        self.own = os.getpid()
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
        self._lay_in()
        theirs = self.streams.open()
        ours, sync = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        status_in, status_out = os.pipe()
        parent = os.fork()
        if parent == 0:
            # An end that stays open here would keep the program from ever seeing the end of its input.
            for descriptor in (*self.streams.held(), self.connection.fileno(), status_in, ours.fileno()):
                os.close(descriptor)
            self._parent(sync, status_out, theirs)
        for descriptor in (*theirs, status_out):
            os.close(descriptor)
        sync.close()
        syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
        # The kernel lets ten milliseconds pass before it moves the first process (an RCU grace period), and moves the second at once:
        # meanwhile the container is built.
        cgroups.join(folders, parent)
        first, failure = self._await_start(ours, folders)
        if failure:
            os.waitpid(parent, 0)
            self._say({"failed": failure["message"], "code": failure["code"], "calls": failure.get("calls", [])})
            self._note(status="exited", exit_code=failure["code"], error=failure["message"], finished=_now())
            return int(failure["code"])
        return self._watch(parent, first, status_in)

    # The parent of the pid namespace

    def _parent(self, sync: socket.socket, status_out: int, theirs: list[int]) -> None:
        code = 125
        try:
            monitor = os.pidfd_open(self.own)
            syscalls.prctl(_PR_SET_CHILD_SUBREAPER, 1)
            flags = 0
            for namespace in self.spec.linux.namespaces:
                flags |= _NAMESPACES[namespace.type]
            if flags:
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
            if not any(namespace.type == "pid" for namespace in self.spec.linux.namespaces):
                descendants.end()
            if os.getppid() != self.own:
                self._take_back()  # nobody else is left to do it
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
            elsewhere = chroot.is_chroot(self.spec) or proot.is_proot(self.spec)
            (confined if elsewhere else init).run(k, self._start(sync))
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
            self._unheard(profile) if profile and seccomp.listens(profile) else b"",
            self.request.get("owners", True),
            sync,
            os.open(self.folder / "explain.json", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600) if self.request.get("explain") else -1,
            tuple((path, rights) for path, rights in self.request["only_id"]) if self.request.get("only_id") is not None else None,
        )

    @staticmethod
    def _unheard(profile: Mapping[str, Any]) -> bytes:
        rules = [rule for rule in profile["syscalls"] if rule["action"] != "SCMP_ACT_NOTIFY"]
        return seccomp.compile_profile({**profile, "syscalls": [*rules, *without_listener()]})

    # The monitor itself

    def _await_start(self, ours: socket.socket, folders: list[Path]) -> tuple[int, dict[str, Any] | None]:
        """Waits until the program runs, or could not; gives its pid, and the failure."""
        first = 0
        while True:
            ready, _, _ = select.select([ours.fileno(), *([self.listener] if self.emulation else [])], [], [])
            if self.listener in ready:
                self._answer()
            if ours.fileno() not in ready:
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
                return first, (None if first else {"message": init.told("the container's first process was killed"), "code": 137})
            else:
                message = json.loads(data)
                if "listen" in message:
                    self._listen(descriptors[0], message["listen"])
                    continue
                if "pid" not in message:
                    return first, message
                first = message["pid"]
                # One that has failed meanwhile is no process any more, and its message is the next.
                with contextlib.suppress(ProcessLookupError, BrokenPipeError):
                    cgroups.join(folders, first)
                    ours.send(b"go")

    def _listen(self, descriptor: int, ids: list[int]) -> None:
        uid, gid, *groups = ids
        self.listener = descriptor
        first = Credentials.of(uid, gid, tuple(groups))
        listener, request = Listener(descriptor), self.request
        root = request["mounts"][0]["source"]
        around = Circumstances(
            users=not request.get("owners", True),
            anybody=bool(request.get("owned")),
            set_uid=not request.get("no_new_privileges", False),
            serving=Serving(listener, self.spec, self._tell_once) if chroot.is_chroot(self.spec) else None,
            root=root if proot.is_proot(self.spec) else "",
            writable=proot.writable(self.spec, root),
            copies=CopyUp(root, request["links"]) if request.get("links") else None,
            # Without mounts nobody has CAP_SYS_CHROOT; PRoot makes its own roots up.
            stays=os.path.realpath(root) if chroot.is_chroot(self.spec) else "/" if proot.is_proot(self.spec) else "",
        )
        self.emulation = Emulation(listener, first, self._tell_once, around)

    def _answer(self) -> bool:
        """Answers one call that the program made; False when there is nobody left to ask."""
        if self.emulation is None or not self.emulation.serve():
            self.emulation, self.listener = None, -1
            return False
        return True

    def _tell_once(self, kind: str, text: str) -> None:
        if kind not in self.told:
            self.told.add(kind)
            self._say({"note": text})

    def _watch(self, parent: int, first: int, status: int) -> int:
        self.asked = control.listen(self.folder)
        self._note(status="running", pid=first, began=started_at(first), monitor=os.getpid(), monitor_began=started_at(os.getpid()), started=_now())
        self._say({"started": first})
        poller, streams = select.poll(), self.streams
        asked = self.asked.fileno() if self.asked else -1
        for descriptor in (status, self.connection.fileno(), *([self.listener] if self.emulation else []), *([asked] if self.asked else [])):
            poller.register(descriptor, select.POLLIN)
        streams.begin(poller)
        code: int | None = None
        while code is None or streams.sources:
            events = poller.poll(self._patience())
            self._hurry(first)
            for descriptor, _ in events:
                if descriptor == status:
                    text = os.read(status, 16)
                    code = int(text) if text else 137
                    poller.unregister(status)
                elif descriptor == self.connection.fileno():
                    self._hear(poller, first)
                elif descriptor == self.listener:
                    if not self._answer():
                        poller.unregister(descriptor)
                elif descriptor == asked:
                    self._obey(first)
                else:
                    streams.carry(descriptor)
            if code is not None and streams.late and self.state.status == "running":
                # The program has ended, whether or not somebody reads what it wrote.
                self._note(status="exited", exit_code=code, finished=_now(), pid=0)
                self._tell_waiting(code)
            if code is not None and not events and not streams.late:
                # Whoever still holds the pipe's other end is no process of the container: they all ended with the first.
                break
        os.waitpid(parent, 0)
        if not any(namespace.type == "pid" for namespace in self.spec.linux.namespaces):
            descendants.end()  # where the parent was killed, what it watched over is ours
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

    def _hear(self, poller: select.poll, first: int) -> None:
        try:
            message, _ = wire.receive(self.connection)
        except OSError:
            message = None
        if message is None:
            poller.unregister(self.connection)
            self.streams.lose_person()
            if not self.request["detach"]:
                # The notebook or terminal that this container belongs to is gone.
                self._signal(first, signal.SIGTERM)
                self.stopping = time.monotonic() + self.grace
        elif "resize" in message:
            self.streams.resize(*message["resize"])
        elif "signal" in message:
            self._signal(first, message["signal"])
            if message.get("grace") is not None:
                self.stopping = time.monotonic() + message["grace"]

    def _obey(self, first: int) -> None:
        """Does what another process asks for: a signal, `keep` a container that would be removed at its end, the exit code once there is one."""
        question = control.put(self.asked) if self.asked else None
        if question is None:
            return
        message, connection = question
        if message.get("keep"):
            self.request["remove"] = []
        if "signal" in message:
            self._signal(first, int(message["signal"]))
        if message.get("wait") and self.state.status != "running":
            control.answer(connection, {"exit": self.state.exit_code})
        elif message.get("wait"):
            # Who waited and went away has closed its end, which reads as an end of file.
            gone, _, _ = select.select(self.waiting, [], [], 0)
            for old in gone:
                old.close()
            self.waiting = [*(old for old in self.waiting if old not in gone), connection]
        else:
            control.answer(connection, {})

    def _tell_waiting(self, code: int) -> None:
        for connection in self.waiting:
            control.answer(connection, {"exit": code})
        self.waiting = []

    def _signal(self, first: int, number: int) -> None:
        # PRoot lets most signals pass by: what it runs is its child.
        for pid in descendants.children(first) if proot.is_proot(self.spec) and number != signal.SIGKILL else [first]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def _note(self, **facts: Any) -> None:
        self.state = msgspec.structs.replace(self.state, **facts)
        path, text = self.folder / "state.json", msgspec.json.encode(self.state)
        try:
            publish(path, text)
        except StoreError:
            # The disk is full, by this container perhaps: how it ended still goes into the place that the old state has. Less than a page, so no reader sees a part.
            with contextlib.suppress(OSError), open(path, "r+b", buffering=0) as file:
                file.write(text.ljust(os.fstat(file.fileno()).st_size))
        except FileNotFoundError:
            return

    def _say(self, message: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):
            wire.send(self.connection, message)

    def _lay_in(self) -> None:
        """Copies in what cannot be mounted; what has to go back is noted on disk, so that a second start after a power cut still knows."""
        if not (chroot.is_chroot(self.spec) or proot.is_proot(self.spec)):
            return
        root = self.request["mounts"][0]["source"]
        laying.prepare(root, self.spec.mounts, devices=self.request.get("owners", True))
        if proot.is_proot(self.spec):
            laying.begin_fresh(root, self.spec.mounts, self.request.get("fresh", ()))
            return
        self._take_back()
        laid = laying.lay_in(root, self.spec.mounts, self.request.get("fresh", ()), str(self.folder.parent.parent))
        if laid:
            self._say({"note": "this host refuses mount(2): volumes are copied in, and what the container changes is copied back at its end"})
        publish(self.folder / "laid.json", json.dumps(laid).encode())

    def _take_back(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            laid = json.loads((self.folder / "laid.json").read_bytes())
            laying.take_back(self.request["mounts"][0]["source"], self.spec.mounts, laid)
            os.unlink(self.folder / "laid.json")

    def _end(self, code: int) -> None:
        try:
            self._take_back()
        except OSError as error:
            self._say({"note": f"a volume could not be copied back: {error.strerror}; the container still has it"})
        if group := self.request.get("cgroup"):
            cgroups.remove(group)
        if self.asked:
            self.asked.close()
        self._tell_waiting(code)
        if self.request.get("remove"):
            store = ContainerStore(self.folder.parent.parent)
            with contextlib.suppress(Exception):
                store.discard(store.get(self.folder.name))
            gone = [self._out_of_sight(path) for path in self.request["remove"]]
            self._say({"exit": code})
            self.connection.close()
            for path in gone:
                work.remove(path)
            return
        self._say({"exit": code})

    @staticmethod
    def _out_of_sight(path: str) -> str:
        """Gives a snapshot's folder a name that nobody looks for: removing all that is in it may take longer than anybody waits."""
        folder, _, _ = path.rpartition("/")
        if os.path.basename(folder) != "active":
            return path
        gone = f"{os.path.dirname(folder)}/{scratch_name()}"
        try:
            os.rename(path, gone)
        except OSError:
            return path
        return gone
