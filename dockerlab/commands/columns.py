"""How docker writes values: aligned tables, `--format`, sizes and ages.

    table(["NAME", "SIZE"], [["web", human_size3(1982414)]])

Sources: docker/cli `cli/command/formatter`, docker/go-units, and the Go package text/tabwriter.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from dockerlab.commands.go_text import compact_json, visible
from dockerlab.commands.template import Template

__all__ = ["ellipsis", "escape", "formatted", "human_duration", "human_size", "human_size3", "human_size_binary", "table"]

_CELL, _GAP = 10, 3
_UNITS = ("B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB")
_BIDI = frozenset("\u061c\u200e\u200f\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def table(headers: Sequence[str], rows: Sequence[Sequence[str]], *, least: int = _CELL) -> str:
    """The rows under their headings, one line each, aligned as docker aligns them, columns at least so wide; cells are made safe for a terminal."""
    lines = ["\t".join(map(escape, row)) for row in (headers, *rows)]
    return _aligned("".join(f"{line}\n" for line in lines), least)


def _aligned(text: str, least: int = _CELL) -> str:
    """Go's text/tabwriter with columns at least so wide, a gap of 3 and spaces; the last cell of a line is left as it is."""
    lines = [line.split("\t") for line in text.split("\n")]
    opened: dict[int, list[list[str]]] = {}
    for cells in (*lines, [""]):
        for column in [column for column in opened if column >= len(cells) - 1]:
            _pad(column, opened.pop(column), least)
        for column in range(len(cells) - 1):
            opened.setdefault(column, []).append(cells)
    return "\n".join(map("".join, lines))


def _pad(column: int, block: list[list[str]], least: int) -> None:
    width = max(least, *(len(cells[column]) + _GAP for cells in block))
    for cells in block:
        cells[column] = cells[column].ljust(width)


def formatted(format: str, rows: Sequence[Mapping[str, Any]], headers: Mapping[str, Any], default: str) -> str:
    """What `--format` makes of the rows, a line for each.

    Empty and `table` mean `default`; `json`, `table {{...}}` and a bare template are docker's. A typed `\\t` or `\\n` is a tab or a line
    end. A value may also be a function of strings, for `{{.Label "a"}}`. Raises InvalidArgument for a template that cannot be used.
    """
    text = default if format in ("", "table") else format
    if text.strip() in ("json", "{{json .}}"):
        plain = ({name: row[name] for name in sorted(row) if not callable(row[name])} for row in rows)
        return "".join(compact_json(row, html=True) + "\n" for row in plain)
    titled = text.startswith("table")
    text = text.removeprefix("table").strip() if titled else text
    template = Template.typed(text)
    if not titled:
        return "".join(template.render(row) + "\n" for row in rows)
    safe = [{name: escape(value) if isinstance(value, str) else value for name, value in row.items()} for row in rows]
    headers = {**headers, "Label": lambda name: re.sub("[-_]", " ", name.rpartition(".")[2])}
    return _aligned("".join([template.headings(headers) + "\n", *(template.render(row) + "\n" for row in safe)]))


def human_size(size: float) -> str:
    """Four digits, thousands: `3.072kB`, as in the build context and `system df` (go-units HumanSize)."""
    return _size(size, 4)


def human_size3(size: float) -> str:
    """Three digits, thousands: `1.98MB`, as in `images`, `history` and `ps -s`."""
    return _size(size, 3)


def human_size_binary(size: float) -> str:
    """Four digits, powers of two: `1.952MiB`, as memory in `stats` (go-units BytesSize)."""
    return _size(size, 4, 1024).replace("kB", "KB").replace("B", "iB" if size >= 1024 else "B")


def _size(size: float, digits: int, base: int = 1000) -> str:
    step = 0
    while size >= base and step < len(_UNITS) - 1:
        size, step = size / base, step + 1
    return f"{size:.{digits}g}{_UNITS[step]}"


def human_duration(seconds: float) -> str:
    """The length of time in one unit: `5 minutes`, `About an hour` (go-units HumanDuration)."""
    whole, minutes, hours = int(seconds), int(seconds / 60), int(seconds / 3600 + 0.5)
    if whole < 1:
        return "Less than a second"
    if minutes < 1:
        return "1 second" if whole == 1 else f"{whole} seconds"
    if minutes < 60:
        return "About a minute" if minutes == 1 else f"{minutes} minutes"
    if hours < 48:
        return "About an hour" if hours == 1 else f"{hours} hours"
    for limit, unit, name in ((14, 1, "days"), (60, 7, "weeks"), (730, 30, "months")):
        if hours < 24 * limit:
            return f"{hours // 24 // unit} {name}"
    return f"{int(seconds / 3600) // 24 // 365} years"


def ellipsis(text: str, width: int) -> str:
    """The text in at most so many screen cells, with `…` where it was cut; East Asian wide characters take two."""
    if width <= 1 or _cells(text) <= width:
        return text[:1] if width == 1 else text if width > 1 else ""
    kept, used = 0, 0
    for char in text:
        used += _cells(char)
        if used > width - 1:
            break
        kept += 1
    return text[:kept] + "…"


def _cells(text: str) -> int:
    return len(text) if text.isascii() else sum(1 + (unicodedata.east_asian_width(char) in "WF") for char in text)


def escape(text: str) -> str:
    """The text with everything that could steer a terminal made visible: control characters, ANSI, bidi marks, stray bytes."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(visible(char) if _steers(char) else char for char in text)


def _steers(char: str) -> bool:
    return char in _BIDI or unicodedata.category(char) in ("Cc", "Cs")
