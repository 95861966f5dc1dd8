"""One process per container that outlives the notebook: it starts the first process, carries its streams, keeps its log, notes its end.

When the first process of a pid namespace ends, the kernel ends all of it (pid_namespaces(7)).
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from dockerlab.errors import StoreError
from dockerlab.linux import cgroups, syscalls
from dockerlab.oci.runtime import Spec
from dockerlab.runtime import chroot, control, descendants, laying, proot, wire
from dockerlab.runtime.detaching import Keys
from dockerlab.runtime.execution import Execution
from dockerlab.runtime.failing import told
from dockerlab.runtime.streams import Person
from dockerlab.runtime.supervisor import Supervisor
from dockerlab.store import work
from dockerlab.store.containers import ContainerStore, State, started_at
from dockerlab.store.files import publish, scratch_name

__all__ = ["Monitor"]


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f") + "000Z"


class Monitor(Supervisor):
    """Runs in a child of the launcher, from the container's start to its end."""

    def __init__(self, request: dict[str, Any], connection: socket.socket, descriptors: list[int]) -> None:
        folder = Path(request["folder"])
        spec = Spec.decode((folder / "bundle" / "config.json").read_bytes())
        given = dict(zip((name for name in ("stdin", "stdout", "stderr") if name in request["attach"]), descriptors, strict=False))
        keys = Keys(request["keys"]) if request.get("keys") and spec.process.terminal and "stdin" in given else None
        super().__init__(folder, spec, request, connection, Person(given, keys=keys), folder / "log")
        self.state = State()
        self.asked: socket.socket | None = None
        self.waiting: list[socket.socket] = []
        self.executions: set[int] = set()
        self.guests: dict[int, socket.socket] = {}

    def run(self) -> None:
        """Sees the container through."""
        self.become()
        code = 125
        try:
            code = self._through()
        except OSError as error:
            self.say({"failed": told(f"{error.filename or ''}: {error.strerror}".removeprefix(": ")), "code": 125})
        finally:
            self._end(code)

    def _through(self) -> int:
        group = self.request.get("cgroup", "")
        folders = cgroups.create(group) if group else []
        self._lay_in()
        begun = self.begin(folders)
        if failure := begun.failure:
            self.say({"failed": failure["message"], "code": failure["code"], "calls": failure.get("calls", [])})
            self._note(status="exited", exit_code=failure["code"], error=failure["message"], finished=_now())
            return int(failure["code"])
        self.asked = control.listen(self.folder)
        if self.asked:
            self.attend(self.asked.fileno(), self._obey)
        first, own = begun.first, os.getpid()
        self._note(status="running", pid=first, began=started_at(first), monitor=own, monitor_began=started_at(own), started=_now())
        self.say_started()
        return self.watch(begun)

    def enter(self, kinds: int) -> None:
        """Makes the container's namespaces."""
        syscalls.unshare(kinds)

    def leave(self, *, abandoned: bool) -> None:
        """Ends what no pid namespace ends, and takes the volumes back where nobody else is left to do it."""
        if not self.has_pids:
            descendants.end()
        if abandoned:
            self._take_back()

    def finish(self) -> None:
        """Ends what no pid namespace ends: what a killed parent watched over, and what `exec` left behind."""
        if not self.has_pids:
            descendants.end()

    def ended(self, code: int) -> None:
        """Notes the end and tells it to who waits."""
        if self.state.alive:
            self._note(status="exited", exit_code=code, finished=_now(), pid=0)
            self._tell_waiting(code)

    def look_after(self) -> None:
        """Takes leave of children that have ended: who saw a program of `exec` through, and orphans where no pid namespace has a first process for them."""
        if self.has_pids and not self.executions:
            return
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) and ended.si_pid != self.parent:
                os.waitpid(ended.si_pid, 0)
                self.executions.discard(ended.si_pid)

    def _obey(self) -> None:
        """Does what another process asks for, and answers."""
        question = control.put(self.asked) if self.asked else None
        if question is None:
            return
        message, connection, descriptors = question
        if "exec" in message:
            self._execute(message["exec"], connection, descriptors)
        elif "root" in message:
            self._show_root(connection)
        elif "attach" in message:
            self._let_in(message, connection, descriptors)
        elif message.get("wait") and self.state.alive:
            # Who waited and went away has closed its end, which reads as an end of file.
            gone, _, _ = select.select(self.waiting, [], [], 0)
            for old in gone:
                old.close()
            self.waiting = [*(old for old in self.waiting if old not in gone), connection]
        else:
            control.answer(connection, self._answered(message))

    def _answered(self, message: dict[str, Any]) -> dict[str, Any]:
        """Gives the answer to what is done at once: a signal, `keep` a container that would be removed at its end, a pause, the exit code, the processes."""
        if message.get("keep"):
            self.request["remove"] = []
        if "signal" in message:
            self.signal(int(message["signal"]))
        if "pause" in message:
            self._pause(bool(message["pause"]))
        if message.get("wait"):
            return {"exit": self.state.exit_code}
        return {"processes": self._processes()} if message.get("list") else {}

    def _show_root(self, connection: socket.socket) -> None:
        """Hands out the container's root folder: proc(5), /proc/PID/root."""
        with connection, contextlib.suppress(OSError):
            root = os.open(f"/proc/{self.first}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                wire.send(connection, {}, [root])
            finally:
                os.close(root)

    def _let_in(self, message: dict[str, Any], connection: socket.socket, descriptors: list[int]) -> None:
        """Somebody more looks at the container, until it ends or they go."""
        connection.settimeout(None)
        guest = Person(dict(zip(message["attach"], descriptors, strict=False)), keys=Keys(message["keys"]) if message.get("keys") and self.spec.process.terminal else None)
        self.guests[connection.fileno()] = connection

        def gone() -> None:
            self.neglect(connection.fileno())
            self.guests.pop(connection.fileno(), None)
            connection.close()

        def hear() -> None:
            if not self.hear(connection):
                self.streams.lose(guest)
                gone()

        def left() -> None:
            with contextlib.suppress(OSError):
                wire.send(connection, {"detached": True})
            gone()

        guest.left = left
        with contextlib.suppress(OSError):
            wire.send(connection, {"started": self.first})
        self.attend(connection.fileno(), hear)
        self.streams.add(guest)

    def _execute(self, wanted: dict[str, Any], connection: socket.socket, descriptors: list[int]) -> None:
        """Starts one program more, which a process of its own sees through."""
        try:
            child = os.fork()
        except OSError as error:
            control.answer(connection, {"failed": told(f"fork: {error.strerror}"), "code": 126})
            child = -1
        if child == 0:
            try:
                Execution(self, wanted, connection, descriptors).run()
            finally:
                os._exit(1)
        if child > 0:
            self.executions.add(child)
        connection.close()
        for descriptor in descriptors:
            os.close(descriptor)

    def _processes(self) -> list[int]:
        """Gives the container's processes: all below this one but the engine's own, which are a parent of each program and who sees it through."""
        return sorted(set(descendants.below(self.own)) - self._parents() - self.executions)

    def _parents(self) -> set[int]:
        return {self.parent, *(pid for execution in self.executions for pid in descendants.children(execution))}

    def _pause(self, wanted: bool) -> None:
        """Stops all of the container, or lets it go on: by its control group, else by signals."""
        group = self.request.get("cgroup", "")
        # The parents watch over their supervisors, and go on with that.
        if not (group and cgroups.freeze(group, frozen=wanted, apart=self._parents())):
            stopped: set[int] = set()
            while new := set(self._processes()) - stopped:  # who is stopped starts no other
                for pid in new:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGSTOP if wanted else signal.SIGCONT)
                stopped |= new
        self._note(status="paused" if wanted else "running")

    def thaw(self) -> None:
        """Lets a paused container go on, since it has to end."""
        if group := self.request.get("cgroup", ""):
            with contextlib.suppress(OSError):
                cgroups.freeze(group, frozen=False)

    def signal(self, number: int) -> None:
        """Sends the program a signal; one that is paused takes it later, but for the end."""
        super().signal(number)
        if number == signal.SIGKILL and self.state.status == "paused":
            self.thaw()

    def _tell_waiting(self, code: int) -> None:
        for connection in self.waiting:
            control.answer(connection, {"exit": code})
        self.waiting = []

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
            self.tell_once("volumes", "this host refuses mount(2): volumes are copied in, and what the container changes is copied back at its end")
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
            self.say({"note": f"a volume could not be copied back: {error.strerror}; the container still has it"})
        if group := self.request.get("cgroup"):
            cgroups.remove(group)
        if self.asked:
            self.asked.close()
        self._tell_waiting(code)
        for guest in self.guests.values():
            control.answer(guest, {"exit": code})
        if self.request.get("remove"):
            store = ContainerStore(self.folder.parent.parent)
            with contextlib.suppress(Exception):
                store.discard(store.get(self.folder.name))
            gone = [self._out_of_sight(path) for path in self.request["remove"]]
            self.say({"exit": code})
            self.connection.close()
            for path in gone:
                work.remove(path)
            return
        self.say({"exit": code})

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
