"""A notebook cell as the place where a command was typed."""

from __future__ import annotations

import codecs
import contextlib
import os
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from dockerlab.commands.call import Surface
from dockerlab.engine.options import Attach
from dockerlab.engine.settings import looked_at
from dockerlab.engine.watching import watch
from dockerlab.errors import InvalidArgument
from dockerlab.magics import terminal
from dockerlab.widgets.html import escape

if TYPE_CHECKING:
    from collections.abc import Callable

    from dockerlab.runtime.world import Session

__all__ = ["Cell"]

_DRAWN = 0.15  # seconds between two pictures of the same progress


def _changing() -> Callable[[object], None]:
    """Gives what displays a value, each time in the place of the one before."""
    from IPython.display import display

    handle: Any = None

    def show(value: object) -> None:
        nonlocal handle
        if handle is None:
            handle = display(value, display_id=True)
        else:
            handle.update(value)

    return show


class Cell(Surface):
    """Output streams live into the cell; `body` is what the program reads as its standard input."""

    def __init__(self, body: str | None = None) -> None:
        self._body = body

    def out(self, text: str) -> None:
        """Shows text on standard output."""
        sys.stdout.write(_document(text))
        sys.stdout.flush()

    def err(self, text: str) -> None:
        """Shows text on standard error."""
        sys.stderr.write(_document(text))
        sys.stderr.flush()

    def aside(self, value: object) -> None:
        """Shows something beside the program's output; not on standard error, which graders take for a failure."""
        from IPython.display import display

        display(value)

    def again(self, text: str) -> None:
        """Shows text in the place of the last one."""
        from IPython.display import clear_output

        clear_output(wait=True)
        self.out(text)

    def stdin(self) -> bytes:
        """Gives the cell's body."""
        return (self._body or "").encode()

    def agreed(self, question: str) -> bool:
        """Reads the answer in the cell's body; without one nothing is done unasked."""
        if self._body is None:
            raise InvalidArgument(question.splitlines()[0].removeprefix("WARNING! "), hint="say so with -f")
        return self._body.strip().lower() == "y"

    wide = True

    def below(self, value: object) -> None:
        """Displays it."""
        self.aside(value)

    def picture(self, drawn: Callable[[], object]) -> Callable[[bool], None]:
        """Shows one display that changes; where nobody looks on its last state alone."""
        looked, show = looked_at(), _changing()

        def draw(last: bool) -> None:
            if looked or last:
                show(drawn())

        return draw

    def live(self) -> Callable[[list[str], bool], None] | None:
        """Replaces one display again and again; a front end that cannot shows the last one."""
        from IPython.display import HTML

        show, last = _changing(), 0.0

        def draw(lines: list[str], at_once: bool) -> None:
            nonlocal last
            if at_once or time.monotonic() - last >= _DRAWN:
                last = time.monotonic()
                show(HTML(f"<pre style='margin:0'>{escape(chr(10).join(lines))}</pre>"))

        return draw if looked_at() else None

    def asked(self, question: str, *, secret: bool) -> str:
        """Asks below the cell, where somebody looks on."""
        import getpass

        if not looked_at():
            raise InvalidArgument("nobody is here to be asked", hint="write the password below a %%container login cell with --password-stdin")
        return getpass.getpass(question) if secret else input(question)

    def binary(self) -> int:
        """A cell has no place for raw bytes."""
        raise InvalidArgument("a cell cannot show raw bytes", hint="use -o FILE")

    def check_terminal(self) -> None:
        """Raises InvalidArgument where there is neither a body to be typed nor a browser to type in."""
        if self._body is None and not terminal.possible():
            hint = "write the commands below it: a %%docker or %%container cell feeds them to the shell"
            raise InvalidArgument("there is no terminal here: no browser looks on, or dockerlab was built without xterm.js", hint=hint)

    def attached(self, start: Callable[[Attach], Session], wanted: Attach, *, interactive: bool, name: str, proxy: bool = True) -> int:
        """Starts a program and carries its output here as it comes; an interrupt stops it. One that wants a terminal gets a view, and the cell goes on."""
        if interactive and self._body is None and wanted.stdin is not None:
            terminal.show(name, start)
            return 0
        feed_out, feed_in = os.pipe()
        out_in, out = os.pipe()
        err_in, err = os.pipe()
        theirs, ours = [feed_out, out, err], [out_in, err_in]
        try:
            session = start(Attach(feed_out if wanted.stdin is not None else None, out if wanted.stdout is not None else None, err if wanted.stderr is not None else None))
        except BaseException:
            for descriptor in (*theirs, *ours, feed_in):
                os.close(descriptor)
            raise
        for descriptor in theirs:
            os.close(descriptor)
        self._feed(feed_in)
        try:
            pipes = {out_in: _decoded(self.out), err_in: _decoded(self.err)}
            return watch(session, pipes, note=self.note, interrupted=f"interrupted: the program in container {name} was stopped")
        finally:
            for descriptor in ours:
                os.close(descriptor)

    def _feed(self, descriptor: int) -> None:
        """Writes the body in a thread of its own: a pipe takes 64 KiB at once, and the program may read later or never."""

        def write() -> None:
            with contextlib.suppress(OSError), open(descriptor, "wb") as file:
                file.write(self.stdin())

        threading.Thread(target=write, daemon=True).start()


def _document(text: str) -> str:
    """Gives text as a notebook can hold it: bytes that are none are replaced."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _decoded(show: Callable[[str], object]) -> Callable[[bytes], object]:
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    return lambda data: show(decoder.decode(data))
