"""A hub from a terminal: `hub serve`, `hub adduser`, and what docker's words do with it."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
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
def serving(folder: Path, variables: dict[str, str], *words: str, listen: str = "127.0.0.1:0") -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Runs `dockerlab hub serve` and gives the address that it tells."""
    command = [sys.executable, "-m", "dockerlab.cli", "hub", "serve", "--listen", listen, "--quiet", *words, str(folder / "hub")]
    with subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            line = process.stdout.readline()
            yield re.findall(r"listening at (http://[^/]+)/", line)[0], process
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


def test_who_is_logged_in_and_who_guesses(docker: Callable[..., Result], tmp_path: Path, variables: dict[str, str]) -> None:
    with serving(tmp_path, variables) as (address, _):
        place = address.partition("://")[2]
        docker("hub", "adduser", "--password-stdin", "olga", stdin="a long password\n")
        docker("login", "-u", "olga", "--password-stdin", place, stdin="a long password")
        assert docker("login", place)[:2] == (0, "Authenticating with existing credentials...\nLogin Succeeded\n")
        docker("run", "--rm", "--net", "host", "busybox", "true")
        docker("tag", "busybox", f"{place}/olga/bb")
        assert docker("push", "-q", "-a", f"{place}/olga/bb") == (0, f"{place}/olga/bb\n", "")
        code, out, said = docker("push", f"{place}/olga/bb@sha256:{'0' * 64}")
        assert (code, out) == (1, "") and "cannot push a digest reference" in said
        for _ in range(5):
            assert "unauthorized" in docker("login", "-u", "carl", "--password-stdin", place, stdin="a guess")[2]
        said = docker("login", "-u", "carl", "--password-stdin", place, stdin="a guess")[2]
        assert "toomanyrequests" in said and re.search(r"come back in [0-9]+ seconds", said)
        with pytest.raises(urllib.error.HTTPError, match="429") as refused:
            urllib.request.urlopen(urllib.request.Request(f"{address}/v1/search?q=x", headers={"Authorization": "Basic Y2FybDp4"}), timeout=10)
        assert int(refused.value.headers["Retry-After"]) > 0
        code, out, said = docker("build", f"{address}/git/olga/secret.git")
        assert code == 1 and "there is none, or it is private" in said and "Traceback" not in out + said
        assert "olga" in docker("hub", "audit", str(tmp_path / "hub"))[1]


def test_a_hub_by_ipv6(docker: Callable[..., Result], tmp_path: Path, variables: dict[str, str]) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this host has no ::1")
    from dulwich.client import HttpGitClient
    from dulwich.repo import Repo

    from tests.hub.conftest import committed

    work = committed(tmp_path / "work", {"Dockerfile": "FROM busybox\nRUN echo a > /a\n"})
    with serving(tmp_path, variables, listen="[::1]:0") as (address, _):
        assert address.startswith("http://[::1]:")
        docker("hub", "adduser", "--password-stdin", "olga", stdin="olga's long password\n")
        with Repo(str(work)) as repository:  # dulwich takes no such address from a URL
            client = HttpGitClient(f"{address}/", username="olga", password="olga's long password")
            client.send_pack("/git/olga/app.git", lambda _: {b"refs/heads/main": repository.head()}, repository.generate_pack_data)
        deadline, page = time.monotonic() + 90, ""
        while "success" not in page and "failed" not in page:
            assert time.monotonic() < deadline
            time.sleep(0.5)
            page = urllib.request.urlopen(f"{address}/r/olga/app/builds", timeout=10).read().decode()
        assert "success" in page, urllib.request.urlopen(f"{address}/r/olga/app/builds/1", timeout=10).read().decode()


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
