"""Conditions that several lists share."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from dockerlab.errors import InvalidRequest

__all__ = ["TRUTH", "condition", "labelled", "named", "passes"]

TRUTH = {"true": True, "1": True, "false": False, "0": False}


def condition(word: str, names: Sequence[str]) -> tuple[str, str]:
    """Gives the kind and the value of `KIND=VALUE`, where the kind is one of these; raises InvalidRequest."""
    name, _, value = word.partition("=")
    if name not in names:
        raise InvalidRequest(f"Invalid filter '{name}'", hint=f"filter by {', '.join(names)}")
    if name == "dangling" and value.lower() not in TRUTH:
        raise InvalidRequest(f"Invalid filter 'dangling=[{value}]'", hint="write true or false")
    return name, value


def passes(conditions: Sequence[tuple[str, str]], fits: Callable[[str, str], bool]) -> bool:
    """Tells whether one value of each kind fits, and every label, as docker has it."""
    for name in {name for name, _ in conditions}:
        found = [fits(name, value) for other, value in conditions if other == name]
        if not (all(found) if name == "label" else any(found)):
            return False
    return True


def labelled(labels: Mapping[str, str], condition: str) -> bool:
    """Tells whether `KEY` is among the labels, or `KEY=VALUE`."""
    key, equals, wanted = condition.partition("=")
    return key in labels and (not equals or labels[key] == wanted)


def named(pattern: str, *names: str) -> bool:
    """Tells whether docker's test of a name or an id fits one of these: a regular expression, or the text itself where it is none."""
    try:
        fits = re.compile(pattern).search
    except re.error:
        fits = re.compile(re.escape(pattern)).search
    return any(map(fits, names))
