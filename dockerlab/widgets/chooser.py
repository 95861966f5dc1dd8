"""Ways to distribute an image, weighed: what each is good at, what it costs, and what this image would send. The learner says what matters.

Plain values in, text or HTML out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dockerlab.widgets.html import attribute, bar, cell, escape, size_words, table

if TYPE_CHECKING:
    from ipywidgets import VBox

__all__ = ["BEST", "CRITERIA", "MOST", "WAYS", "Mark", "Measured", "Way", "html", "plain", "ranked", "text", "widget"]

CRITERIA = {
    "cost": "What it costs", "visibility": "Who can find it", "transport": "How much travels, how fast", "longevity": "How long it lasts",
    "availability": "Whether it is there when needed", "access": "Who is let in",
}  # fmt: skip
BEST, MOST = 5, 5  # marks go to 5, and so do weights


@dataclass(frozen=True, slots=True)
class Mark:
    """How good a way is in one respect, 1 to 5, and why."""

    points: int
    why: str


@dataclass(frozen=True, slots=True)
class Way:
    """One way to distribute; `sends` names the measurement that belongs to it."""

    name: str
    sends: str
    marks: Mapping[str, Mark]


@dataclass(frozen=True, slots=True)
class Measured:
    """What one way sends of this image: the first time, and again when nothing has changed; in bytes, and the seconds of the first time (None where nothing was timed)."""

    first: int
    again: int
    seconds: float | None = None


def _way(name: str, sends: str, *marks: tuple[int, str]) -> Way:
    return Way(name, sends, {criterion: Mark(*mark) for criterion, mark in zip(CRITERIA, marks, strict=True)})


WAYS = (
    _way("hosted registry, public repository", "registry", (5, "free"), (5, "in everybody's search"), (4, "missing layers alone, over the internet, and a limit on pulls"),
         (3, "as long as its operator keeps it"), (4, "its operator's business, and good at it"), (1, "everybody reads")),
    _way("hosted registry, private repository", "registry", (3, "a fee for each repository or user"), (2, "for those you name"), (4, "missing layers alone, over the internet"),
         (3, "as long as its operator keeps it, and you pay"), (4, "its operator's business, and good at it"), (4, "accounts, organisations, tokens")),
    _way("private registry of your own", "registry", (2, "a machine, TLS, backups, your time"), (1, "for those who know the address"), (5, "missing layers alone, over your own network"),
         (4, "as long as you keep it"), (3, "as good as you run it"), (4, "whatever you put before it")),
    _way("infrastructure of your own (files on a server)", "file", (2, "a server, and tools that you write"), (2, "what you build"), (2, "everything each time, unless you build more"),
         (4, "as long as you keep it"), (3, "as good as you run it"), (5, "whatever you like")),
    _way("a file (docker save)", "file", (5, "a stick, a mail, a shared folder"), (1, "for those who get the file"), (1, "everything each time"),
         (5, "the file is yours"), (4, "needs no network at all"), (3, "who has the file has the image")),
    _way("the source (a Dockerfile)", "source", (4, "anything that holds text; everybody's time to build"), (4, "wherever source is found"), (5, "a few lines; a build fetches the rest"),
         (2, "as long as everything it fetches"), (2, "a build may fail, or give something else tomorrow"), (3, "that of the source's host")),
)  # fmt: skip


def ranked(weights: Mapping[str, int], ways: Sequence[Way] = WAYS) -> list[tuple[float, Way]]:
    """Gives the ways with their share of what could be had (0 to 1), the best first; with no weight at all every one has 0."""
    most = BEST * sum(weights.get(name, 0) for name in CRITERIA)
    shares = [(sum(weights.get(name, 0) * way.marks[name].points for name in CRITERIA) / most if most else 0.0, way) for way in ways]
    return sorted(shares, key=lambda pair: -pair[0])


def _sent(measured: Measured | None) -> str:
    if measured is None:
        return "–"
    took = "" if measured.seconds is None else f" in {measured.seconds:.1f} s" if measured.seconds >= 1 else f" in {measured.seconds * 1000:.0f} ms"
    return f"{size_words(measured.first)}{took}, again {size_words(measured.again)}"


def text(name: str, weights: Mapping[str, int], measured: Mapping[str, Measured]) -> str:
    """Gives the ways for a terminal."""
    heads = ["way", "fits", *CRITERIA, "this image sends"]
    rows = [heads, *([way.name, f"{share:.0%}", *(str(way.marks[key].points) for key in CRITERIA), _sent(measured.get(way.sends))] for share, way in ranked(weights))]
    rows.insert(1, ["weights", "", *(str(weights.get(key, 0)) for key in CRITERIA), ""])
    widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
    lines = ["  ".join(part.ljust(width) for part, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([f"ways to distribute {name}, marks from 1 to {BEST}", *lines])


def html(name: str, weights: Mapping[str, int], measured: Mapping[str, Measured]) -> str:
    """Gives the ways as a table; the reason stands with each mark."""
    head = ["way", "fits", *(f"{escape(CRITERIA[key])}<br><small>weight {weights.get(key, 0)}</small>" for key in CRITERIA), "this image sends"]
    body = []
    for place, (share, way) in enumerate(ranked(weights)):
        marks = "".join(cell(f"{'●' * way.marks[key].points}{'○' * (BEST - way.marks[key].points)}<br><small>{escape(way.marks[key].why)}</small>") for key in CRITERIA)
        label = f"{'★ ' if place == 0 and share else ''}{escape(way.name)}"
        body.append(f"<tr>{cell(label, tag='th', scope='row')}{cell(f'{share:.0%}<br>{bar(share, width_em=4)}')}{marks}{cell(escape(_sent(measured.get(way.sends))))}</tr>")
    what = f"ways to distribute {name}"
    # Wider than many windows: what scrolls has to be reached by keys.
    return f'<div role="group" aria-label="{attribute(what)}" tabindex="0" style="overflow-x:auto">{table(head, body, caption=what)}</div>'


def plain(weights: Mapping[str, int], measured: Mapping[str, Measured]) -> list[dict[str, object]]:
    """Gives the ways as plain values."""
    return [
        {
            "way": way.name, "fits": round(share, 3), "marks": {key: way.marks[key].points for key in CRITERIA},
            "bytes": measured[way.sends].first if way.sends in measured else None, "bytes_again": measured[way.sends].again if way.sends in measured else None,
        }
        for share, way in ranked(weights)
    ]  # fmt: skip


def widget(name: str, weights: Mapping[str, int], measured: Mapping[str, Measured], changed: Callable[[Mapping[str, int]], object] = lambda weights: None) -> VBox:
    """Gives a number for each weight over the table; needs ipywidgets and a kernel. `changed` hears of new weights."""
    import ipywidgets

    wide = {"description_width": "18em"}
    # Not sliders: ipywidgets gives those no name that a screen reader could tell.
    numbers = {
        key: ipywidgets.BoundedIntText(value=weights.get(key, 0), min=0, max=MOST, description=words, style=wide, layout=ipywidgets.Layout(width="23em")) for key, words in CRITERIA.items()
    }
    shown = ipywidgets.HTML(html(name, weights, measured))

    def moved(change: object) -> None:
        now = {key: number.value for key, number in numbers.items()}
        shown.value = html(name, now, measured)
        changed(now)

    for number in numbers.values():
        number.observe(moved, names="value")
    return ipywidgets.VBox([*numbers.values(), shown])
