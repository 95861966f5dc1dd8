"""What holds for the whole tree."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted((ROOT / "dockerlab").rglob("*.py"))


def test_importing_dockerlab_loads_nothing_heavy() -> None:
    code = "import sys, dockerlab; print([n for n in ('IPython', 'ipywidgets', 'pyroute2', 'matplotlib', 'nbformat', 'msgspec') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_and_no_function_grows_too_long(module: Path) -> None:
    text = module.read_text()
    assert len(text.splitlines()) <= 450
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno is not None and node.end_lineno - node.lineno < 60, node.name


def test_outside_its_room_nothing_asks_for_the_tier_by_name() -> None:
    told = [
        f"{module.name}: {line.strip()}"
        for module in MODULES
        if "runtime" not in module.parts
        for line in module.read_text().splitlines()
        if "capabilities.tier ==" in line or '.tier == "' in line
    ]
    assert told == []
