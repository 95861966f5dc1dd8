"""Go's text/template, the part that docker's `--format` is used for.

    Template("{{.Name}}: {{range .Tags}}{{.}} {{end}}").render({"Name": "web", "Tags": ["a", "b"]})

Values are what JSON can hold: dict, list, str, int, float, bool, None; a function of strings stands for a method. A dict prints and
ranges as a Go map (sorted) and keeps its order in `json`. Left out: define, template, block, call, html, js, urlquery, complex numbers,
hexadecimal floats, `%*d` and `%[1]d`. Source: pkg.go.dev/text/template, docker/cli `templates`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, NoReturn

from dockerlab.commands.go_text import NIL, Struct, Time, as_bytes, go_text, go_type, quoted
from dockerlab.commands.template_functions import FUNCTIONS, HEADINGS, MAX_OUTPUT, Function
from dockerlab.commands.template_syntax import Node, Pipe, Term, parse
from dockerlab.errors import InvalidArgument

__all__ = ["Template"]

_MAX_WORK = 50_000_000
_STEP = 50


class _Run:
    """One rendering: the variables, what was written, and how much work is left. Go reports errors at the operand it looked at last."""

    def __init__(self, text: str, value: Any, functions: Mapping[str, Function]) -> None:
        self.text = text
        self.functions = functions
        self.root, self.variables = value, [("$", value)]
        self.out: list[str] = []
        self.size = self.work = 0
        self.where = Term("dot", ".", 0)

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
        if self.size > MAX_OUTPUT:
            self.fail("too much output")
        self.out.append(text)

    def walk(self, nodes: Sequence[Node], dot: Any) -> str:
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

    def choose(self, node: Node, pipe: Pipe, dot: Any) -> str:
        value = self.piped(pipe, dot)
        if not value:
            return self.walk(node.otherwise, dot)
        return self.walk(node.body, value if node.kind == "with" else dot)

    def loop(self, node: Node, pipe: Pipe, dot: Any) -> str:
        value = self.piped(Pipe(pipe.commands, (), False), dot)
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

    def store(self, pipe: Pipe, values: Sequence[Any]) -> None:
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

    def piped(self, pipe: Pipe, dot: Any) -> Any:
        final: tuple[Any, ...] = ()
        for command in pipe.commands:
            final = (self.command(command, dot, final),)
        self.store(pipe, final)
        return final[0]

    def command(self, command: Sequence[Term], dot: Any, final: tuple[Any, ...]) -> Any:
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

    def method(self, term: Term, values: list[Any], dot: Any) -> Any:
        found = self.value(term, dot, bare=True)
        if not callable(found):
            self.fail(f"{term.names[-1]} is not a method but has arguments")
        return found(*map(go_text, values))

    def value(self, term: Term, dot: Any, *, bare: bool = False) -> Any:
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
            if isinstance(value, Struct) and name in value.absent:
                return value.absent[name]
            if isinstance(self.root, Struct) and not isinstance(value, Struct):
                return None  # a map whose type is known: nobody promised that it has this key
            self.fail(f"map has no entry for key {quoted(name)}")
        if isinstance(value, Time) and name == "String":
            return str(value)
        if value is None or value is NIL:
            self.fail(f"nil pointer evaluating interface {{}}.{name}")
        self.fail(f"can't evaluate field {name} in type {kind}")

    def call(self, command: Sequence[Term], dot: Any, final: tuple[Any, ...]) -> Any:
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
            self.where = Term("command", " ".join(term.text for term in command), command[0].at)
            self.fail(f"error calling {name}: {error}")
        self.spend(len(result) if isinstance(result, (str, list)) else 0)
        return result

    def argument(self, kind: str, term: Term, dot: Any) -> Any:
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


def _plain(nodes: Sequence[Node]) -> list[tuple[bool, str]]:
    """Gives a template of texts and single fields as pairs (whether it is a field, its name or the text); [] for any other."""
    parts = []
    for node in nodes:
        if node.pipe is None and node.kind == "text":
            parts.append((False, node.text))
            continue
        terms = node.pipe.commands[0] if node.pipe and node.kind == "print" and len(node.pipe.commands) == 1 and not node.pipe.variables else ()
        if len(terms) != 1 or terms[0].kind != "field" or len(terms[0].names) != 1:
            return []
        parts.append((True, terms[0].names[0]))
    return parts


class Template:
    """A template, read once. Raises InvalidArgument, with docker's words, for text that is not one."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._nodes = parse(text)
        self._plain = _plain(self._nodes)

    @classmethod
    def typed(cls, text: str) -> Template:
        """Reads what somebody typed, in whose `\\t` and `\\n` docker sees a tab and a line end: for lists, not for `inspect`."""
        return cls(text.replace("\\t", "\t").replace("\\n", "\n"))

    def render(self, value: Any) -> str:
        """The text with the value put in. Raises InvalidArgument for a missing field, a wrong argument, or more than 10 MB of output."""
        if self._plain and isinstance(value, Mapping):
            # Texts and fields that are texts, as lists have them: nothing of it can fail, and there may be hundreds of rows.
            cells: list[Any] = [value.get(text) if is_field else text for is_field, text in self._plain]
            if all(isinstance(cell, str) for cell in cells):
                return "".join(cells)
        run = _Run(self.text, value, FUNCTIONS)
        self._walk(run, value)
        return "".join(run.out)

    def headings(self, value: Any) -> str:
        """The text for a table's first line: functions give back their first argument, and what fails ends the line, as in docker."""
        run = _Run(self.text, value, HEADINGS)
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
