"""`docker` through the shim, and the command server behind it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from dockerlab.commands.system import write_shim
from dockerlab.engine import Engine

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Shim:
    """`docker` through the shim, with a store and a folder of sockets of its own."""

    program: Path
    env: dict[str, str]
    folder: Path

    def __call__(self, *words: str, stdin: str = "", **env: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run([self.program, *words], input=stdin, capture_output=True, text=True, env=self.env | env, cwd=self.folder, timeout=60, check=False)
        if "lets nobody start a container" in done.stderr:
            pytest.skip(done.stderr)
        return done

    def popen(self, *words: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([self.program, *words], env=self.env, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def servers(self) -> list[Path]:
        return list(Path(self.env["XDG_RUNTIME_DIR"]).glob("dockerlab-*/*-*-*[0-9a-f]"))

    def warm(self) -> bool:
        """Tells whether the next command line is handed to a server: then the client does not import the ordinary path."""
        code = "import sys; sys.argv[:] = ['docker', 'version']; from dockerlab.cli import client; print(client._asked() is not None, file=sys.stderr)"
        done = subprocess.run([sys.executable, "-c", code], env=self.env | {"PYTHONPATH": str(ROOT)}, cwd=self.folder, capture_output=True, text=True, check=False)
        return done.stderr.strip() == "True"


def until(wanted: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if wanted():
            return True
        time.sleep(0.05)
    return False


def made(tmp_path: Path, runtime: Path, kind: str) -> Shim:
    program = tmp_path / "docker"
    write_shim(program)
    first, _, rest = program.read_text().partition("\n")
    if kind == "compiled" and "/client " not in first:
        pytest.skip("no C compiler was at hand when the package was installed")
    if kind == "interpreted":
        program.write_text(f"#!{sys.executable} -SP\n{rest}")
    env = {**os.environ, "DOCKERLAB_HOME": str(tmp_path / "home"), "XDG_RUNTIME_DIR": str(runtime), "DOCKERLAB_SERVER": "1"}
    (tmp_path / "here").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(runtime))
        Engine(tmp_path / "home").first_time("network")
    return Shim(tmp_path / "docker", env, tmp_path / "here")


@pytest.fixture(params=["compiled", "interpreted"])
def cold(request: pytest.FixtureRequest, tmp_path: Path, runtime: Path) -> Shim:
    """No server runs yet."""
    return made(tmp_path, runtime, request.param)


@pytest.fixture
def shim(cold: Shim) -> Iterator[Shim]:
    """A server runs."""
    cold("version")
    assert until(cold.warm)
    yield cold
    for name in cold("ps", "-aq").stdout.split():
        cold("rm", "-f", name)


def serving(shim: Shim) -> int:
    """Gives the only server's process; another that was started meanwhile sees that there is one, and ends."""

    def found() -> list[int]:
        return [int(pid) for pid in os.listdir("/proc") if pid.isdigit() and _serves(pid, shim)]

    assert until(lambda: len(found()) == 1)
    return found()[0]


def _serves(pid: str, shim: Shim) -> bool:
    with contextlib.suppress(OSError):
        words, environment = Path(f"/proc/{pid}/cmdline").read_bytes(), Path(f"/proc/{pid}/environ").read_bytes()
        parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]
        own = f"XDG_RUNTIME_DIR={shim.env['XDG_RUNTIME_DIR']}\0".encode()
        return b"dockerlab.cli.server" in words and own in environment and b"dockerlab.cli.server" not in Path(f"/proc/{parent}/cmdline").read_bytes()
    return False
