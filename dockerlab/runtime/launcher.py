"""A small single-threaded process, kept warm, that forks containers and does what must be done as the container's root.

A Jupyter kernel has threads and can neither enter a user namespace nor fork safely; a fresh interpreter costs more than a container does.
The launcher is a cache, not an authority: all state is on disk, and a new one takes its place at any time.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import select
import signal
import socket
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dockerlab.linux import syscalls
from dockerlab.linux.pages import Copies
from dockerlab.oci.runtime import Process, Spec
from dockerlab.runtime import assembling, sandbox, wire
from dockerlab.runtime.monitor import Monitor
from dockerlab.runtime.network import user_namespace
from dockerlab.runtime.spare import Spare
from dockerlab.store import work

__all__ = ["main"]

_IDLE_SECONDS, _BREATH = 600, 0.030


@dataclass(frozen=True, slots=True)
class Ahead:
    """What a child does while it waits: `stage` is the folder of a container that there is not, the copies are those of monitors and of programs' parents."""

    stage: Path
    monitors: Copies
    parents: Copies

    def rehearse(self) -> None:
        """Does once what each monitor does first of all: a decoder is made at its first use."""
        request = {"folder": str(self.stage), "about": {"name": "none"}, "mounts": [{"source": "/"}], "attach": [], "detach": True}
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as nobody:
            Monitor(request, nobody, []).note_networks()


def main() -> None:
    """Serves requests on the socket named in argv until nobody has asked for ten minutes."""
    path, settings = sys.argv[1], json.loads(sys.argv[2])
    tier = sandbox.by_name(settings["tier"], settings["overlay"], settings)
    # Containers that are up share networks with those to come, and so must their user namespace be one.
    tier.enter(user_namespace(f"{os.path.dirname(path)}/network-{settings['tier']}"))
    os.umask(0o022)
    os.chdir("/")
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    draft = f"{path}.{os.getpid()}"
    with wire.address(draft) as place:
        listener.bind(place)
    listener.listen(64)
    os.rename(draft, path)
    ahead = Ahead(_stage(Path(path), settings["tier"]), Copies(), Copies())
    ahead.rehearse()
    gc.freeze()
    while _served(listener, ahead):
        pass
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def _stage(path: Path, tier: str) -> Path:
    """Makes the folder of a container that there is not, for rehearsals, and gives it."""
    folder = path.with_name(f"rehearsal-{tier}") / "containers" / "none"
    with contextlib.suppress(OSError):
        (folder / "bundle").mkdir(parents=True, exist_ok=True)
        (folder / "bundle" / "config.json").write_bytes(Spec(process=Process(args=("true",))).encode())
    return folder


def _served(listener: socket.socket, ahead: Ahead) -> bool:
    """Lets a child that was forked ahead serve whoever comes next, and gives True once it does; False where nobody came in ten minutes."""
    told, taken = os.pipe()
    launcher = os.getpid()
    try:
        child = os.fork()
    except OSError as error:
        os.close(taken)
        os.close(told)
        connection, _ = listener.accept()
        with connection:
            wire.send(connection, {"error": wire.describe(error)})
        return True
    if child == 0:
        os.close(told)
        _child(listener, taken, launcher, ahead)
    os.close(taken)
    ready, _, _ = select.select([told], [], [], _IDLE_SECONDS)
    if ready and not os.read(told, 1):  # it was killed while it waited: not again at once, something may kill every one
        time.sleep(0.05)
    os.close(told)
    if not ready:
        listener.shutdown(socket.SHUT_RDWR)  # which ends the child's accept, but for somebody who came at this very moment
    return bool(ready)


def _child(listener: socket.socket, taken: int, launcher: int, ahead: Ahead) -> None:
    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != launcher:  # it went before that was asked for
        os._exit(0)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    busy, _, _ = select.select([listener], [], [], _BREATH)  # the container that is begun at this moment needs the processors more
    ahead.monitors.alone()
    spare = _spare(ahead, listener.fileno(), taken)
    ahead.parents.alone()
    if not busy:
        ahead.rehearse()
        ahead.monitors.ahead(listener)
    try:
        connection, _ = listener.accept()
    except OSError:
        os._exit(0)
    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, 0)
    os.write(taken, b"1")
    os.close(taken)
    listener.close()
    try:
        request, descriptors = wire.receive(connection)
        if request and request["op"] == "run":
            _monitor(request, connection, descriptors, spare).run()
            ahead.monitors.note()
        elif request and request["op"] == "stop":
            os.kill(launcher, signal.SIGTERM)
        elif request and request["op"] == "later":
            wire.send(connection, {"result": None})
            connection.close()
            if spare:
                spare.close()
            os.nice(10)
            work.FUNCTIONS[request["name"]](**request["options"])
        elif request:
            _call(connection, request, descriptors)
    except BaseException as error:
        with contextlib.suppress(OSError):
            wire.send(connection, {"error": wire.describe(error)})
    if spare:
        spare.close()
    os._exit(0)


def _monitor(request: dict[str, Any], connection: socket.socket, descriptors: list[int], spare: Spare | None) -> Monitor:
    if spare is None or request.get("shares"):  # namespaces that are another's are opened by the monitor alone
        return Monitor(request, connection, descriptors)
    spare.promise(request)
    monitor = Monitor(request, connection, descriptors)
    monitor.spare = spare
    return monitor


def _spare(ahead: Ahead, *foreign: int) -> Spare | None:
    """Forks a process that will be a container's parent, if a container is what is asked for next; None where there can be none."""
    try:
        return Spare(lambda request: Monitor({**request, "attach": []}, socket.socket(socket.AF_UNIX), []), foreign, ahead.parents)
    except OSError:
        return None


def _call(connection: socket.socket, request: dict[str, Any], descriptors: list[int]) -> None:
    options = request["options"] | dict(zip(request["open"], descriptors, strict=True))
    if mounted := request["mounted"]:
        options["root"] = assembling.assembled(**mounted)
    wire.send(connection, {"result": work.FUNCTIONS[request["name"]](**options)})


if __name__ == "__main__":
    main()
