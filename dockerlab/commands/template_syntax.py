"""How a template is read: text to tokens, tokens to nodes.

Source: pkg.go.dev/text/template/parse.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

from dockerlab.commands.go_text import as_bytes, quoted
from dockerlab.commands.template_functions import FUNCTIONS
from dockerlab.errors import InvalidArgument

__all__ = ["Node", "Pipe", "Term", "parse"]

_MAX_DEPTH = 40

_TOKEN = re.compile(
    r"""(?P<space>[ \t\r\n]+)
    |(?P<string>"(?:[^"\\\n]|\\[^\n])*")|(?P<raw>`[^`]*`)|(?P<char>'(?:[^'\\\n]|\\[^\n])*')
    |(?P<number>(?:[+-]|(?=\.?[0-9]))(?:0[xX][0-9a-fA-F_]*|0[bB][01_]*|0[oO][0-7_]*
        |(?:[0-9][0-9_]*\.?[0-9_]*|\.[0-9][0-9_]*)?(?:(?<=[0-9.])[eE][+-]?[0-9_]*)?))
    |(?P<field>\.[^\W\d]\w*)|(?P<dot>\.)|(?P<variable>\$\w*)|(?P<word>[^\W\d]\w*)|(?P<op>:=|[=|(),])""",
    re.VERBOSE,
)
_CLOSE = re.compile(r"(?:[ \t\r\n]+(-))?\}\}")
_UNTERMINATED = {'"': "unterminated quoted string", "`": "unterminated raw quoted string", "'": "unterminated character constant"}
_BAD_NUMBER = re.compile(r"\w|[+-][0-9]*")
_COMMENT_CLOSE = re.compile(r"(?:[ \t\r\n](-))?\}\}")
_INTEGER = re.compile(r"[+-]?(?:0[xX](?:_?[0-9a-fA-F])+|0[bB](?:_?[01])+|0[oO]?(?:_?[0-7])*|[1-9](?:_?[0-9])*)")
_DECIMAL = re.compile(r"[+-]?(?=\.?[0-9])(?:[0-9](?:_?[0-9])*)?\.?(?:[0-9](?:_?[0-9])*)?(?:[eE][+-]?[0-9]{1,5})?")
_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-3][0-7]{2})|(.))", re.DOTALL)
_LETTERS = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\"}
_WORDS: dict[str, tuple[str, Any]] = {"nil": ("nil", None), "true": ("bool", True), "false": ("bool", False)}
_BLOCKS = ("if", "with", "range")
_KEYWORDS = (*_BLOCKS, "end", "else", "break", "continue", "define", "template", "block")


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    at: int


@dataclass(frozen=True, slots=True)
class Term:
    """One operand; `text` is how Go would show it in an error, `names` the fields that follow the value."""

    kind: str
    text: str
    at: int
    value: Any = None
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Pipe:
    commands: tuple[tuple[Term, ...], ...]
    variables: tuple[str, ...]
    declares: bool


@dataclass(frozen=True, slots=True)
class Node:
    kind: str
    text: str = ""
    pipe: Pipe | None = None
    body: tuple[Node, ...] = ()
    otherwise: tuple[Node, ...] = ()


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
    if close := _COMMENT_CLOSE.match(text, end + 2):
        return close.end(), close[1] == "-"
    raise _broken(text, at, "comment ends before closing delimiter")


def _action(text: str, at: int) -> Generator[_Token, None, re.Match[str]]:
    yield _Token("open", "{{", at)
    depth = 0
    while not (end := _CLOSE.match(text, at)):
        if at >= len(text):
            raise _broken(text, at, "unclosed action")
        if not (found := _TOKEN.match(text, at)) or not found[0]:
            if text[at] in _UNTERMINATED:
                raise _broken(text, at, _UNTERMINATED[text[at]])
            yield _Token("other", text[at], at)
            at += 1
            continue
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
    if kind == "number" and (bad := _BAD_NUMBER.match(text, at)):
        raise _broken(text, at, f"bad number syntax: {quoted(word + bad[0])}")
    if kind in ("field", "variable", "word") and after and after not in " \t\r\n.,|:()" and not text.startswith("}}", at):
        raise _broken(text, at, f"bad character U+{ord(after):04X} '{after}'")


def _constant(token: _Token, text: str) -> Any:
    """The value of a literal. Raises InvalidArgument with Go's words for one that is not well formed."""
    if token.kind == "raw":
        return token.text[1:-1].replace("\r", "")
    if token.kind in ("string", "char"):
        value = _unquoted(token, text)
        if token.kind == "string":
            return value
        if len(value) == 1:
            return ord(value)
        raise _broken(text, token.at, f"malformed character constant: {token.text}" if value else "invalid syntax")
    plain = token.text.replace("_", "")
    if len(plain) <= 400 and _INTEGER.fullmatch(token.text):
        number = int(plain, 8 if re.match(r"[+-]?0[0-7]", plain) else 0)
        if -(1 << 63) <= number < 1 << 63:
            return number
        raise _broken(text, token.at, f"integer overflow: {quoted(token.text)}")
    if len(plain) <= 400 and _DECIMAL.fullmatch(token.text):
        if plain.lstrip("+-").isdigit():
            raise _broken(text, token.at, f"integer overflow: {quoted(token.text)}")
        if abs(real := float(plain)) != float("inf"):
            return real
    raise _broken(text, token.at, f"illegal number syntax: {quoted(token.text)}")


def _unquoted(token: _Token, text: str) -> str:
    quote = token.text[0]

    def one(found: re.Match[str]) -> str:
        byte, short, wide, octal, letter = found.groups()
        if letter:
            if letter != quote and letter not in _LETTERS:
                raise _broken(text, token.at, "invalid syntax")
            return _LETTERS.get(letter, letter)
        code = int(octal, 8) if octal else int(byte or short or wide, 16)
        if not (byte or octal) and (code > 0x10FFFF or 0xD800 <= code < 0xE000):
            raise _broken(text, token.at, "invalid syntax")
        return chr(0xDC00 + code) if (byte or octal) and code > 0x7F else chr(code)

    return as_bytes(_ESCAPE.sub(one, token.text[1:-1])).decode("utf-8", "surrogateescape")


def parse(text: str) -> tuple[Node, ...]:
    """The nodes of the template. Raises InvalidArgument, with docker's words, for text that is not one."""
    return _Parser(text).document()


class _Parser:
    """Template text to nodes. Tokens are made as they are asked for, so that the first thing wrong is the one reported."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.stream = _tokens(text)
        self.ahead: deque[_Token] = deque()
        self.scope = ["$"]
        self.depth = self.loops = self.at = 0

    def fail(self, message: str) -> NoReturn:
        raise _broken(self.text, self.at, message)

    def unexpected(self, token: _Token, context: str) -> NoReturn:
        self.at = token.at
        keyword = token.kind == "dot" or (token.kind == "word" and token.text in _KEYWORDS)
        self.fail(f"unexpected {f'<{token.text}>' if keyword else 'EOF' if token.kind == 'eof' else quoted(token.text)} in {context}")

    def peek(self, *, spaces: bool = False) -> _Token:
        while True:
            if not self.ahead:
                self.ahead.append(next(self.stream, _Token("eof", "", len(self.text))))
            if spaces or self.ahead[0].kind != "space":
                return self.ahead[0]
            self.ahead.popleft()

    def take(self, *, spaces: bool = False) -> _Token:
        token = self.peek(spaces=spaces)
        self.ahead.popleft()
        self.at = token.at
        return token

    def deeper(self) -> None:
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            self.fail("nested too deeply")

    def document(self) -> tuple[Node, ...]:
        nodes, stop = self.nodes()
        if stop != "eof":
            self.fail(f"unexpected {{{{{stop}}}}}")
        return nodes

    def nodes(self) -> tuple[tuple[Node, ...], str]:
        """The nodes up to `end` (taken whole), `else` (its word taken) or the end of the text, and which of them it was."""
        found: list[Node] = []
        while (token := self.take()).kind != "eof":
            if token.kind == "text":
                found.append(Node("text", token.text))
                continue
            word = self.peek()
            kind = word.text if word.kind == "word" and word.text in _KEYWORDS else ""
            if kind:
                self.take()
            if kind == "else":
                return tuple(found), kind
            if kind == "end":
                self.closed(kind)
                return tuple(found), kind
            found.append(self.statement(kind, word))
        return tuple(found), "eof"

    def statement(self, kind: str, word: _Token) -> Node:
        if not kind:
            return Node("print", pipe=self.pipe("command"))
        if kind in _BLOCKS:
            return self.block(kind)
        if kind not in ("break", "continue"):
            self.fail(f"{{{{{kind}}}}} cannot be used here")
        if not self.loops:
            self.fail(f"{{{{{kind}}}}} outside {{{{range}}}}")
        self.closed(f"{{{{{kind}}}}}")
        return Node(kind)

    def closed(self, context: str) -> None:
        if (token := self.take()).kind != "close":
            self.unexpected(token, context)

    def block(self, kind: str) -> Node:
        self.deeper()
        mark = len(self.scope)
        pipe = self.pipe(kind)
        self.loops += kind == "range"
        body, stop = self.nodes()
        self.loops -= kind == "range"
        otherwise: tuple[Node, ...] = ()
        if stop == "else":
            otherwise, stop = self.otherwise(kind)
        if stop != "end":
            self.fail("unexpected EOF" if stop == "eof" else f"expected end; found {{{{{stop}}}}}")
        del self.scope[mark:]
        self.depth -= 1
        return Node(kind, pipe=pipe, body=body, otherwise=otherwise)

    def otherwise(self, kind: str) -> tuple[tuple[Node, ...], str]:
        word = self.peek()
        if word.kind == "word" and word.text in ("if", "with"):
            if word.text != kind:
                self.unexpected(word, "input")
            self.take()
            return (self.block(kind),), "end"
        self.closed("else")
        return self.nodes()

    def pipe(self, context: str, end: str = "close") -> Pipe:
        names, declares = self.declaration(context)
        commands: list[tuple[Term, ...]] = []
        while self.peek().kind != end:
            commands.append(self.command(context))
        self.take()
        if not commands:
            self.fail(f"missing value for {context}")
        for stage, command in enumerate(commands[1:], 2):
            if command[0].kind in ("bool", "number", "string", "nil", "dot"):
                self.fail(f"non executable command in pipeline stage {stage}")
        self.scope += names if declares else ()
        return Pipe(tuple(commands), names, declares)

    def declaration(self, context: str) -> tuple[tuple[str, ...], bool]:
        names: list[str] = []
        while self.peek().kind == "variable":
            name, after = self.take(), self.peek(spaces=True)
            link = self.peek()
            if link.kind in (":=", "="):
                return (*names, name.text), self.take().kind == ":="
            if link.kind != ",":
                self.ahead.extendleft((after, name) if after.kind == "space" else (name,))
                break
            self.take()
            names.append(name.text)
            if context != "range" or len(names) > 1:
                self.fail(f"too many declarations in {context}")
            if self.peek().kind != "variable":
                self.fail("range can only initialize variables")
        return (), False

    def command(self, context: str) -> tuple[Term, ...]:
        terms: list[Term] = []
        while term := self.operand(context if not terms else "operand"):
            terms.append(term)
            token = self.peek(spaces=True)
            if token.kind == "|":
                self.take()
            elif token.kind == "space":
                if self.peek().kind != "|":
                    continue
                self.take()
            elif token.kind not in ("close", ")"):
                self.unexpected(token, "operand")
            break
        return tuple(terms)

    def operand(self, context: str) -> Term | None:
        token = self.peek()
        if token.kind in ("close", ")") and context == "operand":
            return None
        term = self.term(self.take(), context)
        names: list[str] = []
        at = self.peek(spaces=True).at
        while (field := self.peek(spaces=True)).kind == "field":
            names.append(self.take().text[1:])
        if field.kind == "dot":
            self.unexpected(field, "operand")
        if not names:
            return term
        if term.kind not in ("field", "variable", "function", "pipe"):
            self.fail(f"unexpected . after term {quoted(term.text)}")
        text = "".join((term.text, *(f".{name}" for name in names)))
        return Term(term.kind, text, at, term.value, (*term.names, *names))

    def term(self, token: _Token, context: str) -> Term:
        kind, text = token.kind, token.text
        if kind == "(":
            self.deeper()
            pipe = self.pipe("parenthesized pipeline", ")")
            self.depth -= 1
            return Term("pipe", f"({_shown(pipe)})", token.at, pipe)
        if kind == "variable" and text not in self.scope:
            self.fail(f"undefined variable {quoted(text)}")
        if kind == "word" and text in _WORDS:
            return Term(_WORDS[text][0], text, token.at, _WORDS[text][1])
        if kind == "word" and text not in _KEYWORDS:
            if text not in FUNCTIONS:
                self.fail(f"function {quoted(text)} not defined")
            return Term("function", text, token.at)
        if kind in ("string", "raw", "char", "number"):
            literal = "string" if kind in ("string", "raw") else "number"
            return Term(literal, text, token.at, _constant(token, self.text))
        if kind not in ("dot", "field", "variable"):
            self.unexpected(token, context)
        return Term(kind, text, token.at, text, (text[1:],) if kind == "field" else ())


def _shown(pipe: Pipe) -> str:
    return " | ".join(" ".join(term.text for term in command) for command in pipe.commands)
