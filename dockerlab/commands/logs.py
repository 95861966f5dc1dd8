"""docker logs: what a program has written, line by line, and what it still writes."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import NamedTuple

from dockerlab.commands.call import Call, Outcome
from dockerlab.commands.grammar import duration
from dockerlab.errors import InvalidArgument

__all__ = ["instant", "logs", "stamp", "when"]

_DATE = re.compile(r"\d{4}-\d\d-\d\d(T\d\d(:\d\d(:\d\d(\.\d+)?)?)?(Z|[+-]\d\d:\d\d)?)?")


class _Line(NamedTuple):
    when: int
    stream: int
    text: bytes


def logs(call: Call) -> Outcome:
    """docker logs."""
    since, until = (instant(name, call.flag(name)) for name in ("since", "until"))
    container, follow = call.engine.containers.get(call.args[0]), call.flag("follow")
    chunks = container.logs(follow=follow)
    past = [] if follow and call.flag("tail") == "all" else list(_lines(container.logs()))
    skipped = max(len(past) - int(call.flag("tail")), 0) if re.fullmatch("[0-9]{1,9}", call.flag("tail")) else 0  # what is no number, or below zero, means all
    for count, line in enumerate(_lines(chunks) if follow else past):
        if until is not None and line.when > until:
            break
        if count >= skipped and (since is None or line.when >= since):
            text = line.text.decode("utf-8", "surrogateescape")
            text = f"{stamp(line.when)} {text}" if call.flag("timestamps") else text
            text = f" {text}" if call.flag("details") else text
            (call.surface.err if line.stream == 2 else call.surface.out)(text)
    return Outcome()


def instant(name: str, text: str) -> int | None:
    """Gives what `when` does for a flag of that name, which its error names."""
    try:
        return when(text)
    except InvalidArgument as error:
        raise InvalidArgument(f'invalid value for "{name}": {error.message}', hint=error.hint) from None


def when(text: str) -> int | None:
    """Gives a moment in nanoseconds since 1970: a time, a date, seconds since 1970, or how long ago it was; None for "". Raises InvalidArgument."""
    if not text:
        return None
    with contextlib.suppress(ValueError):
        return time.time_ns() - int(duration(text) * 1e9)
    if _DATE.fullmatch(text):
        with contextlib.suppress(ValueError):
            found = datetime.fromisoformat(text if len(text) != 13 else f"{text}:00")
            return int((found if found.tzinfo else found.astimezone()).timestamp() * 1e9)
    if re.fullmatch(r"\d+(\.\d{1,9})?", text):
        seconds, _, fraction = text.partition(".")
        return int(seconds) * 10**9 + int(fraction.ljust(9, "0"))
    raise InvalidArgument(f'failed to parse value as time or duration: "{text}"', hint="write 42m, 2026-01-31T12:00:00Z or seconds since 1970")


def _lines(chunks: Iterable[tuple[int, int, bytes]]) -> Iterator[_Line]:
    """Yields a log's lines as they end; one that came in pieces is one, at the time of its first, and one that never ended comes last."""
    unended: dict[int, tuple[int, bytearray]] = {}
    for when, stream, data in chunks:
        for piece in re.findall(rb"[^\n]*\n|[^\n]+", data):
            begun, line = unended.pop(stream, (when, bytearray()))
            line += piece
            if piece.endswith(b"\n"):
                yield _Line(begun, stream, bytes(line))
            else:
                unended[stream] = begun, line
    yield from sorted(_Line(when, stream, bytes(line)) for stream, (when, line) in unended.items())


def stamp(moment: int) -> str:
    """Gives nanoseconds since 1970 as logs and events show them."""
    seconds, rest = divmod(moment, 10**9)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"
