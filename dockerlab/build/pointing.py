"""Where in a Dockerfile an error is: the file, the line, and the word that the error speaks of."""

from __future__ import annotations

import re

from dockerlab.build import instructions as ins
from dockerlab.oci.visible import visible

__all__ = ["place"]

_WORD = re.compile(r"""[^\s=,"'\[\]]+""")
_BEFORE_COMMAND = re.compile(r"\s*\S+\s+(?:--\S+\s+)*")


def place(source: str, name: str, step: ins.Instruction, message: str) -> str:
    """Gives `--> FILE:LINE:COLUMN`, the line and a mark below it; "" for an instruction that stands in no file. Columns count from 1."""
    lines = source.split("\n")[step.line - 1 : step.end_line]
    if not lines:
        return ""
    number, column = _spot(lines, step, message)
    text = lines[number].rstrip("\r")
    before = visible(text[:column])
    return f"  --> {visible(name)}:{step.line + number}:{column + 1}\n  {step.line + number:>3} | {visible(text)}\n      | {' ' * len(before)}^"


def _spot(lines: list[str], step: ins.Instruction, message: str) -> tuple[int, int]:
    """Gives line and column, from 0, of the longest word of the instruction that the message repeats; of a command that failed where it begins."""
    start = len(lines[0]) - len(lines[0].lstrip())
    if isinstance(step, ins.Run) and message.startswith("The command"):
        found = _BEFORE_COMMAND.match(lines[0])
        return 0, found.end() if found and found.end() < len(lines[0]) else start
    best, spot = 0, (0, start)
    for number, text in enumerate(lines):
        for word in _WORD.finditer(text):
            keyword = number == 0 and word.start() == start
            if not keyword and len(word[0]) > best and re.search(rf"(?<!\w){re.escape(word[0])}(?!\w)", message):
                best, spot = len(word[0]), (number, word.start())
    return spot
