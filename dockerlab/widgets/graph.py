"""Images as a tree of layers: what they share, where they part, and how the bytes add up.

Plain values in, text, HTML or a picture out. A branch costs only its own layers; a layer on top only adds, whatever it deletes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dockerlab.widgets.html import bar, cell, escape, size_words, table, visible
from dockerlab.widgets.picture import INK, embedded, saved, scaled, short

__all__ = ["Label", "Node", "alt", "html", "img", "png", "rows", "text"]

_MOST = 200


@dataclass(frozen=True, slots=True)
class Label:
    """An image that ends with a node's layer: its names, none where it is dangling, its id, and the bytes of all its layers."""

    names: tuple[str, ...]
    id: str
    total: int

    @property
    def shown(self) -> str:
        """What it is called."""
        return ", ".join(self.names) or f"<none> {self.id}"


@dataclass(frozen=True, slots=True)
class Node:
    """One layer on its parent: twelve digits of its diff_id, the bytes that it adds, what made it, the images that end with it, and the layers on it."""

    id: str
    size: int
    made: str
    images: tuple[Label, ...] = ()
    children: tuple[Node, ...] = ()


def rows(forest: Sequence[Node]) -> Iterator[tuple[str, Node, int]]:
    """Yields every node from the roots down, the lines that lead to it, and the bytes below it."""
    waiting = [("", "", node, 0) for node in reversed(forest)]
    while waiting:
        lead, below, node, under = waiting.pop()
        yield lead, node, under
        # A layer alone on another goes on straight down; only where several part, lines fork.
        fork = len(node.children) > 1
        for number, child in reversed(list(enumerate(node.children))):
            last = number == len(node.children) - 1
            waiting.append((f"{below}{('└─ ' if last else '├─ ') if fork else ''}", f"{below}{('   ' if last else '│  ') if fork else ''}", child, under + node.size))


def text(forest: Sequence[Node], words: str) -> str:
    """Gives the tree for a terminal; `words` stand above it."""
    lines = [words]
    for number, (lead, node, _) in enumerate(rows(forest)):
        if number == _MOST:
            lines.append("… and more layers; name an image to see its own")
            break
        lines.append(f"{lead}{node.id}  {size_words(node.size):>7}  {visible(' '.join(node.made.split()))[:60]}".rstrip())
        follow = _follow(lead, node)
        lines += [f"{follow}{'●' if label.names else '○'} {visible(label.shown)}{'' if label.names else ' (dangling)'}  {size_words(label.total)} in all" for label in node.images]
    return "\n".join(lines)


def _follow(lead: str, node: Node) -> str:
    below = lead.replace("├─ ", "│  ").replace("└─ ", "   ")
    return below + ("│  " if len(node.children) > 1 else "   ")


def html(forest: Sequence[Node], words: str) -> str:
    """Gives the tree as one table."""
    found = list(rows(forest))
    most = max((under + node.size for _, node, under in found), default=0) or 1
    body = []
    for lead, node, _ in found[:_MOST]:
        marks = "<br>".join(f"{'●' if label.names else '○'} <b>{escape(label.shown)}</b>{'' if label.names else ' dangling'} · {size_words(label.total)} in all" for label in node.images)
        tree = f'<span style="white-space:pre;font-family:monospace">{escape(lead)}</span><code>{escape(node.id)}</code>'
        made = f"<code>{escape(' '.join(node.made.split())[:70])}</code>"
        share = f"{bar(node.size / most, width_em=5)} {size_words(node.size)}"
        body.append(f"<tr>{cell(tree)}{cell(share, style='white-space:nowrap')}{cell(marks, tint='seen' if marks else 'plain')}{cell(made)}</tr>")
    cut = f"<p>{len(found) - _MOST} more layers; name an image to see its own.</p>" if len(found) > _MOST else ""
    return table(["layer", "adds", "images that end here", "made by"], body, caption=words) + cut


def alt(forest: Sequence[Node], words: str) -> str:
    """Gives the picture in sentences, for those who do not see it."""
    ends = [f"{visible(label.shown)} ends at {size_words(under + node.size)}" for _, node, under in rows(forest) for label in node.images]
    return f"{visible(words)}. Each layer begins where the one below it ends: " + "; ".join(ends)


def png(forest: Sequence[Node], words: str) -> bytes:
    """Gives a PNG on a transparent ground: a row a layer, which begins at the bytes below it, so that an image's end is its size."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    found = list(rows(forest))[:_MOST]
    scale, unit = scaled(max((under + node.size for _, node, under in found), default=0))
    figure = Figure(figsize=(7.6, 0.9 + 0.36 * max(len(found), 1)), dpi=110)
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    places = {id(node): -number for number, (_, node, _) in enumerate(found)}
    for _, node, under in found:
        place, end = places[id(node)], (under + node.size) / scale
        named = bool(node.images)
        axes.barh(place, node.size / scale, left=under / scale, height=0.62, color="#388bfd" if named else "#8b949e", edgecolor=INK, hatch="" if named else "///")
        for child in node.children:
            if id(child) in places:
                axes.plot([end, end], [place, places[id(child)]], color=INK, linewidth=0.8, zorder=0)
        if named:
            axes.text(end, place, " " + short(", ".join(label.shown for label in node.images)), va="center", fontsize=8, color=INK)
    axes.set_yticks(list(places.values()), [short(" ".join(node.made.split()) or node.id, 34) for _, node, _ in found], fontsize=7)
    axes.set_xlabel(unit, color=INK)
    axes.set_title(short(words, 90), color=INK, fontsize=10, loc="left")
    axes.tick_params(colors=INK)
    axes.set_xlim(0, 1.4 * (max((under + node.size for _, node, under in found), default=0) / scale or 1))
    for spine in axes.spines.values():
        spine.set_color(INK)
    return saved(figure)


def img(forest: Sequence[Node], words: str) -> str:
    """Gives the picture as an `<img>` that carries its own bytes and its text alternative."""
    return embedded(alt(forest, words), png(forest, words))
