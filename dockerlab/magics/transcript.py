"""`%%docker`: a cell of pasted course text.

Lines that are plain docker commands are done here, in this process. All others go to `sh`, with the shim first on its PATH, so that pipes,
loops and `$(docker …)` mean what they say; its folder and its variables live on from line to line and from cell to cell. The first failure
ends the cell.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from dockerlab.errors import DockerlabError

__all__ = ["Line", "Shell", "ShellFailed", "parts"]

_SHELLISH = re.compile(r"[$`|&;<>(){}*?\[\]~#!\\\n]")
_HEREDOC = re.compile(r"<<-?\s*(['\"]?)(\w+)\1")
_COMMENT_AFTER_SLASH = re.compile(r"\\[ \t]+(#.*)?$")


class ShellFailed(DockerlabError):
    """A line for the shell ended with another code than 0."""

    def __init__(self, message: str, *, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@dataclass(frozen=True, slots=True)
class Line:
    """One command of the cell: docker's own words, or text for the shell; `body` is what is typed into an interactive container."""

    text: str
    words: tuple[str, ...] = ()
    body: str | None = None


def parts(text: str) -> Iterator[Line]:
    """Yields the cell's commands in order."""
    lines = _mended(text)
    place = 0
    while place < len(lines):
        command, place = _complete(lines, place)
        if not command.strip() or command.lstrip().startswith("#"):
            continue
        words = _plain(command)
        if words and _interactive(words):
            body, place = _session(lines, place)
            yield Line(command, words, body)
        else:
            yield Line(command, words)


def _mended(text: str) -> list[str]:
    """Joins lines that end in a backslash, also where a comment was pasted behind it; drops a pasted prompt."""
    joined: list[str] = []
    open_line = ""
    for line in text.splitlines():
        bare = _COMMENT_AFTER_SLASH.sub(r"\\", line)
        if bare.endswith("\\") and not bare.endswith("\\\\"):
            open_line += bare[:-1] + " "
            continue
        joined.append(re.sub(r"^\s*\$ ", "", open_line + line) if open_line or line.lstrip().startswith("$ ") else line)
        open_line = ""
    return [*joined, *([open_line.rstrip()] if open_line else [])]


def _complete(lines: list[str], place: int) -> tuple[str, int]:
    """Gives the command that begins at `place`, as many lines as the shell needs for it, and where the next begins."""
    command = lines[place]
    place += 1
    while place < len(lines) and not _whole(command):
        command += "\n" + lines[place]
        place += 1
    for _, word in _HEREDOC.findall(command):
        while place < len(lines) and command.rpartition("\n")[2].strip() != word:
            command += "\n" + lines[place]
            place += 1
    return command, place


def _whole(command: str) -> bool:
    if not re.search(r"['\"`({]|\b(if|for|while|until|case|do|then)\b", command):
        return True
    done = subprocess.run(["sh", "-n"], input=command, capture_output=True, text=True, check=False)
    return done.returncode == 0 or ("unexpected" in done.stderr and "end of file" not in done.stderr and "Unterminated" not in done.stderr)


def _plain(command: str) -> tuple[str, ...]:
    """Gives the words of a command that is docker's alone, () for anything that a shell has to read."""
    bare = re.sub(r"'[^']*'", "''", command)
    if not re.match(r"\s*docker(\s|$)", command) or _SHELLISH.search(bare):
        return ()
    try:
        return tuple(shlex.split(command)[1:])
    except ValueError:
        return ()


def _interactive(words: tuple[str, ...]) -> bool:
    if not words or words[0] not in ("run", "start", "exec"):
        return False
    flags = [word for word in words[1:] if word.startswith("-")]
    letters = "".join(f[1:] for f in flags if not f.startswith("--"))
    return ("i" in letters or "--interactive" in flags) and ("t" in letters or "--tty" in flags or words[0] == "start")


def _session(lines: list[str], place: int) -> tuple[str, int]:
    body = []
    while place < len(lines):
        line = lines[place]
        place += 1
        if line.strip() == "exit":
            break
        body.append(line)
    return "".join(line + "\n" for line in body), place


class Shell:
    """The shell of one notebook: a folder and variables that persist."""

    def __init__(self, shim: Path) -> None:
        self._folder = self._kernel = Path.cwd()
        self._shim = shim
        self._state = Path(tempfile.mkdtemp(prefix="dockerlab-shell-")) / "variables"
        self._state.touch()

    @property
    def folder(self) -> Path:
        """Where the next line runs: where the one before has led, or `%cd` since."""
        with contextlib.suppress(FileNotFoundError):  # a kernel's folder can be removed
            if (now := Path.cwd()) != self._kernel:
                self._folder = self._kernel = now
        return self._folder

    def run(self, text: str, show: Callable[[str], object]) -> None:
        """Runs shell text; output goes to `show` as it comes. Raises ShellFailed with the shell's exit code."""
        env = {**os.environ, "PATH": f"{self._shim}:{os.environ.get('PATH', '')}", "DOCKERLAB_STATE": str(self._state)}
        script = f'. "$DOCKERLAB_STATE"\nset -a\ntrap \'_code=$?; export -p > "$DOCKERLAB_STATE"; pwd > "$DOCKERLAB_STATE.pwd"; exit $_code\' EXIT\nset -e\n{text}\n'
        process = subprocess.Popen(
            ["sh", "-c", script], cwd=self.folder, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            assert process.stdout is not None
            for block in iter(lambda: os.read(process.stdout.fileno(), 1 << 16), b""):  # type: ignore[union-attr]
                show(block.decode("utf-8", "replace"))
            code = process.wait()
        except KeyboardInterrupt:
            self._stop(process)
            raise
        where = Path(f"{self._state}.pwd")
        if where.exists():
            self._folder = Path(where.read_text().rstrip("\n"))
        if code:
            raise ShellFailed(f"{text.strip().splitlines()[0][:60]}: exit code {code}", exit_code=code)

    @staticmethod
    def _stop(process: subprocess.Popen[bytes]) -> None:
        import signal

        for number, patience in ((signal.SIGTERM, 1.5), (signal.SIGKILL, 1.0)):
            try:
                os.killpg(process.pid, number)
                process.wait(patience)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                continue
            return
