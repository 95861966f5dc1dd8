"""What a fresh pair of eyes found: requests and answers that are made to do harm."""

from __future__ import annotations

import base64
import io
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dockerlab.errors import CorruptContent, RegistryError
from dockerlab.oci.manifest import CONFIG, MANIFEST
from dockerlab.registry import garbage, serving
from dockerlab.registry.client import Registry
from dockerlab.registry.keychain import Login
from dockerlab.registry.server import RegistryApp
from dockerlab.registry.serving import Listening, Running
from dockerlab.registry.storage import Storage
from dockerlab.registry.transport import Sockets
from tests.registry.conftest import Client, sha
from tests.registry.test_client import Wild, wild

__all__ = ["wild"]
Start = Callable[[Callable[[Wild], None]], tuple[str, list[tuple[str, str, dict[str, str]]]]]


@pytest.fixture
def running(storage: Storage) -> Iterator[Running]:
    with Running(RegistryApp(storage), Listening(port=0)) as server:
        yield server


def said(server: Running, request: bytes, *, wait: float = 2.0) -> bytes:
    """Gives all that a server answers to these bytes."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=wait) as line:
        line.sendall(request)
        answer = b""
        try:
            while block := line.recv(1 << 16):
                answer += block
        except TimeoutError:
            pass
        return answer


# The wire.


@pytest.mark.parametrize("path", ["/nowhere", "/v2/a/manifests/v1"])
def test_a_body_that_nobody_reads_is_no_second_request(running: Running, path: str) -> None:
    inner = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    answer = said(running, b"POST %s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (path.encode(), len(inner), inner))
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b'"ok"' not in answer


@pytest.mark.parametrize("lengths", [b"Content-Length: 5\r\nTransfer-Encoding: chunked", b"Content-Length: +5", b"Content-Length: 1_0", b"Content-Length: -5", b"Content-Length: " + b"1" * 40])
def test_lengths_that_two_could_read_differently(running: Running, lengths: bytes) -> None:
    answer = said(running, b"PUT /v2/a/manifests/v1 HTTP/1.1\r\nHost: x\r\n%s\r\n\r\nhello" % lengths)
    assert answer.startswith(b"HTTP/1.1 400")
    assert answer.count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize("chunk", [b"zz\r\nhello\r\n0\r\n\r\n", b"-5\r\nhello\r\n", b"5\r\nhelloXX0\r\n\r\n", b"fffffffffffffffff\r\n"])
def test_chunks_that_are_none(running: Running, chunk: bytes) -> None:
    begun = said(running, b"POST /v2/a/blobs/uploads/ HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    place = next(line for line in begun.split(b"\r\n") if line.startswith(b"Location: ")).removeprefix(b"Location: ")
    answer = said(running, b"PATCH %s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n%s" % (place, chunk))
    assert answer.startswith(b"HTTP/1.1 400")


def test_half_requests_end_in_time(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "_TIMEOUT", 1)
    with Running(RegistryApp(storage), Listening(port=0, threads=4)) as server:
        lines = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(6)]
        for line in lines:
            line.sendall(b"GET /healthz HTT")
        stopped = time.monotonic() + 3
        while time.monotonic() < stopped:  # a byte now and then keeps a socket's own timeout away
            for line in lines:
                try:
                    line.sendall(b"P")
                except OSError:
                    pass
            time.sleep(0.3)
        assert said(server, b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", wait=5).endswith(b'{"status":"ok"}')
        for line in lines:
            line.close()


def test_no_descriptor_is_left(storage: Storage) -> None:
    def log(facts: object) -> None:
        raise BrokenPipeError

    ask = Client(RegistryApp(storage, log=log))
    digest = ask.blob("a", b"x" * 5000)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        assert ask("GET", f"/v2/a/blobs/{digest}").status == 200
        assert ask("HEAD", f"/v2/a/blobs/{digest}").status == 200
        assert ask("GET", f"/v2/a/blobs/{digest}", Range="bytes=9999-").status == 416
    assert len(os.listdir("/proc/self/fd")) == before


# Requests.


def test_two_at_one_upload(storage: Storage) -> None:
    app = RegistryApp(storage)
    ask = Client(app)
    place = ask.place(ask("POST", "/v2/a/blobs/uploads/", b""))
    inside, go = threading.Event(), threading.Event()

    class Slow:
        def read(self, size: int) -> bytes:
            inside.set()
            go.wait(5)
            return b""

    environ = {"REQUEST_METHOD": "PATCH", "PATH_INFO": place, "QUERY_STRING": "", "wsgi.input": Slow(), "HTTP_TRANSFER_ENCODING": "chunked"}
    thread = threading.Thread(target=lambda: list(app(environ, lambda *_: None)))
    thread.start()
    inside.wait(5)
    assert ask("PATCH", place, b"more").status == 409
    go.set()
    thread.join()
    assert ask("PATCH", place, b"more").status == 202


@pytest.mark.parametrize("facts", [
    {"subject": {"digest": "sha256:x\r\nSet-Cookie: evil=1", "size": 1, "mediaType": "x"}}, {"subject": {"digest": "€", "size": 1}}, {"subject": "text"}, {"annotations": {"a": 1}},
    {"layers": [{"digest": sha(b"{}"), "size": -1}]}, {"layers": [{"digest": sha(b"{}"), "size": 10**400}]}, {"artifactType": 5},
])  # fmt: skip
def test_manifests_that_mean_harm(ask: Client, facts: dict[str, object]) -> None:
    config = {"mediaType": CONFIG, "digest": ask.blob("a", b"{}"), "size": 2}
    raw = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [], **facts}).encode()
    answer = ask("PUT", "/v2/a/manifests/v1", raw)
    assert (answer.code, "Set-Cookie" in answer.headers) == ("MANIFEST_INVALID", False)


@pytest.mark.parametrize("headers", [{"Range": f"bytes={'9' * 5000}-"}, {"Range": "bytes=٣-"}])
def test_numbers_that_are_too_long(ask: Client, headers: dict[str, str]) -> None:
    assert ask("GET", f"/v2/a/blobs/{ask.blob('a', b'x')}", **headers).status == 200
    place = ask.place(ask("POST", "/v2/a/blobs/uploads/", b""))
    assert ask("PATCH", place, b"x", Content_Range=f"0-{'9' * 5000}").status == 400


def test_too_many_parameters(ask: Client) -> None:
    assert ask("GET", "/v2/?" + "&".join(f"a{n}=1" for n in range(200))).status == 414


def test_a_failure_is_told_and_no_more(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    app = RegistryApp(storage)
    monkeypatch.setattr(storage, "repositories", lambda: 1 / 0)
    assert Client(app)("GET", "/v2/_catalog").status == 500


def test_what_a_refused_post_had_brought_is_gone(tmp_path: Path) -> None:
    storage = Storage(tmp_path, quota=100)
    ask = Client(RegistryApp(storage))
    for body in (b"x" * 200, b"x" * 50):
        assert ask("POST", f"/v2/a/blobs/uploads/?digest={sha(b'other')}", body).status in (400, 403)
    assert list(tmp_path.glob("**/_uploads/*")) == []


# Garbage.


def test_a_manifest_that_nobody_can_read_keeps_its_repository(ask: Client, storage: Storage) -> None:
    ask.image("a", "v1", b"layer")
    old = json.dumps({"schemaVersion": 1, "name": "a", "fsLayers": [{"blobSum": ask.blob("a", b"of schema 1")}]}).encode()
    storage.repository("a").put_manifest(sha(old), old, ("old",))
    for path in storage.folder.glob("blobs/*/*/*/data"):
        os.utime(path, (1, 1))
    assert garbage.collect(storage).blobs == 0
    broken = b"{ no manifest"
    storage.repository("a").put_manifest(sha(broken), broken, ("broken",))
    lost = ask.blob("a", b"perhaps it needs this")
    for path in storage.folder.glob("blobs/*/*/*/data"):
        os.utime(path, (1, 1))
    assert (garbage.collect(storage, untagged=True).blobs, ask("GET", f"/v2/a/blobs/{lost}").status) == (0, 200)


# Registries that mean harm.


def test_another_host_is_told_no_password(wild: Start, tmp_path: Path) -> None:
    """A host that a registry leads to may ask for a token from whomever it likes: nobody goes there with this registry's password."""
    thief, stolen = wild(lambda self: self.reply(200, b'{"token": "t"}'))
    other, _ = wild(lambda self: self.reply(401, WWW_Authenticate=f'Bearer realm="http://{thief}/steal"'))
    host, _ = wild(lambda self: self.reply(307, Location=f"http://{other}/blob") if self.command == "GET" else self.reply(202, Location=f"http://{other}/up"))
    registry = Registry(host, Sockets(), login=Login("me", "hush"), pause=0)
    for _ in range(2):
        with pytest.raises(RegistryError):
            registry.download("a", sha(b"x"), 1, tmp_path / "x")
        with pytest.raises(RegistryError):
            registry.upload("a", sha(b"x"), 1, lambda: io.BytesIO(b"x"))
    assert stolen == []


def test_no_password_in_the_clear() -> None:
    class Https:
        def send(self, method, url, headers, body, *, verify=True, timeout=0):  # type: ignore[no-untyped-def]
            assert not url.startswith("http://"), "the password would have gone here"
            assert verify
            return Reply(401, {"WWW-Authenticate": 'Bearer realm="http://auth.example/token"'})

    class Reply:
        def __init__(self, status: int, headers: dict[str, str]) -> None:
            self.status, self.headers = status, headers

        def blocks(self) -> Iterator[bytes]:
            yield b""

        def close(self) -> None:
            pass

    with pytest.raises(RegistryError, match="without TLS"):
        Registry("r.example", Https(), login=Login("me", "hush")).ping()  # type: ignore[arg-type]


def test_nothing_that_a_registry_says_reaches_the_screen_raw(wild: Start) -> None:
    evil = "\x1b[2J\u202e"
    body = json.dumps({"errors": [{"code": f"DENIED{evil}", "message": f"no{evil}"}]}).encode()
    for act in (lambda self: self.reply(403, body), lambda self: self.reply(429, body, Retry_After="\x1b[2J"), lambda self: self.reply(200, b"{}", Docker_Content_Digest="sha256:\x1b[2J")):
        host, _ = wild(act)
        with pytest.raises((RegistryError, CorruptContent)) as caught:
            Registry(host, Sockets()).manifest("a", "v1")
        assert not {"\x1b", "\u202e"} & set(str(caught.value))


def test_tags_and_lists_that_are_none(wild: Start) -> None:
    for body, found in ((b'{"tags": ["a", "../b", "\\u001b[2J", "c?x=1"]}', ["a"]), (b'{"tags": null}', [])):
        host, _ = wild(lambda self, body=body: self.reply(200, body))
        assert Registry(host, Sockets()).tags("a") == found
    for body in (b'{"tags": 5}', b"nonsense", b"[" * 5000, b'{"tags": "abc"}'):
        host, _ = wild(lambda self, body=body: self.reply(200, body))
        with pytest.raises(RegistryError, match="cannot be read"):
            Registry(host, Sockets()).tags("a")


def test_an_errors_page_of_any_length(wild: Start) -> None:
    host, asked = wild(lambda self: self.reply(502, b"<p>" * 200_000))
    with pytest.raises(RegistryError, match="received unexpected HTTP status: 502"):
        Registry(host, Sockets()).manifest("a", "v1")
    assert asked


def test_a_stop_is_heard_between_tries(wild: Start, tmp_path: Path) -> None:
    host, _ = wild(lambda self: self.reply(503))
    registry = Registry(host, Sockets(), pause=30)
    threading.Timer(0.3, registry.stopped.set).start()
    began = time.monotonic()
    with pytest.raises(Exception, match="stopped"):
        registry.download("a", sha(b"x"), 1, tmp_path / "x")
    assert time.monotonic() - began < 5


def test_a_password_is_not_in_what_is_told(wild: Start) -> None:
    told: list[object] = []
    host, _ = wild(lambda self: self.reply(401, WWW_Authenticate='Basic realm="r"') if "Authorization" not in self.headers else self.reply(307, Location="/x?X-Amz-Signature=TOP&digest=d"))
    registry = Registry(host, Sockets(), login=Login("me", "hush"), tell=told.append)  # type: ignore[arg-type]
    with pytest.raises(RegistryError) as caught:
        registry.manifest("a", "v1")
    assert "TOP" not in repr(told) + str(caught.value)
    assert base64.b64encode(b"me:hush").decode() not in repr(told)
