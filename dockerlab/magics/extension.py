"""The magics, and what is set on a shell while the extension is loaded."""

from __future__ import annotations

import os
import shlex
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from IPython.core.magic import Magics, cell_magic, line_magic, magics_class, needs_local_scope, no_var_expand

from dockerlab.commands.build import from_text
from dockerlab.commands.call import Call, Outcome
from dockerlab.commands.grammar import Command, find, parse
from dockerlab.commands.help import help_text
from dockerlab.commands.run import perform, told
from dockerlab.commands.specs import COMMANDS
from dockerlab.commands.system import write_shim
from dockerlab.engine.current import current
from dockerlab.errors import DockerlabError, InvalidArgument, UsageError
from dockerlab.magics import completion
from dockerlab.magics.surface import Cell
from dockerlab.magics.transcript import Shell, ShellFailed, parts
from dockerlab.oci.visible import visible

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["DockerMagics", "Extension"]


def _said(error: DockerlabError) -> str:
    words = f"{error.message}\n\n{error.usage}" if isinstance(error, UsageError) and error.usage else str(error)
    return visible(words if not isinstance(error, UsageError) or not error.hint else f"{words}\nhint: {error.hint}")


@magics_class
class DockerMagics(Magics):
    """`%container`, `%%container`, `%%docker`, `%%dockerfile`: docker's own words, docker's own flags."""

    def __init__(self, shell: Any, shim: Path) -> None:
        super().__init__(shell)
        self._sh = Shell(shim)

    def _do(self, words: Sequence[str], body: str | None = None, *, program: str = "%container") -> Outcome:
        return perform(list(words), current, Cell(body), folder=self._sh.folder, program=program, variables=os.environ)

    @staticmethod
    def _finish(outcome: Outcome, what: str, *, plain: bool = False) -> Any:
        if outcome.exit_code:
            # What shows itself is what the code is about: `scan --check`, `build --check`.
            if _is_listing(outcome.value) and str(outcome.value):
                Cell().out(f"{outcome.value}\n") if plain else Cell().aside(outcome.value)
            raise ShellFailed(f"{what}: exit code {outcome.exit_code}", exit_code=outcome.exit_code)
        return outcome.value

    @no_var_expand
    @line_magic
    def container(self, line: str) -> Any:
        """Any docker command: `%container run --rm busybox echo hi`. `%container --help` lists them."""
        words = _words(line)
        return _shown(self._finish(self._do(words or ["--help"]), f"%container {line}"))

    @no_var_expand
    @cell_magic("container")
    def container_cell(self, line: str, cell: str) -> Any:
        """A docker command whose program reads the cell's body as its standard input: `%%container run -i --rm busybox sh`."""
        words = _words(line)
        if words and words[0] == "run" and not any(w in ("-i", "-it", "-ti", "--interactive") for w in words):
            words.insert(1, "-i")
        words = [word if word not in ("-it", "-ti") else "-i" for word in words]
        return _shown(self._finish(self._do(words, cell), f"%%container {line}"))

    @no_var_expand
    @cell_magic
    def docker(self, line: str, cell: str) -> Any:
        """A transcript, as pasted from a course: docker commands, shell commands, and what is typed into `run -it` until `exit`."""
        value = None
        for command in parts((line + "\n" if line.strip() else "") + cell):
            if not command.words:
                self._sh.run(command.text, Cell().out)
                continue
            words = list(command.words)
            if command.body is not None:
                words = [_without_terminal(word) for word in words]
            value = self._finish(self._do(words, command.body, program="docker"), command.text.strip(), plain=True)
            if value is not None and _is_listing(value):
                text = str(value)
                Cell().out(text + "\n" if text else "")
        return None

    @no_var_expand
    @needs_local_scope
    @cell_magic
    def dockerfile(self, line: str, cell: str, local_ns: dict[str, Any] | None = None) -> Any:
        """Builds the cell's Dockerfile: `%%dockerfile -t hello`. `-C FOLDER` is the context, `-i NAME` gives a Python variable to an ARG."""
        words, folder, names = _own_flags(_words(line), self._sh.folder)
        known = {**self.shell.user_ns, **(local_ns or {})}
        for name in names:
            if name not in known:
                raise InvalidArgument(f"no Python variable {name}", hint="define it in a cell above")
            words += ["--build-arg", f"{name}={known[name]}"]
        command, rest = find(COMMANDS, ["build", *words, "."], program="docker")
        parsed = parse(command, rest, program="docker")
        with told():
            outcome = from_text(Call(parsed, current(), Cell(), folder, "docker", os.environ), cell, folder, cell=True)
        return outcome.value


def _words(line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError as error:
        raise InvalidArgument(f"cannot read {line!r}: {error}", hint="close the quote") from None


def _own_flags(words: list[str], folder: Path) -> tuple[list[str], Path, list[str]]:
    rest: list[str] = []
    names: list[str] = []
    place = 0
    while place < len(words):
        if words[place] in ("-C", "-i") and place + 1 < len(words):
            if words[place] == "-C":
                folder = (folder / words[place + 1]).resolve()
            else:
                names += words[place + 1].split(",")
            place += 2
        else:
            rest.append(words[place])
            place += 1
    return rest, folder, names


def _without_terminal(word: str) -> str:
    return "-i" if word in ("-it", "-ti") else word


def _is_listing(value: Any) -> bool:
    return hasattr(value, "_repr_mimebundle_")


def _shown(value: Any) -> Any:
    """A container or image object is worth a name in Python; as a cell's last value it would only repeat what was printed."""
    return value if value is not None and _is_listing(value) else None


class Extension:
    """All that is set while `%load_ext dockerlab` holds."""

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._shim = Path(tempfile.mkdtemp(prefix="dockerlab-shim-"))
        self._matcher = completion.matcher
        self._previous: tuple[Any, Any] = (None, None)

    def load(self) -> None:
        """Registers everything."""
        write_shim(self._shim / "docker")
        os.environ["PATH"] = f"{self._shim}:{os.environ.get('PATH', '')}"
        self._shell.register_magics(DockerMagics(self._shell, self._shim))
        self._previous = (self._shell.custom_exceptions, getattr(self._shell, "CustomTB", None))
        self._shell.set_custom_exc((DockerlabError,), _short)
        self._shell.Completer.custom_matchers.append(self._matcher)

    def unload(self) -> None:
        """Takes everything back."""
        os.environ["PATH"] = os.environ.get("PATH", "").replace(f"{self._shim}:", "", 1)
        (self._shim / "docker").unlink(missing_ok=True)
        self._shim.rmdir()
        self._shell.custom_exceptions = self._previous[0]
        if self._matcher in self._shell.Completer.custom_matchers:
            self._shell.Completer.custom_matchers.remove(self._matcher)
        for kind, name in (("line", "container"), ("cell", "container"), ("cell", "docker"), ("cell", "dockerfile")):
            self._shell.magics_manager.magics[kind].pop(name, None)


def _short(shell: Any, kind: type, value: BaseException, traceback: Any, tb_offset: Any = None) -> list[str]:
    """Shows an error as an `error` output of its own words, without a traceback: a failed cell is a failed cell."""
    assert isinstance(value, DockerlabError)
    lines = _said(value).splitlines()
    shell._showtraceback(kind, value, lines)
    return lines


def usage_of(name: str) -> str:
    """Gives a verb's help."""
    command: Command
    command, _ = find(COMMANDS, [name])
    return help_text(command, "%container")
