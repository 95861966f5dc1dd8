"""`build --explain`: what a build would do, as a table that shows itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dockerlab.build.foresight import Foreseen
from dockerlab.commands.columns import table
from dockerlab.widgets import html

__all__ = ["Outlook"]

# How many builds make a habit, and how many seconds are worth a word.
_OFTEN, _WORTH = 2, 0.5
_HEAD = ["step", "instruction", "", "cause", "last took"]


class Outlook:
    """The steps of a build that was not done."""

    def __init__(self, steps: Sequence[Foreseen]) -> None:
        self.steps = steps

    @property
    def cost(self) -> float:
        """The seconds that the steps which would be done took the last time, as far as that is known."""
        return sum(step.seconds or 0.0 for step in self.steps if step.cause)

    def _rows(self) -> list[list[str]]:
        return [[str(step.number), _line(step), "again" if step.cause else "cached", html.visible(step.cause or step.remark), _took(step)] for step in self.steps]

    def _summary(self) -> str:
        again = [step for step in self.steps if step.cause]
        if not again:
            return "nothing would be done: every step is there already"
        known = f", which took {self.cost:.1f} s the last time" if any(step.seconds is not None for step in again) else ""
        return f"{len(again)} of {len(self.steps)} steps would be done{known}"

    @property
    def order(self) -> str:
        """Which step had better stand further down, as builds so far have shown; "" for none."""
        blamed = max(self.steps, key=lambda step: step.caused, default=None)
        if blamed is None or blamed.caused < _OFTEN:
            return ""
        below = [step for step in self.steps if step.number > blamed.number and step.last]
        cost = sum(step.last for step in below)
        if cost < _WORTH:
            return ""
        slowest = max(below, key=lambda step: step.last)
        return (
            f"order: a change of what step {blamed.number} reads was why {blamed.caused} builds were not from the cache, and each time the steps below it took their {cost:.1f} s. "
            f"What does not need its files can stand above it: step {slowest.number} ({slowest.last:.1f} s)?"
        )

    def __str__(self) -> str:
        order = f"\n{self.order}" if self.order else ""
        return f"{table([word.upper() for word in _HEAD], self._rows())}{self._summary()}{order}"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        rows = []
        for step, (number, text, state, cause, took) in zip(self.steps, self._rows(), strict=True):
            told = html.cell(state, tint="changed" if step.cause else "seen")
            rows.append(f"<tr>{html.cell(number)}{html.cell(f'<code>{html.escape(text)}</code>')}{told}{html.cell(html.escape(cause))}{html.cell(took)}</tr>")
        head = [html.escape(word or "result") for word in _HEAD]
        return {"text/plain": str(self), "text/html": html.table(head, rows, caption=self._summary()) + (f"<p>{html.escape(self.order)}</p>" if self.order else "")}


def _line(step: Foreseen) -> str:
    return html.visible(" ".join(step.text.split()))[:70]


def _took(step: Foreseen) -> str:
    return "" if step.seconds is None else f"{step.seconds:.1f} s"
