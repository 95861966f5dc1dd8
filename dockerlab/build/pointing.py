"""Where in a Dockerfile an error is: the file, the line, and the word that the error speaks of."""

from __future__ import annotations

import re
from collections.abc import Iterator

from dockerlab.build import instructions as ins
from dockerlab.oci.visible import visible

__all__ = ["place"]

_WORD = re.compile(r"""[^\s=,"'\[\]]+""")
_SAID = re.compile(r"""[^\s="'\[\]]+""")
_POINTS = ":;,.()"
_MOST = 200  # lines of an instruction that are looked at


def place(source: str, name: str, step: ins.Instruction, message: str) -> str:
    """Gives `--> FILE:LINE:COLUMN`, the line and a mark below it; "" for an instruction that stands in no file. Columns count from 1."""
    lines = source.split("\n")[step.line - 1 : min(step.end_line, step.line + _MOST)]
    if not lines or lines[0].split(None, 1)[:1] != step.original.split(None, 1)[:1]:
        return ""
    number, column = _spot(lines, step, message)
    text = lines[number].rstrip("\r")
    before = re.sub(r"[^\t]", " ", visible(text[:column]))
    return f"  --> {visible(name)}:{step.line + number}:{column + 1}\n  {step.line + number:>3} | {visible(text)}\n      | {before}^"


def _spot(lines: list[str], step: ins.Instruction, message: str) -> tuple[int, int]:
    """Gives line and column, from 0, of the longest word of the instruction that the message repeats; of a command that failed where it begins."""
    start = len(lines[0]) - len(lines[0].lstrip())
    if isinstance(step, ins.Run) and message.startswith("The command"):
        return next(_of_command(lines, start), (0, start))
    said = {form for word in _SAID.findall(message) for form in (word, word.strip(_POINTS), word.strip(_POINTS).removesuffix(":latest"))}
    best, spot = 0, (0, start)
    for number, text in enumerate(lines):
        for word in _WORD.finditer(text):
            keyword = number == 0 and word.start() == start
            if not keyword and len(word[0]) > best and word[0] in said:
                best, spot = len(word[0]), (number, word.start())
    return spot


def _of_command(lines: list[str], start: int) -> Iterator[tuple[int, int]]:
    """Yields where the words of RUN's command stand, its flags and what joins lines left out."""
    for number, text in enumerate(lines):
        for word in re.finditer(r"\S+", text):
            if (number, word.start()) != (0, start) and not word[0].startswith("--") and word[0] not in ("\\", "`"):
                yield number, word.start()
