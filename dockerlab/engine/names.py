"""Names for containers that were given none: an adjective and somebody who moved computing along."""

from __future__ import annotations

import random
from collections.abc import Iterable

from dockerlab.errors import InvalidRequest

__all__ = ["invent", "refuse_lines"]

_HOW = "amber brave calm clever curious eager fair gentle happy keen lively mellow nimble patient proud quiet sharp steady swift tidy warm wise".split()
_WHO = (
    "allen babbage backus bartik berners cerf codd conway dahl dijkstra engelbart feinler goldberg hamilton hoare hopper johnson kay kernighan knuth "
    "lamport liskov lovelace mccarthy milner naur perlman rabin ritchie shannon sutherland thompson turing wirth zuse"
).split()


def invent() -> str:
    """Gives a name like `keen_hopper`."""
    return f"{random.choice(_HOW)}_{random.choice(_WHO)}"


def refuse_lines(what: str, words: Iterable[str]) -> None:
    """Raises InvalidRequest for a word that goes into a file of /etc as part of a line, and would be one line more there. Docker lets it be."""
    for word in words:
        if not word.isprintable():
            raise InvalidRequest(f"invalid {what}: {word!r}", hint="it has to fit on one line")
