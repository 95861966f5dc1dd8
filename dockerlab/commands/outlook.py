"""`build --explain`: what a build would do, as a table that shows itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dockerlab.build.foresight import Foreseen
from dockerlab.commands.columns import table
from dockerlab.widgets import html

__all__ = ["Outlook"]

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
        return [
            [str(step.number), html.visible(" ".join(step.text.split()))[:70], "again" if step.cause else "cached", html.visible(step.cause), "" if step.seconds is None else f"{step.seconds:.1f} s"]
            for step in self.steps
        ]

    def _summary(self) -> str:
        again = [step for step in self.steps if step.cause]
        if not again:
            return "nothing would be done: every step is there already"
        known = f", which took {self.cost:.1f} s the last time" if any(step.seconds is not None for step in again) else ""
        return f"{len(again)} of {len(self.steps)} steps would be done{known}"

    def __str__(self) -> str:
        return f"{table([word.upper() for word in _HEAD], self._rows())}{self._summary()}"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        rows = []
        for step, (number, text, state, cause, took) in zip(self.steps, self._rows(), strict=True):
            told = html.cell(state, tint="changed" if step.cause else "seen")
            rows.append(f"<tr>{html.cell(number)}{html.cell(f'<code>{html.escape(text)}</code>')}{told}{html.cell(html.escape(cause))}{html.cell(took)}</tr>")
        return {"text/plain": str(self), "text/html": html.table([html.escape(word) for word in _HEAD], rows, caption=self._summary())}
