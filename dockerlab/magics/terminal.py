"""A program's terminal in a notebook: a view that shows what it writes and sends it what is typed, while the kernel goes on with other cells.

The program begins when a browser has drawn the view and says how large it is; where nobody draws it, nothing begins. Once it has ended, the text of the screen
takes the view's place, so that the notebook keeps it.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import threading
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dockerlab.engine.options import Attach
from dockerlab.engine.settings import looked_at
from dockerlab.errors import DockerlabError
from dockerlab.widgets.html import escape

if TYPE_CHECKING:
    from dockerlab.runtime.world import Session

__all__ = ["Terminal", "kept", "possible", "show"]

_HERE = Path(__file__).parent
_AHEAD = 1 << 20  # bytes that a browser may be behind, before nothing more is read from the program
_KEPT = 200_000  # characters of a screen that a notebook keeps


def possible() -> bool:
    """Tells whether this is a kernel that a browser may look at, and the package was built with xterm.js."""
    from IPython.core.getipython import get_ipython

    shell = get_ipython()
    return looked_at() and getattr(shell, "kernel", None) is not None and (_HERE / "xterm" / "xterm.js").exists()


@cache
def _widget() -> Any:
    """Gives the widget class; made at the first need, since anywidget and traitlets cost an import."""
    import anywidget
    import traitlets

    class View(anywidget.AnyWidget):
        """The view of one terminal."""

        _esm = "\n".join([_module("xterm.js", "Terminal"), _module("addon-fit.js", "FitAddon"), (_HERE / "terminal.js").read_text()])
        _css = (_HERE / "xterm" / "xterm.css").read_text()
        name = traitlets.Unicode().tag(sync=True)

    return View


def _module(file: str, name: str) -> str:
    """Gives a script that would look for a module loader as a part of a module: `name` is what it exports."""
    text = re.sub(r"//# sourceMappingURL=.*", "", (_HERE / "xterm" / file).read_text())
    return f"const {{ {name} }} = (() => {{ const module = {{ exports: {{}} }}, exports = module.exports, define = undefined;\n{text}\nreturn module.exports; }})();"


class Terminal:
    """One program at a view. `start` begins it, `say` reaches the browser (a message, and bytes), `keep` takes the screen's text at the end."""

    def __init__(self, name: str, start: Callable[[Attach], Session], say: Callable[[dict[str, Any], Sequence[bytes]], object], keep: Callable[[str, str], object]) -> None:
        self._name, self._start, self._say, self._keep = name, start, say, keep
        self._session: Session | None = None
        self._typed = -1
        self._ahead, self._room = 0, threading.Condition()
        self._ending = ""
        self.ended = threading.Event()

    def hear(self, message: dict[str, Any]) -> None:
        """Does what the browser says; called in the kernel's main thread."""
        kind = message.get("type")
        if kind == "ready" and not (self._session or self.ended.is_set()):
            self._begin(message)
        elif kind == "typed" and self._typed >= 0:
            data = str(message["data"])
            with contextlib.suppress(OSError):
                os.write(self._typed, data.encode("latin-1" if message.get("binary") else "utf-8", "replace"))
        elif kind == "size" and self._session:
            self._session.resize(int(message["rows"]), int(message["cols"]))
        elif kind == "seen":
            with self._room:
                self._ahead -= int(message["count"])
                self._room.notify()
        elif kind == "screen" and self.ended.is_set():
            self._keep(str(message["text"])[-_KEPT:], self._ending)

    def _begin(self, message: dict[str, Any]) -> None:
        feed, self._typed = os.pipe()
        source, sink = os.pipe()
        os.set_blocking(self._typed, False)
        try:
            self._session = self._start(Attach(feed, sink, sink))
        except DockerlabError as error:
            os.close(source)
            self._end(str(error))
            return
        finally:
            os.close(feed)
            os.close(sink)
        self._session.resize(int(message["rows"]), int(message["cols"]))
        self._say({"type": "started"}, [])
        threading.Thread(target=self._carry, args=(self._session, source), daemon=True, name=f"terminal of {self._name}").start()

    def _carry(self, session: Session, source: int) -> None:
        """Carries what the program writes until it has ended; in a thread of its own."""
        code: int | None = None
        open_ = True
        while code is None or open_:
            waiting = [*([source] if open_ else []), *([session.fileno()] if code is None else [])]
            ready, _, _ = select.select(waiting, [], [], None if code is None else 0.1)
            if code is not None and not ready:
                break
            if source in ready:
                data = os.read(source, 1 << 16)
                open_ = bool(data)
                self._show(data)
            if session.fileno() in ready:
                told = session.next()
                if "note" in told:
                    self._show(f"note: {told['note']}\r\n".encode())
                if "detached" in told:
                    break
                code = told.get("exit", code)
        session.close()
        os.close(source)
        self._end(f"{self._name} runs on; you let go of it" if code is None else f"{self._name} has ended with exit code {code}")

    def _show(self, data: bytes) -> None:
        with self._room:
            self._room.wait_for(lambda: self._ahead < _AHEAD)
            self._ahead += len(data)
        if data:
            self._say({"type": "out"}, [data])

    def _end(self, text: str) -> None:
        os.close(self._typed)
        self._typed, self._ending = -1, text
        self.ended.set()
        self._say({"type": "ended", "text": text}, [])


def kept(text: str, ending: str) -> dict[str, str]:
    """Gives the mime bundle of a terminal that has ended."""
    page = (
        f'<pre style="margin:0;padding:6px 8px;border:1px solid #8888;border-radius:4px;overflow:auto">{escape(text)}</pre>'
        f'<div style="padding:3px 8px">{escape(ending)}</div>'
    )
    return {"text/plain": f"{text}\n[{ending}]", "text/html": page}


def show(name: str, start: Callable[[Attach], Session]) -> Terminal:
    """Shows a terminal for the program that `start` begins, in the cell that runs now, and gives it."""
    from IPython.display import display

    view = _widget()(name=name)

    def keep(text: str, ending: str) -> None:
        handle.update(kept(text, ending), raw=True)
        view.close()

    terminal = Terminal(name, start, lambda message, buffers: view.send(message, list(buffers)), keep)
    view.on_msg(lambda _, message, __: terminal.hear(message))
    handle = display(view, display_id=True)
    return terminal
