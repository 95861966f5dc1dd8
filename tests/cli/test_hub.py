"""A hub from a terminal: `hub serve`, `hub adduser`, and what docker's words do with it."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("sqlalchemy", reason="the extra `hub` is not installed")

ROOT = Path(__file__).parents[2]
Result = tuple[int, str, str]


@pytest.fixture
def variables(tmp_path: Path, runtime: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in ("DOCKERLAB_HUB", "DOCKER_CONFIG")}
    return {**kept, "DOCKERLAB_HOME": str(tmp_path / "home"), "DOCKER_CONFIG": str(tmp_path / "config"), "XDG_RUNTIME_DIR": str(runtime), "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}


@pytest.fixture
def docker(tmp_path: Path, variables: dict[str, str]) -> Callable[..., Result]:
    """Types one command in a terminal."""

    def call(*words: str, stdin: str = "", **more: str) -> Result:
        done = subprocess.run([sys.executable, "-m", "dockerlab.cli", *words], input=stdin, capture_output=True, text=True, env={**variables, **more}, cwd=tmp_path, timeout=60)
        return done.returncode, done.stdout, done.stderr

    return call


@contextlib.contextmanager
def serving(folder: Path, variables: dict[str, str], *words: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Runs `dockerlab hub serve` and gives the address that it tells."""
    command = [sys.executable, "-m", "dockerlab.cli", "hub", "serve", "--listen", "127.0.0.1:0", "--quiet", *words, str(folder / "hub")]
    with subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            line = process.stdout.readline()
            yield re.findall(r"listening at (http://localhost:\d+)/", line)[0], process
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(20)


def test_a_class_with_a_hub(docker: Callable[..., Result], tmp_path: Path, variables: dict[str, str]) -> None:
    with serving(tmp_path, variables, "--no-signup") as (address, process):
        place = address.partition("://")[2]
        assert docker("hub", "adduser", "--password-stdin", "olga", stdin="a long password\n") == (0, "olga may log in\n", "")
        assert docker("hub", "adduser", "--password-stdin", "olga", stdin="a long password\n")[0] == 1
        assert "at least 8 characters" in docker("hub", "adduser", "--password-stdin", "sam", stdin="short\n")[2]
        assert docker("pull", "-q", "busybox", DOCKERLAB_HUB=address)[0] == 1  # the hub has none
        docker("run", "--rm", "--net", "host", "busybox", "true")
        for name, more in ((f"{place}/olga/bb", {}), ("olga/bb", {"DOCKERLAB_HUB": address})):
            docker("tag", "busybox", name)
            code, _, said = docker("push", name, **more)
            assert code == 1 and "denied: requested access to the resource is denied" in said
            server = [place] if not more else []
            assert docker("login", "-u", "olga", "--password-stdin", *server, stdin="a long password", **more)[1] == "Login Succeeded\n"
            code, out, _ = docker("push", name, **more)
            assert code == 0 and "latest: digest: sha256:" in out
            found = docker("search", "--format", "{{.Name}}", f"{place}/olga" if not more else "olga", **more)
            assert found == (0, "olga/bb\n", "")
            assert docker("logout", *server, **more)[0] == 0
        assert urllib.request.urlopen(f"{address}/r/olga/bb", timeout=10).status == 200
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(f"{address}/signup", timeout=10)
    assert process.returncode == 0


@pytest.mark.parametrize(("words", "said"), [
    (["--listen", "nowhere"], 'invalid argument "nowhere" for "--listen"'), (["--tls-cert", "x"], "--tls-cert and --tls-key belong together"), (["--database", "nonsense"], "names no database"),
    (["--database", "sqlite:////nowhere/at/all.db"], "cannot be used"), (["--url", "hub"], "is no address of a hub"),
])  # fmt: skip
def test_words_that_cannot_be_used(docker: Callable[..., Result], words: list[str], said: str) -> None:
    code, _, err = docker("hub", "serve", *words)
    assert code == 1 and said in err


def test_a_port_that_is_taken(docker: Callable[..., Result], tmp_path: Path, variables: dict[str, str]) -> None:
    with serving(tmp_path, variables) as (address, _):
        code, _, err = docker("hub", "serve", "--listen", address.removeprefix("http://").replace("localhost", "127.0.0.1"), "other")
        assert code == 1 and "address already in use" in err


def test_ways(docker: Callable[..., Result]) -> None:
    docker("run", "--rm", "--net", "host", "busybox", "true")
    code, out, err = docker("ways", "busybox", "-w", "access=5", "--weight", "cost=0")
    assert (code, err) == (0, "") and out.splitlines()[3].startswith("infrastructure of your own")
    assert '"bytes_again": ' in docker("ways", "--json", "busybox")[1]
    for word, said in (("cost", "write NAME=NUMBER"), ("price=1", "nothing that can be weighed"), ("cost=9", "weights go from 0 to 5")):
        code, _, err = docker("ways", "-w", word, "busybox")
        assert code == 1 and said in err
    assert "No such image" in docker("ways", "nothing")[2]
