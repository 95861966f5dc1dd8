"""`run --explain`: every kernel call of a container's first process, as a table that shows itself."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from dockerlab.commands.columns import table
from dockerlab.widgets import html

__all__ = ["Explanation"]

_HEAD = ["#", "line", "time", "result", "call"]


class Explanation:
    """The calls in their order: where `runtime/init.py`, or for a host without mounts `runtime/confined.py`, makes each, how long it took, what the kernel said."""

    def __init__(self, calls: Sequence[tuple[str, list[str], int, int, int, str]]) -> None:
        self.calls = calls

    def _rows(self) -> list[list[str]]:
        return [
            [str(number), f"{file}:{line}", f"{spent} µs", os.strerror(code) if code else "ok", f"{name}({', '.join(args)})"]
            for number, (name, args, code, spent, line, file) in enumerate(self.calls, 1)
        ]

    def __str__(self) -> str:
        return table([word.upper() for word in _HEAD], self._rows()).rstrip("\n")

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        body = []
        for number, line, spent, result, call in self._rows():
            mark = html.cell(f"✓ {result}" if result == "ok" else f"✕ {html.escape(result)}", tint="added" if result == "ok" else "deleted")
            body.append(f"<tr>{html.cell(number)}{html.cell(line)}{html.cell(spent)}{mark}{html.cell(f'<code>{html.escape(call)}</code>')}</tr>")
        total = sum(call[3] for call in self.calls)
        caption = f"{len(self.calls)} kernel calls made this container, in {total / 1000:.1f} ms; each is a line of dockerlab/runtime"
        return {"text/plain": str(self), "text/html": html.table(_HEAD, body, caption=caption)}
