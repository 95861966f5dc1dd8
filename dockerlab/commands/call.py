"""What a verb is given: the parsed line, the engine, and where words and bytes go."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from dockerlab.commands.grammar import Parsed
from dockerlab.commands.rows import Text

if TYPE_CHECKING:
    from dockerlab.engine import Engine
    from dockerlab.engine.options import Attach
    from dockerlab.runtime.world import Session

__all__ = ["Call", "Outcome", "Surface"]


class Surface:
    """Where a command line was typed; a terminal and a notebook each make their own."""

    def out(self, text: str) -> None:
        """Shows text on standard output."""
        raise NotImplementedError

    def err(self, text: str) -> None:
        """Shows text on standard error."""
        raise NotImplementedError

    def aside(self, value: object) -> None:
        """Shows something beside a command's own output; in a notebook a value shows itself."""
        self.err(f"{value}\n")

    def note(self, text: str) -> None:
        """Shows a remark of the engine's."""
        self.aside(Text(f"note: {text}"))

    def again(self, text: str) -> None:
        """Shows text in place of what was shown so before."""
        raise NotImplementedError

    wide = False  # whether there is room below a command's output for a view

    def below(self, value: object) -> None:
        """Shows a view below a command's output, where there is room for one."""

    def picture(self, drawn: Callable[[], object]) -> Callable[[bool], None]:
        """Gives what shows a view as it is now, each time in the place of the one before, for the last time when told so; where there is no room for views it does nothing."""
        return lambda last: None

    def columns(self) -> int:
        """Gives how many characters a line has, 0 where that is nobody's concern."""
        return 0

    def live(self) -> Callable[[list[str], bool], None] | None:
        """Gives what shows lines in the place of the ones before, at once or else when it is worth while; None where nothing can be changed any more."""
        return None

    def asked(self, question: str, *, secret: bool) -> str:
        """Reads an answer from a person, unseen where it is `secret`; raises InvalidArgument where nobody could type it."""
        raise NotImplementedError

    def agreed(self, question: str) -> bool:
        """Asks a person whether to go on."""
        raise NotImplementedError

    def check_terminal(self) -> None:
        """Raises InvalidArgument where nobody could type into a program's terminal."""
        raise NotImplementedError

    def attached(self, start: Callable[[Attach], Session], wanted: Attach, *, interactive: bool, name: str, proxy: bool = True) -> int:
        """Starts a program of the container `name` with its streams here and gives its exit code; with `proxy` signals go to it."""
        raise NotImplementedError

    def stdin(self) -> bytes:
        """Gives all of standard input."""
        raise NotImplementedError

    def source(self) -> BinaryIO:
        """Gives standard input to be read as it comes."""
        return io.BytesIO(self.stdin())

    def binary(self) -> int:
        """Gives a descriptor for raw output; raises InvalidArgument where that would spoil the screen."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a verb gives back: a value for the notebook (it shows itself), an exit code for the terminal."""

    value: Any = None
    exit_code: int = 0


@dataclass(frozen=True, slots=True)
class Call:
    """One command line."""

    parsed: Parsed
    engine: Engine
    surface: Surface
    folder: Path
    program: str = "docker"
    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def args(self) -> tuple[str, ...]:
        """What is left when the flags are gone."""
        return self.parsed.args

    def flag(self, name: str) -> Any:
        """A flag's value."""
        return self.parsed.flag(name)

    def out(self, text: str) -> None:
        """Shows a line."""
        self.surface.out(text + "\n")


Verb = Callable[[Call], Outcome | None]
