"""A monitor's side of the networks: its lease at the switch, and the small files of /etc that follow from it."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from pathlib import Path
from typing import Any

from dockerlab.linux import syscalls
from dockerlab.runtime import wire
from dockerlab.store.files import locked

__all__ = ["NetworkFailed", "NetworkLease", "SwitchGone", "call", "user_namespace"]

_PATIENCE = 60.0


class NetworkFailed(Exception):
    """Why a container cannot have its networks, in docker's words."""


class SwitchGone(NetworkFailed):
    """The switch ended before it answered: one that is killed goes a little after its connections do, and may be reached in between."""


def call(path: str, message: dict[str, Any]) -> dict[str, Any] | None:
    """Asks something of the switch that listens at `path`; None where none does, for then nothing is up. Raises SwitchGone where one was there and gave no answer."""
    if (connection := wire.reached(path)) is None:
        return None
    answer, _ = _asked(connection, message, _PATIENCE)
    if answer is None:
        raise SwitchGone("the switch of this engine's networks does not answer")
    return answer


def user_namespace(path: str) -> int:
    """Gives a descriptor of the user namespace that the switch at `path` lives in; -1 where none listens."""
    connection = wire.reached(path)
    return next(iter(_asked(connection, {"do": "userns"}, 5.0)[1]), -1) if connection else -1


def _asked(connection: socket.socket, message: dict[str, Any], patience: float) -> tuple[dict[str, Any] | None, list[int]]:
    with connection, contextlib.suppress(OSError):
        connection.settimeout(patience)
        wire.send(connection, message)
        return wire.receive(connection)
    return None, []


class NetworkLease:
    """What one container has of its networks, for as long as this is open. `settings` are {"path", "root", "tied", "tap", "isolated"}, as the engine has them.

    `launcher` is a pidfd of the launcher that the container is from, which may have gone; -1 where there is none.
    """

    def __init__(self, settings: dict[str, Any], launcher: int) -> None:
        self._settings, self._launcher = settings, launcher
        self._connection = wire.reached(settings["path"]) or self._begin()
        self._connection.settimeout(_PATIENCE)

    def fileno(self) -> int:
        """Gives the descriptor that is readable once the switch has gone."""
        return self._connection.fileno()

    def send(self, message: dict[str, Any], descriptors: tuple[int, ...] = ()) -> None:
        """Asks for something; raises NetworkFailed."""
        try:
            wire.send(self._connection, message, descriptors)
        except OSError as error:
            raise SwitchGone(f"the switch of this engine's networks was killed: {error}") from error

    def receive(self) -> dict[str, Any]:
        """Gives the answer; raises NetworkFailed with the switch's words."""
        try:
            answer, _ = wire.receive(self._connection)
        except OSError as error:
            raise SwitchGone(f"the switch of this engine's networks does not answer: {error}") from error
        if answer is None:
            raise SwitchGone("the switch of this engine's networks was killed")
        if "failed" in answer:
            raise NetworkFailed(answer["failed"])
        return answer

    def ask(self, message: dict[str, Any], descriptors: tuple[int, ...] = ()) -> dict[str, Any]:
        """Does both."""
        self.send(message, descriptors)
        return self.receive()

    def close(self) -> None:
        """Gives back all that the container has."""
        self._connection.close()

    def _begin(self) -> socket.socket:
        """Starts a switch, unless somebody else has meanwhile."""
        path = self._settings["path"]
        with locked(Path(f"{path}.lock")):
            if found := wire.reached(path):
                return found
            ready, told = os.pipe2(os.O_CLOEXEC)
            # It must be nobody's child whose processes are counted and ended: neither this one's, nor that of a process that adopts orphans.
            syscalls.prctl(syscalls.PR_SET_CHILD_SUBREAPER, 0)
            try:
                child = os.fork()
                if child == 0:
                    self._become(ready, told)
                os.waitpid(child, 0)
            finally:
                syscalls.prctl(syscalls.PR_SET_CHILD_SUBREAPER, 1)
            os.close(told)
            with open(ready, "rb", buffering=0) as file:
                file.read(1)
            found, deadline = wire.reached(path), time.monotonic() + 2
            while found is None and time.monotonic() < deadline:
                time.sleep(0.01)
                found = wire.reached(path)
        if found is None:
            log = Path(f"{path}.log").read_text(errors="replace").strip().splitlines()
            raise NetworkFailed(f"the switch of this engine's networks does not start: {log[-1] if log else 'no answer'}")
        return found

    def _become(self, ready: int, told: int) -> None:
        code = 1
        try:
            if os.fork():
                os._exit(0)
            os.setsid()
            owner = self._launcher if self._launcher >= 0 else os.open("/dev/null", os.O_RDONLY)
            log = os.open(f"{self._settings['path']}.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
            nothing = os.open("/dev/null", os.O_RDWR)
            kept = [os.dup2(source, place, False) for source, place in ((nothing, 100), (log, 101), (told, 102), (owner, 103))]
            for source, place in zip((kept[0], kept[1], kept[1], kept[2], kept[3]), range(5), strict=True):
                os.dup2(source, place, place < 3)
            os.closerange(5, os.sysconf("SC_OPEN_MAX"))
            from dockerlab.runtime import switch

            switch.main(self._settings["path"], self._settings, 4, 3)
            code = 0
        except BaseException:
            import traceback

            os.write(2, traceback.format_exc().encode())
        finally:
            os._exit(code)
