"""Go's text/template, the part that docker's `--format` is used for.

    Template("{{.Name}}: {{range .Tags}}{{.}} {{end}}").render({"Name": "web", "Tags": ["a", "b"]})

Values are what JSON can hold: dict, list, str, int, float, bool, None. A dict prints as a Go map (sorted) and keeps its order in `json`.
Left out: define, template, block, method calls, complex numbers, `%*d` and `%[1]d` in printf. Source: pkg.go.dev/text/template and fmt.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NoReturn

from dockerlab.errors import InvalidArgument

__all__ = ["Template", "compact_json", "quoted"]

_MAX_OUTPUT = 10_000_000
_MAX_WORK = 50_000_000
_STEP = 50
_MAX_DEPTH = 40
_MAX_WIDTH = 1_000_000

_TOKEN = re.compile(
    r"""(?P<space>[ \t\r\n]+)
    |(?P<string>"(?:[^"\\\n]|\\[^\n])*")|(?P<raw>`[^`]*`)|(?P<char>'(?:[^'\\\n]|\\[^\n])*')
    |(?P<number>(?:[+-]|(?=\.?[0-9]))(?:0[xX][0-9a-fA-F_]*|0[bB][01_]*|0[oO][0-7_]*
        |(?:[0-9][0-9_]*\.?[0-9_]*|\.[0-9][0-9_]*)?(?:(?<=[0-9.])[eE][+-]?[0-9_]+)?))
    |(?P<field>\.[^\W\d]\w*)|(?P<dot>\.)|(?P<variable>\$\w*)|(?P<word>[^\W\d]\w*)|(?P<op>:=|[=|(),])""",
    re.VERBOSE,
)
_CLOSE = re.compile(r"(?:[ \t\r\n]+(-))?\}\}")
_UNTERMINATED = {'"': "unterminated quoted string", "`": "unterminated raw quoted string", "'": "unterminated character constant"}
_NUMBER = re.compile(r"[+-]?(?:0[xX](?:_?[0-9a-fA-F])+|0[bB](?:_?[01])+|0[oO]?(?:_?[0-7])*|[1-9](?:_?[0-9])*)")
_DECIMAL = re.compile(r"[+-]?(?=\.?[0-9])(?:[0-9](?:_?[0-9])*)?\.?(?:[0-9](?:_?[0-9])*)?(?:[eE][+-]?[0-9]{1,5})?")
_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-3][0-7]{2})|(.))", re.DOTALL)
_LETTERS = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\", '"': '"', "'": "'"}
_BACK = {value: f"\\{letter}" for letter, value in _LETTERS.items() if letter != "'"}
_BLOCKS = ("if", "with", "range")


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    at: int


@dataclass(frozen=True, slots=True)
class _Term:
    """One operand; `text` is how Go would show it in an error, `names` the fields that follow the value."""

    kind: str
    text: str
    at: int
    value: Any = None
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Pipe:
    commands: tuple[tuple[_Term, ...], ...]
    variables: tuple[str, ...]
    declares: bool


@dataclass(frozen=True, slots=True)
class _Node:
    kind: str
    text: str = ""
    pipe: _Pipe | None = None
    body: tuple[_Node, ...] = ()
    otherwise: tuple[_Node, ...] = ()


def _broken(text: str, at: int, message: str) -> InvalidArgument:
    return InvalidArgument(f"template parsing error: template: :{1 + text.count(chr(10), 0, at)}: {message}")


def _tokens(text: str) -> Iterator[_Token]:
    at = 0
    trim = False
    while (start := text.find("{{", at)) >= 0:
        inside = start + 2
        ahead = text[inside : inside + 1] == "-" and text[inside + 1 : inside + 2] in tuple(" \t\r\n")
        inside += 2 * ahead
        piece = text[at:start].lstrip(" \t\r\n") if trim else text[at:start]
        yield _Token("text", piece.rstrip(" \t\r\n") if ahead else piece, at)
        if text.startswith("/*", inside):
            at, trim = _comment(text, inside)
        else:
            end = yield from _action(text, inside)
            at, trim = end.end(), end[1] == "-"
    yield _Token("text", text[at:].lstrip(" \t\r\n") if trim else text[at:], at)


def _comment(text: str, at: int) -> tuple[int, bool]:
    if (end := text.find("*/", at)) < 0:
        raise _broken(text, at, "unclosed comment")
    if close := re.compile(r"(?:[ \t\r\n](-))?\}\}").match(text, end + 2):
        return close.end(), close[1] == "-"
    raise _broken(text, at, "comment ends before closing delimiter")


def _action(text: str, at: int) -> Iterator[_Token]:
    yield _Token("open", "{{", at)
    depth = 0
    while not (end := _CLOSE.match(text, at)):
        if at >= len(text):
            raise _broken(text, at, "unclosed action")
        if not (found := _TOKEN.match(text, at)) or not found[0]:
            raise _broken(text, at, _UNTERMINATED.get(text[at], f'unexpected {quoted(text[at])} in command'))
        kind, at = str(found.lastgroup), found.end()
        depth += (found[0] == "(") - (found[0] == ")")
        if depth < 0:
            raise _broken(text, at, "unexpected right paren")
        _terminated(text, at, kind, found[0])
        yield _Token(found[0] if kind == "op" else kind, found[0], found.start())
    if depth:
        raise _broken(text, at, "unclosed left paren")
    yield _Token("close", end[0], at)
    return end


def _terminated(text: str, at: int, kind: str, word: str) -> None:
    after = text[at : at + 1]
    if kind == "number" and (after.isalnum() or after == "_"):
        raise _broken(text, at, f"bad number syntax: {quoted(word + after)}")
    if kind in ("field", "variable", "word") and after and after not in " \t\r\n.,|:()" and not text.startswith("}}", at):
        raise _broken(text, at, f"bad character U+{ord(after):04X} '{after}'")


