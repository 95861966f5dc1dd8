"""A lesson's own store."""

from __future__ import annotations

import contextlib
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dockerlab.course.indoors import Indoors
from dockerlab.engine.images import now
from dockerlab.errors import DockerlabError, InvalidArgument, NotSupportedHere
from dockerlab.oci.digest import digest_of
from dockerlab.oci.manifest import Manifest
from dockerlab.oci.reference import Reference
from dockerlab.widgets.html import escape

if TYPE_CHECKING:
    from dockerlab.course.hubs import LessonHub
    from dockerlab.engine import Engine

__all__ = ["Lesson", "lesson"]

# (lesson, part): its title, and the images that it begins with.
_TITLES = {
    (1, 1): ("packaging software in images", ("busybox:latest",)),
    (1, 2): ("packaging software in images, part two", ("busybox:latest", "ubuntu:latest")),
    (1, 3): ("packaging software in images, part three", ("busybox:latest",)),
    (2, 1): ("build automation", ("busybox:latest",)),
    (3, 1): ("software distribution", ("busybox:latest", "registry:2")),
    (3, 2): ("software distribution, part two: a hub", ("busybox:latest",)),
    (2, 2): ("build automation, part two", ("busybox:latest", "ubuntu:latest")),
}

# The ports at which a lesson listens, and whether others will do.
_PORTS = {(3, 1): ((5000, 5001, 5002), False), (3, 2): ((8088,), True)}
_opened: Lesson | None = None


@dataclass(slots=True)
class Lesson:
    """One lesson: its engine is the one that this notebook's commands speak to."""

    number: int
    title: str
    images: tuple[str, ...]
    engine: Engine = field(repr=False)
    note: str = ""
    _indoors: Indoors | None = field(default=None, repr=False)
    _hub: LessonHub | None = field(default=None, repr=False)

    def hub(self, port: int = 8088) -> LessonHub:
        """Gives the lesson's own hub, begun anew after a reset, which from now on stands in Docker Hub's place for this notebook's commands.

        Another port is taken where this one is not free. Raises NotSupportedHere.
        """
        try:
            from dockerlab.course.hubs import LessonHub
        except ImportError as error:
            raise NotSupportedHere(f"a hub needs {error.name}, which is not installed", reason="packages", hint="pip install 'dockerlab[hub]', then restart the kernel") from error
        if self._hub is None:
            self._hub = LessonHub(self.engine.home / "hub", port)
        return self._hub

    def go_indoors(self, ports: tuple[int, ...], any_port: bool) -> None:
        """Has sockets stand for the lesson's ports where these cannot be had, or once they cannot; `note` says so where it is so already."""
        runtime = self.engine.settings.runtime
        for left in runtime.glob("ports-*"):  # by a kernel that was killed
            if not Path("/proc", left.name.partition("-")[2]).exists():
                shutil.rmtree(left, ignore_errors=True)
        with contextlib.suppress(OSError):  # then the lesson does as well as it can
            self._indoors = Indoors(runtime / f"ports-{os.getpid()}", ports, any_port=any_port)
        if self._indoors and self._indoors.why:
            named = f"ports {', '.join(map(str, ports[:-1]))} and {ports[-1]}" if len(ports) > 1 else f"port {ports[0]}"
            self.note = f"the {named} cannot be had here ({self._indoors.why}): in this lesson sockets stand for them, which docker and curl (by http) in this notebook find"

    def close(self) -> None:
        """Ends the lesson's hub, and gives its ports back."""
        if self._hub:
            self._hub.stop()
            self._hub = None
        if self._indoors:
            self._indoors.close()
            self._indoors = None

    def reset(self) -> Lesson:
        """Brings the lesson's start back: removes all its containers, images, volumes and networks, and its hub, and makes its images again."""
        if self._hub:
            self._hub.stop()
            self._hub = None
        shutil.rmtree(self.engine.home / "hub", ignore_errors=True)
        for container in self.engine.containers.list(all=True):
            container.remove(force=True, volumes=True)
        store, made = self.engine.image_store, self._made_before()
        for record in store.records():
            store.forget(record.id)
        for name, (raw, manifest) in made.items():
            store.add(raw, manifest, name=Reference.parse(name), when=now())
        for name in self.engine.volume_store.names():
            self.engine.volume_store.remove(name)
        self.engine.networks.prune(lambda labels, created: True)
        for name in self.images:
            self.engine.images.resolve(name)
        shutil.rmtree(self.engine.home / "told", ignore_errors=True)
        return self

    def _made_before(self) -> dict[str, tuple[bytes, Manifest]]:
        """Gives the lesson's images that still are as a recipe made them: a whole distribution takes a while."""
        found, store = {}, self.engine.image_store
        for name in self.images:
            with contextlib.suppress(DockerlabError):
                record = store.find(name)
                config = store.config(record.id)
                if all((entry.created_by or "").startswith("dockerlab recipe: ") for entry in config.history):
                    found[name] = config.encode(), store.manifest(record)
        return {name: kept for name, kept in found.items() if str(digest_of(kept[0])) == str(store.find(name).id)}

    def __str__(self) -> str:
        note = f"\nnote: {self.note}" if self.note else ""
        return f"Lesson {self.number}: {self.title}\nimages at the start: {', '.join(self.images)}\nlab.reset() brings this start back at any time{note}"

    __repr__ = __str__

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        names, note = escape(", ".join(self.images)), f"<br>note: {escape(self.note)}" if self.note else ""
        html = f"<p><b>Lesson {self.number}: {escape(self.title)}</b><br>images at the start: <code>{names}</code><br><code>lab.reset()</code> brings this start back at any time{note}</p>"
        return {"text/plain": str(self), "text/html": html}


def lesson(number: int, *, part: int = 1, home: str | Path | None = None) -> Lesson:
    """Opens a lesson, or one part of it, at its start; from then on this notebook's commands speak to the lesson's own store. Raises InvalidArgument."""
    global _opened
    from dockerlab.engine import Engine
    from dockerlab.engine.current import use
    from dockerlab.engine.settings import Settings

    if (number, part) not in _TITLES:
        known = ", ".join(f"lesson({lesson})" if part == 1 else f"lesson({lesson}, part={part})" for lesson, part in _TITLES)
        raise InvalidArgument(f"there is no lesson {number}, part {part}", hint=f"open one of {known}")
    title, images = _TITLES[number, part]
    base = Path(home) if home else Settings.find().home
    own = f"lesson-{number}" if part == 1 else f"lesson-{number}-part-{part}"
    engine = Engine(base if base.name == own else base / "lessons" / own)
    if _opened:
        _opened.close()
    opened = Lesson(number, title, images, engine).reset()  # which frees the ports that this lesson had before
    if ports := _PORTS.get((number, part)):
        opened.go_indoors(*ports)
    _opened = opened
    use(engine)
    return opened
