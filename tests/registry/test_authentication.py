"""Challenges, tokens, and access to our own server by both."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import bcrypt
import pytest
from hypothesis import given
from hypothesis import strategies as some
from joserfc.jwk import ECKey

from dockerlab.errors import InvalidArgument, RegistryError
from dockerlab.registry.access import Htpasswd, TokenAccess, granted
from dockerlab.registry.authentication import Challenge, Tokens, challenges, scope
from dockerlab.registry.client import Registry
from dockerlab.registry.keychain import Login
from dockerlab.registry.server import RegistryApp
from dockerlab.registry.storage import Storage
from dockerlab.registry.transport import Direct
from tests.registry.conftest import Client


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ('Basic realm="a b"', [Challenge("basic", {"realm": "a b"})]),
        ('Bearer realm="https://auth.example/token",service="r",scope="repository:a:pull,push"',
         [Challenge("bearer", {"realm": "https://auth.example/token", "service": "r", "scope": "repository:a:pull,push"})]),
        ('Bearer realm="x", Basic realm="y"', [Challenge("bearer", {"realm": "x"}), Challenge("basic", {"realm": "y"})]),
        (r'Basic realm="a \"quoted\" one"', [Challenge("basic", {"realm": 'a "quoted" one'})]),
        ("Negotiate", [Challenge("negotiate", {})]),
        ("", []),
    ],
)  # fmt: skip
def test_challenges(header: str, found: list[Challenge]) -> None:
    assert challenges(header) == found


@given(some.text(max_size=200))
def test_any_header_can_be_read(text: str) -> None:
    assert all(found.scheme == found.scheme.lower() for found in challenges(text))


def test_a_token_is_asked_for_once() -> None:
    asked: list[str] = []

    def ask(method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> tuple[int, Mapping[str, str], bytes]:
        asked.append(url)
        assert headers["Authorization"] == "Basic " + base64.b64encode(b"me:hush").decode()
        return 200, {}, b'{"access_token": "t1", "expires_in": 300}'

    tokens, told = Tokens(), challenges('Bearer realm="https://auth.example/token?x=1",service="r"')
    for _ in range(3):
        assert tokens.answer(told, (scope("a", "pull"),), Login("me", "hush"), ask) == "Bearer t1"
    assert parse_qs(urlsplit(asked[0]).query) == {"x": ["1"], "account": ["me"], "service": ["r"], "scope": ["repository:a:pull"]}
    assert len(asked) == 1
    tokens.answer(told, (scope("b", "pull"),), Login("me", "hush"), ask)
    assert len(asked) == 2


def test_an_identity_token_is_posted() -> None:
    def ask(method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> tuple[int, Mapping[str, str], bytes]:
        assert (method, parse_qs((body or b"").decode())["refresh_token"]) == ("POST", ["identity"])
        return 200, {}, b'{"token": "t"}'

    assert Tokens().answer(challenges('Bearer realm="https://a/t"'), (), Login("me", token="identity"), ask) == "Bearer t"


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"token": "a\\r\\nb: c"}', b'{"token": 5}'])
def test_tokens_that_are_none(body: bytes) -> None:
    with pytest.raises(RegistryError):
        Tokens().answer(challenges('Bearer realm="https://a/t"'), (), None, lambda *_: (200, {}, body))


@pytest.fixture
def users(tmp_path: Path) -> Path:
    path = tmp_path / "htpasswd"
    path.write_text(f"# people\nme:{bcrypt.hashpw(b'hush', bcrypt.gensalt(5)).decode().replace('$2b$', '$2y$')}\nold:$apr1$x$y\n")
    return path


def test_htpasswd(storage: Storage, users: Path) -> None:
    ask = Client(RegistryApp(storage, access=Htpasswd(users, realm="here")))
    refused = ask("GET", "/v2/")
    assert (refused.status, refused.code, refused.headers["WWW-Authenticate"]) == (401, "UNAUTHORIZED", 'Basic realm="here"')
    for word in (b"me:wrong", b"nobody:hush", b"old:hush", b"me", b"\xff:\xff"):
        assert ask("GET", "/v2/", Authorization="Basic " + base64.b64encode(word).decode()).status == 401
    right = "Basic " + base64.b64encode(b"me:hush").decode()
    assert ask("GET", "/v2/", Authorization=right).status == 200
    users.write_text("")
    assert ask("GET", "/v2/", Authorization=right).status == 401
    assert ask("GET", "/healthz").status == 200
    with pytest.raises(InvalidArgument, match="cannot read"):
        Htpasswd(users.with_name("none"))


def test_a_client_logs_in(storage: Storage, users: Path) -> None:
    app = RegistryApp(storage, access=Htpasswd(users))
    with pytest.raises(RegistryError, match="no basic auth credentials"):
        Registry("r", Direct({"r": app}), insecure=True).ping()
    with pytest.raises(RegistryError) as caught:
        Registry("r", Direct({"r": app}), insecure=True, login=Login("me", "wrong")).ping()
    assert caught.value.status == 401
    Registry("r", Direct({"r": app}), insecure=True, login=Login("me", "hush")).ping()


KEY = ECKey.generate_key("P-256")
ACCESS = TokenAccess("http://auth/token", "here", "issuer", {"k": KEY})


def token(access: list[dict[str, object]], **facts: object) -> str:
    words = {"key": KEY, "issuer": "issuer", "service": "here", "user": "me", "kid": "k", **facts}
    return "Bearer " + granted(words.pop("key"), access=access, **words)  # type: ignore[arg-type]


def test_tokens(storage: Storage) -> None:
    Client(RegistryApp(storage)).image("a", "v1")
    ask = Client(RegistryApp(storage, access=ACCESS))
    refused = ask("GET", "/v2/a/tags/list")
    assert refused.headers["WWW-Authenticate"] == 'Bearer realm="http://auth/token",service="here",scope="repository:a:pull"'
    pull = token([{"type": "repository", "name": "a", "actions": ["pull"]}])
    assert ask("GET", "/v2/a/tags/list", Authorization=pull).status == 200
    assert ask("GET", "/v2/b/tags/list", Authorization=pull).status == 401
    assert ask("POST", "/v2/a/blobs/uploads/", b"", Authorization=pull).status == 401
    assert ask("GET", "/v2/_catalog", Authorization=pull).status == 401
    assert ask("GET", "/v2/_catalog", Authorization=token([{"type": "registry", "name": "catalog", "actions": ["*"]}])).status == 200
    assert ask("POST", "/v2/a/blobs/uploads/", b"", Authorization=token([{"type": "repository", "name": "a", "actions": ["pull", "push"]}])).status == 202


@pytest.mark.parametrize("facts", [{"issuer": "other"}, {"service": "other"}, {"seconds": -200}, {"kid": "other"}, {"key": ECKey.generate_key("P-256")}])
def test_tokens_that_are_not_for_here(storage: Storage, facts: dict[str, object]) -> None:
    ask = Client(RegistryApp(storage, access=ACCESS))
    assert ask("GET", "/v2/", Authorization=token([], **facts)).status == 401


@pytest.mark.parametrize("text", ["", "x", "a.b.c", "eyJhbGciOiJub25lIn0.e30.", base64.urlsafe_b64encode(b'{"alg":"none","kid":"k"}').decode() + ".e30."])
def test_tokens_that_are_forged(storage: Storage, text: str) -> None:
    ask = Client(RegistryApp(storage, access=ACCESS))
    assert ask("GET", "/v2/", Authorization=f"Bearer {text}").status == 401


def test_a_mount_needs_the_right_to_read(storage: Storage) -> None:
    digest = Client(RegistryApp(storage)).blob("private/a", b"secret")
    ask = Client(RegistryApp(storage, access=ACCESS))
    push = {"type": "repository", "name": "b", "actions": ["pull", "push"]}
    for query in (f"mount={digest}&from=private/a", f"mount={digest}"):
        assert ask("POST", f"/v2/b/blobs/uploads/?{query}", b"", Authorization=token([push])).status == 202
    both = token([push, {"type": "repository", "name": "private/a", "actions": ["pull"]}])
    assert ask("POST", f"/v2/b/blobs/uploads/?mount={digest}&from=private/a", b"", Authorization=both).status == 201


def test_a_client_gets_a_token(storage: Storage) -> None:
    app = RegistryApp(storage, access=ACCESS)

    def auth(environ, start):  # type: ignore[no-untyped-def]
        kind, name, actions = parse_qs(environ["QUERY_STRING"])["scope"][0].split(":")
        start("200 OK", [])
        body = {"token": token([{"type": kind, "name": name, "actions": actions.split(",")}]).removeprefix("Bearer "), "expires_in": time.time() - time.time() + 300}
        return [json.dumps(body).encode()]

    registry = Registry("r", Direct({"r": app, "auth": auth}), insecure=True, login=Login("me", "hush"))
    assert registry.has_blob("a", "sha256:" + "0" * 64, push=True) is None
    assert registry.begin("a")
