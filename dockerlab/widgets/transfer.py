"""The push and pull view: what became of each layer, what went over the wire, and every HTTP exchange with the line of `curl` that would do the same.

Plain values in, lines, text or HTML out.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dockerlab.events import Event, HttpExchange, LayerStatus, TransferEnded, TransferStarted
from dockerlab.widgets.html import bar, cell, escape, size_words, table, visible

__all__ = ["Row", "Story", "aligned", "allowance", "compared", "curl", "ended", "html", "line", "meters", "summary", "text"]

_TIGHT = "white-space:nowrap"
_TINTS = {"Pushed": ("↑", "changed"), "Layer already exists": ("✓", "seen"), "Mounted from": ("⇄", "added"), "Pull complete": ("↓", "changed"), "Already exists": ("✓", "seen")}
_SECRETS = {"Authorization"}


@dataclass(frozen=True, slots=True)
class Row:
    """One blob: what people call it, what happened, its bytes, those that travelled, and the exchanges about it as (method, status)."""

    label: str
    status: str
    size: int = 0
    sent: int = 0
    exchanges: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Story:
    """One push or pull as it went: `way` is push or pull, `name` the whole reference."""

    way: str
    name: str
    digest: str = ""
    rows: tuple[Row, ...] = ()
    exchanges: tuple[HttpExchange, ...] = ()

    @property
    def size(self) -> int:
        """The bytes of all that the image consists of."""
        return sum(row.size for row in self.rows)

    @property
    def travelled(self) -> int:
        """The bytes of bodies that went over the wire, both ways."""
        return sum(each.sent + each.received for each in self.exchanges) if self.exchanges else sum(row.sent for row in self.rows)


def line(event: Event) -> str:
    """Gives docker's line for an event where no terminal shows progress; "" where docker says nothing."""
    if isinstance(event, TransferStarted) and event.way == "pull":
        return visible(f"{event.tag}: Pulling from {event.repository}")
    if isinstance(event, LayerStatus) and event.layer:
        return visible(f"{event.layer}: {event.status}{f' {event.note}' if event.note else ''}")
    return ""


def meters(states: Mapping[str, tuple[str, int, int]], *, width: int = 50) -> list[str]:
    """Gives docker's live lines: `states` maps a layer to (status, done, size); with a `width` of 0 without the bars, as docker has it in 110 columns or fewer."""
    lines = []
    for layer, (status, done, size) in states.items():
        if not size or not done or done >= size:
            lines.append(f"{layer}: {status}")
            continue
        filled = done * width // size
        bar = f" [{'=' * filled}>{' ' * (width - filled)}]" if width else ""
        lines.append(f"{layer}: {status}{bar}  {size_words(done)}/{size_words(size)}")
    return lines


def aligned(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> list[str]:
    """Gives rows as columns, those of `right` set to the right."""
    widths = [max(len(row[number]) for row in rows) for number in range(len(rows[0]))] if rows else []
    return ["  ".join(text.rjust(w) if number in right else text.ljust(w) for number, (text, w) in enumerate(zip(row, widths, strict=True))).rstrip() for row in rows]


def _words(count: int) -> str:
    return size_words(count) if count else "-"


def _happened(row: Row) -> str:
    return " · ".join(f"{method} {status or 'no answer'}" for method, status in row.exchanges)


def summary(story: Story) -> str:
    """Gives one line about all of it."""
    share = f" ({100 * story.travelled / story.size:.0f} %)" if story.size else ""
    return f"{story.way} {visible(story.name)}: {size_words(story.travelled)} on the wire for an image of {size_words(story.size)}{share}"


def allowance(story: Story) -> str:
    """Gives in words what a registry said about how much more may be pulled (Docker Hub's RateLimit-Limit and RateLimit-Remaining), "" where it said nothing."""
    told = [dict(each.response) for each in story.exchanges]
    limits = [re.match(r"(\d{1,9})(?:;w=(\d{1,9}))?", each[name]) for each in told for name in ("RateLimit-Limit",) if name in each]
    left = [re.match(r"\d{1,9}", each[name]) for each in told for name in ("RateLimit-Remaining",) if name in each]
    if not limits or limits[-1] is None:
        return ""
    window = f" in {_span(int(limits[-1][2]))}" if limits[-1][2] else ""
    rest = f", {left[-1][0]} are left" if left and left[-1] else ""
    return f"the registry allows {limits[-1][1]} pulls{window}{rest}"


def _span(seconds: int) -> str:
    for unit, length in (("hours", 3600), ("minutes", 60)):
        if seconds % length == 0 and seconds >= length:
            return f"{seconds // length} {unit}"
    return f"{seconds} seconds"


def text(story: Story, *, exchanges: bool = True) -> str:
    """Gives the view for a terminal."""
    head = ["layer", "what happened", "on the wire", "in the image", "exchanges"]
    rows = [head, *([visible(r.label), visible(r.status), _words(r.sent), _words(r.size), _happened(r)] for r in story.rows)]
    lines = [summary(story), "", *aligned(rows, right=(2, 3)), "", story.digest, *([words] if (words := allowance(story)) else [])]
    if exchanges and story.exchanges:
        told = [["#", "request", "status", "sent", "received", "time"]]
        told += [[str(n), f"{e.method} {visible(_path(e.url))}", str(e.status or "failed"), _words(e.sent), _words(e.received), _time(e)] for n, e in enumerate(story.exchanges, 1)]
        lines += ["", *aligned(told, right=(0, 3, 4, 5)), ""]
        for each in story.exchanges:
            lines += [f"# failed: {visible(each.error)}"] if each.error else []
            lines.append(curl(each))
    return visible("\n".join(lines))


def _time(exchange: HttpExchange) -> str:
    return f"{exchange.seconds * 1000:.1f} ms"


def _path(url: str) -> str:
    """Gives the part of an address that changes; digests by their first digits."""
    path = url.partition("://")[2].partition("/")[2]
    return _shortened(f"/{path}")


def _shortened(text: str) -> str:
    out, rest = "", text
    for mark in ("sha256:", "sha256%3A"):
        while mark in rest:
            before, _, after = rest.partition(mark)
            out, rest = f"{out}{before}sha256:{after[:12]}…", after[64:]
        rest, out = out + rest, ""
    return rest


def curl(exchange: HttpExchange) -> str:
    """Gives the same request as a line for a shell; a secret is a variable's name, a body a file's."""
    blob = exchange.method == "GET" and "/blobs/" in exchange.url
    words = ["curl", *(["-I"] if exchange.method == "HEAD" else ["-D", "-", "-o", "blob"] if blob else ["-i"])]
    if exchange.method not in ("GET", "HEAD"):
        words += ["-X", exchange.method]
    for name, value in exchange.request:
        if name in ("Content-Length", "Accept-Encoding") or (name == "Range" and not value):
            continue
        words += ["-H", f"{name}: {value}"]
    if exchange.sent:
        words += ["--data-binary", "@manifest.json" if "/manifests/" in exchange.url else "@blob"]
    words += ["-k"] if exchange.trust == "any" else ["--cacert", exchange.trust] if exchange.trust else []
    words.append(exchange.url)
    return " ".join(f'"{word}"' if word.startswith(tuple(_SECRETS)) else _quoted(visible(word)) for word in words)


def _quoted(word: str) -> str:
    """Gives a word for a shell: double quotes around the variables that stand for what an address hides, single ones around all else."""
    return "".join(f'"{part}"' if part.startswith("$") else shlex.quote(part) if part else "" for part in re.split(r"(?<==)(\$[A-Z][A-Z_]*)", word)) or "''"


def html(story: Story) -> str:
    """Gives the view as two tables; each exchange opens to its headers and its line of curl."""
    rows = [_row_html(row, story.size) for row in story.rows]
    layers = table(["layer", "what happened", "on the wire", "in the image", "exchanges"], rows, caption=summary(story))
    end = f"<div><code>{escape(story.digest)}</code></div>" if story.digest else ""
    end += f"<div>{escape(words)}</div>" if (words := allowance(story)) else ""
    if not story.exchanges:
        return layers + end
    inner = table(["#", "request", "status", "sent", "received", "time"], (_exchange_html(n, e) for n, e in enumerate(story.exchanges, 1)), caption="Every exchange, in order")
    return f"{layers}{end}<details><summary>{len(story.exchanges)} HTTP exchanges</summary>{inner}</details>"


def _look(row: Row) -> tuple[str, str]:
    """Gives the glyph and the tint of what happened."""
    return next((pair for start, pair in _TINTS.items() if row.status.startswith(start)), ("●", "plain"))


def _row_html(row: Row, whole: int) -> str:
    glyph, tint = _look(row)
    sent = f"{bar(row.sent / whole, width_em=5)} {_words(row.sent)}" if row.sent and whole else "-"
    cells = [cell(f"<code>{escape(row.label)}</code>"), cell(f"{glyph} {escape(row.status)}", tint=tint, style=_TIGHT), cell(sent, style=_TIGHT)]
    return f"<tr>{''.join(cells)}{cell(_words(row.size), style=_TIGHT)}{cell(escape(_happened(row)), style=_TIGHT)}</tr>"


def _exchange_html(number: int, exchange: HttpExchange) -> str:
    asked = "".join(f"&gt; {escape(name)}: {escape(value)}\n" for name, value in exchange.request)
    told = "".join(f"&lt; {escape(name)}: {escape(value)}\n" for name, value in exchange.response)
    told += f"failed: {escape(exchange.error)}\n" if exchange.error else ""
    inside = f'<pre style="white-space:pre-wrap;margin:.3em 0">{asked}{told}\n{escape(curl(exchange))}</pre>'
    request = f"<details><summary><code>{exchange.method} {escape(_path(exchange.url))}</code></summary>{inside}</details>"
    status = str(exchange.status) if exchange.status else "failed"
    rest = "".join(cell(words, style=_TIGHT) for words in (status, _words(exchange.sent), _words(exchange.received), _time(exchange)))
    return f"<tr>{cell(str(number))}{cell(request)}{rest}</tr>"


def compared(first: Story, second: Story) -> str:
    """Gives two of them side by side, as HTML: what the second need not send."""
    labels = list(dict.fromkeys([row.label for row in (*first.rows, *second.rows)]))
    by = [{row.label: row for row in story.rows} for story in (first, second)]
    rows = []
    for label in labels:
        cells = "".join(_compared_cell(known.get(label)) for known in by)
        rows.append(f"<tr>{cell(f'<code>{escape(label)}</code>')}{cells}</tr>")
    for words, values in (("on the wire", [size_words(s.travelled) for s in (first, second)]), ("exchanges", [str(len(s.exchanges)) for s in (first, second)])):
        rows.append(f"<tr>{cell(words, tag='th', scope='row')}{''.join(cell(f'<b>{value}</b>') for value in values)}</tr>")
    return table(["layer", escape(f"{first.way} {first.name}"), escape(f"{second.way} {second.name}")], rows, caption="Two transfers side by side")


def _compared_cell(row: Row | None) -> str:
    if row is None:
        return cell("not in it")
    glyph, tint = _look(row)
    return cell(f"{glyph} {escape(row.status)}{f' {_words(row.sent)}' if row.sent else ''}", tint=tint, style=_TIGHT)


def ended(event: TransferEnded) -> str:
    """Gives docker's last line of a push."""
    return f"{event.tag}: digest: {event.digest} size: {event.size}"
