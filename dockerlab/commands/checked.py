"""`build --check`: what a Dockerfile's text could do better, as BuildKit lays it out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dockerlab.build.advice import Advice
from dockerlab.widgets import html

__all__ = ["Checked"]

_AROUND = 2


class Checked:
    """The remarks on one file."""

    def __init__(self, advice: Sequence[Advice], text: str, name: str) -> None:
        self.advice, self._lines, self._name = advice, text.split("\n"), name

    def _summary(self) -> str:
        count = len(self.advice)
        return f"Check complete, {count} warning{'s have' if count > 1 else ' has'} been found!" if count else "Check complete, no warnings found."

    def _excerpt(self, line: int) -> list[str]:
        first, last = max(line - _AROUND, 1), min(line + _AROUND, len(self._lines))
        return [f" {number:>3} | {'>>> ' if number == line else '    '}{html.visible(self._lines[number - 1])}" for number in range(first, last + 1)]

    def __str__(self) -> str:
        bar = "-" * 20
        told = [self._summary()]
        for each in self.advice:
            told += ["", f"WARNING: {each.rule}", html.visible(each.message), f"{self._name}:{each.line}", bar, *self._excerpt(each.line), bar]
        return "\n".join(told)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        rows = []
        for each in self.advice:
            text = f"<code>{html.escape(html.visible(self._lines[each.line - 1]))}</code>"
            rows.append(f"<tr>{html.cell(str(each.line))}{html.cell(text)}{html.cell(html.escape(each.rule), tint='changed')}{html.cell(html.escape(html.visible(each.message)))}</tr>")
        return {"text/plain": str(self), "text/html": html.table(["line", "instruction", "rule", "what could be better"], rows, caption=self._summary())}
