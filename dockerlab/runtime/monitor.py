"""One process per container that outlives the notebook: it starts the first process, carries its streams, keeps its log, notes its end.

When the first process of a pid namespace ends, the kernel ends all of it (pid_namespaces(7)).
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import time
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec

from dockerlab.errors import DockerlabError
from dockerlab.linux import cgroups, resources, syscalls
from dockerlab.oci.dates import moment
from dockerlab.oci.runtime import Spec
from dockerlab.runtime import control, descendants, wire
from dockerlab.runtime.detaching import Keys
from dockerlab.runtime.execution import Execution
from dockerlab.runtime.failing import told
from dockerlab.runtime.guests import Guests
from dockerlab.runtime.health import Health
from dockerlab.runtime.luggage import Luggage
from dockerlab.runtime.membership import Membership
from dockerlab.runtime.network import NetworkFailed
from dockerlab.runtime.restarting import Restarts
from dockerlab.runtime.sharing import SHARED, Shared
from dockerlab.runtime.starting import completed
from dockerlab.runtime.streams import Person
from dockerlab.runtime.supervisor import NAMESPACES, Begun, Supervisor
from dockerlab.runtime.watcher import EVERY, Watcher
from dockerlab.store.containers import ContainerStore, State, keep, new_id, now, started_at
from dockerlab.store.journal import Journal
from dockerlab.store.recycling import out_of_sight

__all__ = ["Monitor"]


class Monitor(Supervisor):
    """Runs in a child of the launcher, from the container's start to its end."""

    def __init__(self, request: dict[str, Any], connection: socket.socket, descriptors: list[int]) -> None:
        folder = Path(request["folder"])
        spec = Spec.decode((folder / "bundle" / "config.json").read_bytes())
        spec = completed(spec, request)
        given = dict(zip((name for name in ("stdin", "stdout", "stderr") if name in request["attach"]), descriptors, strict=False))
        keys = Keys(request["keys"]) if request.get("keys") and spec.process.terminal and "stdin" in given else None
        super().__init__(folder, spec, request, connection, Person(given, keys=keys), folder / "log" if request.get("log") is not None else None)
        self.state = State()
        self.asked: socket.socket | None = None
        self.waiting: list[socket.socket] = []
        self.executions: set[int] = set()
        self.guests = Guests(self)
        self.journal, self.about = Journal(folder.parent.parent), request["about"]
        self.luggage = Luggage(folder, spec, request)
        self.membership = Membership(self, request)
        self.shared = Shared(request.get("shares", {}))
        self.health: Health | None = None
        self.restarts = Restarts()
        self.again: float | None = None
        self.groups: list[Path] = []
        self.watcher = Watcher({})
        self.killed = 0

    def run(self) -> None:
        """Sees the container through, as often as its restart policy begins it again."""
        self.become()
        code = 125
        try:
            code = self._live()
            while self.again is not None and self._rest(self.again):
                code = self._live()
        except OSError as error:
            self.say({"failed": told(f"{error.filename or ''}: {error.strerror}".removeprefix(": ")), "code": 125})
        finally:
            self._end(code)

    def _live(self) -> int:
        """Sees the program through once; gives its exit code."""
        group = self.request.get("cgroup", "")
        self.groups = cgroups.create(group) if group else []
        self.luggage.lay_in(self.tell_once)
        try:
            self.membership.open()
            self.shared.open()
        except NetworkFailed as error:
            begun = Begun(0, -1, {"message": str(error), "code": 125})
        else:
            begun = self.begin(self.groups)
        self.shared.close()
        if failure := begun.failure:
            self.say({"failed": failure["message"], "code": failure["code"], "calls": failure.get("calls", [])})
            self._note_failure(failure)
            return int(failure["code"])
        if self.asked:
            self.attend(self.asked.fileno(), self._obey)
        first, own = begun.first, os.getpid()
        self.shared.note(first)
        plan = self.request.get("health")
        self.health = Health(plan, self, self._execute, self._note_health) if plan else None
        self._note(
            status="running", pid=first, began=started_at(first), monitor=own, monitor_began=started_at(own), started=now(), restarts=self.restarts.count, oom_killed=False,
            health=self.health.verdict.facts() if self.health else None, **self.membership.state(),
        )  # fmt: skip
        self.membership.watch()
        self._tell_volumes("mount")
        self.tell("start")
        self.say_started()
        code = self.watch(begun)
        if self.again is not None:
            self._part(code)
        return code

    def _note_failure(self, failure: dict[str, Any]) -> None:
        """Notes why the program could not be started; a container that never ran is still one that was created."""
        self.membership.part()
        before = self.store.state(self.folder.name)
        self._note(status="exited" if before.started else "created", exit_code=failure["code"], error=failure["message"], started=before.started, finished=before.finished)

    def _part(self, code: int) -> None:
        """Takes leave of everybody who looks at a program that has ended and will begin again: what it does then is not theirs."""
        self.luggage.take_back()
        self.say({"exit": code})
        self.neglect(self.connection.fileno())
        self.connection.close()
        self.guests.part(code)
        self.streams.close()
        self.request["detach"] = True
        self.prepare(socket.socket(socket.AF_UNIX), Person({}))

    def _rest(self, seconds: float) -> bool:
        """Waits before the next start, and does what is asked meanwhile; False where somebody has stopped the container."""
        end = time.monotonic() + seconds
        while not self.restarts.cancelled and (left := end - time.monotonic()) > 0:
            for descriptor, _ in self.poller.poll(left * 1000):
                self.deeds.get(descriptor, lambda: None)()
        if self.restarts.cancelled:
            self._note(status="exited")
            return False
        self.restarts.count, self.again = self.restarts.count + 1, None
        return True

    @cached_property
    def store(self) -> ContainerStore:
        """Where the container is kept; opened once it is needed."""
        return ContainerStore(self.folder.parent.parent)

    def held(self) -> list[int]:
        """Gives also what others ask at: it must not seem that somebody listens once this process was killed."""
        return [*super().held(), *self.membership.held(), *([self.asked.fileno()] if self.asked else []), *(each.fileno() for each in (*self.waiting, *self.guests.connections()))]

    def constrain(self, folders: list[Path]) -> None:
        """Limits the group as the container's record has it, or watches where no group can be had; who asked is told what has no effect here."""
        wanted = self.request.get("resources", {})
        unknown = resources.apply(folders, wanted) if wanted else []
        self.killed = resources.oom_kills(folders) if wanted else 0
        self.watcher = Watcher({} if folders else wanted)
        if not folders:
            unknown = [name for name in unknown if name not in ("memory", "processes")]
            if self.watcher:
                self.tell_once("watched", "this host gives no control groups: a container that goes beyond its limit of memory or processes is killed, up to a second later")
        if unknown:
            self.tell_once("limits", f"this host cannot limit: {', '.join(unknown)}")
        if not self.state.running:
            self.membership.settle()

    def meanwhile(self) -> None:
        """Listens to what others will ask."""
        self.asked = self.asked or control.listen(self.folder)

    def memory(self) -> int:
        """Gives the memory of whose IPC namespace it shares."""
        return self.shared.memory()

    def introduce(self, sync: socket.socket) -> None:
        """Shows the network namespace, for the switch."""
        if self.spec.owns("network"):
            self.membership.introduce(sync)

    def meet(self, namespace: int) -> None:
        """Has the switch bring the container into its networks."""
        self.membership.meet(namespace)

    def note_networks(self) -> None:
        """Notes the networks that the container is in by now."""
        self._note(**self.membership.state())

    @property
    def pace(self) -> int:
        """Looks more often where limits are watched, and in time for a check of health."""
        pace = int(EVERY * 1000) if self.watcher else super().pace
        return min(pace, int(self.health.due * 1000) + 1) if self.health else pace

    def enter(self, kinds: int) -> None:
        """Makes the container's namespaces, but for those that are another's, which it joins."""
        syscalls.unshare(kinds & ~self.shared.enter(NAMESPACES))

    def leave(self, *, abandoned: bool) -> None:
        """Ends what no pid namespace ends, and takes the volumes back where nobody else is left to do it."""
        if not self.has_pids:
            descendants.end()
        if abandoned:
            self.luggage.take_back()

    def finish(self) -> None:
        """Ends what no pid namespace ends: what a killed parent watched over, and what `exec` left behind."""
        if not self._fleeting:  # else its parent is taken leave of once everybody has been told
            super().finish()
        if not self.has_pids:
            descendants.end()
            self.shared.end()

    def ended(self, code: int) -> None:
        """Notes the end, and whether it is one, and tells it to who waits."""
        if self.state.running:
            if resources.oom_kills(self.groups) > self.killed:
                self.state = msgspec.structs.replace(self.state, oom_killed=True)
                self.tell("oom")
            if self.health:
                self.health.stop()
                self.state = msgspec.structs.replace(self.state, health=self.health.verdict.facts())
            lasted = (datetime.now(UTC) - moment(self.state.started)).total_seconds()
            self.again = self.restarts.after(self._policy(), code, lasted) if self.asked and not self.request.get("remove") else None
            self.tell("die", exitCode=str(code))
            self.membership.part()
            self._tell_volumes("unmount")
            self._volumes_back()  # who hears of the end may look at them
            self._note(status="exited" if self.again is None else "restarting", exit_code=code, finished=now(), pid=0, networks={}, ports=[], told=not self._fleeting)
            self._tell_waiting(code)

    def _volumes_back(self) -> None:
        if not self.has_pids:
            descendants.end()
        try:
            self.luggage.take_back()
        except OSError as error:
            self.say({"note": f"a volume could not be copied back: {error.strerror}; the container still has it"})

    def _policy(self) -> str:
        """Gives the restart policy of this moment, which `update` may have changed, and takes note of the name, which `rename` may have."""
        try:
            record = self.store.get(self.folder.name)
        except DockerlabError:
            return ""
        self.about = record.about
        return str(record.host.get("restart", ""))

    def look_after(self) -> None:
        """Takes leave of children that have ended: who saw a program of `exec` through, and orphans where no pid namespace has a first process for them."""
        if self.watcher and (what := self.watcher.exceeded(self._processes)):
            self.say({"note": f"the container went beyond its limit of {what}, and was killed"})
            self._note(oom_killed=what == "memory")
            self.end_all()
        if self.health and self.state.status == "running":
            self.health.look()
        self.membership.look()
        if self.has_pids and not self.executions:
            return
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) and ended.si_pid != self.parent:
                os.waitpid(ended.si_pid, 0)
                self.executions.discard(ended.si_pid)

    def end_all(self) -> None:
        """Kills every process of the container, also where no pid namespace does it with the first."""
        for pid in [] if self.has_pids else self._processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        Supervisor.signal(self, signal.SIGKILL)

    def _obey(self) -> None:
        """Does what another process asks for, and answers."""
        if (question := control.put(self.asked) if self.asked else None) is None:
            return
        message, connection, descriptors = question
        if "exec" in message:
            self._execute(message["exec"], connection, descriptors)
        elif "root" in message:
            self._show(connection, "root", os.O_PATH | os.O_DIRECTORY)
        elif "share" in message:
            self._show(connection, SHARED[message["share"]], os.O_RDONLY)
        elif "attach" in message:
            self.guests.let_in(message, connection, descriptors)
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
        if "resources" in message:
            self.request["resources"] = message["resources"]
            try:
                self.constrain(self.groups)
            except OSError as error:
                return {"failed": f"{error.filename}: {error.strerror}"}
        if "network" in message:
            return self.membership.obey(message["network"])
        if "pause" in message:
            self._pause(bool(message["pause"]))
        if message.get("wait"):
            return {"exit": self.state.exit_code}
        return {"processes": self._processes()} if message.get("list") else {}

    @property
    def program(self) -> int:
        """The process whose namespaces and root are looked at: the first, or the program below an init, which lets nobody look at itself."""
        below = descendants.children(self.first) if self.first and self.request.get("init") and self.has_pids else []
        return min(below, key=started_at, default=self.first)

    def _show(self, connection: socket.socket, name: str, flags: int) -> None:
        """Hands out the container's root folder, or a namespace of it: proc(5), /proc/PID/root, /proc/PID/ns."""
        with connection, contextlib.suppress(OSError):
            descriptor = os.open(f"/proc/{self.program}/{name}", flags | os.O_CLOEXEC)
            try:
                wire.send(connection, {}, [descriptor])
            finally:
                os.close(descriptor)

    def _execute(self, wanted: dict[str, Any], connection: socket.socket, descriptors: list[int]) -> None:
        """Starts one program more, which a process of its own sees through."""
        ident, words = new_id(), " ".join([wanted["args"][0], " ".join(wanted["args"][1:])])
        for step in ("exec_create", "exec_start"):
            self.tell(f"{step}: {words}", execID=ident)
        try:
            child = os.fork()
        except OSError as error:
            control.answer(connection, {"failed": told(f"fork: {error.strerror}"), "code": 126})
            child = -1
        if child == 0:
            try:
                Execution(self, wanted, connection, descriptors, ident).run()
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
        if not (group and cgroups.freeze(group, frozen=wanted)):
            stopped: set[int] = set()
            while new := set(self._processes()) - stopped:  # who is stopped starts no other
                for pid in new:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGSTOP if wanted else signal.SIGCONT)
                stopped |= new
        if self.health:
            (self.health.stop if wanted else self.health.resume)()
        self.tell("pause" if wanted else "unpause")
        self._note(status="paused" if wanted else "running", health=self.health.verdict.facts() if self.health else None)

    def tell(self, action: str, **more: str) -> None:
        """Adds something that happened to what `events` tells."""
        self.journal.note("container", action, self.folder.name, {**self.about, **more})

    def _tell_volumes(self, action: str) -> None:
        for name, target, writable in self.request.get("volumes", ()):
            more = {"destination": target, "propagation": "", "read/write": str(writable).lower()} if action == "mount" else {}
            self.journal.note("volume", action, name, {"container": self.folder.name, "driver": "local", **more})

    def _note_health(self, changed: bool) -> None:
        if changed and self.health:
            self.tell(f"health_status: {self.health.verdict.status}")
        self._note(health=self.health.verdict.facts() if self.health else None)

    def thaw(self) -> None:
        """Lets a paused container go on, since it has to end."""
        if group := self.request.get("cgroup", ""):
            with contextlib.suppress(OSError):
                cgroups.freeze(group, frozen=False)

    def signal(self, number: int) -> None:
        """Sends the program a signal; one that is paused takes it later, but for the end. What asks it to end is the last that is wanted of it."""
        stop = self.request.get("stop_signal", 0)
        self.tell("kill", signal=str(number))
        self.restarts.cancelled |= not stop or number in (stop, signal.SIGKILL)
        if not self.restarts.stopped:
            self.restarts.stopped = True
            self._note(stopped=True)
        super().signal(number)
        if number == signal.SIGKILL and self.state.status == "paused":
            self.thaw()

    def _tell_waiting(self, code: int) -> None:
        for connection in self.waiting:
            control.answer(connection, {"exit": code})
        self.waiting = []

    @property
    def _fleeting(self) -> bool:
        """Whether nothing is left of the container, nor of its mounts, once its program has ended."""
        return bool(self.request.get("remove")) and self.has_pids

    def _note(self, *, told: bool = True, **facts: Any) -> None:
        self.state = msgspec.structs.replace(self.state, **facts)
        if told:
            keep(self.folder, self.state)

    def _end(self, code: int) -> None:
        self._volumes_back()
        group, leaves = self.request.get("cgroup", ""), bool(self.request.get("remove"))
        if group and not leaves:
            cgroups.remove(group)  # before anybody is told: who starts the container again makes it again
        if self.asked:
            self.asked.close()
        self._tell_waiting(code)
        self.guests.part(code)
        gone = []
        if leaves:
            gone = [out_of_sight(path) for path in self.request["remove"]]
            with contextlib.suppress(Exception):
                gone.append(self.store.forget(self.folder.name, self.about["name"]))
                self.tell("destroy")
        self.streams.close()  # whoever reads to the end of what was written need not wait for the rest either
        self.say({"exit": code})
        self.connection.close()  # what is left to do nobody waits for
        if self._fleeting and self.parent:
            super().finish()
        if group and leaves:
            cgroups.remove(group)
        for take_away in gone:
            take_away()
