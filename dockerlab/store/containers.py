"""Containers on disk: `containers/<id>/{container.json, state.json, bundle/config.json, log}` and their names.

`container.json` is written by who creates the container, and once more by who renames it. `state.json` has one writer, the container's monitor. A name is a file made by
link(2), so two containers can never hold the same. A container exists once its name does; a folder without one is what a killed process left.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from dockerlab.errors import AlreadyExists, CorruptContent, NotFound, StoreError
from dockerlab.linux import processes
from dockerlab.store.files import explain, locked, publish, scratch_name

__all__ = ["ContainerStore", "Record", "State", "keep", "now", "started_at"]


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What a container was created with; nothing of it changes but the name, and what `update` is for: the restart policy and the limits, in `host`."""

    id: str
    name: str
    created: str
    image_id: str
    image: str
    path: str
    args: tuple[str, ...]
    config: dict[str, Any]
    host: dict[str, Any]
    snapshotter: str
    chain: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()

    @property
    def about(self) -> dict[str, str]:
        """What an event tells of a container beside itself."""
        return {**self.config.get("Labels", {}), "image": self.image, "name": self.name}


class State(msgspec.Struct, frozen=True, kw_only=True):
    """How a container is: created, running, paused, restarting or exited. `began` is the kernel's start time of `pid`, since ids are used again.

    `restarts` counts what its policy has begun again since a person started it; `stopped` tells that somebody has sent it a signal since. `networks` are those that
    it is in, by name, and `ports` what is published: (address of the host, port there, port of the container, protocol).
    """

    status: str = "created"
    pid: int = 0
    began: int = 0
    monitor: int = 0
    monitor_began: int = 0
    exit_code: int = 0
    error: str = ""
    started: str = ""
    finished: str = ""
    restarts: int = 0
    stopped: bool = False
    oom_killed: bool = False
    health: dict[str, Any] | None = None
    networks: dict[str, dict[str, Any]] = {}
    ports: list[tuple[str, int, int, str]] = []

    @property
    def running(self) -> bool:
        """Whether it has processes."""
        return self.status in ("running", "paused")

    @property
    def alive(self) -> bool:
        """Whether a monitor sees to it: it runs, or will again."""
        return self.running or self.status == "restarting"


def now() -> str:
    """Gives this moment as documents have it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f") + "000Z"


def keep(folder: Path, state: State) -> None:
    """Writes how the container in a folder is; a container that has gone has no state. On a full disk the new state takes the old one's place."""
    path, text = folder / "state.json", msgspec.json.encode(state)
    try:
        publish(path, text)
    except StoreError:
        # Filled by this container perhaps: how it ended is still to be known. Less than a page, so no reader sees a part.
        text = msgspec.json.encode(msgspec.structs.replace(state, health=state.health and {**state.health, "Log": []}))
        with contextlib.suppress(OSError), open(path, "r+b", buffering=0) as file:
            file.write(text.ljust(os.fstat(file.fileno()).st_size))
    except FileNotFoundError:
        return


def started_at(pid: int) -> int:
    """Gives a process's start time in clock ticks, 0 when it has ended; proc(5), stat field 22."""
    try:
        fields = processes.stat(pid)
    except OSError:
        return 0
    return 0 if fields[0] == b"Z" else int(fields[19])


class ContainerStore:
    """The folder `containers`."""

    def __init__(self, root: Path) -> None:
        self.root, self._place = root / "containers", str(root / "containers")
        self.names = root / "containers" / "names"
        with explain(root):
            self.names.mkdir(parents=True, exist_ok=True)

    def folder(self, ident: str) -> Path:
        """Gives a container's folder."""
        return self.root / ident

    def create(self, record: Record, spec: bytes) -> None:
        """Puts a container on disk; raises AlreadyExists where the name is taken, and leaves nothing then."""
        folder = self.folder(record.id)
        with explain(folder):
            (folder / "bundle" / "rootfs").mkdir(parents=True)
        try:
            publish(folder / "bundle" / "config.json", spec)
            publish(folder / "container.json", msgspec.json.format(msgspec.json.encode(record), indent=1))
            self._claim(record)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def revise(self, ident: str, change: Callable[[Record], Record]) -> Record:
        """Changes what is kept of a container, one process at a time, and gives what it is now; raises what `change` raises, and NotFound."""
        folder = self.folder(ident)
        try:
            with locked(folder / "lock"):
                record = change(self.get(ident))
                publish(folder / "container.json", msgspec.json.format(msgspec.json.encode(record), indent=1))
        except FileNotFoundError:
            raise NotFound(f"No such container: {ident}", kind="container", name=ident) from None
        return record

    def rename(self, record: Record, name: str) -> Record:
        """Gives a container another name and what it is known as from now on; raises AlreadyExists. Killed half-way, the old name still is the one."""
        before = [record.name]

        def change(now: Record) -> Record:
            before[0] = now.name  # somebody else may have renamed it meanwhile
            renamed = msgspec.structs.replace(now, name=name)
            self._claim(renamed)
            return renamed

        renamed = self.revise(record.id, change)
        if self.holder(before[0]) == record.id:
            (self.names / before[0]).unlink(missing_ok=True)
        return renamed

    def _claim(self, record: Record) -> None:
        draft = self.names / f".{scratch_name()}"
        try:
            with explain(draft):
                draft.write_text(record.id)
                _appear(draft, self.names / record.name)
        except FileExistsError:
            raise AlreadyExists(
                f'Conflict. The container name "/{record.name}" is already in use by container "{self.holder(record.name)}". '
                "You have to remove (or rename) that container to be able to reuse that name.",
                kind="container", name=record.name, hint=f"run it with --replace, or `docker rm -f {record.name}` first",
            ) from None  # fmt: skip
        finally:
            draft.unlink(missing_ok=True)

    def holder(self, name: str) -> str:
        """Gives the id of the container called so, "" for none, and for a file that holds no id."""
        try:
            ident = _bytes(f"{self._place}/names/{name}").decode("ascii", "replace")
        except FileNotFoundError:
            return ""
        return ident if re.fullmatch("[0-9a-f]{64}", ident) else ""

    def ids(self) -> list[str]:
        """Gives the ids of all containers."""
        return sorted({ident for name in os.listdir(self.names) if not name.startswith(".") and (ident := self.holder(name))})

    def old_names(self) -> list[str]:
        """Gives the names, older than a minute, that lead to a container which is called otherwise: a process died while it renamed one."""
        found, old = [], time.time() - 60
        for name in self.names.iterdir():
            with contextlib.suppress(FileNotFoundError, NotFound, CorruptContent):
                if name.stat().st_mtime < old and (ident := self.holder(name.name)) and self.get(ident).name != name.name:
                    found.append(name.name)
        return found

    def get(self, ident: str) -> Record:
        """Gives what a container was created with; raises NotFound, CorruptContent."""
        try:
            return msgspec.json.decode(_bytes(f"{self._place}/{ident}/container.json"), type=Record)
        except FileNotFoundError:
            raise NotFound(f"No such container: {ident}", kind="container", name=ident) from None
        except msgspec.DecodeError as error:
            raise CorruptContent(f"container {ident[:12]} has a damaged container.json: {error}") from error

    def records(self) -> Iterator[Record]:
        """Yields all containers; one that goes away meanwhile is left out."""
        for ident in self.ids():
            with contextlib.suppress(NotFound):
                yield self.get(ident)

    def state(self, ident: str) -> State:
        """Gives how a container is now. A monitor that was killed wrote nothing: its container counts as exited with 137."""
        try:
            state = msgspec.json.decode(_bytes(f"{self._place}/{ident}/state.json"), type=State)
        except FileNotFoundError:
            return State()
        except msgspec.DecodeError:
            return State(status="exited", exit_code=137, error="state.json is damaged")
        if state.alive and started_at(state.monitor) != state.monitor_began:
            return msgspec.structs.replace(state, status="exited", exit_code=137, error="its monitor was killed")
        return state

    def find(self, text: str) -> Record:
        """Gives the container with this name, id or unambiguous start of an id; raises NotFound in docker's words."""
        name = text.removeprefix("/")
        ident = self.holder(name) if name.isprintable() and "/" not in name and not name.startswith(".") and 0 < len(os.fsencode(name)) < 256 else ""
        if not ident:
            hits = [i for i in self.ids() if name and i.startswith(name)]
            if len(hits) > 1:
                raise NotFound(f"Multiple IDs found with provided prefix: {text}", kind="container", name=text, hint="give more digits")
            if not hits:
                raise NotFound(f"No such container: {text}", kind="container", name=text, hint="list the containers with `docker ps -a`")
            ident = hits[0]
        return self.get(ident)

    def discard(self, record: Record) -> None:
        """Takes a container off the disk: first its name, so that from then on it does not exist."""
        self.forget(record.id, record.name)()

    def forget(self, ident: str, name: str) -> Callable[[], None]:
        """Has a container not exist any more; gives what takes away its folder, for which nobody has to wait."""
        with contextlib.suppress(FileNotFoundError, NotFound, CorruptContent):
            if self.holder(name) == ident or self.holder(name := self.get(ident).name) == ident:  # it may have been renamed
                (self.names / name).unlink()
        return partial(shutil.rmtree, self.folder(ident), ignore_errors=True)

    def leftovers(self) -> list[str]:
        """Gives the folders that no name leads to, older than a minute: a process died while it made or removed them."""
        known, old = set(self.ids()), time.time() - 60
        return [f.name for f in self.root.iterdir() if f.name != "names" and f.name not in known and f.stat().st_mtime < old]


def _bytes(path: str) -> bytes:
    """Gives a small file; lists read many of them, and a Path costs more than the reading."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        data = b""
        while piece := os.read(descriptor, 1 << 16):
            data += piece
            if len(piece) < 1 << 16:
                break
        return data
    finally:
        os.close(descriptor)


def _appear(draft: Path, place: Path) -> None:
    """Gives a written file a second name, whole or not at all; raises FileExistsError where the name is taken.

    Without hard links the file is made in place: a name that was cut short holds no id, and counts as free.
    """
    try:
        os.link(draft, place)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
            raise
        with open(place, "xb") as file:
            file.write(draft.read_bytes())


def new_id() -> str:
    """Gives 64 hexadecimal digits."""
    return secrets.token_hex(32)
