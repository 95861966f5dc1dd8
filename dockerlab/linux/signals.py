"""Signals by name or number, as docker takes them; signal(7)."""

from __future__ import annotations

import re
import signal

__all__ = ["number"]

_REAL_TIME = re.compile(r"RTMIN(?:\+(\d+))?|RTMAX(?:-(\d+))?")


def number(word: str) -> int:
    """Gives a signal's number for `TERM`, `sigterm`, `15` or `RTMIN+3`; raises ValueError."""
    if word.isascii() and word.isdigit():
        if 0 < int(word) <= 64:
            return int(word)
        raise ValueError(word)
    name = word.upper().removeprefix("SIG")
    if found := _REAL_TIME.fullmatch(name):
        value = 34 + int(found[1] or 0) if name.startswith("RTMIN") else 64 - int(found[2] or 0)  # the C library keeps 32 and 33 for itself
        if 34 <= value <= 64:
            return value
    elif f"SIG{name}" in signal.Signals.__members__:
        return int(signal.Signals[f"SIG{name}"])
    raise ValueError(word)
