"""The functions a template may call: Go's own, and those docker adds.

Sources: pkg.go.dev/text/template (Functions), docker/cli `templates`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from dockerlab.commands.go_text import NIL, as_bytes, compact_json, go_text, go_type, printf
from dockerlab.errors import InvalidArgument

__all__ = ["FUNCTIONS", "HEADINGS", "MAX_OUTPUT", "Function"]

MAX_OUTPUT = 10_000_000


@dataclass(frozen=True, slots=True)
class Function:
    """`takes` has a letter for each argument: any, string, integer, list of strings; with `more`, any number of others may follow."""

    run: Callable[..., Any]
    takes: str
    more: bool = False


def _len(value: Any) -> int:
    if value is None or value is NIL:
        raise InvalidArgument("len of nil pointer")
    if isinstance(value, str):
        return len(as_bytes(value))
    if isinstance(value, (Mapping, list, tuple)):
        return len(value)
    raise InvalidArgument(f"len of type {go_type(value)}")


def _index(value: Any, *keys: Any) -> Any:
    for key in keys:
        if value is None or value is NIL:
            raise InvalidArgument("index of untyped nil")
        if isinstance(value, Mapping):
            if not isinstance(key, str):
                kind = f"value has type {go_type(key)}; should be string" if key is not None else "value is nil; should be of type string"
                raise InvalidArgument(kind)
            value = value.get(key, "" if all(isinstance(each, str) for each in value.values()) else None)
        elif isinstance(value, (str, list, tuple)):
            items = as_bytes(value) if isinstance(value, str) else value
            value = items[_position(key, len(items) - 1)]
        else:
            raise InvalidArgument(f"can't index item of type {go_type(value)}")
    return value


def _position(key: Any, last: int) -> int:
    if not isinstance(key, int) or isinstance(key, bool):
        raise InvalidArgument(f"cannot index slice/array with {'nil' if key is None else f'type {go_type(key)}'}")
    if not 0 <= key <= last:
        raise InvalidArgument(f"index out of range: {key}")
    return key


def _slice(value: Any, *ends: Any) -> Any:
    if value is None:
        raise InvalidArgument("slice of untyped nil")
    if len(ends) > 3:
        raise InvalidArgument(f"too many slice indexes: {len(ends)}")
    if not isinstance(value, (str, list, tuple)):
        raise InvalidArgument(f"can't slice item of type {go_type(value)}")
    if isinstance(value, str) and len(ends) == 3:
        raise InvalidArgument("cannot 3-index slice a string")
    items: Any = as_bytes(value) if isinstance(value, str) else list(value)
    places = [_position(end, len(items)) for end in ends]
    for first, second in pairwise(places):
        if first > second:
            raise InvalidArgument(f"invalid slice index: {first} > {second}")
    cut = items[slice(places[0] if places else 0, places[1] if len(places) > 1 else None)]
    return cut.decode("utf-8", "surrogateescape") if isinstance(cut, bytes) else cut


def _equal(value: Any, *others: Any) -> bool:
    if not others:
        raise InvalidArgument("missing argument for comparison")
    return any(_same(value, other) for other in others)


def _same(one: Any, two: Any) -> bool:
    if one is None or two is None:
        return one is two
    if go_type(one) != go_type(two):
        raise InvalidArgument("incompatible types for comparison")
    if isinstance(one, (Mapping, list, tuple)):
        raise InvalidArgument(f"non-comparable type {go_text(one)}: {go_type(one)}")
    return bool(one == two)


def _less(one: Any, two: Any) -> bool:
    for value in (one, two):
        if isinstance(value, bool) or not isinstance(value, (int, float, str)):
            raise InvalidArgument("invalid type for comparison")
    if go_type(one) != go_type(two):
        raise InvalidArgument("incompatible types for comparison")
    return as_bytes(one) < as_bytes(two) if isinstance(one, str) else bool(one < two)


def _print(*values: Any) -> str:
    parts: list[str] = []
    for place, value in enumerate(values):
        if place and not isinstance(value, str) and not isinstance(values[place - 1], str):
            parts.append(" ")
        parts.append(go_text(value))
    return "".join(parts)


def _escaped(text: str) -> str:
    for char, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&#34;"), ("'", "&#39;"), ("\0", "\ufffd")):
        text = text.replace(char, entity)
    return text


def _capital(found: re.Match[str]) -> str:
    upper = found[0].upper()
    return upper if len(upper) == 1 else found[0]


def _truncate(text: str, length: int) -> str:
    if length < 0:
        raise InvalidArgument(f"runtime error: slice bounds out of range [:{length}]")
    return as_bytes(text)[:length].decode("utf-8", "surrogateescape")


def _pad(text: str, before: int, after: int) -> str:
    if min(before, after) < 0 and text:
        raise InvalidArgument("strings: negative Repeat count")
    if before + after > MAX_OUTPUT:
        raise InvalidArgument("too much output")
    return f"{' ' * before}{text}{' ' * after}" if text else ""


FUNCTIONS = {
    "and": Function(lambda *values: values[-1], "a", more=True),
    "eq": Function(_equal, "a", more=True),
    "ge": Function(lambda one, two: not _less(one, two), "aa"),
    "gt": Function(lambda one, two: not _less(one, two) and not _same(one, two), "aa"),
    "html": Function(lambda *values: _escaped(_print(*values)), "a", more=True),
    "index": Function(_index, "a", more=True),
    "join": Function(lambda items, separator: separator.join(items), "ls"),
    "json": Function(compact_json, "a"),
    "le": Function(lambda one, two: _less(one, two) or _same(one, two), "aa"),
    "len": Function(_len, "a"),
    "lower": Function(str.lower, "s"),
    "lt": Function(_less, "aa"),
    "ne": Function(lambda one, two: not _same(one, two), "aa"),
    "not": Function(lambda value: not value, "a"),
    "or": Function(lambda *values: values[-1], "a", more=True),
    "pad": Function(_pad, "sii"),
    "print": Function(_print, "", more=True),
    "printf": Function(lambda text, *values: printf(text, values), "s", more=True),
    "println": Function(lambda *values: " ".join(map(go_text, values)) + "\n", "", more=True),
    "slice": Function(_slice, "a", more=True),
    "split": Function(lambda text, separator: text.split(separator) if separator else list(text), "ss"),
    "title": Function(lambda text: re.sub(r"(?<!\w)\w", _capital, text), "s"),
    "truncate": Function(_truncate, "si"),
    "upper": Function(str.upper, "s"),
}
_same_text = Function(lambda text, *_: text, "s", more=True)
HEADINGS = {**FUNCTIONS, **dict.fromkeys(("join", "json", "lower", "split", "title", "truncate", "upper"), _same_text)}
