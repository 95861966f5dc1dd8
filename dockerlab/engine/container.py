"""One container: start, watch, look at, commit, remove."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from dockerlab.engine import devices, execution, joining, linking, logging, updating, watching
from dockerlab.engine.exchange import Files
from dockerlab.engine.execution import ExecOptions, ExecResult, restarting
from dockerlab.engine.images import Image, now
from dockerlab.engine.options import Attach, detach_keys
from dockerlab.engine.resources import Resources
from dockerlab.engine.settings import source_date
from dockerlab.engine.watching import Note, Sink
from dockerlab.errors import ContainerError, DockerlabError, InUse, InvalidArgument, InvalidRequest
from dockerlab.layers import folders, permissions
from dockerlab.layers.diff import Change
from dockerlab.linux import cgroups, landlock, signals
from dockerlab.oci.config import History, RunConfig
from dockerlab.oci.reference import Reference
from dockerlab.runtime import control, users
from dockerlab.runtime.detaching import DEFAULT
from dockerlab.runtime.generate import Device
from dockerlab.runtime.world import Session
from dockerlab.store import snapshots
from dockerlab.store.containers import Record, State, started_at
from dockerlab.store.logs import read_log

if TYPE_CHECKING:
    from dockerlab.engine import Engine

__all__ = ["NAME", "Container", "Note", "Sink"]

NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")


class Container:
    """One container of an engine."""

    def __init__(self, engine: Engine, record: Record) -> None:
        self._engine, self.record = engine, record
        self.id, self.name = record.id, record.name
        self.exit_code: int | None = None

    @property
    def short_id(self) -> str:
        """Twelve digits."""
        return self.id[:12]

    @property
    def state(self) -> State:
        """How it is now."""
        return self._engine.container_store.state(self.id)

    @property
    def config(self) -> RunConfig:
        """The settings that it runs with."""
        return msgspec.convert(self.record.config, RunConfig)

    @property
    def resources(self) -> Resources:
        """What it may use."""
        return updating.limits(self.record)

    @property
    def image(self) -> Image:
        """The image that it was made from; raises NotFound once that is gone."""
        return self._engine.images.get(self.record.image_id)

    def start(self, attach: Attach | None = None, *, detach: bool = False, keys: str = DEFAULT) -> Session:
        """Starts the program; raises InUse when it runs already, ContainerError (125, 126, 127) when it cannot be started, InvalidRequest.

        `keys` typed into its terminal let go of it.
        """
        with execution.unless_removed(self):
            return self._begun(attach, detach, keys)

    def _begun(self, attach: Attach | None, detach: bool, keys: str) -> Session:
        before = self.state
        status = before.status
        if status == "paused":
            raise InvalidRequest("cannot start a paused container, try unpause instead", hint=f"docker unpause {self.name}")
        if status in ("running", "restarting"):
            raise InUse(f"container {self.short_id} is running", by=self.name, hint=f"wait for it, or `docker rm -f {self.name}`")
        self._clear()
        given = (attach or Attach()).given()
        if given:
            self.note("attach")
        try:
            request = {**self._request(given, detach), "keys": detach_keys(keys)}
        except DockerlabError:
            if self.record.host.get("rm"):
                self.remove()
            raise
        # A launcher that ends because nobody has asked it for long may take a last request to its grave: nothing has begun then, and another one is started.
        for _ in range(2):
            session = self._engine.world.run(request, list(given.values()))
            try:
                message = session.next()
            except BaseException:
                session.close()  # an attached container ends with whoever holds this
                raise
            if "exit" not in message or self.state.started != before.started:
                break
            session.close()
        if "failed" in message:
            with contextlib.suppress(OSError):
                session.next()
            # docker's daemon notes 128 for what it refuses itself, and its client ends with 125.
            raise ContainerError(message["failed"], exit_code=125 if message["code"] == 128 else message["code"])
        if "exit" in message:
            raise ContainerError("the container's monitor was killed", exit_code=125)
        return session

    def _request(self, given: dict[str, int], detach: bool) -> dict[str, Any]:
        host, snapshotter = self.record.host, self._engine.snapshotter
        linked = linking.targets(self._engine, self)
        mounts = snapshots.described(snapshotter.mounts(self.id))
        return {
            "folder": str(self.folder), "about": self.record.about, "mounts": mounts, "attach": list(given), "detach": detach,
            "user": self.config.user, "groups": host.get("group_add", []), "owners": self._engine.capabilities.owners, "cgroup": host.get("cgroup", ""), "fresh": host.get("fresh", []),
            "explain": host.get("explain", False), "init": host.get("init", False), "resources": self._limits(), "health": execution.health_plan(self), "volumes": self._volumes(),
            "remove": self._removals() if host.get("rm") else [], "stdin": host.get("interactive", False), "once": "stdin" in host.get("attached", given),
            "stop_signal": signals.number(self.config.stop_signal) if self.config.stop_signal else 0,
            "no_new_privileges": host.get("no_new_privileges", False), "only_id": self.only_id(self.config.user), "owned": self._owned(), "links": self._links(),
            "log": logging.limits(self.record), "activation": joining.activation(self._engine, self), "lent": joining.lent(self._engine, self),
            "networks": joining.request(self._engine, self, linked), "shares": joining.share(self._engine, self),
            "variables": linking.variables(self, linked) if linking.by_default(self) else [],
        }  # fmt: skip

    def _limits(self) -> dict[str, Any]:
        kept = [Device(each["PathOnHost"], each["PathInContainer"], each["CgroupPermissions"]) for each in self.record.host.get("devices", ())]
        refused = [] if self.record.host.get("privileged") else devices.denied(kept, self._engine.capabilities)
        return {**self.resources.described(), **({"devices": refused} if refused else {})}

    def _volumes(self) -> list[tuple[str, str, bool]]:
        """Gives the named volumes that it mounts: name, place, whether it may be written."""
        root = self._engine.volume_store.root
        mounted = [(Path(mount["source"]), mount) for mount in self.record.host["mounts"]]
        return [(source.parent.name, mount["target"], not mount["readonly"]) for source, mount in mounted if source.parent.parent == root]

    def _who(self, user: str) -> users.Identity:
        stack = self._engine.snapshotter.stack(self.id)
        try:
            group = folders.small_file(stack.folders, "group")
            return users.with_groups(users.identify(user, folders.small_file(stack.folders, "passwd"), group), self.record.host.get("group_add", []), group)
        except LookupError as error:
            raise ContainerError(str(error.args[0]), exit_code=125) from error

    def only_id(self, user: str) -> list[tuple[str, int]] | None:
        """Gives the rules that hold another user than root to its rights, where the host gives one id and files cannot."""
        if user.partition(":")[0] in ("", "0", "root") or self._engine.capabilities.owners:
            return None
        who = self._who(user)
        if who.uid == 0:
            return None
        union = self._engine.images.layers.union(self.image.record)
        image = [(path, landlock.of_modes(rights)) for path, rights in permissions.rules(union, who.uid, (who.gid, *who.groups))]
        kernel = [("/proc", 6), ("/sys", 4), ("/dev", 6), ("/etc/hosts", 4), ("/etc/hostname", 4), ("/etc/resolv.conf", 4), *((path, 4) for path in joining.lent(self._engine, self))]
        volumes = [(mount["target"], 5 if mount["readonly"] else 7) for mount in self.record.host["mounts"]]
        volumes += [(target, 7) for target in self.record.host.get("tmpfs", {})]
        return image + [(path, landlock.of_modes(rights)) for path, rights in kernel + volumes]

    def _owned(self) -> bool:
        """Tells whether any file of the image is another's than root's, or a device, where the engine itself has to say so."""
        if self._engine.capabilities.owners:
            return False
        return any(entry.uid or entry.gid or entry.kind in ("char", "block") for table in self._engine.images.layers.tables(self.image.record) for entry in table)

    def _links(self) -> list[str]:
        """Gives the paths that share a file with another in the image, where the container has a whole copy of it."""
        if self._engine.capabilities.overlay:
            return []
        pairs = [(entry.path, entry.link) for table in self._engine.images.layers.tables(self.image.record) for entry in table if entry.kind == "link"]
        return sorted({path for pair in pairs for path in pair})

    def _removals(self) -> list[str]:
        volumes = [str(self._engine.volume_store.root / name) for name in self.record.volumes]
        return [str(Path(self._engine.snapshotter.stack(self.id).upper).parent), *volumes]

    def note(self, action: str, **more: str) -> None:
        """Adds something that happened to this container to what `events` tells."""
        self._engine.journal.note("container", action, self.id, {**self.record.about, **more})

    def watch(self, session: Session, pipes: Mapping[int, Sink], *, note: Note = lambda _: None) -> int:
        """Carries what the program writes (readable descriptor → where it goes) until it has ended; gives its exit code.

        `note` is told, once for each kind, why this host will refuse something that the program asks for.
        An interrupt stops the container: TERM, one second, KILL; then Interrupted is raised.
        """
        return watching.watch(session, pipes, note=note, interrupted=f"interrupted: container {self.name} was stopped")

    @property
    def files(self) -> Files:
        """Its files, to be read and written from outside."""
        return Files(self._engine, self)

    def attach(self, attach: Attach, *, keys: str = DEFAULT) -> Session:
        """Looks at the running program, and types into it where it was begun with `-i`, beside whoever does so already; raises InvalidArgument."""
        status, given = self.state.status, attach.given()
        if status == "restarting":
            raise InvalidArgument("You cannot attach to a restarting container, wait until it is running")
        if status != "running":
            what = "paused container, unpause it" if status == "paused" else "stopped container, start it"
            raise InvalidArgument(f"You cannot attach to a {what} first", hint=f"docker {'unpause' if status == 'paused' else 'start'} {self.name}")
        if not self.record.host["interactive"]:
            given.pop("stdin", None)
        self.note("attach")
        connection = control.call(self.folder, {"attach": list(given), "keys": detach_keys(keys)}, list(given.values()), timeout=10)
        if connection is None:
            raise InvalidRequest("the container's monitor does not answer", hint="it ended this moment, or its store lies on a file system without sockets")
        connection.settimeout(None)
        return Session(connection)

    def pause(self) -> None:
        """Stops all processes of the container where they are; raises InvalidRequest where it does not run, or is paused."""
        status = self.state.status
        if status == "restarting":
            raise restarting(self)
        if status != "running":
            raise InvalidRequest(f"Container {self.id} is {'already paused' if status == 'paused' else 'not running'}", hint=f"docker {'unpause' if status == 'paused' else 'start'} {self.name}")
        control.ask(self.folder, {"pause": True}, timeout=10)

    def unpause(self) -> None:
        """Lets them go on; raises InvalidRequest where it is not paused."""
        if self.state.status != "paused":
            raise InvalidRequest(f"Container {self.id} is not paused")
        control.ask(self.folder, {"pause": False}, timeout=10)

    @property
    def folder(self) -> Path:
        """Where it is kept on disk."""
        return self._engine.container_store.folder(self.id)

    def wait(self, *, timeout: float | None = None) -> int:
        """Gives the exit code once the container has ended, at once where it does not run; raises TimeoutError after so many seconds."""
        try:
            told = control.ask(self.folder, {"wait": True}, timeout=timeout)
        except TimeoutError:
            raise TimeoutError(f"container {self.name} still runs") from None
        if told and "exit" in told:
            return int(told["exit"])
        deadline = None if timeout is None else time.monotonic() + timeout
        while (state := self.state).alive:
            with contextlib.suppress(OSError):
                descriptor = os.pidfd_open(state.monitor)
                try:
                    select.select([descriptor], [], [], 0.2)
                finally:
                    os.close(descriptor)
            if deadline and time.monotonic() > deadline:
                raise TimeoutError(f"container {self.name} still runs")
        return state.exit_code

    def kill(self, number: int = signal.SIGKILL, *, keep: bool = False) -> None:
        """Sends a signal to the program, if it still is the one that was started; with `keep` a container of `--rm` stays after its end. Raises InvalidRequest."""
        state = self.state
        if not state.alive:
            raise InvalidRequest(f"Cannot kill container: {self.name}: Container {self.id} is not running", hint=f"docker start {self.name}")
        if control.ask(self.folder, {"signal": number, "keep": keep}, timeout=5) is None and state.running and started_at(state.pid) == state.began:
            with contextlib.suppress(ProcessLookupError):
                os.kill(state.pid, number)

    def stop(self, *, number: int = 0, timeout: float | None = None, keep: bool = False) -> None:
        """Asks the program to end, by its image's signal unless another is named, and ends it after `timeout` seconds (the container's own, or 10; below zero: never)."""
        own = self.record.host.get("stop_timeout")
        patience = timeout if timeout is not None else 10.0 if own is None else own
        with contextlib.suppress(InvalidRequest):  # it does not run, or no longer
            self.kill(number or signals.number(self.config.stop_signal or "SIGTERM"), keep=keep)
            try:
                self.wait(timeout=None if patience < 0 else patience)
            except TimeoutError:
                self.kill(keep=keep)
                self.wait(timeout=10)
            self.note("stop")

    def restart(self, *, number: int = 0, timeout: float | None = None) -> None:
        """Stops the container and starts it again, detached."""
        self.stop(number=number, timeout=timeout, keep=True)
        self.start(detach=True).close()
        self.note("restart")

    def update(self, changes: Mapping[str, Any], *, restart: str | None = None) -> None:
        """Changes limits (names of `Resources`) and the restart policy, also of a running container; raises InvalidRequest."""
        self.record = self._engine.container_store.revise(self.id, lambda record: updating.updated(record, changes, restart))
        updating.tell(self, changed=bool(changes))
        self.note("update")

    def rename(self, name: str) -> None:
        """Gives the container another name; raises AlreadyExists, InvalidRequest."""
        if not NAME.fullmatch(name):
            raise InvalidRequest(f"Error when allocating new name: Invalid container name (/{name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")
        if name == self.name:
            raise InvalidRequest("Renaming a container with the same name as its current name", hint="choose another name")
        self.record, old = self._engine.container_store.rename(self.record, name), self.name
        self.name = name
        self._engine.networks.renamed(self)
        self.note("rename", oldName=f"/{old}")

    def size(self) -> tuple[int, int]:
        """Gives the bytes that the container has written, and those of its whole file system."""
        own = self._engine.snapshotter.usage(self.id)[0]
        return own, own + self.image.size

    def processes(self) -> list[int]:
        """Gives the container's processes by their ids on this host; raises InvalidRequest where it does not run."""
        if self.state.status == "restarting":
            raise restarting(self)
        if not self.state.running:
            raise InvalidRequest(f"Container {self.id} is not running", hint=f"docker start {self.name}")
        answer = control.ask(self.folder, {"list": True}, timeout=10)
        return answer["processes"] if answer and "processes" in answer else []

    def logs(self, *, follow: bool = False) -> Iterator[tuple[int, int, bytes]]:
        """Yields (time in nanoseconds, 1 for stdout or 2 for stderr, bytes); raises InvalidRequest where none is kept. With `follow` what is still written too, until the container has ended."""
        if logging.driver(self.record) == "none":
            raise InvalidRequest("configured logging driver does not support reading", hint="run it without --log-driver none")
        ended = not follow

        def more() -> bool:
            nonlocal ended
            if ended:
                return False
            ended = not self.state.running  # what it wrote last is on disk by then
            if not ended:
                time.sleep(0.05)
            return True

        return read_log(self.folder / "log", more)

    def exec(self, command: Sequence[str], options: ExecOptions | None = None, attach: Attach | None = None, *, detach: bool = False) -> Session:
        """Starts one program more in the running container; raises InvalidRequest where it does not run, ExecError where it cannot be started."""
        return execution.begin(self, command, options or ExecOptions(), attach or Attach(), detach=detach)

    def exec_run(self, command: Sequence[str], options: ExecOptions | None = None) -> ExecResult:
        """Runs one program more to its end; gives its exit code and what it wrote, both streams as they came. Raises as `exec` does."""
        source, sink = os.pipe()
        said: list[bytes] = []
        try:
            session = self.exec(command, options, Attach(None, sink, sink))
        except BaseException:
            os.close(source)
            raise
        finally:
            os.close(sink)
        with open(source, "rb"):
            code = self.watch(session, {source: said.append})
        return ExecResult(code, b"".join(said))

    def _where(self) -> dict[str, Any]:
        stack = self._engine.snapshotter.stack(self.id)
        marker = str(Path(stack.upper).parent / "copied") if stack.whole else ""
        return {"upper": stack.upper, "lowers": list(stack.lowers), "whole": stack.whole, "marker": marker, "on_disk": self._engine.capabilities.owners, "apart": self._apart()}

    def _apart(self) -> list[str]:
        """Gives the places that would be mounts, where nothing can be mounted."""
        if self._engine.capabilities.mounts:
            return []
        mounted = [*(mount["target"] for mount in self.record.host["mounts"]), *self.record.host.get("tmpfs", {})]
        return ["dev", "etc/hosts", "etc/hostname", "etc/resolv.conf", *(target.strip("/") for target in mounted)]

    def diff(self) -> list[Change]:
        """Gives what the container changed, by path, in docker's letters."""
        return [Change(path, kind) for kind, path in self._engine.world.call("changes", **self._where())]

    def _below(self) -> list[str]:
        """Gives the tables of the image's layers where owners are kept there and not on disk."""
        if self._engine.capabilities.owners:
            return []
        from dockerlab.layers import index

        return [index.encode(table).decode() for table in self._engine.images.layers.tables(self.image.record)]

    def pack(self) -> tuple[Path, dict[str, Any]] | None:
        """Packs what changed as a layer (see `Images.create`); None where nothing did."""
        draft = self._engine.content.draft()
        default = [0, 0]
        if not self._engine.capabilities.owners and self.only_id(self.config.user) is not None:
            who = self._who(self.config.user)
            default = [who.uid, who.gid]
        with self._engine.content.unless_failed(draft):
            facts = self._engine.world.call("pack", draft=str(draft), below=self._below(), default=default, latest=source_date(), **self._where())
        if facts["entries"]:
            return draft, facts
        draft.unlink(missing_ok=True)
        return None

    def commit(self, name: str = "", *, author: str = "", message: str = "", config: RunConfig | None = None) -> Image:
        """Makes an image from the container: its changes as one more layer, its settings. Raises InvalidReference, NotFound."""
        reference = Reference.parse(name) if name else None
        layer = self.pack()
        run = config or self.config
        entry = History(created=now(), created_by=" ".join(self.config.cmd or ()), author=author, comment=message)
        image = self._engine.images.create(self.image, [layer] if layer else [], run, entry, name=reference, author=author)
        self.note("commit", comment=message, imageID=image.id, imageRef=reference.tagged().familiar if reference else "")
        return image

    def export(self, descriptor: int) -> None:
        """Writes what the container sees as one tar to an open descriptor."""
        folders = list(self._engine.snapshotter.stack(self.id).folders)
        self.note("export")
        self._engine.world.call("export", descriptors={"descriptor": descriptor}, folders=folders, on_disk=self._engine.capabilities.owners, below=self._below(), apart=self._apart())

    def explained(self) -> list[tuple[str, list[str], int, int, int, str]]:
        """Gives the kernel calls of the first process: name, arguments, errno, microseconds, line and file of dockerlab/runtime; [] where none were noted."""
        try:
            return [tuple(call) for call in json.loads((self.folder / "explain.json").read_bytes())]
        except FileNotFoundError:
            return []

    def remove(self, *, force: bool = False, volumes: bool = False) -> None:
        """Removes the container; a running one only with `force`. Raises InUse in docker's words."""
        state = self.state
        if state.alive:
            if not force:
                first = "Unpause and then stop" if state.status == "paused" else "Stop"
                raise InUse(
                    f"You cannot remove a {state.status} container {self.id}. {first} the container before attempting removal or force remove",
                    by=self.name, hint=f"docker rm -f {self.name}",
                )  # fmt: skip
            with contextlib.suppress(InvalidRequest):  # it has ended meanwhile
                self.kill()
            self.wait(timeout=10)
        self._clear()
        self._engine.container_store.discard(self.record)
        self._engine.snapshotter.remove(self.id)
        for name in self.record.volumes if volumes else ():
            self._engine.volume_store.remove(name)
        self.note("destroy")

    def _clear(self) -> None:
        """Ends what lives on where the monitor and the program's parent were killed while it was paused: it could not be killed with them."""
        if group := self.record.host.get("cgroup", ""):
            cgroups.end(group)

    def __repr__(self) -> str:
        return f"<Container {self.name} {self.short_id} {self.state.status}>"
