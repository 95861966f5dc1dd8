"""The set-id view: files that give rights to whoever runs them, and what became of those in earlier layers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING

from dockerlab.widgets.html import cell, escape, table, visible

if TYPE_CHECKING:
    from ipywidgets import VBox

__all__ = ["GROUPINGS", "Row", "Scan", "brought", "ended", "html", "stepper", "text"]

_WORDS = {"acts": "acts", "cleared": "cleared later", "deleted": "deleted later", "replaced": "replaced later"}
GROUPINGS = ("what became of it", "layer")
_TRAITS = ("capabilities", "no sticky bit", "set-gid", "set-uid", "world-writable")
_TINTS = {"acts": "deleted", "cleared": "hidden", "deleted": "hidden", "replaced": "hidden"}


@dataclass(frozen=True, slots=True)
class Row:
    """One file: `what` it gives as words, `mode` as ls(1) writes it, `owner` as user:group, `size` in docker's units, the layer that brought it, that layer's
    instruction and where it stands (FILE:LINE, "" where it was not built here), its `fate` with the layer, instruction and line that sealed it, who may use it, and what
    that is worth to an attacker, and the manual pages that say so."""

    path: str
    what: str
    mode: str
    owner: str
    size: str
    layer: int
    made_by: str
    line: str = ""
    fate: str = "acts"
    mode_after: str = ""
    layer_after: int = -1
    ended_by: str = ""
    line_after: str = ""
    who: str = ""
    gives: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True)
class Scan:
    """What was found in one image; `new` are the paths that a baseline does not know, None without one."""

    title: str
    rows: tuple[Row, ...]
    new: frozenset[str] | None = None

    def summary(self) -> str:
        """Gives the first line."""
        acting, all_of_them = sum(row.fate == "acts" for row in self.rows), len(self.rows)
        if not self.rows:
            return f"{self.title}: no file gives rights to whoever runs or writes it"
        rest = all_of_them - acting
        once = f"; {rest} did in an earlier layer" if rest else ""
        return f"{self.title}: {acting} file{'s' * (acting != 1)} give{'s' * (acting == 1)} rights to whoever runs or writes {'it' if acting == 1 else 'them'}{once}"

    def kinds(self) -> list[str]:
        """Gives what there is to choose from: `acts` where some do, and each thing that a file gives, without whose it is."""
        return [*(["acts"] if any(row.fate == "acts" for row in self.rows) else []), *(trait for trait in _TRAITS if any(trait in row.what for row in self.rows))]

    def only(self, kind: str) -> Scan:
        """Gives the rows of one of `kinds`."""
        return replace(self, rows=tuple(row for row in self.rows if (row.fate == "acts" if kind == "acts" else kind in row.what)))

    def groups(self, by: str = GROUPINGS[0]) -> Iterator[tuple[str, list[Row]]]:
        """Yields the heading of each fate, or of each layer that brought some, and its rows."""
        if by == "layer":
            for (layer, line, made_by), rows in groupby(sorted(self.rows, key=lambda row: (row.layer, row.path)), key=lambda row: (row.layer, row.line, row.made_by)):
                yield f"{_layer(layer, line)}: {made_by}", list(rows)
            return
        for (fate, layer, by, line), rows in groupby(self.rows, key=lambda row: (row.fate, row.layer_after, row.ended_by, row.line_after)):
            yield _WORDS[fate] + (f", by {_layer(layer, line)}: {by}" if layer >= 0 else ""), list(rows)


def brought(row: Row) -> str:
    """Gives the layer that brought a file, in words."""
    return f"{_layer(row.layer, row.line)}: {row.made_by}"


def ended(row: Row) -> str:
    """Gives the layer that took a file or its rights away, in words."""
    return f"{_layer(row.layer_after, row.line_after)}: {row.ended_by}"


def _layer(number: int, line: str) -> str:
    return f"layer {number}, {line}" if line else f"layer {number}"


def text(scan: Scan) -> str:
    """Gives the view for a terminal."""
    lines = [visible(scan.summary())]
    for heading, rows in scan.groups():
        lines += ["", visible(heading)[:160]]
        wide = min(max(len(visible(row.path)) for row in rows), 48)
        for row in rows:
            start = f"  {visible(row.path):<{wide}}  "
            mark = "  new" if scan.new is not None and row.fate == "acts" and row.path in scan.new else ""
            if row.fate == "acts":
                lines.append(f"{start}{visible(row.what):<16} {row.mode}  {visible(row.owner):<12} {row.size:>7}  {visible(_layer(row.layer, row.line))}  {visible(row.made_by)[:70]}{mark}".rstrip())
                lines.append(f"    {visible(row.who)} · {visible(row.gives)} [{visible(row.source)}]")
            else:
                lines.append(f"{start}was {visible(row.what):<16} {row.mode} → {row.mode_after:<10}  {row.size} of it still ship in layer {row.layer}")
    return "\n".join(lines)


def html(scan: Scan, by: str = GROUPINGS[0]) -> str:
    """Gives the view as one table: a group a fate, worst first, or a group a layer."""
    rows = [line for heading, group in scan.groups(by) for line in _group(heading, group, scan.new, sealed=by == "layer")]
    if not rows:
        return f"<p>{escape(scan.summary())}</p>"
    head = ["file", "gives", "mode", "owner", "size", "brought by", "who may use it, and what for"]
    return table(head, rows, caption=scan.summary())


def stepper(scan: Scan) -> VBox:
    """Gives the view with a choice of what to show and how to group it; it works after the kernel is gone, since the browser links choice and page."""
    import ipywidgets

    choices = ["everything", *scan.kinds()]
    wide = {"description_width": "initial"}
    show = ipywidgets.Dropdown(options=choices, index=0, description="show", style=wide)
    group = ipywidgets.Dropdown(options=GROUPINGS, index=0, description="group by", style=wide)
    stacks = []
    for by in GROUPINGS:
        pages = [ipywidgets.HTML(html(scan if kind == "everything" else scan.only(kind), by)) for kind in choices]
        stacks.append(ipywidgets.Stack(pages, selected_index=0))
        ipywidgets.jslink((show, "index"), (stacks[-1], "selected_index"))
    shown = ipywidgets.Stack(stacks, selected_index=0)
    ipywidgets.jslink((group, "index"), (shown, "selected_index"))
    return ipywidgets.VBox([ipywidgets.HBox([show, group], layout=ipywidgets.Layout(flex_flow="row wrap")), shown])


def _group(heading: str, rows: Sequence[Row], new: frozenset[str] | None, *, sealed: bool) -> Iterator[str]:
    yield f"<tr>{cell(escape(heading), tag='th', scope='rowgroup', columns=7)}</tr>"
    for row in rows:
        note = " <b>new</b>" if new is not None and row.fate == "acts" and row.path in new else ""
        modes = [f'<code style="white-space:nowrap">{escape(mode)}</code>' for mode in (row.mode, row.mode_after) if mode]
        mode = " → ".join(modes)
        end = escape(f"{_WORDS[row.fate]}, by {_layer(row.layer_after, row.line_after)}: ") if sealed and row.layer_after >= 0 else ""
        use = f"{escape(row.who)}: {escape(row.gives)} <small>{escape(row.source)}</small>" if row.fate == "acts" else f"{end}nobody any more; its {escape(row.size)} still ship"
        brought = f"{escape(_layer(row.layer, row.line))}: <code>{escape(row.made_by)}</code>"
        cells = (f"<code>{escape(row.path)}</code>{note}", escape(row.what), mode, escape(row.owner), escape(row.size), brought, use)
        yield f"<tr>{''.join(cell(content, tint=_TINTS[row.fate] if number < 2 else 'plain') for number, content in enumerate(cells))}</tr>"
