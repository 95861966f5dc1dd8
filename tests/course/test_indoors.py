"""A lesson's ports as sockets, and the door through which curl finds them."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from socketserver import ThreadingMixIn

import pytest

from dockerlab.course.indoors import Indoors, indoors
from dockerlab.linux import loopback
from dockerlab.registry.server import RegistryApp
from dockerlab.registry.serving import Listening, Running
from dockerlab.registry.storage import Storage

CURL = shutil.which("curl")
needs_curl = pytest.mark.skipif(not CURL, reason="no curl here")


@pytest.fixture
def inside(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Indoors]:
    monkeypatch.setenv(loopback.CURL, "/before")
    with socket.socket() as held:
        held.bind(("0.0.0.0", 0))
        held.listen(1)
        made = indoors(runtime / "ports", (held.getsockname()[1], 5000))
        assert made
        yield made
        made.close()
    assert os.environ[loopback.CURL] == "/before"
    assert not loopback.folder()


def curl(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["curl", "-s", "--max-time", "20", *words], capture_output=True, text=True, check=False)


def door(data: bytes) -> bytes:
    with loopback.connected(f"{loopback.folder()}/door", 10) as made:
        made.sendall(data)
        return made.recv(1 << 16)


def test_where_all_ports_can_be_had_nothing_changes(runtime: Path) -> None:
    assert indoors(runtime / "ports", (0,)) is None
    assert not loopback.folder()


def test_other_ports_may_do(runtime: Path) -> None:
    with socket.socket() as held:
        held.bind(("0.0.0.0", 0))
        held.listen(1)
        assert indoors(runtime / "ports", held.getsockname()[1:], any_port=True) is None


def test_the_reason_is_told(inside: Indoors) -> None:
    assert inside.why.endswith(": address already in use")


@needs_curl
def test_curl_speaks_to_a_registry_whose_port_is_a_socket(inside: Indoors, tmp_path: Path) -> None:
    url = "http://localhost:5000/v2/"
    assert curl("-o", "/dev/null", url).returncode == 52  # an empty reply: nobody listens yet
    with Running(RegistryApp(Storage(tmp_path)), Listening(port=5000)):
        assert curl(url).stdout == "{}"
        assert curl(url, "http://127.0.0.1:5000/v2/").stdout == "{}{}"
        assert curl("-Is", url).stdout.startswith("HTTP/1.1 200 OK")
        data = tmp_path / "blob"
        data.write_bytes(os.urandom(3 << 20))
        digest = subprocess.run(["sha256sum", data], capture_output=True, text=True, check=True).stdout.split()[0]
        begun = curl("-i", "-X", "POST", f"{url}me/app/blobs/uploads/").stdout
        location = next(line.split()[1] for line in begun.splitlines() if line.lower().startswith("location:"))
        place = location if location.startswith("http") else f"http://localhost:5000{location}"
        put = curl("-w", "%{http_code}", "-T", str(data), f"{place}{'&' if '?' in place else '?'}digest=sha256:{digest}")
        assert put.stdout == "201"
        back = subprocess.run(["curl", "-s", f"{url}me/app/blobs/sha256:{digest}"], capture_output=True, check=True).stdout
        assert back == data.read_bytes()


class Other(ThreadingMixIn, HTTPServer):
    daemon_threads = True


class Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@needs_curl
def test_ports_that_are_no_sockets_are_reached_as_before(inside: Indoors) -> None:
    with Other(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        assert curl("-w", "%{http_code}", f"http://localhost:{server.server_port}/").stdout == "204"
        server.shutdown()


@pytest.mark.parametrize("data", [
    b"\x16\x03\x01\x02\x00", b"GET / HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\nHost: localhost:x\r\n\r\n", b"GET / HTTP/1.1\r\nHost: [\r\n\r\n", b"x" * (1 << 17),
    b"GET / HTTP/1.1\r\nHost: localhost:99999999\r\n\r\n", b"GET / HTTP/1.1\r\nHost: localhost:5000/../door\r\n\r\n",
])  # fmt: skip
def test_what_names_no_port_is_let_go(inside: Indoors, data: bytes) -> None:
    try:
        assert door(data) == b""
    except (ConnectionResetError, BrokenPipeError):
        pass
    with loopback.listening(f"{loopback.folder()}/5000") as listens, loopback.connected(f"{loopback.folder()}/door", 10) as made:
        made.sendall(b"GET / HTTP/1.1\r\nHOST:localhost:5000\r\n\r\n")
        listens.settimeout(10)
        assert listens.accept()[0].recv(100).startswith(b"GET / ")  # the next one is served all the same
