"""The queue of builds: what waits goes to an Executor (processes of this machine, or any other), what comes back is noted.

A worker says how far it is by HTTP (`worker`), so that it may be anywhere; the queue is in the database, so that a hub that was killed goes on where it was.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from datetime import timedelta
from pathlib import Path

from sqlalchemy import delete, select
from sqlalchemy.orm import Session as Db

from dockerlab.errors import NotFound
from dockerlab.hub.passes import BUILDER, digest
from dockerlab.hub.repositories import located
from dockerlab.hub.rights import Identity
from dockerlab.hub.state import State
from dockerlab.hub.tables import Audit, Automation, Build, Heard, now
from dockerlab.hub.worker import SOURCES, Job, Limits, execute
from dockerlab.registry.protocol import refusal

__all__ = ["ENDED", "Queue", "local"]

_LIMITS = Limits()
ENDED = ("success", "failed", "superseded")
_LOG = 2 << 20  # bytes; a worker cuts earlier
_SHOWN, _TRIES = 50, 2
_REMEMBERED = timedelta(days=365)


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
    """A hub's builds. `executor` makes what they run in, also again where it broke; it is given no more than `workers` at a time.

    `registry` is where images go, where that is another one than the hub, and `front` where the hub grants its tokens.
    """

    def __init__(
        self, state: State, folder: Path, *, executor: Callable[[], Executor] = local, limits: Limits = _LIMITS, private: bool = False, workers: int = 1,
        registry: str = "", front: str = "",
    ) -> None:  # fmt: skip
        self._state, self._folder, self._make, self._limits, self._private, self._workers = state, folder, executor, limits, private, workers
        self._registry, self._front = registry, front
        self._executor: Executor | None = None
        self._lock, self._hub, self._futures = threading.RLock(), "", dict[int, Future[str]]()
        self._tries: dict[int, int] = {}
        (folder / "logs").mkdir(parents=True, exist_ok=True)

    def open(self, hub: str) -> None:
        """Begins to hand builds out, to workers that reach the hub at an address; what was under way when the last hub ended begins again."""
        with self._state.writing() as db:
            db.execute(delete(Audit).where(Audit.at < now() - _REMEMBERED))
            db.execute(delete(Heard).where(Heard.at < now() - _REMEMBERED))
            for build in db.scalars(select(Build).where(Build.state.in_(("queued", "running")))):
                build.state, build.key = "queued", ""
        self._cleared()
        self._hub = hub
        self.hand_out()

    def close(self) -> None:
        """Hands out no more and ends what runs here: the next hub begins it again."""
        with self._lock:
            self._hub = ""
            futures, executor, self._executor = list(self._futures.values()), self._executor, None
        for future in futures:
            future.cancel()
        for process in list((getattr(executor, "_processes", None) or {}).values()):  # a pool would wait for the end of a build
            process.terminate()
        self._cleared()
        if executor:
            executor.shutdown(wait=False)  # not every executor knows cancel_futures

    def _cleared(self) -> None:
        """Takes away what builds that were ended have left: sources, and keys that are good for nothing any more."""
        shutil.rmtree(self._folder / "builders" / SOURCES, ignore_errors=True)

    def hand_out(self) -> None:
        """Gives what waits to the executor, as far as workers are free."""
        with self._lock:
            while self._hub and len(self._futures) < self._workers and (job := self._next()):
                try:
                    future = self._submitted(job)
                except RuntimeError:  # the pool broke: a worker was killed
                    self._executor = None
                    future = self._submitted(job)
                self._futures[job.build] = future
                future.add_done_callback(lambda done, ident=job.build: self._over(ident, done))  # type: ignore[misc]

    def _submitted(self, job: Job) -> Future[str]:
        self._executor = self._executor or self._make()
        return self._executor.submit(execute, job)

    def _next(self) -> Job | None:
        """Gives the job of the first build that waits; two of one image tag never run at the same time, or the older might be published last."""
        with self._state.writing() as db:
            busy = {(build.repository_id, build.tag) for build in db.scalars(select(Build).where(Build.key != "", Build.state.in_(("queued", "running"))))}
            for build in db.scalars(select(Build).where(Build.state == "queued", Build.key == "").order_by(Build.id)):
                automation = db.get(Automation, build.repository_id)
                if automation is None or not automation.active:
                    build.state, build.ended = "superseded", now()
                elif (build.repository_id, build.tag) not in busy:
                    return self._job(build, automation.source)
        return None

    def _job(self, build: Build, source: str) -> Job:
        key = secrets.token_urlsafe(32)
        build.key = digest(key)
        return Job(
            hub=self._hub, build=build.id, user=f"{BUILDER}.{build.id}", key=key, name=f"{build.repository.path}:{build.tag}", source=source, commit=build.commit,
            dockerfile=build.dockerfile, folder=build.folder, store=str(self._folder / "builders" / build.repository.owner.name), private=self._private, limits=self._limits,
            registry=self._registry, front=self._front,
        )  # fmt: skip

    def _over(self, ident: int, done: Future[str]) -> None:
        """Notes that a worker is through with a build; one that was killed before it had begun is not the build's fault."""
        with self._lock:
            self._futures.pop(ident, None)
            if not self._hub:
                return
        error = None if done.cancelled() else done.exception()
        with self._state.writing() as db:
            build = db.get(Build, ident)
            if build is not None and build.state in ("queued", "running"):
                again = build.state == "queued" and self._tries.setdefault(ident, 0) < _TRIES
                self._tries[ident] = self._tries.get(ident, 0) + 1
                build.key = ""
                if not again:
                    build.state, build.ended = "failed", now()
                    self._write(ident, f"error: the worker ended without a word ({type(error).__name__ if error else 'no result'})\n".encode())
        self.hand_out()

    # What a worker says.

    @staticmethod
    def _its(db: Db, ident: int, key: str) -> Build:
        build = db.get(Build, ident)
        if build is None or not build.key or not secrets.compare_digest(build.key, digest(key)):
            raise refusal("UNAUTHORIZED")
        return build

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
            if build.state in ENDED:
                raise refusal("DENIED", message=f"the build is {build.state}", status=409)
            build.state = state
            if state == "running":
                build.began = now()
            else:
                build.ended, build.digest, build.key = now(), image[:71], ""
            return build

    # What people look at.

    def _place(self, ident: int) -> Path:
        return self._folder / "logs" / f"{int(ident)}.log"

    def of(self, repository: int, *, limit: int | None = _SHOWN) -> list[Build]:
        """Gives a repository's last builds, the newest first."""
        with self._state.reading() as db:
            return list(db.scalars(select(Build).where(Build.repository_id == repository).order_by(Build.id.desc()).limit(limit)))

    def forget(self, builds: Iterable[int]) -> None:
        """Takes logs away."""
        for ident in builds:
            self._place(ident).unlink(missing_ok=True)

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
