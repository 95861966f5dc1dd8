"""Forty command lines at once on one store, some through the command server and some not: nothing is lost."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dockerlab.commands.system import write_shim

ROOT = Path(__file__).parents[2]


def test_forty_at_once_lose_nothing(tmp_path: Path, runtime: Path) -> None:
    env = {**os.environ, "DOCKERLAB_HOME": str(tmp_path / "home"), "XDG_RUNTIME_DIR": str(runtime), "PYTHONPATH": str(ROOT)}
    write_shim(tmp_path / "docker")
    ordinary, served = [sys.executable, "-m", "dockerlab.cli"], [str(tmp_path / "docker")]

    def said(*words: str) -> str:
        done = subprocess.run([*ordinary, *words], env=env, capture_output=True, text=True, timeout=60, check=False)
        if "lets nobody start a container" in done.stderr:
            pytest.skip(done.stderr)
        assert done.returncode == 0, done.stderr
        return done.stdout

    said("run", "--name", "keeper", "busybox", "true")
    lines = [line for n in range(10) for line in (
        ["tag", "busybox", f"many:{n}"], ["run", "--rm", "busybox", "true"], ["run", "--name", f"kept{n}", "busybox", "true"], ["commit", "keeper", f"made:{n}"],
    )]  # fmt: skip
    running = [
        subprocess.Popen([*(served if n % 2 else ordinary), *words], env=env | {"DOCKERLAB_SERVER": "1"}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        for n, words in enumerate(lines)
    ]
    for process, words in zip(running, lines, strict=True):
        out, _ = process.communicate(timeout=100)
        assert process.returncode == 0, f"{words}: {out.decode()}"
    assert set(said("images", "--format", "{{.Repository}}:{{.Tag}}").split()) == {"busybox:latest", *(f"many:{n}" for n in range(10)), *(f"made:{n}" for n in range(10))}
    assert set(said("ps", "-a", "--format", "{{.Names}}").split()) == {"keeper", *(f"kept{n}" for n in range(10))}
    assert said("system", "check") == "the store is sound\n"
    again = [subprocess.Popen([*ordinary, *words], env=env, stdout=subprocess.DEVNULL) for n in range(10) for words in (["rm", f"kept{n}"], ["rmi", f"many:{n}"])]
    assert [process.wait(100) for process in again] == [0] * 20
    assert said("ps", "-a", "--format", "{{.Names}}").split() == ["keeper"]
    assert "many" not in said("images")
    assert said("system", "check") == "the store is sound\n"
