"""The union view: which layer provides a path, and what it hides.

Plain values in, text, HTML or frames out. A `Stack` is drawn with its newest layer on top, as the kernel stacks them; a reader looks
down from above and sees the first thing in each column.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dockerlab.widgets.html import cell, escape, table, visible

if TYPE_CHECKING:
    from ipywidgets import VBox

__all__ = ["Layer", "Stack", "frames", "html", "pick", "stepper", "text"]

MARKS = {
    "A": ("+", "added", "added"),
    "C": ("~", "changed", "changed"),
    "D": ("✕", "whiteout", "deleted"),
    "O": ("◍", "opaque", "deleted"),
}


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer: what made it, its size in bytes as docker counts them, and per shown path a mark from `MARKS` or nothing."""

    name: str
    created_by: str
    size: str
    marks: tuple[str, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Stack:
    """Layers from the base (first) to the newest (last), and the paths that are looked at."""

    title: str
    paths: tuple[str, ...]
    layers: tuple[Layer, ...]
    cut: int = 0

    def provider(self, column: int, upto: int) -> int | None:
        """Gives the number of the layer that a container on the first `upto` layers would read the path from, or None."""
        for number in range(upto - 1, -1, -1):
            mark = self.layers[number].marks[column]
            if mark:
                return None if mark == "D" else number
        return None


def text(stack: Stack, *, upto: int | None = None) -> str:
    """Gives the view for a terminal: one block a path, newest layer first."""
    top = len(stack.layers) if upto is None else upto
    lines = [visible(stack.title)]
    for column, path in enumerate(stack.paths):
        provider = stack.provider(column, top)
        lines.append(f"\n{visible(path)}: " + (f"read from layer {provider}" if provider is not None else "not there"))
        for number in range(top - 1, -1, -1):
            mark = stack.layers[number].marks[column]
            if mark:
                glyph, word, _ = MARKS[mark]
                layer = stack.layers[number]
                note = _note(layer, column)
                state = "" if number == provider or (mark == "D" and _first(stack, column, top) == number) else "  (hidden)"
                lines.append(f"  layer {number}  {glyph} {word:<9}{note}{state}  {visible(layer.created_by)[:60]}")
    if stack.cut:
        lines.append(f"\n{stack.cut} more paths are in more than one layer; name one to see it")
    return "\n".join(lines)


def html(stack: Stack, *, upto: int | None = None) -> str:
    """Gives the view as one table: a row a layer, a column a path, and at the bottom what a container sees."""
    top = len(stack.layers) if upto is None else upto
    rows = [_row(stack, number, top) for number in range(len(stack.layers) - 1, -1, -1)]
    rows.append(_seen(stack, top))
    head = ["layer", "made by", "size", *(f"<code>{escape(path)}</code>" for path in stack.paths)]
    shown = table(head, rows, caption=stack.title)
    return shown + (f"<p>{stack.cut} more paths are in more than one layer; name one to see it.</p>" if stack.cut else "")


def frames(stack: Stack) -> list[str]:
    """Gives the HTML of each moment: frame k is the stack after k + 1 layers."""
    return [html(stack, upto=number + 1) for number in range(len(stack.layers))]


def stepper(stack: Stack) -> VBox:
    """Gives a slider through `frames`; it works after the kernel is gone, since the browser links slider and page."""
    import ipywidgets

    pages = [
        ipywidgets.HTML(f"<p>After layer {number} of {len(stack.layers) - 1}: <code>{escape(stack.layers[number].created_by)}</code></p>{page}")
        for number, page in enumerate(frames(stack))
    ]
    last = len(pages) - 1
    shown = ipywidgets.Stack(pages, selected_index=last)
    slider = ipywidgets.IntSlider(value=last, min=0, max=max(last, 0), description="layers up to", style={"description_width": "initial"})
    play = ipywidgets.Play(value=last, min=0, max=max(last, 0), interval=1200, show_repeat=False)
    ipywidgets.jslink((slider, "value"), (shown, "selected_index"))
    ipywidgets.jslink((play, "value"), (slider, "value"))
    return ipywidgets.VBox([ipywidgets.HBox([play, slider]), shown])


def _first(stack: Stack, column: int, top: int) -> int | None:
    return next((n for n in range(top - 1, -1, -1) if stack.layers[n].marks[column]), None)


def _note(layer: Layer, column: int) -> str:
    note = layer.notes[column] if column < len(layer.notes) else ""
    return f" {visible(note)}" if note else ""


def _row(stack: Stack, number: int, top: int) -> str:
    layer, here = stack.layers[number], number < top
    fade = "" if here else "opacity:.6"
    name = cell(f"{number} · {escape(layer.name)}", tag="th", scope="row", style=f"font-weight:600;{fade}".rstrip(";"))
    cells = [name, cell(f"<code>{escape(layer.created_by[:70])}</code>", style=fade), cell(escape(layer.size), style=fade)]
    cells += [_mark(stack, number, column, top) if here else cell("not yet", style=fade) for column in range(len(stack.paths))]
    return f"<tr>{''.join(cells)}</tr>"


def _mark(stack: Stack, number: int, column: int, top: int) -> str:
    layer = stack.layers[number]
    mark = layer.marks[column]
    if not mark:
        return cell("·")
    glyph, word, tint = MARKS[mark]
    label = f"{glyph} {word}{escape(_note(layer, column))}"
    first = _first(stack, column, top)
    if number == first:
        return cell(f"<b>{label}</b>", tint=tint)
    return cell(f"<s>{label}</s><br><small>hidden by layer {first}</small>", tint="hidden")


def _seen(stack: Stack, top: int) -> str:
    cells = [cell("a container sees", tag="th", scope="row", style="font-weight:600"), cell(""), cell("")]
    for column in range(len(stack.paths)):
        provider = stack.provider(column, top)
        cells.append(cell("∅ no such file" if provider is None else f"↑ the file of layer {provider}", tint="seen"))
    return f"<tr>{''.join(cells)}</tr>"


def pick(rows: Sequence[str], limit: int) -> tuple[tuple[str, ...], int]:
    """Gives the first `limit` rows and how many were left out."""
    return tuple(rows[:limit]), max(len(rows) - limit, 0)
