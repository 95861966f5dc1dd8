"""What a build did, step by step, kept as it happens."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from dockerlab.build.reasons import origin
from dockerlab.engine.images import Image
from dockerlab.events import Advised, CacheHit, CacheMiss, Event, LayerCommitted, StepEnded, StepFailed, StepStarted
from dockerlab.widgets import trace as view

if TYPE_CHECKING:
    from dockerlab.engine import Engine
    from dockerlab.store.images import Record

__all__ = ["Built", "Folded", "Trace"]


@dataclass(frozen=True, slots=True)
class Folded:
    """The steps of a build so far under one line, and what its image is called once there is one."""

    steps: tuple[view.Step, ...]
    total: int
    image: str

    def __str__(self) -> str:
        return view.summary(self.steps, self.total)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/plain": str(self), "text/html": view.folded(self.steps, self.total, self.image)}


class Trace:
    """The steps of one build, of `total` that it has; hears events, and shows itself."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.steps: list[view.Step] = []
        self.total = 0
        self._clock, self._begun = clock, 0.0

    def hear(self, event: Event) -> None:
        """Takes one event in."""
        if isinstance(event, StepStarted):
            state = "base" if event.text[:4].upper() == "FROM" else "running"
            self.steps.append(view.Step(event.number, event.text, state, trigger=event.trigger))
            self._begun, self.total = self._clock(), event.total
        elif isinstance(event, CacheHit):
            self._change(state="cached", size=0, source=origin(event.image, event.place))
        elif isinstance(event, CacheMiss):
            self._change(cause=event.reason)
        elif isinstance(event, LayerCommitted):
            self._change(size=event.size)
        elif isinstance(event, StepEnded) and self.steps[-1].state == "running":
            self._change(state="done", seconds=self._clock() - self._begun)
        elif isinstance(event, StepFailed):
            self._change(state="failed", seconds=self._clock() - self._begun)
        elif isinstance(event, Advised) and self.steps:
            self._change(remarks=(*self.steps[-1].remarks, (event.rule, event.message)))

    def _change(self, **facts: Any) -> None:
        self.steps[-1] = replace(self.steps[-1], **facts)

    def folded(self, image: Image | None = None) -> Folded:
        """Gives the steps so far, or those that made `image`."""
        return Folded(tuple(self.steps), self.total, f"{', '.join(image.tags) or '<none>'} {image.short_id}" if image else "")

    def __str__(self) -> str:
        return view.text(self.steps, self.total)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/plain": str(self), "text/html": view.html(self.steps, self.total)}


class Built(Image):
    """An image together with the trace of its build; in a notebook it shows both."""

    def __init__(self, engine: Engine, record: Record, trace: Trace) -> None:
        super().__init__(engine, record)
        self.trace = trace

    def _repr_html_(self) -> str:
        return self.trace.folded(self)._repr_mimebundle_()["text/html"]
