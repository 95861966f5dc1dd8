"""The text of a Dockerfile, cut into nodes: one per instruction, its words not yet checked.

    text -> lines -> logical lines (continuations joined, comments gone) -> Node (keyword, flags, arguments, heredocs)

Follows the Dockerfile reference, "Format", and BuildKit's frontend where the reference is silent.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from dataclasses import replace as changed

from dockerlab.build.words import SPACE, bare_words, raw_words
from dockerlab.errors import DockerfileError

__all__ = ["Dockerfile", "Flags", "Heredoc", "Node", "heredoc_word", "parse", "with_heredocs"]

_LONGEST_LINE = 65535
_BLANK = re.compile(r"[\t\v\f\r ]+")
_DIRECTIVES = ("syntax", "escape", "check")
_STUB = re.compile(r"raise\s+NotImplementedError\b")
_HEREDOC = re.compile(r"([0-9]{0,9})<<(-?)([^<]+)", re.DOTALL)
_QUOTED = r"""'(?:\\.|[^'\\])*(?:'|\Z|(?=\\\Z))|"(?:\\.|[^"\\])*(?:"|\Z|(?=\\\Z))"""
_FLAG = re.compile(rf"""((?:\\.|{_QUOTED}|[^{SPACE}'"\\])++)(?:\\\Z|[{SPACE}]*)""", re.DOTALL)
_FLAG_PIECE = re.compile(r"""\\(.)|'((?:\\.|[^'\\])*)'?|"((?:\\.|[^"\\])*)"?""", re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_SURROGATE = re.compile("[\ud800-\udfff]")


def _word_pattern(escape: str) -> re.Pattern[str]:
    e = re.escape(escape)
    return re.compile(rf"""(?:{e}.|'[^']*(?:'|\Z)|"(?:{e}.|[^"{e}])*(?:"|\Z|(?={e}\Z))|[^{SPACE}'"{e}])++""", re.DOTALL)


_WORD = {escape: _word_pattern(escape) for escape in ("\\", "`")}


@dataclass(frozen=True, slots=True)
class Heredoc:
    """A file written inside the Dockerfile: `content` as it stands there, `expand` false where the name was quoted."""

    name: str
    content: str
    expand: bool
    chomp: bool
    file_descriptor: int

    @property
    def text(self) -> str:
        """The content as the build sees it: `<<-` takes the tabs off the start of every line."""
        return re.sub(r"^\t+", "", self.content, flags=re.MULTILINE) if self.chomp else self.content


@dataclass(frozen=True, slots=True)
class Node:
    """One instruction as it was written. `original` is its logical line, `text` the first line of the file that it stands on."""

    keyword: str
    args: tuple[str, ...]
    flags: tuple[str, ...]
    json: bool
    original: str
    line: int
    end_line: int
    heredocs: tuple[Heredoc, ...] = ()
    child: Node | None = None
    text: str = ""

    def error(self, message: str, *, at: str = "", hint: str = "") -> DockerfileError:
        """The error to raise for this node, pointing at the text `at` where it stands on the first line."""
        return _error(message, self.line, self.text, at=at, hint=hint)


class Flags:
    """The `--name=value` words of a node; `known` says of each name whether it takes "one" value, "many" (repeated), or is a "bool".

    Raises DockerfileError for a flag that is unknown, repeated, or has no fitting value.
    """

    def __init__(self, node: Node, known: Mapping[str, str]) -> None:
        self._values: dict[str, list[str]] = {}
        for flag in node.flags:
            name, equals, value = flag[2:].partition("=")
            kind = known.get(name)
            if kind is None:
                raise node.error(f"Unknown flag: {name}", at=flag, hint=_flag_hint(node, name, known))
            if name in self._values and kind != "many":
                raise node.error(f"Duplicate flag specified: {name}", at=flag, hint="keep one of them")
            if (not equals and kind != "bool") or (equals and not value and kind == "bool"):
                raise node.error(f"Missing a value on flag: {name}", at=flag, hint=f"write --{name}=value, without blanks around the =")
            if kind == "bool" and value.lower() not in {"", "true", "false"}:
                raise node.error(f"Expecting boolean value for flag {name}, not: {value}", at=flag, hint="write true or false")
            self._values.setdefault(name, []).append(value)

    def one(self, name: str, default: str = "") -> str:
        """The value, or `default` where the flag was not given."""
        return self._values.get(name, [default])[0]

    def many(self, name: str) -> tuple[str, ...]:
        """Every value, in order."""
        return tuple(self._values.get(name, ()))

    def true(self, name: str) -> bool:
        """Whether a bool was given and is not `false`."""
        return self.one(name, "false").lower() != "false"


def _flag_hint(node: Node, name: str, known: Mapping[str, str]) -> str:
    if close := difflib.get_close_matches(name[:30], known, n=1):
        return f"write --{close[0]} instead of --{name}"
    names = ", ".join(f"--{flag}" for flag in known)
    return f"remove it: {node.keyword.upper()} knows {names or 'no flags'}"


@dataclass(frozen=True, slots=True)
class Dockerfile:
    """The nodes of a file in order, and what its parser directives said."""

    nodes: tuple[Node, ...]
    escape: str
    directives: Mapping[str, str]
    source: str


@dataclass(frozen=True, slots=True)
class _Line:
    """A logical line: where it starts, how it starts in the file, and the whole of it."""

    number: int
    first: str
    text: str


@dataclass(frozen=True, slots=True)
class _Arguments:
    words: tuple[str, ...] = ()
    json: bool = False


class _Malformed(Exception):
    def __init__(self, message: str, *, at: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.at, self.hint = at, hint


def parse(text: str, name: str = "Dockerfile") -> Dockerfile:
    """The file as nodes; `name` is what messages call it. Raises DockerfileError, with the line where there is one."""
    if not text:
        raise DockerfileError(f"the Dockerfile ({name}) cannot be empty", hint="start it with FROM and the name of an image")
    reader = _Reader(text.removeprefix("\ufeff"))
    nodes = tuple(reader.nodes())
    if not nodes:
        raise DockerfileError(f"failed to parse {name}: file with no instructions", hint="start it with FROM and the name of an image")
    return Dockerfile(nodes, reader.escape, reader.directives, text)


def heredoc_word(word: str) -> Heredoc | None:
    """The heredoc that a word such as `<<EOF`, `3<<-"END"` announces, still without content; None for any other word."""
    found = _HEREDOC.fullmatch(word)
    if found is None:
        return None
    descriptor, dash, rest = found.groups()
    try:
        raw, names = raw_words(rest), bare_words(rest)
    except DockerfileError:
        return None
    if len(names) != 1 or len(raw) != 1:
        return None
    return Heredoc(names[0], "", expand=names == raw, chomp=dash == "-", file_descriptor=int(descriptor or 0))


def with_heredocs(line: str, heredocs: tuple[Heredoc, ...]) -> str:
    """The line with its heredocs below it, as a shell or another parse reads them."""
    return line + "".join(f"\n{heredoc.content}{heredoc.name}" for heredoc in heredocs)


class _Reader:
    """Walks the file once, from the top."""

    def __init__(self, text: str) -> None:
        self.escape = "\\"
        self.directives: dict[str, str] = {}
        self._at_top = True
        self._lines = text.split("\n")
        if not self._lines[-1]:
            self._lines.pop()
        self._at = 0

    def nodes(self) -> list[Node]:
        found = []
        while line := self._logical_line():
            if _STUB.match(line.text):
                raise _error("exercise not started", line.number, line.first, hint="replace this line by your own instructions")
            try:
                node = _node(line.text, line, self.escape)
                heredocs = tuple(self._heredocs(node))
            except _Malformed as broken:
                raise _error(str(broken), line.number, line.first, at=broken.at, hint=broken.hint) from None
            found.append(_finished(node, self._at, heredocs))
        return found

    def _read(self) -> str | None:
        if self._at == len(self._lines):
            return None
        line = self._lines[self._at]
        self._at += 1
        if len(line) * 4 > _LONGEST_LINE and len(line.encode(errors="surrogatepass")) > _LONGEST_LINE:
            message = f"dockerfile line greater than maximum allowed size of {_LONGEST_LINE}"
            raise _error(message, self._at, line[:60], hint="end a part of the line with a backslash and go on below it")
        return line

    def _logical_line(self) -> _Line | None:
        while (line := self._read()) is not None:
            start, first = self._at, line.rstrip("\r")
            stripped = first.lstrip(SPACE)
            self._directive(stripped)
            if not stripped or stripped.startswith("#"):
                continue
            pieces, more = [stripped], True
            while more:
                pieces[-1], more = self._continued(pieces[-1])
                following = self._continuation() if more else None
                more = following is not None
                pieces += [] if following is None else [following]
            return _Line(start, first, "".join(pieces))
        return None

    def _continuation(self) -> str | None:
        while (line := self._read()) is not None:
            stripped = line.lstrip(SPACE)
            if stripped and not stripped.startswith("#"):
                return line.rstrip("\r")
        return None

    def _continued(self, line: str) -> tuple[str, bool]:
        head = line.rstrip(" \t")
        if head.endswith(self.escape) and not head.endswith(self.escape * 2):
            return head[:-1], True
        return line, False

    def _directive(self, line: str) -> None:
        if not self._at_top:
            return
        key, equals, value = line.removeprefix("#").partition("=")
        key = key.strip("\t\n\f\r ").lower()
        value = value.strip("\t\n\f\r ") or value[-1:]
        self._at_top = line.startswith("#") and bool(equals and value) and key in _DIRECTIVES
        if not self._at_top:
            return
        if key in self.directives:
            raise _error(f"only one {key} parser directive can be used", self._at, line, hint="keep one of them")
        if key == "escape" and value not in _WORD:
            raise _error(f"invalid escape token '{value}' does not match ` or \\", self._at, line, at=value, hint="use ` or \\")
        self.directives[key] = value
        self.escape = self.directives.get("escape", "\\")

    def _heredocs(self, node: Node) -> list[Heredoc]:
        target = node.child or node
        if "<<" not in node.original or target.json or target.keyword not in {"add", "copy", "run"}:
            return []
        try:
            words = raw_words(node.original)
        except DockerfileError:
            return []
        return [self._filled(heredoc) for heredoc in map(heredoc_word, words) if heredoc]

    def _filled(self, heredoc: Heredoc) -> Heredoc:
        content: list[str] = []
        while (line := self._read()) is not None:
            ending = line.rstrip("\r")
            if (ending.lstrip("\t") if heredoc.chomp else ending) == heredoc.name:
                return changed(heredoc, content="".join(content))
            content.append(f"{line}\n")
        raise _Malformed("unterminated heredoc", at="<<", hint=f"put {heredoc.name} alone on the line after the text")


def _error(message: str, line: int, text: str, *, at: str = "", hint: str = "") -> DockerfileError:
    column = text.find(at) if at else -1
    if column < 0:
        column = len(text) - len(text.lstrip(SPACE))
    return DockerfileError(message, line=line, column=column + 1, text=text, hint=hint)


def _finished(node: Node, end_line: int, heredocs: tuple[Heredoc, ...]) -> Node:
    child = changed(node.child, end_line=end_line, heredocs=heredocs) if node.child else None
    return changed(node, end_line=end_line, heredocs=heredocs, child=child)


def _node(text: str, line: _Line, escape: str, *, inside_onbuild: bool = False) -> Node:
    keyword, *rest_of = _BLANK.split(text.strip(SPACE), maxsplit=1)
    flags, rest = _flags(rest_of[0] if rest_of else "")
    keyword, rest = keyword.lower(), rest.strip(SPACE)
    node = Node(keyword, (), flags, False, text, line.number, line.number, text=line.first)
    if keyword == "onbuild":
        if inside_onbuild:
            raise _Malformed("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed", hint="write ONBUILD once")
        return changed(node, child=_node(rest, line, escape, inside_onbuild=True) if rest else None)
    reader = _ARGUMENTS.get(keyword, _nothing)
    arguments = reader(rest, escape)
    return changed(node, args=arguments.words, json=arguments.json)


def _flags(rest: str) -> tuple[tuple[str, ...], str]:
    flags: list[str] = []
    at = len(rest) - len(rest.lstrip(SPACE))
    while rest.startswith("--", at) and (found := _FLAG.match(rest, at)):
        at = found.end()
        flag = _FLAG_PIECE.sub(_unquoted, found[1])
        if flag == "--":
            break
        flags.append(flag)
    return tuple(flags), rest[at:]


def _unquoted(found: re.Match[str]) -> str:
    plain, single, double = found.groups()
    return plain if plain is not None else _ESCAPED.sub(r"\1", single if single is not None else double)


def _nothing(rest: str, escape: str) -> _Arguments:
    return _Arguments()


def _one(rest: str, escape: str) -> _Arguments:
    return _Arguments((rest,) if rest else ())


def _blank_separated(rest: str, escape: str) -> _Arguments:
    return _Arguments(tuple(_BLANK.split(rest)) if rest else ())


def _words(rest: str, escape: str) -> _Arguments:
    return _Arguments(tuple(_WORD[escape].findall(rest)))


def _number(digits: str) -> float:
    number = float(digits)
    if number in {float("inf"), float("-inf")}:
        raise ValueError(digits)
    return number


def _no_constant(name: str) -> None:
    raise ValueError(name)


_DECODER = json.JSONDecoder(parse_int=_number, parse_float=_number, parse_constant=_no_constant)


def _json(rest: str) -> _Arguments | None:
    """The strings of the JSON array that `rest` begins with; what follows the array is ignored, as by BuildKit."""
    if not rest.startswith("["):
        return None
    try:
        values, _ = _DECODER.raw_decode(rest)
    except (ValueError, RecursionError):
        return None
    if not all(isinstance(value, str) for value in values):
        hint = "put every element between double quotes"
        raise _Malformed("when using JSON array syntax, arrays must be comprised of strings only", at="[", hint=hint)
    return _Arguments(tuple(_SURROGATE.sub("\ufffd", value) for value in values), json=True)


def _json_or_line(rest: str, escape: str) -> _Arguments:
    return _json(rest) or _one(rest, escape)


def _json_or_words(rest: str, escape: str) -> _Arguments:
    return _json(rest) or _blank_separated(rest, escape)


def _health(rest: str, escape: str) -> _Arguments:
    kind, *command = re.split(f"[{SPACE}]+", rest, maxsplit=1)
    if not kind:
        return _Arguments()
    arguments = _json_or_line(command[0] if command else "", escape)
    return changed(arguments, words=(kind, *arguments.words))


def _pairs(keyword: str) -> Callable[[str, str], _Arguments]:
    """A reader of `name=value name=value` or of the old form `name value`, as triples with the sign between them."""

    def read(rest: str, escape: str) -> _Arguments:
        words = _WORD[escape].findall(rest)
        if not words:
            return _Arguments()
        if "=" not in words[0]:
            name, *value = _BLANK.split(rest, maxsplit=1)
            if not value:
                raise _Malformed(f"{keyword} must have two arguments", at=name, hint=f"write {keyword} {name}=value")
            return _Arguments((name, value[0], ""))
        triples: list[str] = []
        for word in words:
            name, equals, value = word.partition("=")
            if not equals:
                message = f"Syntax error - can't find = in {json.dumps(word, ensure_ascii=False)}. Must be of the form: name=value"
                raise _Malformed(message, at=word, hint="put a value that has blanks in it between double quotes")
            triples += [name, value, equals]
        return _Arguments(tuple(triples))

    return read


_ARGUMENTS: Mapping[str, Callable[[str, str], _Arguments]] = {
    "add": _json_or_words,
    "arg": _words,
    "cmd": _json_or_line,
    "copy": _json_or_words,
    "entrypoint": _json_or_line,
    "env": _pairs("ENV"),
    "expose": _blank_separated,
    "from": _blank_separated,
    "healthcheck": _health,
    "label": _pairs("LABEL"),
    "maintainer": _one,
    "run": _json_or_line,
    "shell": _json_or_line,
    "stopsignal": _one,
    "user": _one,
    "volume": _json_or_words,
    "workdir": _one,
}
