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


def quoted(text: str) -> str:
    """The text as Go's `%q` writes it: double quotes, escapes for what cannot be printed."""
    return '"' + "".join(map(_escaped, text)) + '"'


def _escaped(char: str) -> str:
    code = ord(char)
    if char in _BACK or char.isprintable():
        return _BACK.get(char, char)
    if code < 0x80 or 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code & 0xFF:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def compact_json(value: object, *, html: bool = False) -> str:
    """Go's JSON on one line, keys in the order given; with `html` also `<`, `>` and `&` as escapes, which is what json.Marshal does.

    Raises InvalidArgument for a value that JSON has no words for (NaN, a circle, hundreds of levels).
    """
    try:
        text = json.dumps(_integral(value), ensure_ascii=False, separators=(",", ":"), default=str, allow_nan=False)
    except (ValueError, TypeError, RecursionError) as error:
        raise InvalidArgument(f"cannot be written as JSON: {error}") from None
    text = text.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029").encode("utf-8", "replace").decode()
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026") if html else text


def _integral(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e21:
        return int(value)
    if isinstance(value, Mapping):
        return {str(key): _integral(item) for key, item in value.items()}
    return [_integral(item) for item in value] if isinstance(value, (list, tuple)) else value


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


class _Parser:
    """Template text to nodes; Go's parser reports the first thing wrong in reading order, so tokens are made as they are asked for."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.stream = _tokens(text)
        self.ahead: list[_Token] = []
        self.scope = ["$"]
        self.depth = self.loops = 0

    def fail(self, message: str) -> NoReturn:
        raise _broken(self.text, self.ahead[0].at if self.ahead else len(self.text), message)

    def peek(self, *, spaces: bool = False) -> _Token:
        while not self.ahead or (self.ahead[0].kind == "space" and not spaces):
            self.ahead = [next(self.stream, _Token("eof", "EOF", len(self.text)))]
        return self.ahead[0]

    def take(self, *, spaces: bool = False) -> _Token:
        token = self.peek(spaces=spaces)
        self.ahead = []
        return token

    def deeper(self, step: int) -> None:
        self.depth += step
        if self.depth > _MAX_DEPTH:
            self.fail("nested too deeply")

    def document(self) -> tuple[_Node, ...]:
        nodes, stop = self.nodes()
        if stop != "eof":
            self.fail(f"unexpected {{{{{stop}}}}}")
        return nodes

    def nodes(self) -> tuple[tuple[_Node, ...], str]:
        found: list[_Node] = []
        while (token := self.take()).kind != "eof":
            if token.kind == "text":
                found.append(_Node("text", token.text))
                continue
            word = self.peek()
            if word.kind == "word" and word.text in ("end", "else"):
                self.take()
                return tuple(found), word.text
            found.append(self.statement(word))
        return tuple(found), "eof"

    def statement(self, word: _Token) -> _Node:
        if word.kind == "word" and word.text in _BLOCKS:
            self.take()
            return self.block(word.text)
        if word.kind == "word" and word.text in ("break", "continue"):
            self.take()
            if not self.loops:
                self.fail(f"{{{{{word.text}}}}} outside {{{{range}}}}")
            return self.closed(word.text, _Node(word.text))
        if word.kind == "word" and word.text in ("define", "template", "block"):
            self.fail(f"{{{{{word.text}}}}} cannot be used here")
        return _Node("print", pipe=self.pipe("command"))

    def closed(self, context: str, node: _Node) -> _Node:
        if (token := self.take()).kind != "close":
            self.fail(f"unexpected {quoted(token.text)} in {context}")
        return node

    def block(self, kind: str) -> _Node:
        self.deeper(1)
        mark = len(self.scope)
        pipe = self.pipe(kind)
        self.loops += kind == "range"
        body, stop = self.nodes()
        self.loops -= kind == "range"
        otherwise: tuple[_Node, ...] = ()
        if stop == "else":
            otherwise, stop = self.otherwise(kind)
        if stop != "end":
            self.fail("unexpected EOF" if stop == "eof" else f"expected end; found {{{{{stop}}}}}")
        del self.scope[mark:]
        self.deeper(-1)
        return _Node(kind, pipe=pipe, body=body, otherwise=otherwise)

    def otherwise(self, kind: str) -> tuple[tuple[_Node, ...], str]:
        word = self.peek()
        if word.kind == "word" and word.text == kind and kind != "range":
            self.take()
            return (self.block(kind),), "end"
        if word.kind == "word" and word.text in _BLOCKS:
            self.fail(f"unexpected <{word.text}> in input")
        self.closed("else", _Node("else"))
        nodes, stop = self.nodes()
        if stop == "end":
            self.closed("end", _Node("end"))
        return nodes, stop

    def pipe(self, context: str, end: str = "close") -> _Pipe:
        names, declares = self.declaration(context)
        commands: list[tuple[_Term, ...]] = []
        while (token := self.peek()).kind != end:
            if not (token.kind == "|" and commands):
                commands.append(self.command(context))
            else:
                self.take()
        self.take()
        for stage, command in enumerate(commands[1:], 2):
            if command[0].kind in ("bool", "number", "string", "nil", "dot"):
                self.fail(f"non executable command in pipeline stage {stage}")
        if not commands:
            self.fail(f"missing value for {context}")
        self.scope += names if declares else ()
        return _Pipe(tuple(commands), names, declares)
