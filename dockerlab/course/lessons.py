"""A lesson's own store."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dockerlab.errors import InvalidArgument
from dockerlab.widgets.html import escape

if TYPE_CHECKING:
    from dockerlab.engine import Engine

__all__ = ["Lesson", "lesson"]

_TITLES = {1: ("packaging software in images", ("busybox:latest",))}


@dataclass(slots=True)
class Lesson:
    """One lesson: its engine is the one that this notebook's commands speak to."""

    number: int
    title: str
    images: tuple[str, ...]
    engine: Engine = field(repr=False)

    def reset(self) -> Lesson:
        """Brings the lesson's start back: removes all its containers, images, volumes, and makes its images again."""
        for container in self.engine.containers.list(all=True):
            container.remove(force=True, volumes=True)
        for record in self.engine.image_store.records():
            self.engine.image_store.forget(record.id)
        for name in self.engine.volumes.names():
            self.engine.volumes.remove(name)
        for name in self.images:
            self.engine.images.resolve(name)
        shutil.rmtree(self.engine.home / "told", ignore_errors=True)
        return self

    def __str__(self) -> str:
        return f"Lesson {self.number}: {self.title}\nimages at the start: {', '.join(self.images)}\nlab.reset() brings this start back at any time"

    __repr__ = __str__

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        names = escape(", ".join(self.images))
        html = f"<p><b>Lesson {self.number}: {escape(self.title)}</b><br>images at the start: <code>{names}</code><br><code>lab.reset()</code> brings this start back at any time</p>"
        return {"text/plain": str(self), "text/html": html}


def lesson(number: int, *, home: str | Path | None = None) -> Lesson:
    """Opens a lesson at its start; from then on this notebook's commands speak to the lesson's own store. Raises InvalidArgument."""
    from dockerlab.engine import Engine
    from dockerlab.engine.current import use
    from dockerlab.engine.settings import Settings

    if number not in _TITLES:
        raise InvalidArgument(f"there is no lesson {number}", hint=f"open one of {', '.join(map(str, _TITLES))}")
    title, images = _TITLES[number]
    base = Path(home) if home else Settings.find().home
    engine = Engine(base if base.name == f"lesson-{number}" else base / "lessons" / f"lesson-{number}")
    opened = Lesson(number, title, images, engine).reset()
    use(engine)
    return opened
