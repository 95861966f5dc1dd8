"""One command line in a terminal: words in, bytes out, docker's exit codes."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NoReturn

from dockerlab.commands.call import Surface
from dockerlab.commands.grammar import find, shown
from dockerlab.commands.run import perform, told
from dockerlab.commands.specs import COMMANDS
from dockerlab.errors import (
    AlreadyExists,
    ContainerError,
    Detached,
    DockerfileError,
    DockerlabError,
    ExecError,
    InUse,
    InvalidArgument,
    InvalidRequest,
    NoTerminal,
    NotFound,
    RegistryError,
    UsageError,
)  # fmt: skip
from dockerlab.oci.visible import visible

if TYPE_CHECKING:
    from dockerlab.engine import Engine
    from dockerlab.engine.options import Attach
    from dockerlab.runtime.world import Session

__all__ = ["Terminal", "main"]


class Terminal(Surface):
    """The three descriptors that every program has."""

    def out(self, text: str) -> None:
        """Shows text on standard output."""
        try:
            sys.stdout.write(text)
            sys.stdout.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            error.filename = "standard output"
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is still held goes nowhere when the process ends
            raise

    def err(self, text: str) -> None:
        """Shows text on standard error."""
        sys.stdout.flush()
        sys.stderr.write(text)
        sys.stderr.flush()

    def again(self, text: str) -> None:
        """Shows text from the top of the screen; in a pipe one after the other."""
        self.out(f"\x1b[H\x1b[J{text}" if sys.stdout.isatty() else text)

    def stdin(self) -> bytes:
        """Gives all of standard input."""
        return sys.stdin.buffer.read()

    def source(self) -> BinaryIO:
        """Gives standard input, unless a person would have to type it."""
        if sys.stdin.isatty():
            raise InvalidArgument("requested load from stdin, but stdin is empty", hint="name the file: -i FILE")
        return sys.stdin.buffer

    def agreed(self, question: str) -> bool:
        """Asks on standard output, and reads a line."""
        self.out(question)
        return sys.stdin.readline().strip().lower() == "y"

    def columns(self) -> int:
        """Gives the terminal's width."""
        return os.get_terminal_size(1).columns if sys.stdout.isatty() else 0

    def live(self) -> Callable[[list[str], bool], None] | None:
        """Draws over the lines before, with ECMA-48's cursor-up, on a terminal."""
        if not sys.stdout.isatty():
            return None
        drawn = 0

        def draw(lines: list[str], at_once: bool) -> None:
            nonlocal drawn
            width = self.columns() or 80
            up = f"\x1b[{drawn}A" if drawn else ""
            self.out(up + "".join(f"\r\x1b[2K{line[: width - 1]}\n" for line in lines))
            drawn = len(lines)

        return draw

    def asked(self, question: str, *, secret: bool) -> str:
        """Asks on the terminal."""
        if not sys.stdin.isatty():
            raise InvalidArgument("Error: Cannot perform an interactive login from a non TTY device", hint="docker login -u NAME --password-stdin")
        if secret:
            import getpass

            return getpass.getpass(question)
        self.out(question)
        return sys.stdin.readline().strip()

    def binary(self) -> int:
        """Gives standard output, unless a person would see the bytes."""
        if sys.stdout.isatty():
            raise InvalidArgument("cowardly refusing to save to a terminal. Use the -o flag or redirect")
        return 1

    def check_terminal(self) -> None:
        """Raises InvalidArgument where standard input is no terminal."""
        if not sys.stdin.isatty():
            raise NoTerminal("the input device is not a TTY", hint="leave out -t, or run it in a terminal")

    def attached(self, start: Callable[[Attach], Session], wanted: Attach, *, interactive: bool, name: str, proxy: bool = True) -> int:
        """Gives the program our own descriptors; signals go to it."""
        session = start(wanted)
        typing = interactive and sys.stdin.isatty() and wanted.stdin is not None
        with _raw(typing), _forwarded(session, with_keys=not interactive) if proxy else contextlib.nullcontext():
            if interactive:
                self._resize(session)
                signal.signal(signal.SIGWINCH, lambda *_: self._resize(session))
            while True:
                message = session.next()
                if "note" in message:
                    self.note(message["note"])
                if "detached" in message:
                    raise Detached("read escape sequence")
                if "exit" in message:
                    return int(message["exit"])

    @staticmethod
    def _resize(session: Session) -> None:
        with contextlib.suppress(OSError):
            size = os.get_terminal_size(1)
            session.resize(size.lines, size.columns)


@contextlib.contextmanager
def _raw(wanted: bool) -> Iterator[None]:
    if not wanted:
        yield
        return
    import termios
    import tty

    before = termios.tcgetattr(0)
    try:
        tty.setraw(0)
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)


@contextlib.contextmanager
def _forwarded(session: Session, *, with_keys: bool) -> Iterator[None]:
    numbers = [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT] + ([signal.SIGINT] if with_keys else [])
    before = {number: signal.signal(number, lambda n, _: session.signal(n)) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# What docker's client would have from its daemon, and says so; everything else it finds out itself, or reads from a build's output.
_DAEMONS = (NotFound, InUse, AlreadyExists, ContainerError, InvalidRequest, DockerfileError)


def _of_start(error: DockerlabError, command: str) -> bool:
    """Tells whether docker reports it as what keeps a container from running: all that `run` meets, and of `create` what its client refuses before it asks its daemon."""
    if isinstance(error, NoTerminal):  # which its client says by itself
        return False
    refused = isinstance(error, InvalidArgument) and not isinstance(error, InvalidRequest)
    return command.endswith("run") or (refused and command in ("create", "container create"))


def complaint(error: DockerlabError, command: str, program: str) -> str:
    """Gives what docker's client would say for an error of `command` (`run`, `container run`), and our hint."""
    hint = f"\nhint: {error.hint}" if error.hint else ""
    if isinstance(error, UsageError):
        return shown(error) + hint + "\n"
    words, hint = visible(str(error).removesuffix(hint)), visible(hint)
    if isinstance(error, NotFound) and error.kind in ("image to pull", "image to push"):
        return words + hint + "\n"
    asks = not command.startswith("manifest ")  # docker's client speaks with registries itself there
    if asks and isinstance(error, _DAEMONS if command.endswith("push") else (*_DAEMONS, RegistryError)) and not isinstance(error, ExecError):
        words = f"Error response from daemon: {words}"
    if _of_start(error, command):
        verb = command.rpartition(" ")[2]
        words = f"{program}: {words}\n\nRun '{program} {verb} --help' for more information"
    return words + hint + "\n"


def _command(words: list[str], program: str) -> str:
    try:
        return find(COMMANDS, words, program=program)[0].name
    except DockerlabError:
        return ""


def _ended(number: int, _: object) -> NoReturn:
    """Ends as the signal would, but tidily: a build has a container, and perhaps a secret, to take away."""
    raise SystemExit(128 + number)


def _here() -> Path:
    try:
        return Path.cwd()
    except FileNotFoundError:  # the folder was removed: only what uses it has to say so
        return Path(os.environ.get("PWD", "/"))


def main(argv: list[str] | None = None) -> None:
    """Does one command line and ends the process with docker's exit code."""
    words = sys.argv[1:] if argv is None else argv
    surface = Terminal()
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:  # nohup(1) ignores it
            signal.signal(number, _ended)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="surrogateescape")  # what a program wrote goes out as it came
    program = "docker" if Path(sys.argv[0]).name in ("docker", "__main__.py") else "dockerlab"

    def engine() -> Engine:
        from dockerlab.engine.current import current

        return current()

    try:
        outcome = perform(words, engine, surface, folder=_here(), program=program, variables=os.environ)
        if outcome.value is not None and hasattr(outcome.value, "_repr_mimebundle_"):
            text = str(outcome.value)
            with told():
                surface.out(text + "\n" if text or getattr(outcome.value, "rows", None) else "")
        code = outcome.exit_code
    except DockerlabError as error:
        command = _command(words, program)
        surface.err(complaint(error, command, program))
        # Whatever keeps a container from running has 125, so that it is not taken for the program's own code.
        code = 125 if _of_start(error, command) and error.exit_code == 1 and not isinstance(error, UsageError) else error.exit_code
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        code = 141
    sys.exit(code)
