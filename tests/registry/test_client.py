"""The client against our own server, and against one that behaves badly."""

from __future__ import annotations

import base64
import contextlib
import gc
import io
import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from dockerlab.errors import CorruptContent, RegistryError
from dockerlab.events import HttpExchange
from dockerlab.oci.manifest import MANIFEST
from dockerlab.registry.client import Registry
from dockerlab.registry.keychain import Login
from dockerlab.registry.server import RegistryApp
from dockerlab.registry.serving import Listening, Running
from dockerlab.registry.storage import Storage
from dockerlab.registry.transport import Direct, Sockets
from tests.registry.conftest import sha

SMALL, LARGE = b"small", bytes(range(256)) * (12 << 10)


def opened(data: bytes) -> Callable[[], io.BytesIO]:
    return lambda: io.BytesIO(data)


@pytest.fixture(params=["socket", "direct"])
def registry(request: pytest.FixtureRequest, storage: Storage) -> Iterator[Registry]:
    app = RegistryApp(storage)
    if request.param == "direct":
        yield Registry("localhost:5000", Direct({"localhost:5000": app}))
        return
    with Running(app, Listening(port=0)) as running:
        yield Registry(f"localhost:{running.port}", Sockets())


@pytest.mark.parametrize("data", [b"", SMALL, LARGE])
def test_a_blob_there_and_back(registry: Registry, tmp_path: Path, data: bytes) -> None:
    digest, seen = sha(data), [0]
    assert registry.has_blob("a/b", digest, push=True) is None
    registry.upload("a/b", digest, len(data), opened(data), progress=seen.append)
    assert registry.has_blob("a/b", digest) == len(data)
    assert seen[-1] == len(data)
    registry.download("a/b", digest, len(data), tmp_path / "blob", progress=seen.append)
    assert (tmp_path / "blob").read_bytes() == data


def test_a_connection_is_closed_with_its_registry(storage: Storage) -> None:
    """At once, and not when somebody looks for garbage: a server that ends has nobody to wait for."""
    with Running(RegistryApp(storage), Listening(port=0)) as running:
        registry = Registry(f"localhost:{running.port}", Sockets(), schemes=("http",))
        registry.upload("a", sha(SMALL), len(SMALL), opened(SMALL))
        assert connected(running.port) == 1
        gc.disable()
        try:
            del registry
            assert connected(running.port) == 0
        finally:
            gc.enable()


def connected(port: int) -> int:
    """Gives how many sockets of this process lead to a port; proc_net(5)."""
    own = {os.stat(f"/proc/self/fd/{name}").st_ino for name in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{name}")}
    lines = [line.split() for kind in ("tcp", "tcp6") for line in Path(f"/proc/self/net/{kind}").read_text().splitlines()[1:]]
    return sum(int(line[2].rpartition(":")[2], 16) == port and int(line[9]) in own for line in lines)


def test_mounts(registry: Registry) -> None:
    registry.upload("a", sha(SMALL), len(SMALL), opened(SMALL))
    assert registry.begin("b", mount=sha(SMALL), source="a") == ""
    assert registry.begin("b", mount=sha(LARGE), source="a") != ""
    assert registry.has_blob("b", sha(SMALL)) == len(SMALL)


def test_manifests_and_lists(registry: Registry) -> None:
    registry.upload("a", sha(b"{}"), 2, opened(b"{}"))
    raw = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "config": {"mediaType": "c", "digest": sha(b"{}"), "size": 2}, "layers": []}).encode()
    for tag in ("v1", "v2"):
        assert registry.put_manifest("a", tag, raw, MANIFEST) == sha(raw)
    fetched = registry.manifest("a", "v1")
    assert fetched is not None
    assert (fetched.raw, fetched.media_type, fetched.digest) == (raw, MANIFEST, sha(raw))
    assert registry.manifest("a", "none") is None
    with pytest.raises(RegistryError, match="manifest unknown") as caught:
        registry.manifest("a", "none", strict=True)
    assert (caught.value.code, caught.value.status) == ("MANIFEST_UNKNOWN", 404)
    assert (registry.tags("a"), registry.catalog(), registry.referrers("a", sha(raw))) == (["v1", "v2"], ["a"], ())
    with pytest.raises(RegistryError, match="name unknown: repository name not known to registry"):
        registry.tags("nosuch")


def test_a_digest_that_is_not_the_blobs(registry: Registry) -> None:
    with pytest.raises(RegistryError, match="digest invalid: provided digest did not match"):
        registry.upload("a", sha(b"other"), len(SMALL), opened(SMALL))


def test_nobody_answers() -> None:
    with pytest.raises(RegistryError, match=r'^Get "http://localhost:1/v2/": dial tcp 127.0.0.1:1: connect: connection refused\n') as caught:
        Registry("localhost:1", Sockets()).ping()
    assert caught.value.status == 0


def test_every_exchange_is_told_and_no_secret(storage: Storage) -> None:
    told: list[HttpExchange] = []
    registry = Registry("r", Direct({"r": RegistryApp(storage)}), insecure=True, login=Login("me", "hush"), tell=told.append)  # type: ignore[arg-type]
    registry.upload("a", sha(LARGE), len(LARGE), opened(LARGE))
    assert [(each.method, each.status) for each in told] == [("GET", 200), ("POST", 202), ("PATCH", 202), ("PUT", 201)]
    assert told[2].sent == len(LARGE)
    assert "hush" not in repr(told) and "hush" not in repr(Login("me", "hush"))


# A registry that behaves badly.


class Wild(BaseHTTPRequestHandler):
    """Does what the test's `act` says; remembers what it was asked."""

    protocol_version = "HTTP/1.1"
    act: Callable[[Wild], None]
    asked: list[tuple[str, str, dict[str, str]]]

    def _all(self) -> None:
        length = int(self.headers.get("Content-Length", 0) or 0)
        self.asked.append((self.command, self.path, dict(self.headers)))
        self.rfile.read(length)
        if self.path == "/v2/" and "/v2/" not in getattr(self, "strict", ""):
            self.reply(200)
            return
        type(self).act(self)

    do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = _all

    def reply(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **{key.replace("_", "-"): value for key, value in headers.items()}}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def wild() -> Iterator[Callable[[Callable[[Wild], None]], tuple[str, list[tuple[str, str, dict[str, str]]]]]]:
    servers = []

    def start(act: Callable[[Wild], None]) -> tuple[str, list[tuple[str, str, dict[str, str]]]]:
        kind = type("Mine", (Wild,), {"act": act, "asked": []})
        server = ThreadingHTTPServer(("127.0.0.1", 0), kind)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"localhost:{server.server_port}", kind.asked  # type: ignore[attr-defined]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def through(port: int, most: int) -> Iterator[int]:
    """Serves what another port serves, over connections that are cut after so many bytes; gives the port."""
    listener = socket.create_server(("127.0.0.1", 0))

    def carry(source: socket.socket, target: socket.socket, left: int) -> None:
        with contextlib.suppress(OSError):
            while left > 0 and (data := source.recv(min(1 << 16, left))):
                target.sendall(data)
                left -= len(data)
        for each in (source, target):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = listener.accept()
                far = socket.create_connection(("127.0.0.1", port))
                for ends in ((near, far), (far, near)):
                    threading.Thread(target=carry, args=(*ends, most), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    yield int(listener.getsockname()[1])
    listener.close()


def test_an_upload_that_is_cut_again_and_again_goes_on(storage: Storage) -> None:
    data = os.urandom(30 << 20)
    with Running(RegistryApp(storage), Listening(port=0)) as server, contextlib.contextmanager(through)(server.port, 9 << 20) as port:
        Registry(f"localhost:{port}", Sockets(), pause=0.01).upload("a", sha(data), len(data), lambda: io.BytesIO(data))
    assert storage.blob(sha(data)).read_bytes() == data


@pytest.mark.parametrize("when", ["PATCH", "GET"])  # in both it is told that the upload is no more
def test_an_upload_that_the_registry_has_forgotten_begins_anew(wild, when: str) -> None:  # type: ignore[no-untyped-def]
    got: list[int] = []

    def act(self: Wild) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        if self.command == "POST":
            self.reply(202, Location=f"/v2/a/blobs/uploads/{len(got)}")
        elif self.command == "PATCH" and not got:
            got.append(0)
            self.close_connection = True
        elif self.command == when and self.path.endswith("/0"):
            self.reply(400, b'{"errors":[{"code":"BLOB_UPLOAD_INVALID","message":"blob upload invalid"}]}')
        elif self.command == "PATCH":
            got.append(length)
            self.reply(202, Location=self.path)
        else:
            self.reply(201 if self.command == "PUT" else 204, Location=self.path, Range="0-1048575")

    host, _ = wild(act)
    Registry(host, Sockets(), pause=0).upload("a", sha(LARGE), len(LARGE), lambda: io.BytesIO(LARGE))
    assert sum(got) == len(LARGE)


@pytest.mark.parametrize("kind", [MANIFEST, "application/vnd.oci.image.index.v1+json"])
def test_what_is_an_image_and_an_index_at_once(wild, kind: str) -> None:  # type: ignore[no-untyped-def]
    raw = b'{"schemaVersion":2,"config":{"mediaType":"c","digest":"sha256:%s","size":2},"layers":[],"manifests":[]}' % (b"0" * 64)
    host, _ = wild(lambda self: self.reply(200, raw, Content_Type=kind))
    with pytest.raises(CorruptContent, match="is something else"):
        Registry(host, Sockets()).manifest("a", "latest")


def test_a_download_that_is_cut_goes_on(wild, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    def act(self: Wild) -> None:
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
        if start == 0:
            self.send_response(200)
            self.send_header("Content-Length", str(len(LARGE)))
            self.end_headers()
            self.wfile.write(LARGE[: 1 << 20])
            self.close_connection = True
        else:
            self.reply(206, LARGE[start:], Content_Range=f"bytes {start}-{len(LARGE) - 1}/{len(LARGE)}")

    host, asked = wild(act)
    Registry(host, Sockets(), pause=0).download("a", sha(LARGE), len(LARGE), tmp_path / "blob")
    assert (tmp_path / "blob").read_bytes() == LARGE
    assert asked[-1][2]["Range"] == f"bytes={1 << 20}-"


def test_a_server_without_ranges_begins_anew(wild, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    tries = []

    def act(self: Wild) -> None:
        tries.append(1)
        self.send_response(200)
        self.send_header("Content-Length", str(len(LARGE)))
        self.end_headers()
        self.wfile.write(LARGE if len(tries) > 1 else LARGE[:5000])
        self.close_connection = True

    host, _ = wild(act)
    Registry(host, Sockets(), pause=0).download("a", sha(LARGE), len(LARGE), tmp_path / "blob")
    assert (tmp_path / "blob").read_bytes() == LARGE


def test_bytes_that_are_not_the_digests(wild, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    host, _ = wild(lambda self: self.reply(200, b"liars"))
    with pytest.raises(CorruptContent, match="verification failed"):
        Registry(host, Sockets()).download("a", sha(SMALL), 5, tmp_path / "blob")
    with pytest.raises(CorruptContent, match="longer"):
        Registry(host, Sockets()).download("a", sha(b"liar"), 4, tmp_path / "blob")


def test_a_manifest_that_is_not_its_digest(wild) -> None:  # type: ignore[no-untyped-def]
    host, _ = wild(lambda self: self.reply(200, b"{}", Docker_Content_Digest=sha(b"else")))
    with pytest.raises(CorruptContent, match="not what its digest says"):
        Registry(host, Sockets()).manifest("a", "v1")


def test_an_answer_without_end(wild) -> None:  # type: ignore[no-untyped-def]
    host, _ = wild(lambda self: self.reply(200, b" " * (5 << 20)))
    with pytest.raises(CorruptContent, match="longer than"):
        Registry(host, Sockets()).manifest("a", "v1")


def test_a_redirect_takes_no_secret_along(wild, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    elsewhere, heard = wild(lambda self: self.reply(200, SMALL))

    def act(self: Wild) -> None:
        if "Authorization" not in self.headers:
            self.reply(401, WWW_Authenticate='Basic realm="r"')
        else:
            self.reply(307, Location=f"http://{elsewhere}/stored?sig=1")

    host, asked = wild(act)
    Registry(host, Sockets(), login=Login("me", "hush")).download("a", sha(SMALL), len(SMALL), tmp_path / "blob")
    assert asked[-1][2]["Authorization"] == "Basic " + base64.b64encode(b"me:hush").decode()
    assert "Authorization" not in heard[-1][2]


def test_an_upload_goes_on_where_the_registry_stands(wild) -> None:  # type: ignore[no-untyped-def]
    have: list[int] = []

    def act(self: Wild) -> None:
        if self.command == "POST":
            self.reply(202, Location="/v2/a/blobs/uploads/1")
        elif self.command == "PATCH" and not have:
            have.append(1000)
            self.reply(500)
        elif self.command == "GET":
            self.reply(204, Location="/v2/a/blobs/uploads/1", Range="0-999")
        else:
            self.reply(202 if self.command == "PATCH" else 201, Location="/v2/a/blobs/uploads/1")

    host, asked = wild(act)
    Registry(host, Sockets(), pause=0).upload("a", sha(LARGE), len(LARGE), opened(LARGE))
    assert [each[2].get("Content-Range") for each in asked if each[0] == "PATCH"] == [f"0-{len(LARGE) - 1}", f"1000-{len(LARGE) - 1}"]


def test_too_many_requests_in_words(wild) -> None:  # type: ignore[no-untyped-def]
    body = json.dumps({"errors": [{"code": "TOOMANYREQUESTS", "message": "You have reached\x1b[31m your limit"}]}).encode()
    host, _ = wild(lambda self: self.reply(429, body, Retry_After="77", RateLimit_Limit="100;w=21600"))
    with pytest.raises(RegistryError, match="toomanyrequests") as caught:
        Registry(host, Sockets()).manifest("a", "v1")
    assert "come back in 77 seconds" in caught.value.hint
    assert "100 pulls" in caught.value.message
    assert "\x1b" not in str(caught.value)


def test_redirects_without_end(wild) -> None:  # type: ignore[no-untyped-def]
    host, _ = wild(lambda self: self.reply(307, Location=self.path))
    with pytest.raises(RegistryError, match="stopped after 5 redirects"):
        Registry(host, Sockets()).manifest("a", "v1")
