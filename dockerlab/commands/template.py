"""Go's text/template, the part that docker's `--format` is used for.

    Template("{{.Name}}: {{range .Tags}}{{.}} {{end}}").render({"Name": "web", "Tags": ["a", "b"]})

Values are what JSON can hold: dict, list, str, int, float, bool, None; a function of strings stands for a method. A dict prints and
ranges as a Go map (sorted) and keeps its order in `json`. Left out: define, template, block, call, html, js, urlquery, complex numbers,
hexadecimal floats, `%*d` and `%[1]d`. Source: pkg.go.dev/text/template, docker/cli `templates`.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NoReturn

from dockerlab.commands.columns import as_bytes, compact_json, go_text, go_type, printf, quoted
from dockerlab.errors import InvalidArgument

__all__ = ["Template"]

_MAX_OUTPUT = 10_000_000
_MAX_WORK = 50_000_000
_STEP = 50
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

    def document(self) -> tuple[_Node, ...]:
        nodes, stop = self.nodes()
        if stop != "eof":
            self.fail(f"unexpected {{{{{stop}}}}}")
        return nodes

    def nodes(self) -> tuple[tuple[_Node, ...], str]:
        """The nodes up to `end` (taken whole), `else` (its word taken) or the end of the text, and which of them it was."""
        found: list[_Node] = []
        while (token := self.take()).kind != "eof":
            if token.kind == "text":
                found.append(_Node("text", token.text))
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

    def statement(self, kind: str, word: _Token) -> _Node:
        if not kind:
            return _Node("print", pipe=self.pipe("command"))
        if kind in _BLOCKS:
            return self.block(kind)
        if kind not in ("break", "continue"):
            self.fail(f"{{{{{kind}}}}} cannot be used here")
        if not self.loops:
            self.fail(f"{{{{{kind}}}}} outside {{{{range}}}}")
        self.closed(f"{{{{{kind}}}}}")
        return _Node(kind)

    def closed(self, context: str) -> None:
        if (token := self.take()).kind != "close":
            self.unexpected(token, context)

    def block(self, kind: str) -> _Node:
        self.deeper()
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
        self.depth -= 1
        return _Node(kind, pipe=pipe, body=body, otherwise=otherwise)

    def otherwise(self, kind: str) -> tuple[tuple[_Node, ...], str]:
        word = self.peek()
        if word.kind == "word" and word.text in ("if", "with"):
            if word.text != kind:
                self.unexpected(word, "input")
            self.take()
            return (self.block(kind),), "end"
        self.closed("else")
        return self.nodes()

    def pipe(self, context: str, end: str = "close") -> _Pipe:
        names, declares = self.declaration(context)
        commands: list[tuple[_Term, ...]] = []
        while self.peek().kind != end:
            commands.append(self.command(context))
        self.take()
        if not commands:
            self.fail(f"missing value for {context}")
        for stage, command in enumerate(commands[1:], 2):
            if command[0].kind in ("bool", "number", "string", "nil", "dot"):
                self.fail(f"non executable command in pipeline stage {stage}")
        self.scope += names if declares else ()
        return _Pipe(tuple(commands), names, declares)

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

    def command(self, context: str) -> tuple[_Term, ...]:
        terms: list[_Term] = []
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

    def operand(self, context: str) -> _Term | None:
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
        return _Term(term.kind, text, at, term.value, (*term.names, *names))

    def term(self, token: _Token, context: str) -> _Term:
        kind, text = token.kind, token.text
        if kind == "(":
            self.deeper()
            pipe = self.pipe("parenthesized pipeline", ")")
            self.depth -= 1
            return _Term("pipe", f"({_shown(pipe)})", token.at, pipe)
        if kind == "variable" and text not in self.scope:
            self.fail(f"undefined variable {quoted(text)}")
        if kind == "word" and text in _WORDS:
            return _Term(_WORDS[text][0], text, token.at, _WORDS[text][1])
        if kind == "word" and text not in _KEYWORDS:
            if text not in _FUNCTIONS:
                self.fail(f"function {quoted(text)} not defined")
            return _Term("function", text, token.at)
        if kind in ("string", "raw", "char", "number"):
            literal = "string" if kind in ("string", "raw") else "number"
            return _Term(literal, text, token.at, _constant(token, self.text))
        if kind not in ("dot", "field", "variable"):
            self.unexpected(token, context)
        return _Term(kind, text, token.at, text, (text[1:],) if kind == "field" else ())


def _shown(pipe: _Pipe) -> str:
    return " | ".join(" ".join(term.text for term in command) for command in pipe.commands)


class _Run:
    """One rendering: the variables, what was written, and how much work is left. Go reports errors at the operand it looked at last."""

    def __init__(self, text: str, value: Any, functions: Mapping[str, _Function]) -> None:
        self.text = text
        self.functions = functions
        self.variables: list[tuple[str, Any]] = [("$", value)]
        self.out: list[str] = []
        self.size = self.work = 0
        self.where = _Term("dot", ".", 0)

    def fail(self, message: str) -> NoReturn:
        before = as_bytes(self.text[: self.where.at])
        line, column = 1 + before.count(b"\n"), len(before) - before.rfind(b"\n") - 1
        place = f':{line}:{column}: executing "" at <{self.where.text}>'
        raise InvalidArgument(f"template parsing error: template: {place}: {message}")

    def spend(self, amount: int) -> None:
        self.work += amount
        if self.work > _MAX_WORK:
            self.fail("too much work")

    def write(self, text: str) -> None:
        self.size += len(text)
        if self.size > _MAX_OUTPUT:
            self.fail("too much output")
        self.out.append(text)

    def walk(self, nodes: Sequence[_Node], dot: Any) -> str:
        """Writes the nodes; returns `break` or `continue` where one was met."""
        for node in nodes:
            self.spend(_STEP)
            mark = len(self.variables)
            if node.pipe is None:
                if node.kind != "text":
                    return node.kind
                self.write(node.text)
            elif node.kind == "print":
                value = self.piped(node.pipe, dot)
                if not node.pipe.variables:
                    self.write("<no value>" if value is None else go_text(value))
                continue
            elif signal := self.loop(node, node.pipe, dot) if node.kind == "range" else self.choose(node, node.pipe, dot):
                return signal
            del self.variables[mark:]
        return ""

    def choose(self, node: _Node, pipe: _Pipe, dot: Any) -> str:
        value = self.piped(pipe, dot)
        if not value:
            return self.walk(node.otherwise, dot)
        return self.walk(node.body, value if node.kind == "with" else dot)

    def loop(self, node: _Node, pipe: _Pipe, dot: Any) -> str:
        value = self.piped(_Pipe(pipe.commands, (), False), dot)
        pairs = self.pairs(value, pipe.variables)
        empty = True
        for key, item in pairs:
            empty = False
            self.spend(_STEP)
            mark = len(self.variables)
            self.store(pipe, (key, item) if len(pipe.variables) == 2 else (item,))
            signal = self.walk(node.body, item)
            del self.variables[mark:]
            if signal == "break":
                break
        return self.walk(node.otherwise, dot) if empty else ""

    def pairs(self, value: Any, variables: Sequence[str]) -> Iterator[tuple[Any, Any]]:
        if isinstance(value, Mapping):
            return iter(sorted(value.items(), key=lambda pair: str(pair[0])))
        if isinstance(value, (list, tuple)) or value is None:
            return enumerate(value or ())
        if not isinstance(value, int) or isinstance(value, bool):
            self.fail(f"range can't iterate over {go_text(value)}")
        if len(variables) > 1:
            self.fail(f"can't use {value} to iterate over more than one variable")
        return ((number, number) for number in range(value))

    def store(self, pipe: _Pipe, values: Sequence[Any]) -> None:
        for name, value in zip(pipe.variables, values, strict=False):
            if pipe.declares:
                self.variables.append((name, value))
                continue
            for place in reversed(range(len(self.variables))):
                if self.variables[place][0] == name:
                    self.variables[place] = (name, value)
                    break
            else:
                self.fail(f"undefined variable: {name}")

    def piped(self, pipe: _Pipe, dot: Any) -> Any:
        final: tuple[Any, ...] = ()
        for command in pipe.commands:
            final = (self.command(command, dot, final),)
        self.store(pipe, final)
        return final[0]

    def command(self, command: Sequence[_Term], dot: Any, final: tuple[Any, ...]) -> Any:
        first, rest = command[0], command[1:]
        self.spend(_STEP)
        if first.kind == "function" and not first.names:
            return self.call(command, dot, final)
        if first.kind == "nil":
            self.where = first
            self.fail("nil is not a command")
        if not rest and not final:
            return self.value(first, dot)
        if first.kind == "field" or first.names:
            return self.method(first, [self.value(term, dot) for term in rest] + list(final), dot)
        self.where = first
        self.fail(f"can't give argument to non-function {first.text}")

    def method(self, term: _Term, values: list[Any], dot: Any) -> Any:
        found = self.value(term, dot, bare=True)
        if not callable(found):
            self.fail(f"{term.names[-1]} is not a method but has arguments")
        return found(*map(go_text, values))

    def value(self, term: _Term, dot: Any, *, bare: bool = False) -> Any:
        self.where = term
        found = term.value
        if term.kind in ("dot", "field"):
            found = dot
        elif term.kind == "variable":
            found = next(value for name, value in reversed(self.variables) if name == term.value)
        elif term.kind == "pipe":
            found = self.piped(term.value, dot)
        elif term.kind == "function":
            found = self.call((term,), dot, ())
        nested = term.kind in ("pipe", "function", "variable")
        for step, name in enumerate(term.names):
            self.spend(_STEP)
            found = self.field(found, name, go_type(found) if nested and not step else "interface {}")
        return found

    def field(self, value: Any, name: str, kind: str) -> Any:
        if isinstance(value, Mapping):
            if name in value:
                return value[name]
            self.fail(f"map has no entry for key {quoted(name)}")
        if value is None:
            self.fail(f"nil pointer evaluating interface {{}}.{name}")
        self.fail(f"can't evaluate field {name} in type {kind}")

    def call(self, command: Sequence[_Term], dot: Any, final: tuple[Any, ...]) -> Any:
        function = self.functions[command[0].text.partition(".")[0]]
        name = command[0].text
        self.where = command[0]
        wanted, given = len(function.takes), len(command) - 1 + len(final)
        if given < wanted or (given > wanted and not function.more):
            least = "at least " if function.more else ""
            self.fail(f"wrong number of args for {name}: want {least}{wanted} got {given}")
        kinds = function.takes + "a" * (given - wanted)
        values: list[Any] = []
        for kind, term in zip(kinds, command[1:], strict=False):
            values.append(self.argument(kind, term, dot))
            if name in ("and", "or") and bool(values[-1]) == (name == "or"):
                return values[-1]
        values += [self.typed(kinds[-1], value) for value in final]
        try:
            result = function.run(*values)
        except ValueError as error:
            self.where = _Term("command", " ".join(term.text for term in command), command[0].at)
            self.fail(f"error calling {name}: {error}")
        self.spend(len(result) if isinstance(result, (str, list)) else 0)
        return result

    def argument(self, kind: str, term: _Term, dot: Any) -> Any:
        value = self.value(term, dot)
        if kind == "s" and term.kind == "nil":
            self.fail("cannot assign nil to string")
        if term.kind in ("bool", "number", "string") and not _fits(kind, value):
            self.where = term
            wanted = {"s": "string", "i": "integer"}.get(kind)
            self.fail(f"expected {wanted}; found {term.text}" if wanted else f"can't handle {term.text} for arg of type []string")
        return self.typed(kind, value)

    def typed(self, kind: str, value: Any) -> Any:
        if not _fits(kind, value):
            wanted = {"s": "string", "i": "int", "l": "[]string"}[kind]
            self.fail(f"wrong type for value; expected {wanted}; got {'interface {}' if value is None else go_type(value)}")
        return value


def _fits(kind: str, value: Any) -> bool:
    if kind == "l":
        return isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value)
    return kind == "a" or (isinstance(value, str) if kind == "s" else isinstance(value, int) and not isinstance(value, bool))


@dataclass(frozen=True, slots=True)
class _Function:
    """`takes` has a letter for each argument: any, string, integer, list of strings; with `more`, any number of others may follow."""

    run: Callable[..., Any]
    takes: str
    more: bool = False


def _len(value: Any) -> int:
    if value is None:
        raise InvalidArgument("len of nil pointer")
    if isinstance(value, str):
        return len(as_bytes(value))
    if isinstance(value, (Mapping, list, tuple)):
        return len(value)
    raise InvalidArgument(f"len of type {go_type(value)}")


def _index(value: Any, *keys: Any) -> Any:
    for key in keys:
        if value is None:
            raise InvalidArgument("index of untyped nil")
        if isinstance(value, Mapping):
            if not isinstance(key, str):
                kind = f"value has type {go_type(key)}; should be string" if key is not None else "value is nil; should be of type string"
                raise InvalidArgument(kind)
            value = value.get(key)
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
    if before + after > _MAX_OUTPUT:
        raise InvalidArgument("too much output")
    return f"{' ' * before}{text}{' ' * after}" if text else ""


_FUNCTIONS = {
    "and": _Function(lambda *values: values[-1], "a", more=True),
    "eq": _Function(_equal, "a", more=True),
    "ge": _Function(lambda one, two: not _less(one, two), "aa"),
    "gt": _Function(lambda one, two: not _less(one, two) and not _same(one, two), "aa"),
    "index": _Function(_index, "a", more=True),
    "join": _Function(lambda items, separator: separator.join(items), "ls"),
    "json": _Function(compact_json, "a"),
    "le": _Function(lambda one, two: _less(one, two) or _same(one, two), "aa"),
    "len": _Function(_len, "a"),
    "lower": _Function(str.lower, "s"),
    "lt": _Function(_less, "aa"),
    "ne": _Function(lambda one, two: not _same(one, two), "aa"),
    "not": _Function(lambda value: not value, "a"),
    "or": _Function(lambda *values: values[-1], "a", more=True),
    "pad": _Function(_pad, "sii"),
    "print": _Function(_print, "", more=True),
    "printf": _Function(lambda text, *values: printf(text, values), "s", more=True),
    "println": _Function(lambda *values: " ".join(map(go_text, values)) + "\n", "", more=True),
    "slice": _Function(_slice, "a", more=True),
    "split": _Function(lambda text, separator: text.split(separator) if separator else list(text), "ss"),
    "title": _Function(lambda text: re.sub(r"(?<!\w)\w", _capital, text), "s"),
    "truncate": _Function(_truncate, "si"),
    "upper": _Function(str.upper, "s"),
}
_same_text = _Function(lambda text, *_: text, "s", more=True)
_HEADINGS = {**_FUNCTIONS, **dict.fromkeys(("join", "json", "lower", "split", "title", "truncate", "upper"), _same_text)}


class Template:
    """A template, read once. Raises InvalidArgument, with docker's words, for text that is not one."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._nodes = _Parser(text).document()

    def render(self, value: Any) -> str:
        """The text with the value put in. Raises InvalidArgument for a missing field, a wrong argument, or more than 10 MB of output."""
        run = _Run(self.text, value, _FUNCTIONS)
        self._walk(run, value)
        return "".join(run.out)

    def headings(self, value: Any) -> str:
        """The text for a table's first line: functions give back their first argument, and what fails ends the line, as in docker."""
        run = _Run(self.text, value, _HEADINGS)
        with suppress(InvalidArgument):
            self._walk(run, value)
        return "".join(run.out)

    def _walk(self, run: _Run, value: Any) -> None:
        try:
            run.walk(self._nodes, value)
        except (ValueError, TypeError, RecursionError, OverflowError) as error:
            if isinstance(error, InvalidArgument):
                raise
            run.fail(f"a value that cannot be shown: {type(error).__name__}")
