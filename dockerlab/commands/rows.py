"""Lists that show themselves: docker's table for a terminal, a table for a notebook."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from dockerlab.commands.columns import formatted, human_duration
from dockerlab.commands.go_text import Time, as_json
from dockerlab.oci import dates
from dockerlab.widgets.html import cell, escape, table

__all__ = ["Rows", "Text", "ago", "moment"]


def ago(text: str) -> str:
    """Gives `2 hours ago`."""
    return human_duration((datetime.now(UTC) - dates.moment(text)).total_seconds()) + " ago"


def moment(text: str) -> str:
    """Gives `2026-11-24 14:19:16 +0000 UTC`."""
    return str(Time(f"{text[:19]}Z"))


class Text:
    """Text that a notebook shows as it is."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __str__(self) -> str:
        return self.text

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/plain": self.text}


class Rows:
    """Rows of one list. `--format` decides how they show; `raw` is what its word of that name stands for."""

    def __init__(self, rows: Sequence[Mapping[str, Any]], headers: Mapping[str, str], *, default: str, format: str = "", caption: str = "", raw: str = "") -> None:
        self.rows, self._headers, self._default, self._format, self._caption = rows, headers, default, raw if raw and format == "raw" else format, caption

    def __str__(self) -> str:
        return formatted(self._format, self.rows, self._headers, self._default).removesuffix("\n")

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Any:
        return iter(self.rows)

    def _columns(self) -> list[str]:
        return [part.strip("{}. ") for part in self._default.removeprefix("table ").replace("\\t", "\t").split("\t")]

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        if self._format:
            return {"text/plain": str(self)}
        names = self._columns()
        body = ["<tr>" + "".join(cell(escape(row[name])) for name in names) + "</tr>" for row in self.rows]
        head = [escape(self._headers.get(name, name)) for name in names]
        return {"text/plain": str(self), "text/html": table(head, body, caption=self._caption or f"{len(self.rows)} rows")}


def indented(value: Any) -> str:
    """Gives JSON as docker indents it."""
    return json.dumps(as_json(value), indent=4, ensure_ascii=False)
