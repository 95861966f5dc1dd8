"""The queue of builds: what waits goes to an Executor (processes of this machine, or any other), what comes back is noted.

A worker says how far it is by HTTP (`worker`), so that it may be anywhere; the queue is in the database, so that a hub that was killed goes on where it was.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import secrets
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

from sqlalchemy import select

from dockerlab.errors import NotFound
from dockerlab.hub.passes import BUILDER, digest
from dockerlab.hub.repositories import located
from dockerlab.hub.rights import Identity
from dockerlab.hub.state import State
from dockerlab.hub.tables import Automation, Build, now
from dockerlab.hub.worker import Job, Limits, execute
from dockerlab.registry.protocol import refusal

__all__ = ["ENDED", "Queue", "local"]

_LIMITS = Limits()
ENDED = ("success", "failed", "superseded")
_LOG = 2 << 20  # bytes; a worker cuts earlier
_SHOWN = 50


def local(workers: int = 1) -> Executor:
    """Gives processes of this machine. They are started anew: a hub has threads, and a fork of those is not safe."""
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"), initializer=_watch_over, initargs=(os.getpid(),))


def _watch_over(hub: int) -> None:
    """Ends a worker whose hub was killed: it would wait for ever, for it holds both ends of what it waits for."""

    def watch() -> None:
        while os.getppid() == hub:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, name="watch", daemon=True).start()


class Queue:
    """A hub's builds. `executor` makes what they run in, also again where it broke."""

    def __init__(self, state: State, folder: Path, *, executor: Callable[[], Executor] = local, limits: Limits = _LIMITS, private: bool = False) -> None:
        self._state, self._folder, self._make, self._limits, self._private = state, folder, executor, limits, private
        self._executor: Executor | None = None
        self._lock, self._hub, self._futures = threading.Lock(), "", set[Future[str]]()
        (folder / "logs").mkdir(parents=True, exist_ok=True)

    def open(self, hub: str) -> None:
        """Begins to hand builds out, to workers that reach the hub at an address; what was under way when the last hub ended begins again."""
        with self._state.writing() as db:
            for build in db.scalars(select(Build).where(Build.state.in_(("queued", "running")))):
                build.state, build.key = "queued", ""
        self._hub = hub
        self.hand_out()

    def close(self) -> None:
        """Hands out no more; what runs is left to its worker's end."""
        with self._lock:
            self._hub = ""
            for future in self._futures:
                future.cancel()
            if self._executor:
                self._executor.shutdown(wait=False)  # not every executor knows cancel_futures
                self._executor = None

    def hand_out(self) -> None:
        """Gives what waits to the executor."""
        with self._lock:
            if not self._hub:
                return
            for job in self._waiting():
                try:
                    future = self._submitted(job)
                except RuntimeError:  # the pool broke: a worker was killed
                    self._executor = None
                    future = self._submitted(job)
                self._futures.add(future)
                future.add_done_callback(lambda done, ident=job.build: self._over(ident, done))  # type: ignore[misc]

    def _submitted(self, job: Job) -> Future[str]:
        self._executor = self._executor or self._make()
        return self._executor.submit(execute, job)

    def _waiting(self) -> list[Job]:
        jobs = []
        with self._state.writing() as db:
            for build in db.scalars(select(Build).where(Build.state == "queued", Build.key == "").order_by(Build.id)):
                automation = db.get(Automation, build.repository_id)
                if automation is None:
                    build.state, build.ended = "superseded", now()
                    continue
                key = secrets.token_urlsafe(32)
                build.key = digest(key)
                owner = build.repository.owner.name
                job = Job(
                    hub=self._hub, build=build.id, user=f"{BUILDER}.{build.id}", key=key, name=f"{build.repository.path}:{build.tag}", source=automation.source, commit=build.commit,
                    dockerfile=build.dockerfile, folder=build.folder, store=str(self._folder / "builders" / owner), private=self._private, limits=replace(self._limits),
                )  # fmt: skip
                jobs.append(job)
        return jobs

    def _over(self, ident: int, done: Future[str]) -> None:
        self._futures.discard(done)
        if done.cancelled():
            return
        error = done.exception()
        with self._state.writing() as db:
            build = db.get(Build, ident)
            if build is None or build.state in ENDED:
                return
            build.state, build.ended, build.key = "failed", now(), ""
        self._write(ident, f"error: the worker ended without a word ({type(error).__name__ if error else 'no result'})\n".encode())

    # What a worker says.

    def _its(self, db: object, ident: int, key: str) -> Build:
        build = db.get(Build, ident)  # type: ignore[attr-defined]
        if build is None or not build.key or not secrets.compare_digest(build.key, digest(key)):
            raise refusal("UNAUTHORIZED")
        return build  # type: ignore[no-any-return]

    def log(self, ident: int, key: str, block: bytes) -> None:
        """Adds to a build's log; raises RegistryError for who is not its worker."""
        self.its(ident, key)
        self._write(ident, block)

    def _write(self, ident: int, block: bytes) -> None:
        with contextlib.suppress(OSError), open(self._place(ident), "ab") as file:
            file.write(block[: max(_LOG - file.tell(), 0)])

    def its(self, ident: int, key: str) -> Build:
        """Gives the build whose worker speaks; raises RegistryError."""
        with self._state.reading() as db:
            return self._its(db, ident, key)

    def report(self, ident: int, key: str, state: str, image: str = "") -> Build:
        """Notes how far a build is: running, success, failed; raises RegistryError."""
        if state not in ("running", "success", "failed"):
            raise refusal("UNSUPPORTED", status=400)
        with self._state.writing() as db:
            build = self._its(db, ident, key)
            build.state = state
            if state == "running":
                build.began = now()
            else:
                build.ended, build.digest, build.key = now(), image[:71], ""
            return build

    # What people look at.

    def _place(self, ident: int) -> Path:
        return self._folder / "logs" / f"{int(ident)}.log"

    def of(self, repository: int) -> list[Build]:
        """Gives a repository's last builds, the newest first."""
        with self._state.reading() as db:
            return list(db.scalars(select(Build).where(Build.repository_id == repository).order_by(Build.id.desc()).limit(_SHOWN)))

    def get(self, identity: Identity, path: str, ident: int) -> tuple[Build, str]:
        """Gives a build with its log; raises NotFound."""
        with self._state.reading() as db:
            _, found, may = located(db, identity, path)
            build = db.get(Build, ident) if ident < 1 << 31 else None
            if found is None or "pull" not in may or build is None or build.repository_id != found.id:
                raise NotFound("no such build", kind="build", name=str(ident))
        try:
            return build, self._place(ident).read_text(errors="replace")
        except FileNotFoundError:
            return build, ""

    def depth(self, actor: str) -> int:
        """Gives how many pushes of base images led to the build that somebody is; 0 for who is none."""
        number = actor.partition(".")[2]
        if not actor.startswith(f"{BUILDER}.") or not number.isdecimal():
            return 0
        with self._state.reading() as db:
            build = db.get(Build, int(number))
            return build.depth if build else 0
