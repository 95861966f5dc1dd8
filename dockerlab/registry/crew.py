"""Threads that carry blobs, and one queue of what they say, so that whoever listens hears one thing after another."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from dockerlab.errors import Interrupted
from dockerlab.events import Event

__all__ = ["Crew", "Through"]


@dataclass(frozen=True, slots=True)
class Through:
    """A job is done, and all that it said has been heard."""

    job: Future[Any]


class Crew:
    """So many threads at most. They are daemons: a server that does not answer keeps nobody who wants to go."""

    def __init__(self, width: int) -> None:
        self._said: queue.SimpleQueue[Event | Through] = queue.SimpleQueue()
        self._jobs: queue.SimpleQueue[tuple[Future[Any], Callable[..., Any], tuple[Any, ...]] | None] = queue.SimpleQueue()
        self._width, self._threads, self._open = width, 0, 0
        self.stopped = threading.Event()

    def say(self, event: Event) -> None:
        """Says what happened, from any thread; raises Interrupted in a thread that is to stop."""
        self.check()
        self._said.put(event)

    def check(self) -> None:
        """Raises Interrupted where the work is not wanted any more."""
        if self.stopped.is_set():
            raise Interrupted("the transfer was stopped")

    def begin(self, job: Callable[..., Any], *words: Any) -> Future[Any]:
        """Has a job done by the next free thread."""
        future: Future[Any] = Future()
        self._open += 1
        self._jobs.put((future, job, words))
        if self._threads < self._width:
            self._threads += 1
            threading.Thread(target=self._work, name="transfer", daemon=True).start()
        return future

    def _work(self) -> None:
        while (given := self._jobs.get()) is not None:
            future, job, words = given
            try:
                self.check()
                future.set_result(job(*words))
            except BaseException as error:
                future.set_exception(error)
            self._said.put(Through(future))

    def heard(self) -> Iterator[Event | Through]:
        """Yields what is said until all jobs are done; the first that fails ends it with its error."""
        while self._open:
            event = self._said.get()
            if isinstance(event, Through):
                self._open -= 1
                event.job.result()
            yield event

    def end(self) -> None:
        """Lets nobody begin or try anything any more."""
        self.stopped.set()
        for _ in range(self._threads):
            self._jobs.put(None)
