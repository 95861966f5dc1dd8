"""A disk that is full, a home that cannot be written: a clear word, and a store that is sound afterwards."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_LAB = f'docker() {{ {sys.executable} -m dockerlab.cli "$@"; }}'
Play = Callable[[str], str]


@pytest.fixture
def small_disk(tmp_path: Path, runtime: Path) -> Play:
    """Gives a function that plays a shell script with DOCKERLAB_HOME on a disk of 16 MB that nobody else sees."""
    if os.geteuid():
        pytest.skip("only root can mount a small disk")
    (tmp_path / "home").mkdir()
    env = {**os.environ, "DOCKERLAB_HOME": str(tmp_path / "home"), "XDG_RUNTIME_DIR": str(runtime), "PYTHONPATH": str(ROOT)}

    def play(script: str) -> str:
        text = f'set -u; mount -t tmpfs -o size=16m tmpfs "$DOCKERLAB_HOME"; {_LAB}; cd "$DOCKERLAB_HOME/.."\n{script}'
        done = subprocess.run(["unshare", "--mount", "sh", "-c", text], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=100, check=False)
        if "unshare failed" in done.stdout:
            pytest.skip("this host gives root no mounts of its own")
        assert "Traceback" not in done.stdout, done.stdout
        return done.stdout

    return play


FULL = 'docker run --name one busybox touch /f; dd if=/dev/zero of="$DOCKERLAB_HOME/ballast" bs=64k 2>/dev/null; sync'
AFTER = 'rm "$DOCKERLAB_HOME/ballast"; docker system check; docker run --rm --net none busybox echo works; docker commit one after | cut -c1-7'


@pytest.mark.parametrize(
    "deed",
    [
        "docker commit one full",
        "docker run --rm busybox true",
        "printf 'FROM busybox\\nRUN echo x > /x\\nCOPY . /y\\n' > D; docker build -f D .",
        "docker export one | docker import - full",
        "docker run --name two -v vol:/v busybox true",
    ],
)
def test_a_full_disk_is_said_and_the_store_stays_sound(small_disk: Play, deed: str) -> None:
    said = small_disk(f"{FULL}\n{deed} && echo DONE\necho code $?\n{AFTER}")
    assert "no space left on device" in said, said
    assert "code 0" not in said
    assert said.endswith("the store is sound\nworks\nsha256:\n"), said


def test_a_program_that_fills_the_disk_sees_it_and_the_store_stays_sound(small_disk: Play) -> None:
    fill = "docker run --name one busybox sh -c 'dd if=/dev/zero of=/big bs=64k; echo went on'"
    said = small_disk(f"{fill}\ndocker rm one; docker create --name one busybox >/dev/null; touch $DOCKERLAB_HOME/ballast\n{AFTER}")
    assert "No space left on device" in said
    assert said.endswith("the store is sound\nworks\nsha256:\n"), said


def test_a_home_that_cannot_be_written_is_said(small_disk: Play) -> None:
    said = small_disk('docker create --name one busybox >/dev/null; mount -o remount,ro "$DOCKERLAB_HOME"; docker run --rm busybox true; echo code $?; docker images -q | wc -l')
    assert "read-only" in said or "permission denied" in said
    assert "DOCKERLAB_HOME" in said and "code 125" in said
