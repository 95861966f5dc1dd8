"""Every lesson runs from its first cell to its last, and shows what its committed outputs show."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest

from dockerlab.linux import syscalls
from tests.hosts import portless

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")

LESSONS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
LISTENING = [path for path in LESSONS if path.name.startswith("03-")]


def normal(text: str) -> str:
    """Gives an output without what differs from run to run: ids, times, paddings."""
    text = re.sub(r"note: (no set-uid program acts on this host: .*? on others|as foretold: .*? on other hosts)", "", text)  # a difference that the host table declares
    text = re.sub(r"note: the ports .*? cannot be had here .*? in this notebook find", "", text)
    text = re.sub(r"note: this host gives containers no (way out|network of their own).*?(outside|port of this machine)", "", text)  # and these two
    text = re.sub(r"\b(sha256:)?[0-9a-f]{64}\b", "<id>", text)
    text = re.sub(r"\b[0-9a-f]{12}\b|\b[0-9a-f]{40}\b", "<id>", text)
    text = re.sub(r"\b(localhost|127\.0\.0\.1):(?!500)\d+", "<place>", text)  # a hub's port is any that is free
    text = re.sub(r"\b\d+\.\d+ m?s\b", "<t>", text)
    text = re.sub(r"(Less than a second|About an? \w+|\d+ \w+) ago", "<ago>", text)
    text = re.sub(r"git version [\d.]+", "git version <n>", text)
    text = re.sub(r"\b[A-Z][a-z]{2} +\d+ +\d+:\d+\b", "<when>", text)
    text = re.sub(r"(base up: |bytes|size|hidden|[\d,.]+ ?(B|kB|MB|bytes)\b)", lambda m: m[0] if m[1] in ("size",) else "<n>", text)
    text = re.sub(r"\b[ACD]\d+\b|[\d.]+ % are seen", "<n>", text)  # what a package installs is its maker's affair
    return re.sub(r"\s+", " ", text).strip()


def shown(cell: dict) -> str:  # type: ignore[type-arg]
    parts = []
    for output in cell["outputs"]:
        if output["output_type"] == "stream":
            parts.append(output["text"])
        elif output["output_type"] == "error":
            parts.append("\n".join(output["traceback"]))
        else:
            parts.append(output["data"].get("text/plain", ""))
    return normal("".join(parts))


def differing(lesson: Path, folder: Path, **options: Any) -> list[str]:
    """Executes a lesson, and gives the cells that do not show what they promise, or show nothing where that differs from host to host."""
    book = nbformat.read(lesson, 4)
    promised = [shown(cell) for cell in book.cells if cell.cell_type == "code"]
    try:
        nbclient.NotebookClient(book, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(folder)}}, **options).execute()
    except nbclient.exceptions.CellExecutionError as error:
        if "cannot be fetched" in str(error):
            pytest.skip(f"no package mirror: {str(error).splitlines()[-1]}")
        raise
    given = [shown(cell) for cell in book.cells if cell.cell_type == "code"]
    assert len(promised) == len(given) > 10
    tags = [cell.metadata.get("tags", []) for cell in book.cells if cell.cell_type == "code"]
    found = []
    for number, (wanted, real, tag) in enumerate(zip(promised, given, tags, strict=True)):
        kept = bool(real) if "differs-by-host" in tag else real == wanted or "VBox" in wanted
        if not kept:
            found.append(f"cell {number} promises {wanted!r} and shows {real!r}")
    return found


@pytest.fixture
def own(tmp_path: Path, runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKERLAB_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    monkeypatch.delenv("DOCKERLAB_NETWORK")


@pytest.mark.timeout(900)
@pytest.mark.usefixtures("own")
@pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)
def test_a_lesson_runs_and_shows_what_it_promises(lesson: Path, tmp_path: Path) -> None:
    assert differing(lesson, tmp_path) == []


@pytest.mark.timeout(900)
@pytest.mark.usefixtures("own")
@pytest.mark.skipif(syscalls.landlock_abi() < portless.ABI, reason="this kernel's Landlock has no rule on ports")
@pytest.mark.parametrize("lesson", LISTENING, ids=lambda path: path.stem)
def test_a_lesson_shows_the_same_where_no_port_can_be_bound(lesson: Path, tmp_path: Path, runtime: Path) -> None:
    from jupyter_client import AsyncKernelManager

    class Portless(AsyncKernelManager):
        def __init__(self, **options: Any) -> None:
            super().__init__(**options, transport="ipc", ip=str(runtime / "kernel"))

        def format_kernel_cmd(self, extra_arguments: list[str] | None = None) -> list[str]:
            return [sys.executable, portless.__file__, *super().format_kernel_cmd(extra_arguments)]

    assert differing(lesson, tmp_path, kernel_manager_class=Portless) == []
