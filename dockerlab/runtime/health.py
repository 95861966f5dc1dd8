"""Health checks: a program that runs in the container now and then, and what its exit codes make of the container's health, as docker counts it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from dockerlab.runtime import wire
from dockerlab.store.containers import now

if TYPE_CHECKING:
    from dockerlab.runtime.supervisor import Supervisor

__all__ = ["Health", "Verdict"]

_OUTPUT, _RESULTS = 4096, 5  # bytes of a result, results that are kept


class Verdict:
    """What the results so far say; pure counting."""

    def __init__(self, retries: int, start_period: float) -> None:
        self.retries, self.start_period = retries or 3, start_period
        self.status, self.streak = "starting", 0
        self.results: list[dict[str, Any]] = []

    def hear(self, result: dict[str, Any], since_start: float) -> bool:
        """Takes a result of a check that began so many seconds after the container; tells whether the status changed."""
        before = self.status
        self.results = [*self.results[1 - _RESULTS :], result]
        if result["ExitCode"] == 0:
            self.status, self.streak = "healthy", 0
        elif self.status != "starting" or since_start >= self.start_period:
            self.streak += 1
            if self.streak >= self.retries:
                self.status = "unhealthy"
        return self.status != before

    def facts(self) -> dict[str, Any]:
        """Gives what `inspect` shows."""
        return {"Status": self.status, "FailingStreak": self.streak, "Log": self.results}


class Health:
    """Checks one container while it runs. `plan` holds the times in seconds and the program as `exec` wants it; `execute` starts one more program in the container."""

    def __init__(self, plan: Mapping[str, Any], monitor: Supervisor, execute: Callable[[dict[str, Any], socket.socket, list[int]], None], tell: Callable[[bool], object]) -> None:
        self._plan, self._monitor, self._execute, self._tell = plan, monitor, execute, tell
        self.verdict = Verdict(plan["retries"], plan["start_period"])
        self._began = time.monotonic()
        self._connection: socket.socket | None = None
        self._reader = -1
        self._output = b""
        self._start = ""
        self._since = self._deadline = 0.0
        self._late = False
        self._wait()

    @property
    def due(self) -> float:
        """Seconds until there is something to do, an hour at most."""
        return min(max(self._deadline - time.monotonic(), 0.0), 3600.0)

    def look(self) -> None:
        """Begins a check, or ends one that takes too long, once it is time."""
        if time.monotonic() < self._deadline:
            return
        if self._connection is None:
            self._check()
            return
        self._late, self._deadline = True, time.monotonic() + 1
        with contextlib.suppress(OSError):
            wire.send(self._connection, {"signal": signal.SIGKILL})

    def stop(self) -> None:
        """Checks no more: the container has ended, or is paused. What is not looked at counts as unhealthy."""
        self._let_go()
        self.verdict.status = "unhealthy"
        self._deadline = float("inf")

    def resume(self) -> None:
        """Goes on after a pause."""
        self._wait()

    def _wait(self) -> None:
        young = self.verdict.status == "starting" and time.monotonic() - self._began < self._plan["start_period"]
        self._deadline = time.monotonic() + self._plan["start_interval" if young else "interval"]

    def _check(self) -> None:
        self._connection, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self._reader, writer = os.pipe()
        self._output, self._late, self._start, self._since = b"", False, now(), time.monotonic() - self._began
        self._deadline = time.monotonic() + self._plan["timeout"]
        os.set_blocking(self._reader, False)
        self._monitor.attend(self._connection.fileno(), self._hear)
        self._monitor.attend(self._reader, self._read)
        self._execute(dict(self._plan["exec"]), theirs, [writer, os.dup(writer)])

    def _read(self) -> None:
        """Takes what the check has written, of which the beginning is kept."""
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self._reader, 1 << 16):
                self._output = (self._output + data)[:_OUTPUT]
            self._monitor.neglect(self._reader)

    def _hear(self) -> None:
        message = None
        with contextlib.suppress(OSError):
            if self._connection:
                message, _ = wire.receive(self._connection)
        if message is not None and "exit" not in message and "failed" not in message:
            return
        if self._late:
            self._take(-1, f"Health check exceeded timeout ({_duration(self._plan['timeout'])})")
        elif message is None:
            self._take(-1, "the check was killed")
        elif "failed" in message:
            self._take(-1, str(message["failed"]))
        else:
            self._read()
            self._take(int(message["exit"]), self._output.decode("utf-8", "replace"))

    def _take(self, code: int, output: str) -> None:
        result = {"Start": self._start, "End": now(), "ExitCode": code, "Output": output}
        self._let_go()
        self._tell(self.verdict.hear(result, self._since))
        self._wait()

    def _let_go(self) -> None:
        if self._connection is None:
            return
        for descriptor in (self._connection.fileno(), self._reader):
            self._monitor.neglect(descriptor)
        self._connection.close()
        os.close(self._reader)
        self._connection = None


def _duration(seconds: float) -> str:
    """Gives a length of time as Go prints it: `500ms`, `1.5s`, `2m0s`."""
    if seconds < 1:
        return f"{seconds * 1000:g}ms"
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    return f"{f'{hours}h' if hours else ''}{f'{minutes}m' if hours or minutes else ''}{rest:g}s"
