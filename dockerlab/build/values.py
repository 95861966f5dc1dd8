"""Values of instructions that only a step can judge, since variables may stand in them; each raises BuildFailed in docker's words."""

from __future__ import annotations

import re
from collections.abc import Iterator

from dockerlab.errors import BuildFailed
from dockerlab.linux import signals

__all__ = ["checked_signal", "ports"]

_PORT = re.compile(r"(?:[^/]*:)?(\d{1,5})(?:-(\d{1,5}))?")


def ports(word: str) -> Iterator[str]:
    """Yields `80/tcp` for `80`, and every port of a range."""
    number, _, protocol = word.partition("/")
    found = _PORT.fullmatch(number)
    first, last = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
    if not first <= last <= 65535:
        raise BuildFailed(f"Invalid containerPort: {number}", hint="write a number from 1 to 65535, or two with a dash between")
    if (protocol or "tcp").lower() not in ("tcp", "udp", "sctp"):
        raise BuildFailed(f"Invalid proto: {protocol}", hint="write tcp, udp or sctp")
    for port in range(first, last + 1):
        yield f"{port}/{(protocol or 'tcp').lower()}"


def checked_signal(word: str) -> str:
    """Gives the word as it is, if it names a signal or is the number of one."""
    try:
        signals.number(word)
    except ValueError:
        raise BuildFailed(f"Invalid signal: {word}", hint="write a name such as SIGTERM, or a number") from None
    return word
