"""Amounts as docker's client reads them; each raises ValueError in its words (docker/go-units RAMInBytes, docker/cli opts)."""

from __future__ import annotations

import re
from fractions import Fraction

__all__ = ["processors", "size", "swap"]

_UNITS = {"": 1, "b": 1, **{letter: 1024**power for power, letter in enumerate("kmgtp", 1)}}


def size(text: str) -> int:
    """Gives the bytes of `512`, `10m`, `1.5GiB`."""
    found = re.fullmatch(r"([-+]?[0-9.]+) ?([^0-9. ]*)", text)
    if not found:
        raise ValueError(f"invalid size: '{text}'")
    try:
        number = Fraction(found[1])
    except ValueError:
        raise ValueError(f'strconv.ParseFloat: parsing "{found[1]}": invalid syntax') from None
    if number < 0:
        raise ValueError(f"invalid size: '{text}'")
    unit = re.fullmatch("(b?|[kmgtp])|([kmgtp])(b|ib)", found[2].lower())
    if not unit:
        raise ValueError(f"invalid suffix: '{found[2].lower()}'")
    return int(number * _UNITS[unit[1] if unit[1] is not None else unit[2]])


def swap(text: str) -> int:
    """Gives the same, and -1 for no limit."""
    return -1 if text == "-1" else size(text)


def processors(text: str) -> int:
    """Gives `1.5` or `3/2` processors, times 10⁹."""
    try:
        count = Fraction(text) * 10**9
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"failed to parse {text} as a rational number") from None
    if count.denominator != 1:
        raise ValueError("value is too precise")
    return int(count)
