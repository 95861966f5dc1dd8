"""The server as a process: several of them, signals, TLS, the program of a container, the command line."""

from __future__ import annotations

import contextlib
import io
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from joserfc.jwk import ECKey

from dockerlab import registry
from dockerlab.errors import InvalidArgument, RegistryError
from dockerlab.oci.digest import digest_of
from dockerlab.registry.__main__ import program
from dockerlab.registry.access import granted
from dockerlab.registry.client import Registry
from dockerlab.registry.notifying import EVENTS, Endpoint, Notifier
from dockerlab.registry.server import Notice, RegistryApp
from dockerlab.registry.serving import Listening, Running, bound
from dockerlab.registry.storage import Storage
from dockerlab.registry.transport import Sockets
from tests.registry.conftest import Client, sha

ROOT = Path(__file__).parents[2]


@contextlib.contextmanager
def served(folder: Path, *words: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Runs `dockerlab registry serve` and gives the address that it tells."""
    env = {**os.environ, "DOCKERLAB_HOME": str(folder / "home"), "DOCKERLAB_SERVER": "0", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "dockerlab.cli", "registry", "serve", "--listen", "127.0.0.1:0", *words, str(folder / "shelf")]
    process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout
    try:
        line = process.stdout.readline()
        assert "listening at" in line, process.communicate()
        yield line.rpartition("://")[2].partition("/")[0], process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.communicate(timeout=40)


@pytest.mark.parametrize("processes", [1, 2])
def test_a_push_to_it_and_its_end(tmp_path: Path, processes: int) -> None:
    with served(tmp_path, "--processes", str(processes)) as (address, process):
        registry = Registry(address, Sockets())
        data = os.urandom(3 << 20)
        for name in ("a", "b", "c"):  # chunks of one upload may come to several processes
            registry.upload(name, sha(data), len(data), lambda: io.BytesIO(data))
            assert registry.has_blob(name, sha(data)) == len(data)
        process.send_signal(signal.SIGTERM)
        _, told = process.communicate(timeout=40)
        assert process.returncode == 0
        lines = [json.loads(line) for line in told.splitlines() if line.startswith("{")]
        assert {"GET", "HEAD", "POST", "PATCH", "PUT"} <= {line["method"] for line in lines}
        assert "Traceback" not in told


@pytest.mark.parametrize("processes", [1, 3])
def test_what_is_under_way_ends_before_the_server_does(tmp_path: Path, processes: int) -> None:
    with served(tmp_path, "--processes", str(processes)) as (address, process):
        registry, data = Registry(address, Sockets()), os.urandom(24 << 20)
        registry.upload("a", sha(data), len(data), lambda: io.BytesIO(data))
        other, said = os.urandom(3 << 20), b""
        host, _, port = address.partition(":")
        with urllib.request.urlopen(f"http://{address}/v2/a/blobs/{sha(data)}", timeout=20) as reply, socket.create_connection((host, int(port)), timeout=20) as line:
            line.sendall(f"POST /v2/a/blobs/uploads/?digest={sha(other)} HTTP/1.1\r\nHost: r\r\nContent-Length: {len(other)}\r\n\r\n".encode() + other[: 1 << 20])
            got = reply.read(1 << 20)
            process.send_signal(signal.SIGTERM)
            time.sleep(1)
            line.sendall(other[1 << 20 :])
            said = line.recv(1 << 16)
            got += reply.read()
        assert sha(got) == sha(data) and b" 201 " in said.partition(b"\r\n")[0]
        assert process.wait(40) == 0


@pytest.mark.parametrize("pause", [0, 0.002, 0.015])
def test_an_end_at_once(tmp_path: Path, pause: float) -> None:
    with served(tmp_path, "--processes", "2") as (address, process):
        with urllib.request.urlopen(f"http://{address}/v2/", timeout=5) as reply:
            assert reply.status == 200
        time.sleep(pause)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=40)
        assert process.returncode == 0


def test_a_worker_that_dies_is_replaced(tmp_path: Path) -> None:
    with served(tmp_path, "--processes", "2") as (address, process):
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(children[0]), signal.SIGKILL)
        deadline = time.monotonic() + 10
        while len(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        for _ in range(6):
            with urllib.request.urlopen(f"http://{address}/healthz", timeout=5) as reply:
                assert reply.status == 200


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with bound(Listening(port=0)) as sock, pytest.raises(InvalidArgument, match="address already in use"):
        bound(Listening(port=sock.getsockname()[1]))


@pytest.fixture
def tls(tmp_path: Path) -> tuple[str, ...]:
    """The flags with a certificate for this machine."""
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "key", "-out", "cert", "-days", "2", "-subj", "/CN=localhost",
             "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]  # fmt: skip
    try:
        subprocess.run(words, cwd=tmp_path, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("there is no openssl to make a certificate with")
    return ("--tls-cert", str(tmp_path / "cert"), "--tls-key", str(tmp_path / "key"))


def test_tls(tmp_path: Path, tls: tuple[str, ...]) -> None:
    with served(tmp_path, *tls) as (address, _):
        data = os.urandom(3 << 20)
        trusting = Registry(address, Sockets(authorities=lambda: [tmp_path / "cert"]))
        trusting.upload("a", sha(data), len(data), lambda: io.BytesIO(data))
        trusting.download("a", sha(data), len(data), tmp_path / "back")
        assert digest_of((tmp_path / "back").read_bytes()) == sha(data)
        assert trusting.base.startswith("https://")
        assert Registry(address, Sockets(), schemes=("http", "https")).base.startswith("https://"), "it answered in the clear last time"
        again = Registry(address, Sockets(), schemes=("http", "https"))
        again.presume()
        with pytest.raises(RegistryError):
            again.manifest("a", "latest", head=True)
        again.greet()
        assert again.base.startswith("https://")
    for schemes in ((), ("http", "https")):
        with pytest.raises(RegistryError, match='Get "http://.* connection refused'):
            Registry(address, Sockets(), schemes=schemes).greet()


def test_who_says_nothing_or_half_of_it_keeps_nobody_waiting(tmp_path: Path, tls: tuple[str, ...]) -> None:
    for words, half in (((), b"GET /v2/ HTTP/1.1\r\nHo"), (tls, b"\x16\x03\x01\x02")):
        with served(tmp_path, *words) as (address, _), contextlib.ExitStack() as open_ones:
            host, _, port = address.partition(":")
            others = [open_ones.enter_context(socket.create_connection((host, int(port)))) for _ in range(100)]
            registry = Registry(address, Sockets(authorities=lambda words=words: [tmp_path / "cert"] if words else []))
            began = time.monotonic()
            assert registry.has_blob("a", sha(b"")) is None
            for each in others:
                each.send(half)
            assert registry.has_blob("b", sha(b"")) is None
            assert time.monotonic() - began < 25  # two rounds of two seconds, on a busy machine; it was thirty each
            if words:
                others.append(open_ones.enter_context(socket.create_connection((host, int(port)))))
                others[-1].send(b"GET / HTTP/1.1\r\n\r\n")
                assert others[-1].recv(1000).endswith(b"HTTP request to an HTTPS server.\n")


def test_slow_readers_keep_nobody_waiting(storage: Storage) -> None:
    app = RegistryApp(storage)
    digest = Client(app).blob("a", bytes(40 << 20))  # more than the kernel's buffers take
    with Running(app, Listening(port=0, threads=4)) as server, contextlib.ExitStack() as open_ones:
        for _ in range(20):
            slow = open_ones.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            slow.send(f"GET /v2/a/blobs/{digest} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        time.sleep(0.5)
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/healthz", timeout=20) as reply:
            assert reply.status == 200


@contextlib.contextmanager
def listening(answer: Callable[[str, bytes], int]) -> Iterator[str]:
    """Serves at the address that it gives: `answer` is told each body with its Content-Type, and gives the status."""

    class Ear(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(answer(self.headers["Content-Type"], self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Ear) as ear:
        threading.Thread(target=ear.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{ear.server_port}/"
        ear.shutdown()


def test_tokens_and_notifications_by_the_command_line(tmp_path: Path, tls: tuple[str, ...]) -> None:
    heard: queue.Queue[tuple[str, bytes]] = queue.Queue()

    def hear(kind: str, body: bytes) -> int:
        heard.put((kind, body))
        return 200

    words = ["--token-realm", "http://auth.example/token", "--token-service", "here", "--token-issuer", "me", "--token-cert", tls[1]]
    with listening(hear) as ear, served(tmp_path, "--processes", "2", *words, "--notify", ear) as (address, _):
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"http://{address}/v2/", timeout=5)
        assert refused.value.headers["WWW-Authenticate"] == 'Bearer realm="http://auth.example/token",service="here"'
        key = ECKey.import_key(Path(tls[3]).read_bytes())
        access = [{"type": "repository", "name": "a", "actions": ["pull", "push"]}]
        headers = {"Authorization": "Bearer " + granted(key, issuer="me", service="here", user="olga", access=access), "User-Agent": "test"}
        begun = urllib.request.urlopen(urllib.request.Request(f"http://{address}/v2/a/blobs/uploads/?digest={sha(b'x')}", b"x", headers, method="POST"), timeout=5)
        assert begun.status == 201
        kind, body = heard.get(timeout=10)
        (event,) = json.loads(body)["events"]
        assert kind == EVENTS
        told = event["action"], event["target"]["digest"], event["target"]["url"], event["actor"], event["request"]["useragent"], event["request"]["addr"]
        assert told == ("push", sha(b"x"), f"http://{address}/v2/a/blobs/{sha(b'x')}", {"name": "olga"}, "test", "127.0.0.1")


def test_who_is_told_nothing_is_told_again(capsys: pytest.CaptureFixture[str]) -> None:
    tries: list[bytes] = []

    def hesitate(_: str, body: bytes) -> int:
        tries.append(body)
        return 503 if len(tries) < 3 else 200

    with listening(hesitate) as busy:
        tell = Notifier([Endpoint.checked(busy), Endpoint.checked("http://127.0.0.1:1/")], pause=0.01)
        for name in ("a", "b"):
            tell(Notice("push", name, sha(b"x")))
        deadline = time.monotonic() + 10
        while (told := capsys.readouterr().err) == "" and time.monotonic() < deadline:
            time.sleep(0.05)
        assert "127.0.0.1 took none: NewConnectionError" in told
        assert [json.loads(each)["events"][0]["target"]["repository"] for each in tries[:3]] == ["a", "a", "a"]
    with pytest.raises(InvalidArgument, match="no address"):
        Endpoint.checked("ftp://x/")


def test_the_variables_of_cncf_distribution(tmp_path: Path) -> None:
    (tmp_path / "htpasswd").write_text("")
    _, where = program(["serve", str(tmp_path / "a")], {"REGISTRY_HTTP_ADDR": ":5001", "REGISTRY_AUTH": "htpasswd", "REGISTRY_AUTH_HTPASSWD_PATH": str(tmp_path / "htpasswd"), "HOME": "/"})
    assert (where.host, where.port) == ("0.0.0.0", 5001)
    app, _ = program(["serve"], {"REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY": str(tmp_path / "b"), "REGISTRY_STORAGE_MAINTENANCE_READONLY": '{"enabled": true}'})
    assert (app.storage.root, app.read_only) == (tmp_path / "b", True)
    config = Path(registry.__file__).with_name("config.yml")
    app, _ = program(["serve", str(config)], {"REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY": str(tmp_path / "c"),
                                          "REGISTRY_LOG_LEVEL": "error", "REGISTRY_STORAGE": "filesystem", "REGISTRY_HTTP_SECRET": "x"})
    assert app.storage.root == tmp_path / "c" and app._log is None
    (tmp_path / "mine.yml").write_text("version: 0.1\n")
    odd = {"REGISTRY_NOTIFICATIONS_ENDPOINTS": "[{]"}, {"REGISTRY_NOTIFICATIONS_ENDPOINTS": '[{"url": "file:///x"}]'}, {"REGISTRY_AUTH": "token"}
    for words, variables in [(["serve", str(tmp_path / "mine.yml")], {}), *((["serve", str(tmp_path)], each) for each in odd)]:
        with pytest.raises(InvalidArgument):
            program(words, variables)
    for words, variables in ((["serve"], {"REGISTRY_PROXY_REMOTEURL": "x"}),
                             (["serve"], {"REGISTRY_AUTH": "silly"}), (["serve"], {"REGISTRY_STORAGE": "s3"}), (["help"], {}), (["serve", str(tmp_path)], {"REGISTRY_HTTP_ADDR": "x"})):
        with pytest.raises(InvalidArgument):
            program(words, variables)


def test_garbage_by_the_command_line(tmp_path: Path) -> None:
    storage = Storage(tmp_path / "shelf")
    place = storage.blob(sha(b"lost"))
    place.parent.mkdir(parents=True)
    place.write_bytes(b"lost")
    env = {**os.environ, "DOCKERLAB_HOME": str(tmp_path / "home"), "DOCKERLAB_SERVER": "0", "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-m", "dockerlab.cli", "registry", "gc", "--now"]
    done = subprocess.run([*words, str(tmp_path / "shelf")], env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "1 blobs with 4B freed; 0 manifests, 0 links and 0 uploads removed\n")
    words = [sys.executable, "-m", "dockerlab.registry", "garbage-collect", "-m", "/etc/docker/registry/nowhere.yml"]
    assert "is not read" in subprocess.run(words, env=env, capture_output=True, text=True, check=False).stderr
    words[-1] = str(Path(registry.__file__).with_name("config.yml"))
    env["REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY"] = str(tmp_path / "shelf")
    assert subprocess.run(words, env=env, capture_output=True, text=True, check=True).stdout.startswith("0 blobs")
    words = [sys.executable, "-m", "dockerlab.cli", "registry", "gc", "--now"]
    assert subprocess.run([*words, str(tmp_path / "home")], env=env, capture_output=True, text=True, check=False).returncode == 1


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_UNIX])
def test_a_listening_socket_as_standard_input_is_taken(tmp_path: Path, runtime: Path, processes: int, family: socket.AddressFamily) -> None:
    words = [sys.executable, "-m", "dockerlab.cli", "registry", "serve", "--processes", str(processes), str(tmp_path / "store")]
    with socket.socket(family) as listens:
        listens.bind(str(runtime / "s") if family == socket.AF_UNIX else ("127.0.0.1", 0))
        listens.listen(16)
        place = listens.getsockname()
        process = subprocess.Popen(words, stdin=listens, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with process:
        for _ in range(6):
            with socket.socket(family) as client:
                client.settimeout(20)
                client.connect(place)
                client.sendall(b"GET /v2/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                assert client.recv(100).startswith(b"HTTP/1.1 200 ")
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        with socket.socket(family) as client, pytest.raises(ConnectionRefusedError):
            client.connect(place)


LEAVING = """
import sys, urllib.request
from dockerlab.registry.serving import Listening, serve
def app(environ, start):
    start("200 OK", [("Content-Length", "2")])
    return [b"ok"]
def ready(host, port):
    global place
    place = f"http://{host}:{port}/"
    print("ready", flush=True)
serve(app, Listening(port=0, threads=2), ready, leaving=lambda: print(urllib.request.urlopen(place, timeout=10).read().decode(), flush=True))
print("ended", flush=True)
"""


def test_who_leaves_is_told_while_it_still_answers() -> None:
    with subprocess.Popen([sys.executable, "-c", LEAVING], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.read().split() == ["ok", "ended"]
        assert process.wait(10) == 0
