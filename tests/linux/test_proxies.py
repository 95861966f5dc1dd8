"""Proxies of the environment, as Go reads them."""

from __future__ import annotations

import threading
from base64 import b64encode
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from dockerlab.build.fetching import fetched
from dockerlab.errors import BuildFailed
from dockerlab.linux import dialling
from dockerlab.registry.transport import Sockets

LOGIN = "Basic " + b64encode(b"me:p w").decode()


class Proxy(BaseHTTPRequestHandler):
    """Lets in who tells name and password, and answers for everybody."""

    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        right = self.headers.get("Proxy-Authorization") == LOGIN
        self.send_response(200 if right else 407)
        self.send_header("Content-Length", "4")
        self.end_headers()
        self.wfile.write(b"here")

    def do_CONNECT(self) -> None:
        self.asked.append(self.path)
        self.send_error(502 if self.headers.get("Proxy-Authorization") == LOGIN else 407)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def proxy() -> Iterator[tuple[str, list[str]]]:
    kind = type("Mine", (Proxy,), {"asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), kind)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}", kind.asked  # type: ignore[attr-defined]
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


def test_name_and_password_are_told_to_the_proxy(proxy: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:  # type: ignore[no-untyped-def]
    place, asked = proxy
    monkeypatch.setenv("HTTP_PROXY", f"http://me:p%20w@{place}")
    monkeypatch.setenv("HTTPS_PROXY", f"me:p%20w@{place}")
    reply = Sockets().send("GET", "http://registry.example/v2/", {}, None)
    assert (reply.status, b"".join(reply.blocks())) == (200, b"here")
    fetched("http://files.example/a", tmp_path)
    assert (tmp_path / "fetched").read_bytes() == b"here"
    with pytest.raises(ConnectionError, match=r"^Bad Gateway$"):
        Sockets().send("GET", "https://registry.example/v2/", {}, None)
    assert asked == ["http://registry.example/v2/", "http://files.example/a", "registry.example:443"]


def test_a_proxy_that_refuses(proxy: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv("HTTPS_PROXY", f"http://me:wrong@{proxy[0]}")
    for act in (lambda: Sockets().send("GET", "https://registry.example/v2/", {}, None), lambda: fetched("https://files.example/a", tmp_path)):
        with pytest.raises((ConnectionError, BuildFailed), match="Proxy Authentication Required") as raised:
            act()
        assert "wrong" not in str(raised.value)


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("https://registry.example/", "http://proxy.example:3128"), ("http://registry.example/", ""), ("https://localhost:5000/", ""), ("https://127.0.0.1/", ""),
        ("https://10.1.2.3/", ""), ("https://11.1.2.3/", "http://proxy.example:3128"), ("https://a.inside.example/", ""), ("https://192.0.2.1:5000/", ""),
        ("https://127.9.9.9:5603/", ""), ("https://vm:5603/", ""), ("https://vm:5604/", "http://proxy.example:3128"), ("https://x.below.example/", ""), ("https://below.example/", "http://proxy.example:3128"),
        ("https://[2001:db8::1]:5000/", ""), ("https://[2001:db8::1]:5001/", "http://proxy.example:3128"),
    ],
)  # fmt: skip
def test_whom_a_proxy_stands_before(monkeypatch: pytest.MonkeyPatch, url: str, wanted: str) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", "10.0.0.0/8, inside.example,192.0.2.1,VM:5603,.below.example,[2001:db8::1]:5000")
    assert dialling.proxy(url) == wanted


def test_a_proxy_that_is_not_spoken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "socks5://proxy.example:1080")
    with pytest.raises(ConnectionError, match="socks5"):
        Sockets().send("GET", "https://registry.example/v2/", {}, None)
