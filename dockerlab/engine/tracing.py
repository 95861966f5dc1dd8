"""What a build did, step by step, kept as it happens."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from dockerlab.engine.images import Image
from dockerlab.events import Advised, CacheHit, CacheMiss, Event, LayerCommitted, StepEnded, StepFailed, StepStarted
from dockerlab.oci.digest import short
from dockerlab.widgets import trace as view
from dockerlab.widgets.html import escape

if TYPE_CHECKING:
    from dockerlab.engine import Engine
    from dockerlab.store.images import Record

__all__ = ["Built", "Trace"]


class Trace:
    """The steps of one build; hears events, and shows itself."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.steps: list[view.Step] = []
        self._clock, self._begun = clock, 0.0

    def hear(self, event: Event) -> None:
        """Takes one event in."""
        if isinstance(event, StepStarted):
            state = "base" if event.text[:4].upper() == "FROM" else "running"
            self.steps.append(view.Step(event.number, event.text, state, trigger=event.trigger))
            self._begun = self._clock()
        elif isinstance(event, CacheHit):
            self._change(state="cached", size=0, source=short(event.image) + (f", made by {event.place}" if event.place else ""))
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

    def __str__(self) -> str:
        return view.text(self.steps)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/plain": str(self), "text/html": view.html(self.steps)}


class Built(Image):
    """An image together with the trace of its build; in a notebook it shows both."""

    def __init__(self, engine: Engine, record: Record, trace: Trace) -> None:
        super().__init__(engine, record)
        self.trace = trace

    def _repr_html_(self) -> str:
        name = escape(f"{', '.join(self.tags) or '<none>'} {self.short_id}")
        return f"<details><summary>Image <b>{name}</b> · {escape(view.summary(self.trace.steps))}</summary>{view.html(self.trace.steps)}</details>"
