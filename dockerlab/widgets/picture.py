"""Layers and their sizes as a picture: what is seen, and what is carried although a later layer hides it."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dockerlab.widgets.html import attribute, visible

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["INK", "Bar", "alt", "embedded", "img", "png", "saved", "scaled", "short"]

INK = "#7a7a7a"  # four and a half to one against white, and about as much against a dark page


@dataclass(frozen=True, slots=True)
class Bar:
    """One layer: its label and its bytes, split into those a container can see and those that a later layer hides."""

    label: str
    seen: int
    hidden: int


def alt(title: str, bars: Sequence[Bar]) -> str:
    """Gives the picture in one sentence, for those who do not see it."""
    parts = [f"layer {n} ({visible(b.label)}): {b.seen + b.hidden:,} bytes, {b.hidden:,} of them hidden" for n, b in enumerate(bars)]
    return f"{visible(title)}. Bytes in each layer from the base up: " + "; ".join(parts)


def png(title: str, bars: Sequence[Bar]) -> bytes:
    """Gives a PNG on a transparent ground, newest layer on top."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 0.9 + 0.42 * max(len(bars), 1)), dpi=110)
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    places = range(len(bars))
    scale, unit = scaled(max((bar.seen + bar.hidden for bar in bars), default=0))
    seen, hidden = [b.seen / scale for b in bars], [b.hidden / scale for b in bars]
    axes.barh(places, seen, color="#388bfd", label="seen by a container")
    axes.barh(places, hidden, left=seen, color="#d29922", hatch="///", edgecolor="#7a5b14", label="carried, but hidden by a later layer")
    axes.set_yticks(places, [f"{n} · {short(b.label)}" for n, b in enumerate(bars)])
    axes.set_xlabel(unit)
    axes.set_title(short(title, 80), color=INK, fontsize=10, loc="left")
    axes.tick_params(colors=INK)
    axes.xaxis.label.set_color(INK)
    for spine in axes.spines.values():
        spine.set_color(INK)
    axes.legend(labelcolor=INK, framealpha=0, fontsize=8, loc="upper right", bbox_to_anchor=(1, -0.22), ncols=2)
    return saved(figure)


def img(title: str, bars: Sequence[Bar]) -> str:
    """Gives the picture as an `<img>` that carries its own bytes and its text alternative."""
    return embedded(alt(title, bars), png(title, bars))


def saved(figure: Figure) -> bytes:
    """Gives a figure as PNG on a transparent ground."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", transparent=True, bbox_inches="tight")
    return buffer.getvalue()


def embedded(words: str, data: bytes) -> str:
    """Gives a PNG as an `<img>` with what it shows in words."""
    return f'<img alt="{attribute(words)}" src="data:image/png;base64,{base64.b64encode(data).decode()}">'


def scaled(most: int) -> tuple[float, str]:
    """Gives the unit for an axis that ends at so many bytes, and its size."""
    return next(((value, unit) for value, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")) if most >= value), (1, "bytes"))


def short(label: str, width: int = 44) -> str:
    """Gives a label as matplotlib can draw it, cut where it is too long."""
    # Matplotlib reads $…$ as mathematics.
    shown = visible(label).replace("$", r"\$")
    return shown if len(shown) <= width else shown[: width - 1] + "…"
