"""The set-id view of two images side by side: what gave rights before, and what of it still does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dockerlab.widgets import setid
from dockerlab.widgets.html import cell, escape, table, visible

if TYPE_CHECKING:
    from ipywidgets import VBox

__all__ = ["STATES", "Change", "html", "stepper", "summary", "text"]

# What became of a file, with its glyph and tint: worst first.
_WIDE = 120  # characters of what became of a file, in a line
STATES = {"acts now": ("+", "deleted"), "still acts": ("=", "deleted"), "acts otherwise": ("~", "changed"), "acts no more": ("✓", "added")}


@dataclass(frozen=True, slots=True)
class Change:
    """One file that gives rights in one of two images.

    Its `state`; its mode in each as ls(1) writes it, "gone" where it is not there; its owner, what it gives and to whom, in the later one where it acts there; `how` it acts
    otherwise than before; and by which layer with its instruction ("" where no layer of the later image did it).
    """

    path: str
    state: str
    what: str
    before: str
    after: str
    owner: str
    who: str
    gives: str
    how: str = ""
    by: str = ""


def summary(before: str, after: str, changes: Sequence[Change]) -> str:
    """Gives the first line; `before` and `after` are the images' names."""
    counts = {state: sum(change.state == state for change in changes) for state in STATES}
    told = ", ".join(f"{count} {state if count == 1 else state.replace('acts', 'act')}" for state, count in counts.items() if count)
    return f"{before} → {after}: {told or 'no file gives rights in either'}"


def text(before: str, after: str, changes: Sequence[Change]) -> str:
    """Gives the comparison for a terminal."""
    lines = [visible(summary(before, after, changes))]
    wide = min(max((len(visible(change.path)) for change in changes), default=0), 48)
    for change in changes:
        start = f"{STATES[change.state][0]} {change.state:<14}  {visible(change.path):<{wide}}"
        lines.append(f"{start}  {visible(change.what):<16} {change.before:<10} → {change.after:<10}  {visible('; '.join(filter(None, (change.how, change.by))))[:_WIDE]}".rstrip())
    return "\n".join(lines)


def html(before: str, after: str, changes: Sequence[Change]) -> str:
    """Gives the comparison as one table."""
    told = summary(before, after, changes)
    if not changes:
        return f"<p>{escape(told)}</p>"
    return table(["file", "gives", escape(before), escape(after), "what became of it", "who may use it, and what for"], map(_row, changes), caption=told)


def _row(change: Change) -> str:
    glyph, tint = STATES[change.state]
    modes = [f'<code style="white-space:nowrap">{escape(mode)}</code>' for mode in (change.before, change.after)]
    became = f"{glyph} {escape(change.state)}{': ' * bool(change.how)}{escape(change.how)}" + (f", by {escape(change.by)}" if change.by else "")
    use = f"{'was: ' * (change.state == 'acts no more')}{escape(change.who)}: {escape(change.gives)}"
    return f"<tr>{cell(f'<code>{escape(change.path)}</code>')}{cell(escape(change.what))}{cell(modes[0])}{cell(modes[1])}{cell(became, tint=tint)}{cell(use)}</tr>"


def stepper(before: setid.Scan, after: setid.Scan, changes: Sequence[Change]) -> VBox:
    """Gives both views and the comparison, one at a time; it works after the kernel is gone, since the browser links choice and page."""
    import ipywidgets

    choice = ipywidgets.ToggleButtons(options=["side by side", "before", "after"], index=0)
    pages = [ipywidgets.HTML(page) for page in (html(before.title, after.title, changes), setid.html(before), setid.html(after))]
    shown = ipywidgets.Stack(pages, selected_index=0)
    ipywidgets.jslink((choice, "index"), (shown, "selected_index"))
    return ipywidgets.VBox([choice, shown])
