"""What a push or a pull did, kept as it happens; it shows itself."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

from dockerlab.events import Event, HttpExchange, LayerStatus, TransferEnded, TransferStarted
from dockerlab.widgets import transfer as view

__all__ = ["Compared", "Transfer"]

_FIRST, _AT_LAST = ("Preparing", "Pulling fs layer", "Waiting"), {"Verifying Checksum", "Download complete"}


class Transfer:
    """One transfer, `way` push or pull. `hear` takes the events of `Distribution.push` or `pull`, `heard` the exchanges, from whichever thread."""

    def __init__(self, name: str, way: str = "push") -> None:
        self._story, self._lock = view.Story(way, name), threading.Lock()
        self._rows: dict[str, view.Row] = {}
        self._exchanges: list[HttpExchange] = []

    def heard(self, event: Event) -> None:
        """Takes an exchange in."""
        if isinstance(event, HttpExchange):
            with self._lock:
                self._exchanges.append(event)

    def hear(self, event: Event) -> None:
        """Takes an event in."""
        if isinstance(event, TransferStarted):
            self._story = replace(self._story, way=event.way)
        elif isinstance(event, LayerStatus) and event.status not in _AT_LAST:
            label = event.layer or "config"
            status = f"{event.status} {event.note}".strip()
            self._rows[label] = view.Row(label, status, event.size, event.sent)
        elif isinstance(event, TransferEnded):
            self._rows["manifest"] = view.Row("manifest", event.tag, event.size, event.size)
            self._story = replace(self._story, digest=event.digest)

    @property
    def story(self) -> view.Story:
        """All of it so far, as plain values."""
        with self._lock:
            exchanges = tuple(self._exchanges)
        rows = [replace(row, exchanges=tuple(self._about(row, exchanges))) for row in self._rows.values()]
        return replace(self._story, rows=tuple(rows), exchanges=exchanges)

    def _about(self, row: view.Row, exchanges: tuple[HttpExchange, ...]) -> list[tuple[str, int]]:
        return [(each.method, each.status) for each in exchanges if each.about == row.label or (row.label == "manifest" and each.about.startswith("manifest"))]

    def beside(self, other: Transfer) -> Compared:
        """Gives this one and another side by side."""
        return Compared(self, other)

    def __str__(self) -> str:
        return view.text(self.story)

    def __repr__(self) -> str:
        return f"<{view.summary(self.story)}>"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/plain": str(self), "text/html": view.html(self.story)}


class Compared:
    """Two transfers side by side."""

    def __init__(self, first: Transfer, second: Transfer) -> None:
        self._first, self._second = first, second

    def __str__(self) -> str:
        rows = [["", view.summary(self._first.story), view.summary(self._second.story)]]
        known = [{row.label: row.status for row in each.story.rows} for each in (self._first, self._second)]
        rows += [[label, known[0].get(label, "not in it"), known[1].get(label, "not in it")] for label in dict.fromkeys([*known[0], *known[1]])]
        rows.append(["exchanges", *(str(len(each.story.exchanges)) for each in (self._first, self._second))])
        return "\n".join(view.aligned(rows))

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/plain": str(self), "text/html": view.compared(self._first.story, self._second.story)}
