"""The engine's side of the launcher: starts it when it is first needed and asks things of it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import subprocess
import sys
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

from dockerlab.errors import DockerlabError, NotSupportedHere
from dockerlab.runtime import wire
from dockerlab.runtime.sandbox import Capabilities
from dockerlab.store import work
from dockerlab.store.files import explain, locked
from dockerlab.version import __version__

__all__ = ["Session", "World"]

_CODE = "import sys; sys.path[:] = {path!r}; from dockerlab.runtime.launcher import main; main()"

_MFD_EXEC = 0x10


class Session:
    """One attached or detached container, from its start to its end, as its monitor tells it."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def fileno(self) -> int:
        """Gives the descriptor that is readable when the monitor has something to say."""
        return self._connection.fileno()

    def next(self) -> dict[str, Any]:
        """Gives the next message; a monitor that was killed says {"exit": 137}."""
        try:
            message, _ = wire.receive(self._connection)
        except OSError:
            message = None
        if message and "error" in message:
            raise wire.revive(message["error"])
        return message or {"exit": 137}

    def signal(self, number: int, *, grace: float | None = None) -> None:
        """Sends a signal to the container's first process, and with `grace` SIGKILL after that many seconds."""
        try:
            wire.send(self._connection, {"signal": number, "grace": grace})
        except OSError:
            return

    def resize(self, rows: int, columns: int) -> None:
        """Tells a container's terminal its size."""
        try:
            wire.send(self._connection, {"resize": [rows, columns]})
        except OSError:
            return

    def close(self) -> None:
        """Lets go; a detached container runs on."""
        self._connection.close()


@cache
def _stamp() -> str:
    """Gives a few digits that change when the code does: a launcher of before an upgrade is nobody's any more, and ends when it has nothing to do."""
    here = Path(__file__).parents[1]
    newest = max(entry.stat().st_mtime_ns for room in ("runtime", "linux", "layers", "store", "oci") for entry in os.scandir(here / room) if entry.name.endswith(".py"))
    return f"{zlib.crc32(f'{__version__} {newest}'.encode()):08x}"


def _sealed(program: str) -> int:
    """Gives a copy of a program in memory that nobody can write to, -1 for none.

    A container's first process is this program until execve, and `/proc/self/exe` as its program runs it again: with the container's libraries, and the
    host's own file within its reach (CVE-2019-5736).
    """
    seals = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
    try:
        try:
            copy = os.memfd_create("dockerlab", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING | _MFD_EXEC)
        except OSError:  # before Linux 6.3
            copy = os.memfd_create("dockerlab", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    except OSError:
        return -1
    try:
        with open(program, "rb") as file:
            while os.sendfile(copy, file.fileno(), None, 1 << 30):
                pass
        fcntl.fcntl(copy, fcntl.F_ADD_SEALS, seals)
    except OSError:
        os.close(copy)
        return -1
    return copy


class World:
    """Where containers live: the launcher of one engine."""

    def __init__(self, capabilities: Capabilities, folder: Path) -> None:
        self.capabilities, self._folder = capabilities, folder
        self._path, self._log = str(folder / f"launcher-{capabilities.tier}-{_stamp()}"), folder / "launcher.log"

    def call(self, name: str, *, descriptors: Mapping[str, int] | None = None, mounted: dict[str, Any] | None = None, **options: Any) -> Any:
        """Runs one of `store.work`'s functions as the container's root and gives what it gives; raises what it raises.

        `descriptors` are options that are open files. With `mounted` (see `assembling`) one more, `root`, is a container's file system put together for this call.
        """
        with explain(Path(options.get("draft") or options.get("target") or options.get("path") or self._folder)):
            return self._call(name, descriptors or {}, mounted, options)

    def _call(self, name: str, descriptors: Mapping[str, int], mounted: dict[str, Any] | None, options: dict[str, Any]) -> Any:
        if self.capabilities.direct and mounted is None:
            return work.FUNCTIONS[name](**options, **descriptors)
        with self._connect() as connection:
            wire.send(connection, {"op": "call", "name": name, "options": options, "open": list(descriptors), "mounted": mounted}, list(descriptors.values()))
            answer, _ = wire.receive(connection)
        if answer is None:
            raise NotSupportedHere("the launcher ended in the middle of its work", reason="killed", hint="try again: nothing half-done is kept")
        if "error" in answer:
            raise wire.revive(answer["error"])
        return answer["result"]

    def later(self, name: str, **options: Any) -> None:
        """Has one of `store.work`'s functions run without waiting for it; a host that refuses even that goes without."""
        with contextlib.suppress(DockerlabError, OSError), self._connect() as connection:
            wire.send(connection, {"op": "later", "name": name, "options": options})
            wire.receive(connection)

    def run(self, request: dict[str, Any], descriptors: Sequence[int]) -> Session:
        """Starts a container; the session's first message is `started` or `failed`."""
        connection = self._connect()
        wire.send(connection, {"op": "run", **request}, descriptors)
        return Session(connection)

    def stop(self, path: str = "") -> None:
        """Ends the launcher, if one runs, or the one that listens at `path`; containers and their monitors live on, and the next need starts another."""
        connection = wire.reached(path or self._path)
        if connection is None:
            return
        with connection:
            try:
                wire.send(connection, {"op": "stop"})
                connection.recv(1)
            except OSError:
                return
        deadline = time.monotonic() + 2
        while self._answers(path) and time.monotonic() < deadline:
            time.sleep(0.002)

    def _connect(self) -> socket.socket:
        for attempt in range(3):
            if connection := wire.reached(self._path):
                return connection
            self._launch(attempt)
        raise NotSupportedHere("the launcher does not start", reason="no answer", hint=f"read {self._folder}/launcher.log")

    def _launch(self, attempt: int) -> None:
        with locked(self._folder / "launcher.lock"):
            if self._answers():
                return
            settings = json.dumps(asdict(self.capabilities))
            code = _CODE.format(path=[entry for entry in sys.path if entry] or [os.getcwd()])
            words = [sys.executable, "-S", "-E", "-c", code, self._path, settings]
            copy = _sealed(os.path.realpath(sys.executable))
            try:
                # An interpreter that finds its libraries relative to itself does not start as a copy.
                if not (copy >= 0 and self._started(words, copy)) and not self._started(words):
                    last = (self._log.read_text(errors="replace").strip().splitlines() or ["no answer"])[-1]
                    raise NotSupportedHere(f"the launcher does not start: {last}", reason=last, hint="look at `docker info`")
            finally:
                if copy >= 0:
                    os.close(copy)

    def _started(self, words: list[str], program: int = -1) -> bool:
        with open(self._log, "wb") as output:
            process = subprocess.Popen(
                words, executable=f"/proc/self/fd/{program}" if program >= 0 else None, pass_fds=[program] if program >= 0 else [],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True, env={"PATH": os.environ.get("PATH", "")},
            )  # fmt: skip
        deadline = time.monotonic() + 20
        while not self._answers():
            if process.poll() is not None or time.monotonic() > deadline:
                return False
            time.sleep(0.002)
        return True

    def _answers(self, path: str = "") -> bool:
        probe = wire.reached(path or self._path)
        if probe is None:
            return False
        probe.close()
        return True
