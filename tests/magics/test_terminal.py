"""A program at a terminal's view, with the browser's part played by the test; in every tier."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dockerlab.engine import Container, Engine, RunOptions
from dockerlab.engine.options import Attach
from dockerlab.magics import terminal
from dockerlab.magics.terminal import Terminal, kept
from dockerlab.runtime.world import Session
from tests.conftest import until


class Browser:
    """Reads what a terminal says, and tells it that it has."""

    def __init__(self, container: Container, *, reads: bool = True) -> None:
        self.seen, self.messages, self.kept, self.reads = b"", [], [], reads  # type: ignore[var-annotated]
        self.terminal = Terminal(container.name, lambda attach: self.start(container, attach), self.hear, lambda *words: self.kept.append(words))

    @staticmethod
    def start(container: Container, attach: Attach) -> Session:
        return container.start(attach)

    def hear(self, message: dict[str, Any], buffers: Any) -> None:
        self.messages.append(message["type"])
        for data in buffers:
            self.seen += data
            if self.reads:
                self.terminal.hear({"type": "seen", "count": len(data)})

    def type(self, text: str) -> None:
        self.terminal.hear({"type": "typed", "data": text})


def container(engine: Engine, *command: str, **options: object) -> Container:
    return engine.containers.create("busybox", command, RunOptions(tty=True, interactive=True, **options))  # type: ignore[arg-type]


def test_nothing_begins_before_somebody_looks(engine: Engine) -> None:
    made = container(engine, "sh")
    browser = Browser(made)
    browser.type("echo too early\n")
    assert made.state.status == "created"
    browser.terminal.hear({"type": "ready", "rows": 20, "cols": 93})
    browser.terminal.hear({"type": "ready", "rows": 20, "cols": 93})  # another view of it
    until(lambda: b"#" in browser.seen or b"$" in browser.seen)
    browser.type("stty size; echo wörd\n")
    until(lambda: b"20 93" in browser.seen and "wörd\r\n".encode() in browser.seen)
    browser.terminal.hear({"type": "size", "rows": 20, "cols": 60})
    browser.type("stty size; exit 3\n")
    assert browser.terminal.ended.wait(10)
    assert b"20 60" in browser.seen and b"early" not in browser.seen and made.state.exit_code == 3
    browser.terminal.hear({"type": "screen", "text": "what was seen"})
    assert browser.kept == [("what was seen", f"{made.name} has ended with exit code 3")] and browser.messages[0] == "started" and browser.messages[-1] == "ended"


def test_a_program_that_cannot_be_started_is_told(engine: Engine) -> None:
    browser = Browser(container(engine, "nope"))
    browser.terminal.hear({"type": "ready", "rows": 20, "cols": 80})
    assert browser.terminal.ended.is_set() and browser.messages == ["ended"]
    browser.terminal.hear({"type": "screen", "text": ""})
    assert "executable file not found" in browser.kept[0][1]


def test_a_browser_that_does_not_keep_up_makes_the_program_wait(engine: Engine) -> None:
    made = container(engine, "sh", "-c", "dd if=/dev/zero bs=50000 count=60 2> /dev/null | tr '\\0' y; sleep 60")
    browser = Browser(made, reads=False)
    browser.terminal.hear({"type": "ready", "rows": 20, "cols": 80})
    until(lambda: len(browser.seen) >= 1 << 20)
    browser.terminal.ended.wait(0.3)
    assert len(browser.seen) < 1 << 21
    browser.reads = True
    browser.terminal.hear({"type": "seen", "count": len(browser.seen)})
    until(lambda: len(browser.seen) > 2500000)
    made.stop(timeout=0)
    assert browser.terminal.ended.wait(10)


def test_what_a_notebook_keeps_is_text() -> None:
    bundle = kept("# ls <script>alert(1)</script>\n\u202eevil", "box has ended with exit code 0")
    assert "<script>" not in bundle["text/html"] and "\u202e" not in bundle["text/html"] and bundle["text/plain"].endswith("[box has ended with exit code 0]")


def test_the_module_that_a_browser_gets(tmp_path: Path) -> None:
    if not (Path(terminal.__file__).parent / "xterm" / "xterm.js").exists():
        pytest.skip("dockerlab was installed without xterm.js: no registry was in reach")
    source = terminal._widget()._esm
    text = str(source)
    assert "http://" not in re.sub(r"http://www\.w3\.org/\S+", "", text[-8000:]) and "sourceMappingURL" not in text
    (tmp_path / "module.mjs").write_text(text)
    try:
        done = subprocess.run(["node", "--check", str(tmp_path / "module.mjs")], capture_output=True, text=True, timeout=60, check=False)
    except FileNotFoundError:
        pytest.skip("no node here to read the module with")
    assert done.returncode == 0, done.stderr


def test_without_a_browser_there_is_no_view() -> None:
    code = (
        "import nbformat, nbclient, json\n"
        "book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell('%load_ext dockerlab'), nbformat.v4.new_code_cell('%container run -it --rm busybox sh')])\n"
        "try:\n    nbclient.NotebookClient(book).execute()\nexcept nbclient.exceptions.CellExecutionError as error:\n    print(json.dumps(str(error)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100, check=True)
    assert "there is no terminal here" in json.loads(done.stdout)
