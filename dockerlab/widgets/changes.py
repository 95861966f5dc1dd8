"""One file's text from layer to layer: what each layer that holds it made of it.

Plain values in, text or HTML out.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dockerlab.widgets.html import cell, escape, table, visible

__all__ = ["Version", "html", "text"]

_MOST = 400
_TINTS = {"+": "added", "-": "deleted", "@": "hidden"}


@dataclass(frozen=True, slots=True)
class Version:
    """What one layer says of the file: `lines` of its text, None where it is deleted or no text, which `word` tells."""

    layer: int
    made_by: str
    lines: tuple[str, ...] | None
    word: str = ""


def text(path: str, versions: Sequence[Version]) -> str:
    """Gives the changes for a terminal, base first."""
    told = [f"{visible(path)}: {len(versions)} layer{'s' * (len(versions) != 1)} hold it"]
    for version, lines in _steps(versions):
        told += ["", f"layer {version.layer}  {visible(version.made_by)[:80]}", *(f"  {visible(line)}" for line in lines)]
    return "\n".join(told)


def html(path: str, versions: Sequence[Version]) -> str:
    """Gives the changes as a table, a layer a group."""
    rows: list[str] = []
    for version, lines in _steps(versions):
        rows.append(f"<tr>{cell(f'layer {version.layer} · <code>{escape(version.made_by[:110])}</code>', tag='th', scope='rowgroup')}</tr>")
        rows += [f"<tr>{cell(_code(line), tint=_TINTS.get(line[:1], 'plain'), style='padding:0 .6em')}</tr>" for line in lines]
    return table([f"<code>{escape(path)}</code>"], rows, caption=f"{path} from layer to layer")


def _code(line: str) -> str:
    return f'<code style="white-space:pre-wrap;background:none">{escape(line)}</code>'


def _steps(versions: Sequence[Version]) -> Iterator[tuple[Version, list[str]]]:
    """Yields each version with the lines of its difference from the one below, or with all of its lines where there is none."""
    before: tuple[str, ...] | None = None
    for version in versions:
        if version.lines is None:
            lines = [version.word]
        elif before is None:
            lines = [f"+{line}" for line in version.lines]
        else:
            lines = list(difflib.unified_diff(before, version.lines, lineterm="", n=2))[2:] or ["the text is the same; mode, owner or time is not"]
        yield version, [*lines[:_MOST], *([f"… {len(lines) - _MOST} more lines"] if len(lines) > _MOST else [])]
        before = version.lines
