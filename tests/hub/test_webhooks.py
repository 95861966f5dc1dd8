"""What the hub tells others, and where it does not go."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import urllib3
from sqlalchemy import select

from dockerlab.errors import InvalidArgument, NotFound
from dockerlab.hub.app import Hub
from dockerlab.hub.tables import Delivery
from dockerlab.hub.webhooks import Webhooks, right
from dockerlab.linux.dialling import guarded, is_public
from tests.hub.conftest import SQLITE, Person
from tests.hub.test_repositories import who


class Listener:
    """A server that notes what it is told, and answers as it is told to."""

    def __init__(self) -> None:
        self.heard: list[tuple[dict[str, str], bytes]] = []
        self.answers: list[int] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                outer.heard.append((dict(self.headers), self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(outer.answers.pop(0) if outer.answers else 200)
                self.send_header("Location", "/elsewhere")
                self.end_headers()
                self.wfile.write(b"thanks <b>")

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def listener() -> Iterator[Listener]:
    made = Listener()
    yield made
    made.close()


def deliveries(hub: Hub, path: str, count: int = 1) -> list[Any]:
    found = hub.repositories.get(who(hub, path.partition("/")[0]), path)
    for _ in range(200):
        told = [each for _, some in hub.webhooks.of(found.id) for each in some]
        if len(told) >= count:
            return told
        time.sleep(0.05)
    raise AssertionError("nothing was sent")


def test_a_push_is_told(town: Hub, listener: Listener) -> None:
    town.webhooks._private = True
    olga = who(town, "olga")
    town.repositories.create(olga, "olga/app", private=True)
    secret = town.webhooks.add(olga, "olga/app", listener.url)
    assert Person(town, "olga").push("olga/app", "1.0").status == 201
    (delivery,) = deliveries(town, "olga/app")
    assert (delivery.status, delivery.said) == (200, "thanks <b>")
    ((headers, body),) = listener.heard
    assert right(secret, body, headers["X-Hub-Signature-256"]) and headers["X-GitHub-Event"] == "push"
    document = json.loads(body)
    assert (document["push_data"]["tag"], document["push_data"]["pusher"], document["repository"]["repo_name"]) == ("1.0", "olga", "olga/app")


@pytest.mark.parametrize(("answers", "heard", "status"), [([500, 503, 200], 3, 200), ([500] * 5, 3, 500), ([404], 1, 404), ([302], 1, 302)])
@SQLITE
def test_what_fails_is_tried_again_and_nothing_is_followed(town: Hub, listener: Listener, answers: list[int], heard: int, status: int) -> None:
    town.webhooks._private = True
    listener.answers = answers
    olga = who(town, "olga")
    town.repositories.create(olga, "olga/app")
    town.webhooks.add(olga, "olga/app", listener.url)
    Person(town, "olga").push("olga/app")
    (delivery,) = deliveries(town, "olga/app")
    assert (delivery.status, len(listener.heard)) == (status, heard)


@SQLITE
def test_a_hub_does_not_knock_at_its_neighbours(town: Hub, listener: Listener) -> None:
    olga = who(town, "olga")
    town.repositories.create(olga, "olga/app")
    town.webhooks.add(olga, "olga/app", listener.url)
    Person(town, "olga").push("olga/app")
    (delivery,) = deliveries(town, "olga/app")
    assert (delivery.status, delivery.said, listener.heard) == (0, "an address of a private network", [])


@pytest.mark.parametrize("url", [
    "", "x", "ftp://x/", "http://", "http://me:secret@x/", "file:///etc/passwd", "http://x/\r\nHost: y", "http://x:99999/", "http://[::1", "gopher://x", "http://" + "x" * 600,
])  # fmt: skip
@SQLITE
def test_addresses_that_are_none(town: Hub, url: str) -> None:
    town.repositories.create(who(town, "olga"), "olga/app")
    with pytest.raises(InvalidArgument):
        town.webhooks.add(who(town, "olga"), "olga/app", url)


def test_only_who_settles_adds_and_removes(town: Hub) -> None:
    for name in ("olga", "sam"):
        town.repositories.create(who(town, name), f"{name}/app")
    town.webhooks.add(who(town, "olga"), "olga/app", "http://example.org/")
    ((hook, _),) = town.webhooks.of(town.repositories.get(who(town, "olga"), "olga/app").id)
    for ask in (lambda: town.webhooks.add(who(town, "sam"), "olga/app", "http://example.org/"), lambda: town.webhooks.remove(who(town, "sam"), "sam/app", hook.id)):
        with pytest.raises(NotFound):
            ask()
    town.webhooks.remove(who(town, "olga"), "olga/app", hook.id)


@pytest.mark.parametrize("address", [
    "127.0.0.1", "127.1.2.3", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1", "fe80::1%eth0",
    "fc00::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "2002:7f00:1::", "64:ff9b::7f00:1", "ff02::1", "192.0.2.1", "198.18.0.1", "192.0.0.8",
    "fec0::1", "64:ff9b:1::7f00:1", "::127.0.0.1", "::ffff:0:127.0.0.1", "2001::1", "2001:db8::1", "::ffff:93.184.216.34", "240.0.0.1", "192.88.99.1",
])  # fmt: skip
def test_addresses_of_neighbours(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["93.184.216.34", "1.1.1.1", "2606:4700::1", "2a00:1450:4001::1"])
def test_addresses_of_everybody(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0x7f000001", "2130706433", "017700000001", "127.1", "[::1]", "[::ffff:127.0.0.1]"])
def test_a_name_is_looked_at_where_it_leads(listener: Listener, host: str) -> None:
    port = listener.url.rpartition(":")[2].partition("/")[0]
    with pytest.raises(urllib3.exceptions.HTTPError, match="private network|resolve|Invalid|parse|not known"):
        guarded().request("POST", f"http://{host}:{port}/", body=b"", retries=False)
    assert listener.heard == []


def test_a_name_that_changes_its_mind_gains_nothing(listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    """DNS rebinding: a public address at the first look, this machine at the second."""
    import socket

    real, looks = socket.getaddrinfo, []

    def rebinding(host: Any, port: Any, *words: Any, **named: Any) -> Any:
        if host == "rebind.example.org":
            looks.append(host)
            host = "192.0.2.1" if len(looks) == 1 else "127.0.0.1"
        return real(host, port, *words, **named)

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    monkeypatch.setattr("dockerlab.linux.dialling.is_public", lambda address: address != "127.0.0.1")
    port = listener.url.rpartition(":")[2].partition("/")[0]
    with pytest.raises(urllib3.exceptions.HTTPError):
        guarded().request("POST", f"http://rebind.example.org:{port}/", body=b"", retries=False, timeout=0.5)
    assert (len(looks), listener.heard) == (1, [])


def test_a_webhook_that_is_gone_is_not_told_of(town: Hub) -> None:
    hooks = Webhooks(town.state, private=True)
    olga = who(town, "olga")
    town.repositories.create(olga, "olga/app")
    hooks.add(olga, "olga/app", "http://127.0.0.1:1/")
    ((hook, _),) = hooks.of(town.repositories.get(olga, "olga/app").id)
    hooks.remove(olga, "olga/app", hook.id)
    hooks._deliver(hook, b"{}")
    hooks.close()
    with town.state.reading() as db:
        assert not db.scalars(select(Delivery)).all()
