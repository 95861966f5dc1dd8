"""Executes lesson one, or the notebook named, and says where to read it; `--keep` puts what it shows into the notebook itself."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from dockerlab.engine import Engine
from dockerlab.errors import DockerlabError

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
LESSON = NOTEBOOKS / "01-packaging-software-in-images.ipynb"


def main() -> None:
    """Runs the lesson in a scratch folder and writes the result under build/."""
    try:
        print(f"this host: {Engine().capabilities.says}")
    except DockerlabError as error:
        sys.exit(str(error))
    lesson = next((NOTEBOOKS / word for word in sys.argv[1:] if word.endswith(".ipynb")), LESSON)
    book, begun = nbformat.read(lesson, 4), time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        try:
            NotebookClient(book, timeout=300, kernel_name="python3", resources={"metadata": {"path": folder}}).execute()
        except CellExecutionError as error:
            sys.exit(f"a cell failed:\n{error}")
    for cell in book.cells:
        cell.metadata.pop("execution", None)  # the clock times of messages, new in each run
    target = lesson if "--keep" in sys.argv else Path("build") / lesson.name
    target.parent.mkdir(exist_ok=True)
    nbformat.write(book, target)
    cells = sum(cell.cell_type == "code" for cell in book.cells)
    print(f"{lesson.stem} ran: {cells} cells in {time.monotonic() - begun:.1f} s\nread it: {target}\nor try it yourself: make lab")


if __name__ == "__main__":
    main()
