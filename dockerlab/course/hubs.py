"""A lesson's own hub: in this process, with people who are made in a cell, and builds that a cell can follow."""

from __future__ import annotations

import atexit
import os
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from dockerlab.errors import InvalidArgument, NotFound
from dockerlab.hub.app import Hub
from dockerlab.hub.queue import ENDED
from dockerlab.hub.rights import Identity
from dockerlab.hub.tables import Build
from dockerlab.hub.worker import Limits
from dockerlab.linux import dialling, loopback
from dockerlab.registry.serving import Listening, Running
from dockerlab.widgets.html import attribute, cell, escape, table, visible

__all__ = ["Builds", "LessonHub"]

_VARIABLE = "DOCKERLAB_HUB"
_COST = 8  # bcrypt's: a lesson's passwords are no secrets, and a visitor's processor is slow
_LOOK = 0.1  # seconds
_PATIENCE = 300.0
_SOCKET = "a socket, which docker and curl in this notebook find, and no browser"


class LessonHub(Hub):
    """A hub at a port of this machine. While it runs, names without a registry mean this hub: $DOCKERLAB_HUB says so to every command of this notebook.

    `web` is a urllib3.PoolManager that finds it, also where its port is a socket.
    """

    def __init__(self, folder: Path, port: int) -> None:
        super().__init__(folder, cost=_COST, private=True, limits=Limits(seconds=120, memory="512m"))
        try:
            self._running = Running(self, Listening(port=port, threads=8))
        except InvalidArgument:
            self._running = Running(self, Listening(port=0, threads=8))
        self.place = f"http://localhost:{self._running.port}"
        self.open(f"http://127.0.0.1:{self._running.port}")
        os.environ[_VARIABLE] = self.place
        self.web = dialling.guarded(private=True)
        self._stopped, self._stands_in = False, loopback.stand_in("localhost", self._running.port)
        atexit.register(self.stop)

    def stop(self) -> None:
        """Ends the hub; names mean Docker Hub again."""
        if self._stopped:
            return
        self._stopped = True
        atexit.unregister(self.stop)
        if os.environ.get(_VARIABLE) == self.place:
            del os.environ[_VARIABLE]
        self.queue.close()  # a worker that finds no hub any more would tell that its build has failed
        self._running.stop()
        self.close()

    def person(self, name: str, password: str) -> Identity:
        """Gives a user, made where there is none. Raises InvalidArgument for a name or a password that will not do, or is not the one."""
        try:
            self.people.get(name)
        except NotFound:
            return self.people.add(name, password)
        known = self.people.login(name, password)
        if known is None:
            raise InvalidArgument(f"{name} has another password")
        return known

    def builds(self, person: Identity, path: str) -> Builds:
        """Gives a repository's builds, the newest first; raises NotFound."""
        found = self.repositories.get(person, path)
        return Builds(path, tuple(self.queue.of(found.id)))

    def lines(self, person: Identity, path: str) -> Iterator[str]:
        """Yields the lines of a repository's newest build as they come, until it has ended; raises NotFound."""
        found = self.repositories.get(person, path)
        builds, shown, until = self.queue.of(found.id), 0, time.monotonic() + _PATIENCE
        if not builds:
            raise NotFound(f"nothing of {path} was built yet", kind="build", name=path, hint="push its source")
        newest = builds[0]
        while time.monotonic() < until:
            build, log = self.queue.get(person, path, newest.id)
            lines = log.splitlines()
            whole = lines if build.state in ENDED or log.endswith("\n") else lines[:-1]
            yield from whole[shown:]
            shown = len(whole)
            if build.state in ENDED:
                return
            time.sleep(_LOOK)

    def follow(self, person: Identity, path: str) -> str:
        """Shows a repository's newest build while it goes on, and gives its last state."""
        for line in self.lines(person, path):
            sys.stdout.write(visible(line) + "\n")
        return self.builds(person, path).builds[0].state

    def wait(self, person: Identity, path: str) -> str:
        """Gives the last state of a repository's newest build, once it has ended."""
        for _ in self.lines(person, path):
            pass
        return self.builds(person, path).builds[0].state

    def __str__(self) -> str:
        where = f"{self.place} ({_SOCKET})" if self._stands_in else self.place
        return f"hub at {where}\nwhile it runs, names without a registry mean this hub: docker push NAME/IMAGE comes here"

    __repr__ = __str__

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        place = attribute(self.place)
        shown = f"{place} ({_SOCKET})" if self._stands_in else f'<a href="{place}">{place}</a>'
        html = f'<p><b>hub</b> at {shown}<br>while it runs, names without a registry mean this hub: <code>docker push NAME/IMAGE</code> comes here</p>'
        return {"text/plain": str(self), "text/html": html}


_GLYPHS = {"success": "✓", "failed": "✗", "running": "…", "queued": "·", "superseded": "–"}


class Builds:
    """A repository's builds; it shows itself."""

    def __init__(self, path: str, builds: tuple[Build, ...]) -> None:
        self.path, self.builds = path, builds

    def _rows(self) -> list[tuple[str, ...]]:
        return [(str(each.id), f"{_GLYPHS[each.state]} {each.state}", each.tag, each.commit[:12], each.cause, _seconds(each.began, each.ended)) for each in self.builds]

    def __str__(self) -> str:
        return "\n".join([f"builds of {self.path}", *("  ".join(row) for row in self._rows())])

    __repr__ = __str__

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        body = ["<tr>" + "".join(cell(escape(value)) for value in row) + "</tr>" for row in self._rows()]
        html = table(["build", "state", "image tag", "commit", "because of", "time"], body, caption=f"builds of {self.path}")
        return {"text/plain": str(self), "text/html": html}


def _seconds(began: datetime | None, ended: datetime | None) -> str:
    return f"{(ended - began).total_seconds():.1f} s" if began and ended else "–"
