"""A lesson's ports as sockets, and the door through which curl finds them."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from socketserver import ThreadingMixIn

import pytest

from dockerlab.course.indoors import Indoors
from dockerlab.linux import loopback
from dockerlab.registry.server import RegistryApp
from dockerlab.registry.serving import Listening, Running
from dockerlab.registry.storage import Storage

CURL = shutil.which("curl")
needs_curl = pytest.mark.skipif(not CURL, reason="no curl here")


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as held:
        held.bind(("0.0.0.0", 0))
        held.listen(1)
        yield held.getsockname()[1]


@pytest.fixture
def inside(runtime: Path, taken: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[Indoors]:
    monkeypatch.setenv(loopback.CURL, "/before")
    made = Indoors(runtime / "ports", (taken, 5000))
    yield made
    made.close()
    assert os.environ[loopback.CURL] == "/before"
    assert not loopback.folder() and not (runtime / "ports").exists()
    assert "ports" not in [thread.name for thread in threading.enumerate()]


def curl(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["curl", "-s", "--max-time", "20", *words], capture_output=True, text=True, check=False)


def proxied(data: bytes) -> bytes:
    with loopback.connected(f"{loopback.folder()}/proxy", 10) as made:
        made.sendall(data)
        return made.recv(1 << 16)


@needs_curl
def test_where_all_ports_can_be_had_curl_goes_its_usual_way(runtime: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".curlrc").write_text('write-out = "asked\\n"\n')
    made = Indoors(runtime / "ports", (0,))
    with Running(RegistryApp(Storage(tmp_path / "store")), Listening(port=0)) as running:
        assert curl(f"http://localhost:{running.port}/v2/").stdout == "{}asked\n"
        (runtime / "ports" / "proxy").unlink()
        assert curl(f"http://localhost:{running.port}/v2/").stdout == "{}asked\n"
    assert made.why == ""
    made.close()


def test_other_ports_may_do(runtime: Path, taken: int) -> None:
    made = Indoors(runtime / "ports", (taken,), any_port=True)
    assert made.why == "" == loopback.stand_in("localhost", taken) == loopback.claim("localhost", taken)
    made.close()


def test_the_reason_is_told(inside: Indoors, taken: int) -> None:
    assert inside.why == f"port {taken}: address already in use"


def test_it_ends_while_somebody_has_said_half_of_it(runtime: Path, taken: int) -> None:
    made = Indoors(runtime / "ports", (taken,))
    with loopback.connected(f"{loopback.folder()}/proxy", 10) as one, loopback.connected(f"{loopback.folder()}/proxy", 10):
        one.sendall(b"GET / HT")
        time.sleep(0.2)
        began = time.monotonic()
        made.close()
        assert time.monotonic() - began < 5


def test_many_who_say_nothing_take_few_descriptors(inside: Indoors) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with contextlib.ExitStack() as stack:
        for _ in range(350):
            stack.enter_context(loopback.connected(f"{loopback.folder()}/proxy", 10))
        time.sleep(0.5)
        assert len(os.listdir("/proc/self/fd")) - before - 350 <= 260


def test_a_second_one_at_one_place_says_so_and_changes_nothing(inside: Indoors, runtime: Path, taken: int) -> None:
    with pytest.raises(OSError, match="in use"):
        Indoors(runtime / "ports", (taken,))
    assert loopback.folder() == str(runtime / "ports") == os.environ[loopback.CURL]
    assert proxied(b"\x16") == b""


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
    with contextlib.suppress(ConnectionResetError, BrokenPipeError):  # of what was sent and not read
        found = proxied(data)
        assert found == b""
    with loopback.listening(f"{loopback.folder()}/5000") as listens, loopback.connected(f"{loopback.folder()}/proxy", 10) as made:
        made.sendall(b"GET / HTTP/1.1\r\nHOST:localhost:5000\r\n\r\n")
        listens.settimeout(10)
        assert listens.accept()[0].recv(100).startswith(b"GET / ")  # the next one is served all the same


@needs_curl
def test_many_at_once_are_all_served(inside: Indoors, tmp_path: Path) -> None:
    with Running(RegistryApp(Storage(tmp_path)), Listening(port=5000)):
        told = curl("-Z", "--parallel-max", "200", "-o", "/dev/null", "-w", "%{http_code}\n", "http://localhost:5000/v2/?[1-400]").stdout.split()
        assert told == ["200"] * 400


@needs_curl
def test_who_is_refused_in_the_middle_reads_why(inside: Indoors, tmp_path: Path) -> None:
    data = tmp_path / "large"
    data.write_bytes(bytes(8 << 20))
    with Running(RegistryApp(Storage(tmp_path / "store")), Listening(port=5000)):
        for _ in range(10):
            assert curl("-o", "/dev/null", "-w", "%{http_code}", "-T", str(data), "http://localhost:5000/v2/me/app/blobs/uploads/nosuch").stdout == "400"
