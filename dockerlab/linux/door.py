"""One door for the kernel calls that build a container: it does them, notes them, or only notes them.

The notes are what `run --explain` prints and what tests of the call order read; with `dry` nothing reaches the kernel.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Any

from dockerlab.linux import syscalls
from dockerlab.linux.spelling import Spelling, Word

__all__ = ["Call", "Door"]


@dataclass(frozen=True, slots=True)
class Call:
    """One kernel call: what was asked, the errno (0 for success), how long it took, the caller's line and file, and what the kernel gave."""

    name: str
    args: tuple[Any, ...]
    errno: int
    microseconds: int
    line: int
    file: str
    result: Any = None


class Door:
    """`door.mount(…)` is `syscalls.mount(…)`; a name that syscalls lacks is looked up in `os`."""

    def __init__(self, *, dry: bool = False) -> None:
        self.calls: list[Call] = []
        self._dry = dry

    def __getattr__(self, name: str) -> Callable[..., Any]:
        target = getattr(syscalls, name, None) or getattr(os, name)

        def call(*args: Any, **options: Any) -> Any:
            return self._noted(name, args, sys._getframe(1), lambda: target(*args, **options))

        return call

    def through(self, name: str, *shown: object, action: Callable[[], Any]) -> Any:
        """Does something that takes several calls, or one that has no short arguments, and notes it as one."""
        return self._noted(name, tuple(Word(word) for word in shown), sys._getframe(1), action)

    def _noted(self, name: str, args: tuple[Any, ...], frame: FrameType, action: Callable[[], Any]) -> Any:
        begun, number, result = time.perf_counter_ns(), 0, None
        try:
            result = 0 if self._dry else action()
            return result
        except OSError as error:
            number = error.errno or 0
            raise
        finally:
            self.calls.append(Call(name, args, number, (time.perf_counter_ns() - begun) // 1000, frame.f_lineno, os.path.basename(frame.f_code.co_filename), result))

    def notes(self) -> bytes:
        """Gives the calls so far as JSON: a list of [name, args as strace(1) spells them, errno, microseconds, line, file]."""
        spelling = Spelling()
        return json.dumps([[c.name, spelling.call(c.name, c.args, c.result), c.errno, c.microseconds, c.line, c.file] for c in self.calls]).encode()
