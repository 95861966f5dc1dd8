"""The build trace: what each step of a build was, whether it was there already or why not, what it took and what it added.

Plain values in, text or HTML out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dockerlab.widgets.html import bar, cell, escape, size_words, table, visible

__all__ = ["Step", "folded", "html", "summary", "text"]

_TIGHT = "white-space:nowrap"
_STATES = {"cached": ("✓", "from the cache", "seen"), "done": ("●", "done", "added"), "failed": ("✕", "failed", "deleted"), "running": ("…", "running", "changed"), "base": ("◆", "base", "plain")}


@dataclass(frozen=True, slots=True)
class Step:
    """One step: its line as written, its state (a key of the glyphs: cached, done, failed, running, base), the cause where it was not there, seconds, bytes that it added, remarks, and the
    source of what was there: the image and who made it.
    """

    number: int
    text: str
    state: str = "running"
    cause: str = ""
    seconds: float = 0.0
    size: int = 0
    remarks: tuple[tuple[str, str], ...] = ()
    trigger: bool = False
    source: str = ""


def summary(steps: Sequence[Step], total: int = 0) -> str:
    """Gives one line about all of them; `total` are the steps that the build has, where it has not come to all."""
    counts = {state: sum(step.state == state for step in steps) for state in _STATES}
    parts = [f"{counts['cached']} from the cache"] if counts["cached"] else []
    if counts["done"]:
        parts.append(f"{counts['done']} done in {sum(step.seconds for step in steps):.1f} s")
    parts += [f"{counts['failed']} failed"] if counts["failed"] else []
    added = sum(step.size for step in steps if step.state == "done")
    parts += [f"{size_words(added)} added"] if added else []
    count = f"{steps[-1].number} of {total}" if steps and steps[-1].number < total else f"{len(steps)}"
    return f"{count} step{'s' * (count != '1')}: {', '.join(parts) or 'nothing to do'}"


def text(steps: Sequence[Step], total: int = 0) -> str:
    """Gives the trace for a terminal."""
    lines = [summary(steps, total)]
    for step in steps:
        glyph, word, _ = _STATES[step.state]
        lines.append(f"{_number(step):>4} {glyph} {word:<14} {_took(step):>8} {_size(step):>8}  {_line(step)[:70]}".rstrip())
        lines += [f"       {visible(cause)}" for cause in [step.cause or step.source] if cause]
        lines += [f"       {rule}: {visible(message)}" for rule, message in step.remarks]
    return "\n".join(lines)


def html(steps: Sequence[Step], total: int = 0) -> str:
    """Gives the trace as one table."""
    return _table(steps, summary(steps, total))


def folded(steps: Sequence[Step], total: int = 0, name: str = "") -> str:
    """Gives the trace under one line, which begins with the image's name; open as long as there is none, and after a failure."""
    heading = f"Image <b>{escape(name)}</b> · " if name else ""
    return f"<details{' open' * (not name)}><summary>{heading}{escape(summary(steps, total))}</summary>{_table(steps, '')}</details>"


def _table(steps: Sequence[Step], caption: str) -> str:
    most = max((step.seconds for step in steps), default=0.0)
    return table(["step", "instruction", "result", "why", "took", "added"], (row for step in steps for row in _rows(step, most)), caption=caption)


def _rows(step: Step, most: float) -> Iterator[str]:
    glyph, word, tint = _STATES[step.state]
    took = f"{bar(step.seconds / most, width_em=4)} {_took(step)}" if step.seconds and most else ""
    line, why = f"<code>{escape(_line(step)[:110])}</code>", escape(step.cause or step.source)
    yield f"<tr>{cell(_number(step))}{cell(line)}{cell(f'{glyph} {word}', tint=tint, style=_TIGHT)}{cell(why)}{cell(took, style=_TIGHT)}{cell(_size(step), style=_TIGHT)}</tr>"
    for rule, message in step.remarks:
        yield f"<tr>{cell('')}{cell(f'<b>{escape(rule)}</b>: {escape(message)}', tint='changed', columns=5)}</tr>"


def _number(step: Step) -> str:
    return "" if step.trigger else str(step.number)


def _line(step: Step) -> str:
    return ("ONBUILD " if step.trigger else "") + visible(" ".join(step.text.split()))


def _took(step: Step) -> str:
    return f"{step.seconds:.2f} s" if step.state in ("done", "failed") else ""


def _size(step: Step) -> str:
    return size_words(step.size) if step.size else ""
