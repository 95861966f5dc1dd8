"""Words of a Dockerfile: variables, quotes and escapes, as in a shell but without running anything.

    expand("${name:-world}", {})       one word stays one word       (COPY, WORKDIR, ENV values, ...)
    split("$ports 80", {...})          a word may become many        (EXPOSE)

Follows the Dockerfile reference, "Environment replacement", and BuildKit where the reference is silent.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from dockerlab.errors import DockerfileError

__all__ = ["SPACE", "bare_words", "duration", "expand", "literal", "raw_words", "split"]

# Go's unicode.IsSpace: unlike str.isspace it leaves out the separators U+001C to U+001F.
SPACE = "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
_SPECIAL_PARAMETERS = frozenset("@*#?-$!0")
_LONGEST = 1 << 20
_DEEPEST = 50
_MOST_WORK = 1 << 26
_UNITS = {"ns": 1, "us": 10**3, "µs": 10**3, "μs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_DURATION_PART = re.compile(r"([0-9]*)(?:\.([0-9]*))?([^0-9.]*)")


def expand(word: str, env: Mapping[str, str], escape: str = "\\", *, quotes: bool = True) -> str:
    """The word with its variables replaced and, unless `quotes` is false (the text of a heredoc), its quotes removed.

    An unset variable is empty. Raises DockerfileError for an unclosed quote or brace, an unknown modifier, and `${name:?message}`.
    """
    return _lex(word, env, escape, _Mode(quotes=quotes)).text()


def literal(text: str, escape: str = "\\") -> str:
    """The word that `expand` makes this text of."""
    return re.sub(r"""[$'"]|""" + re.escape(escape), lambda sign: escape + sign[0], text)


def split(word: str, env: Mapping[str, str], escape: str = "\\") -> list[str]:
    """The same, cut at blanks that stand outside quotes; blanks that come out of a variable cut too."""
    return _lex(word, env, escape, _Mode()).words()


def raw_words(line: str) -> list[str]:
    """The line cut at unquoted blanks, with quotes, escapes and variables left as they were written."""
    return _lex(line, {}, "\\", _Mode(raw_quotes=True, raw_escapes=True, keep_unset=True)).words()


def bare_words(line: str) -> list[str]:
    """The line cut at unquoted blanks, quotes and escapes taken away, variables left as they were written."""
    return _lex(line, {}, "\\", _Mode(keep_unset=True)).words()


def duration(text: str) -> int:
    """Nanoseconds of a Go duration such as 1m30s or 1.5h. Raises DockerfileError (Go's time.ParseDuration)."""
    shown, hint = json.dumps(text[:80], ensure_ascii=False), "write a number and a unit, as in 30s or 1m30s"
    signed = text[1:] if text[:1] in {"+", "-"} else text
    if signed == "0":
        return 0
    total, at = 0, 0
    while at < len(signed) <= 80 and (found := _DURATION_PART.match(signed, at)) and (found[1] or found[2]):
        whole, fraction, unit = found[1] or "0", found[2] or "", found[3]
        if unit not in _UNITS:
            problem = f"unknown unit {json.dumps(unit, ensure_ascii=False)}" if unit else "missing unit"
            raise DockerfileError(f"time: {problem} in duration {shown}", hint=hint)
        total += int(whole) * _UNITS[unit] + int(fraction or 0) * _UNITS[unit] // 10 ** len(fraction)
        at = found.end()
    if not signed or at < len(signed) or total >= 1 << 63:
        raise DockerfileError(f"time: invalid duration {shown}", hint=hint)
    return -total if text.startswith("-") else total


@dataclass(frozen=True, slots=True)
class _Mode:
    quotes: bool = True
    raw_quotes: bool = False
    raw_escapes: bool = False
    keep_unset: bool = False


class _Broken(Exception):
    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


def _lex(word: str, env: Mapping[str, str], escape: str, mode: _Mode) -> _Output:
    try:
        return _Lexer(word, env, escape, mode).until("")
    except _Broken as broken:
        shown = word if len(word) <= 80 else f"{word[:77]}..."
        raise DockerfileError(f"failed to process {json.dumps(shown, ensure_ascii=False)}: {broken}", hint=broken.hint) from None


class _Output:
    """What has been read so far, as one text and as words at once."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._words: list[str] = []
        self._word: list[str] = []
        self._size = 0

    def quoted(self, text: str) -> None:
        self._add(text)
        self._word.append(text)

    def plain(self, text: str) -> None:
        self._add(text)
        for character in text:
            if character in SPACE:
                self._cut()
            else:
                self._word.append(character)

    def _add(self, text: str) -> None:
        self._size += len(text)
        if self._size > _LONGEST:
            raise _Broken(f"the result is longer than {_LONGEST} characters", "look for a variable that contains itself many times")
        self._pieces.append(text)

    def _cut(self) -> None:
        if word := "".join(self._word):
            self._words.append(word)
        self._word.clear()

    def text(self) -> str:
        return "".join(self._pieces)

    def words(self) -> list[str]:
        self._cut()
        return list(self._words)


class _Lexer:
    def __init__(self, text: str, env: Mapping[str, str], escape: str, mode: _Mode) -> None:
        self._text, self._env, self._escape, self._mode = text, env, escape, mode
        self._at = 0
        self._depth = 0

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _next(self) -> str:
        self._at += 1
        return self._text[self._at - 1 : self._at]

    def until(self, stop: str, *, raw_escapes: bool = False) -> _Output:
        """Everything up to the character `stop`, which is taken too; "" stands for the end of the text."""
        if self._depth == _DEEPEST:
            raise _Broken(f"substitutions are nested more than {_DEEPEST} deep")
        before, self._depth = self._mode, self._depth + 1
        self._mode = replace(before, raw_escapes=before.raw_escapes or raw_escapes)
        output = _Output()
        while (character := self._peek()) and character != stop:
            self._one(character, output)
        if self._next() != stop:
            raise _Broken(f"unexpected end of statement while looking for matching {stop}")
        self._mode, self._depth = before, self._depth - 1
        return output

    def _one(self, character: str, output: _Output) -> None:
        if character == "$":
            output.plain(self._dollar())
        elif character == "'" and self._mode.quotes:
            output.quoted(self._single_quoted())
        elif character == '"' and self._mode.quotes:
            output.quoted(self._double_quoted())
        elif self._next() != self._escape:
            output.plain(character)
        else:
            output.quoted((self._escape if self._mode.raw_escapes else "") + self._next())

    def _single_quoted(self) -> str:
        end = self._text.find("'", self._at + 1)
        if end < 0:
            raise _Broken("unexpected end of statement while looking for matching single-quote", "close the quote, or put \\ before it")
        whole, self._at = self._text[self._at : end + 1], end + 1
        return whole if self._mode.raw_quotes else whole[1:-1]

    def _double_quoted(self) -> str:
        opening = self._next()
        pieces: list[str] = []
        while (character := self._peek()) != '"':
            if not character:
                raise _Broken("unexpected end of statement while looking for matching double-quote", "close the quote, or put \\ before it")
            pieces.append(self._dollar() if character == "$" else self._in_double_quotes())
        closing = self._next()
        inner = "".join(pieces)
        return opening + inner + closing if self._mode.raw_quotes else inner

    def _in_double_quotes(self) -> str:
        character = self._next()
        if character != self._escape or self._peek() not in {'"', "$", self._escape}:
            return character
        return (character if self._mode.raw_escapes else "") + self._next()

    def _dollar(self) -> str:
        self._next()
        if self._peek() == "{":
            self._next()
            return self._braced()
        name = self._name()
        if not name or (self._mode.keep_unset and name not in self._env):
            return "$" + name
        return self._env.get(name, "")

    def _name(self) -> str:
        first = self._peek()
        if first.isdecimal():
            return self._while(str.isdecimal)
        if first in _SPECIAL_PARAMETERS:
            return self._next()
        return self._while(_in_name)

    def _while(self, accepts: Callable[[str], bool]) -> str:
        start = self._at
        while (character := self._peek()) and accepts(character):
            self._at += 1
        return self._text[start : self._at]

    def _braced(self) -> str:
        start = self._at
        if not self._peek():
            raise _Broken("syntax error: missing '}'")
        if self._peek() in "{}:":
            raise _Broken("syntax error: bad substitution", "write a name between the braces")
        name = self._name()
        modifier = self._next()
        if modifier == ":":
            modifier += self._next()
        value = self._env.get(name)
        result = self._modified(name, modifier, value)
        return "${" + self._text[start : self._at] if value is None and self._mode.keep_unset else result

    def _modified(self, name: str, modifier: str, value: str | None) -> str:
        match modifier:
            case "}":
                return value or ""
            case "-" | "+" | "?" | ":-" | ":+" | ":?":
                return self._conditional(name, modifier, value)
            case "#" | "%":
                word = self._operand("}", raw=True)
                greedy = word.startswith(modifier)
                return _trim(value or "", word[greedy:], greedy=greedy, at_end=modifier == "%")
            case "/":
                return self._replaced(value or "")
            case "" | ":":
                raise _Broken("syntax error: missing '}'", "close the brace")
        hint = f"write ${{{name}:-word}} for a default value" if "=" in modifier else ""
        raise _Broken(f"unsupported modifier ({modifier}) in substitution", hint)

    def _conditional(self, name: str, modifier: str, value: str | None) -> str:
        word = self._operand("}")
        absent = value is None or (modifier[0] == ":" and not value)
        if modifier[-1] == "-":
            return word if absent else value or ""
        if modifier[-1] == "+":
            return "" if absent else word
        if absent and not self._mode.keep_unset:
            raise _Broken(f"{name}: {word or ('is not allowed to be unset' if value is None else 'is not allowed to be empty')}")
        return value or ""

    def _replaced(self, value: str) -> str:
        every = self._peek() == "/"
        self._at += every
        pattern = self._operand("/", raw=True)
        replacement = self._operand("}", raw=True)
        return _substitute(value, pattern, replacement, every=every)

    def _operand(self, stop: str, *, raw: bool = False) -> str:
        try:
            return self.until(stop, raw_escapes=raw).text()
        except _Broken:
            if self._peek():
                raise
            raise _Broken(f"syntax error: missing '{stop}'{' in ${}' if stop == '/' else ''}", "close the brace") from None


def _in_name(character: str) -> bool:
    return character.isalpha() or character.isdecimal() or character == "_"


def _glob(pattern: str) -> list[str]:
    """The pattern cut at its stars, each part as a regular expression of fixed length; `\\` takes the next sign as it is."""
    parts = [""]
    signs = iter(pattern)
    for sign in signs:
        if sign == "*":
            parts.append("")
        elif sign == "?":
            parts[-1] += "."
        elif sign == "\\":
            following = next(signs, "")
            if following not in {"*", "?", "\\", "}", "/"}:
                raise _Broken(f"invalid escape '\\{following}'", "escape only * ? \\ } / in a pattern")
            parts[-1] += re.escape(following)
        else:
            parts[-1] += re.escape(sign)
    return parts


def _reversed_pattern(pattern: str) -> str:
    return "".join(reversed(re.findall(r"\\.|.|\\", pattern, re.DOTALL)))


def _find(parts: list[str], value: str, start: int, *, greedy: bool, anchored: bool) -> tuple[int, int] | None:
    """Where the leftmost match lies; atomic groups keep a pattern of many stars from being tried in every combination."""
    first = re.compile(parts[0], re.DOTALL)
    found = first.match(value, start) if anchored else first.search(value, start)
    if found is None or len(parts) == 1:
        return found.span() if found else None
    middle = "".join(f"(?>.*?{part})" for part in parts[1:-1])
    last = (".*" if greedy else ".*?") + parts[-1]
    rest = re.compile(middle + last, re.DOTALL).match(value, found.end())
    return (found.start(), rest.end()) if rest else None


def _refuse_hard_work(value: str, pattern: str) -> None:
    if len(value) * len(pattern) > _MOST_WORK:
        raise _Broken("the value and the pattern are too long to be compared")


def _trim(value: str, pattern: str, *, greedy: bool, at_end: bool) -> str:
    _refuse_hard_work(value, pattern)
    if at_end:
        turned = _trim(value[::-1], _reversed_pattern(pattern), greedy=greedy, at_end=False)
        return turned[::-1]
    found = _find(_glob(pattern), value, 0, greedy=greedy, anchored=True)
    return value[found[1] :] if found else value


def _substitute(value: str, pattern: str, replacement: str, *, every: bool) -> str:
    _refuse_hard_work(value, pattern)
    parts, output, at, taken = _glob(pattern), _Output(), 0, -1
    while found := _find(parts, value, at, greedy=True, anchored=False):
        start, end = found
        output.quoted(value[at:start])
        if start == end == taken:
            output.quoted(value[end : end + 1])
            at = end + 1
            if at > len(value):
                break
            continue
        output.quoted(replacement)
        at = taken = end
        if not every:
            break
    output.quoted(value[at:])
    return output.text()
