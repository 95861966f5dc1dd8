"""Which paths of a build context a `.dockerignore` leaves out.

One pattern a line, the last that matches decides, `!` takes a path back in. A path is also left out when a folder above it is.
Patterns are Go's filepath.Match over the whole path, plus `**` for any number of folders (Dockerfile reference, ".dockerignore file").
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise

from dockerlab.build.words import SPACE
from dockerlab.errors import DockerfileError

__all__ = ["IgnoreRules"]

_MOST_OPEN = 1
_PIECE = re.compile(r"(\*\*/?)|(\*)|(\?)|\[(\^?+)((?:\\.|[^\\\]])+)\]|\\(.)|([^\\\[])", re.DOTALL)
_RANGE = re.compile(r"(\\.|[^\\\]-])(?:-(\\.|[^\\\]-]))?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class _Rule:
    keeps: bool
    expression: re.Pattern[str]
    parts: tuple[re.Pattern[str] | None, ...]

    def reaches_below(self, folder: str) -> bool:
        """Whether something inside the folder could match; never false by mistake."""
        for part, name in zip(self.parts, folder.split("/"), strict=False):
            if part is None:
                return True
            if not part.fullmatch(name):
                return False
        return True


@dataclass(frozen=True, slots=True)
class IgnoreRules:
    """The patterns of one file, in order. It remembers the folders it was asked about."""

    rules: tuple[_Rule, ...] = ()
    _folders: dict[str, int] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def from_text(cls, text: str) -> IgnoreRules:
        """The rules of a `.dockerignore`. Raises DockerfileError for a pattern that is not well formed."""
        lines = text.removeprefix("\ufeff").split("\n")
        return cls(tuple(_rules((number, line) for number, line in enumerate(lines, 1) if not line.startswith("#"))))

    @classmethod
    def from_patterns(cls, patterns: Iterable[str]) -> IgnoreRules:
        """The same of patterns that stand alone, as in `COPY --exclude`."""
        return cls(tuple(_rules((0, pattern) for pattern in patterns)))

    def ignores(self, path: str) -> bool:
        """Whether the path, relative to the context and with `/` between its parts, is left out."""
        path = _clean(path).lstrip("/")
        if path == ".":
            return False
        matched = self._matches(path) | self._above(posixpath.dirname(path))
        last = matched.bit_length()
        return last > 0 and not self.rules[last - 1].keeps

    def may_hold_exceptions(self, folder: str) -> bool:
        """False when nothing inside an ignored folder can come back, so that it need not be walked."""
        folder = _clean(folder).lstrip("/")
        return any(rule.keeps and rule.reaches_below(folder) for rule in self.rules)

    def _matches(self, path: str) -> int:
        return sum(1 << at for at, rule in enumerate(self.rules) if rule.expression.fullmatch(path))

    def _above(self, folder: str) -> int:
        """The rules that match the folder or one above it, one bit each."""
        if folder in self._folders:
            return self._folders[folder]
        matched, above = 0, ""
        for name in folder.split("/") if folder else ():
            above = f"{above}/{name}" if above else name
            if above not in self._folders:
                self._folders[above] = matched | self._matches(above)
            matched = self._folders[above]
        return matched


def _clean(path: str) -> str:
    """Go's filepath.Clean: unlike normpath it keeps one leading slash only."""
    return re.sub("^//", "/", posixpath.normpath(path))


def _rules(lines: Iterable[tuple[int, str]]) -> Iterable[_Rule]:
    for number, line in lines:
        text = line.strip(SPACE)
        if not text:
            continue
        keeps = text.startswith("!")
        pattern = text[1:].strip(SPACE) if keeps else text
        if not pattern:
            raise _wrong(number, 'illegal exclusion pattern: "!"', "write a pattern after the !")
        pattern = _clean(pattern)
        if len(pattern) > 1:
            pattern = pattern.removeprefix("/")
        parts = tuple(map(_part, pattern.split("/"))) if keeps else ()
        yield _Rule(keeps, _expression(pattern, number), parts)


def _wrong(number: int, message: str, hint: str) -> DockerfileError:
    return DockerfileError(f".dockerignore line {number}: {message}" if number else message, hint=hint)


def _expression(pattern: str, number: int) -> re.Pattern[str]:
    try:
        return re.compile(_translate(pattern), re.DOTALL)
    except (_BadPattern, re.error, OverflowError, RecursionError) as error:
        problem = str(error) if isinstance(error, _BadPattern) else "syntax error in pattern"
        raise _wrong(number, f"{problem}: {pattern[:80]}", "close every [ and write \\ before a sign that stands for itself") from None


def _part(text: str) -> re.Pattern[str] | None:
    """The expression for one name, or None where the text may stand for several."""
    try:
        return None if "**" in text else re.compile(_translate(text), re.DOTALL)
    except (_BadPattern, re.error):
        return None


class _BadPattern(Exception):
    pass


def _translate(pattern: str) -> str:
    """A regular expression that cannot be made to try many combinations: what needs no second try stands in atomic groups."""
    pieces = _pieces(pattern)
    if pieces and pieces[-1].startswith("**"):
        return _between_folders(pieces[:-1]) + ".*"
    if pattern.startswith("**") and not re.search(r"[*?\[\]\\]", pattern[2:]):
        # Docker compares the end of the path only here, and so `**.log` is the same as `**/*.log`.
        return (".*" if pieces[0] == "**" else "(?:.*/)?") + "".join(pieces[1:])
    return _between_folders(pieces)


def _between_folders(pieces: list[str]) -> str:
    groups: list[list[str]] = [[]]
    for before, piece in pairwise(["", *pieces]):
        if piece.startswith("**"):
            groups += [] if before.startswith("**") else [[]]
        else:
            groups[-1].append(piece)
    if sum(1 for group in groups[1:-1] if group[-1:] != ["/"]) > _MOST_OPEN:
        raise _BadPattern("too many ** in pattern")
    result = _within_folder(groups[0])
    for at, group in enumerate(groups[1:], 1):
        text = "(?:.*?/)??" + _within_folder(group)
        closed = at < len(groups) - 1 and group[-1:] == ["/"]
        result += f"(?>{text})" if closed else text
    return result


def _within_folder(pieces: list[str]) -> str:
    head, *parts = _split_at_stars(pieces)
    if not parts:
        return head
    return head + "".join(f"(?>[^/]*?{part})" for part in parts[:-1]) + "[^/]*" + parts[-1]


def _split_at_stars(pieces: list[str]) -> list[str]:
    parts = [""]
    for piece in pieces:
        if piece == "*":
            parts.append("")
        else:
            parts[-1] += piece
    return parts


def _pieces(pattern: str) -> list[str]:
    """The pattern as `**`, `**/`, `*`, and regular expressions for one sign each."""
    pieces, at = [], 0
    while at < len(pattern):
        found = _PIECE.match(pattern, at)
        if found is None:
            raise _BadPattern("syntax error in pattern")
        folders, star, one, negated, inside, escaped, plain = found.groups()
        if inside:
            pieces.append(f"(?!/)[{negated}{_class(inside)}]")
        elif one:
            pieces.append("[^/]")
        else:
            pieces.append(folders or star or re.escape(escaped or plain))
        at = found.end()
    return pieces


def _class(inside: str) -> str:
    text, at = "", 0
    while at < len(inside):
        found = _RANGE.match(inside, at)
        if found is None:
            raise _BadPattern("syntax error in pattern")
        text += "-".join(re.escape(end[-1]) for end in found.groups() if end)
        at = found.end()
    return text
