"""Odd homes: a network file system without hard links and locks, a deep path, a temporary folder where nothing may run."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from dockerlab.linux import syscalls
from tests.conftest import strongest

ROOT = Path(__file__).parents[2]
SCRIPT = """
docker run --name one busybox sh -c 'touch /f; rm /bin/vi' && docker diff one && docker commit one two >/dev/null && docker run --rm two ls /f &&
docker create --name one busybox 2>/dev/null || docker rm -f one && docker system check
"""
SAID = ["C /bin", "D /bin/vi", "A /f", "/f", "one", "the store is sound"]
# A filter in plain BPF: link(2) and linkat(2) say EPERM, flock(2) says ENOLCK, as a network file system may.
_CALLS = {"x86_64": {86: 1, 265: 1, 73: 37}, "aarch64": {37: 1, 32: 37}}.get(syscalls.MACHINE, {})
_FILTERED = """
import ctypes, os, struct, sys
libc = ctypes.CDLL(None)
program = bytes.fromhex(sys.argv[1])
buffer = ctypes.create_string_buffer(program, len(program))
libc.prctl(38, 1, 0, 0, 0)
assert libc.prctl(22, 2, ctypes.c_char_p(struct.pack("HP", len(program) // 8, ctypes.addressof(buffer)))) == 0
os.execvp(sys.argv[2], sys.argv[2:])
"""


def program() -> bytes:
    ops = [struct.pack("HBBI", 0x20, 0, 0, 0)]
    for number, error in _CALLS.items():
        ops += [struct.pack("HBBI", 0x15, 0, 1, number), struct.pack("HBBI", 0x06, 0, 0, 0x00050000 | error)]
    return b"".join([*ops, struct.pack("HBBI", 0x06, 0, 0, 0x7FFF0000)])


def play(home: Path, runtime: Path, *prefix: str, **more: str) -> list[str]:
    env = {**os.environ, "DOCKERLAB_HOME": str(home), "XDG_RUNTIME_DIR": str(runtime), "PYTHONPATH": str(ROOT), **more}
    text = f'docker() {{ {sys.executable} -m dockerlab.cli "$@"; }}\n{SCRIPT}'
    done = subprocess.run([*prefix, "sh", "-c", text], env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=100, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout.splitlines() or done.stderr.splitlines()


@pytest.fixture(autouse=True)
def some_tier() -> None:
    strongest()


def test_a_home_without_hard_links_and_locks(tmp_path: Path, runtime: Path) -> None:
    if not _CALLS:
        pytest.skip(f"no call numbers for {syscalls.MACHINE}")
    assert play(tmp_path / "home", runtime, sys.executable, "-c", _FILTERED, program().hex()) == SAID


def test_a_deep_home(tmp_path: Path, runtime: Path) -> None:
    assert play(tmp_path / "/".join(["a folder of a name that is quite long"] * 12) / "home", runtime) == SAID


def test_a_deep_runtime_folder(tmp_path: Path) -> None:
    deep = tmp_path / "/".join(["runtime"] * 20)
    deep.mkdir(parents=True, mode=0o700)
    assert play(tmp_path / "home", deep) == SAID


def test_no_runtime_folder_and_a_home_with_odd_letters(tmp_path: Path, runtime: Path) -> None:
    assert play(tmp_path / "ho:me, with\u00fcmlaut\\ and 'quotes'", runtime) == SAID
