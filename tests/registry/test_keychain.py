"""Docker's own file of logins."""

from __future__ import annotations

import base64
import json
import stat
import threading
from pathlib import Path

import pytest

from dockerlab.errors import RegistryError, StoreError
from dockerlab.registry.keychain import HUB, Keychain, Login

HELPER = """#!/bin/sh
here=$(dirname "$0")
case $1 in
store) cat > "$here/kept" ;;
get) read -r name; [ -f "$here/kept" ] || { echo credentials not found in native keychain; exit 1; }; cat "$here/kept" ;;
erase) rm -f "$here/kept" ;;
esac
"""


def test_put_and_get(tmp_path: Path) -> None:
    keys = Keychain(tmp_path / ".docker")
    assert keys.get("localhost:5000") is None
    keys.put("localhost:5000", Login("me", "hush:with colon"))
    assert keys.get("localhost:5000") == Login("me", "hush:with colon")
    assert stat.S_IMODE(keys.path.stat().st_mode) == 0o600
    assert json.loads(keys.path.read_text()) == {"auths": {"localhost:5000": {"auth": base64.b64encode(b"me:hush:with colon").decode()}}}
    assert keys.remove("localhost:5000")
    assert not keys.remove("localhost:5000")
    assert keys.get("localhost:5000") is None


def test_docker_hub_has_an_old_name(tmp_path: Path) -> None:
    keys = Keychain(tmp_path)
    keys.put("docker.io", Login("me", "hush"))
    assert list(json.loads(keys.path.read_text())["auths"]) == [HUB]
    assert keys.get("registry-1.docker.io") == Login("me", "hush")


def test_what_docker_wrote_is_kept(tmp_path: Path) -> None:
    tmp_path.joinpath("config.json").write_text(json.dumps({
        "auths": {"https://old.example/v1/": {"auth": base64.b64encode(b"a:b").decode()}, "id.example": {"auth": base64.b64encode(b"a:").decode(), "identitytoken": "t"}},
        "detachKeys": "ctrl-e,e", "HttpHeaders": {"X": "y"},
    }))  # fmt: skip
    keys = Keychain(tmp_path)
    assert keys.get("old.example") == Login("a", "b")
    assert keys.get("id.example") == Login("a", token="t")
    keys.put("new", Login("c", "d"))
    document = json.loads(keys.path.read_text())
    assert (document["detachKeys"], document["HttpHeaders"], len(document["auths"])) == ("ctrl-e,e", {"X": "y"}, 3)


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real.json").write_text("{}")
    (tmp_path / "config.json").symlink_to("real.json")
    Keychain(tmp_path).put("r", Login("a", "b"))
    assert (tmp_path / "config.json").is_symlink()
    assert "r" in json.loads((tmp_path / "real.json").read_text())["auths"]


@pytest.mark.parametrize("text", ["", "[]", "{", "\x00"])
def test_a_file_that_cannot_be_read(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(StoreError, match="config.json"):
        Keychain(tmp_path).get("r")
    with pytest.raises(StoreError, match="config.json"):
        Keychain(tmp_path).put("r", Login("a", "b"))
    assert (tmp_path / "config.json").read_text() == text


@pytest.mark.parametrize("entry", [{}, {"auth": "***"}, {"auth": ""}, {"auth": base64.b64encode(b"nocolon").decode()}, 5, {"auth": None}])
def test_entries_that_say_nothing(tmp_path: Path, entry: object) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"auths": {"r": entry}}))
    assert Keychain(tmp_path).get("r") is None


def test_a_helper_keeps_the_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    helper = tmp_path / "docker-credential-mine"
    helper.write_text(HELPER)
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    (tmp_path / "config.json").write_text(json.dumps({"credsStore": "mine"}))
    keys = Keychain(tmp_path)
    assert keys.get("r") is None
    assert not keys.plain("r")
    keys.put("r", Login("me", "hush"))
    assert "hush" not in keys.path.read_text()
    assert keys.get("r") == Login("me", "hush")
    keys.put("r", Login("me", token="identity"))
    assert keys.get("r") == Login(token="identity")
    keys.remove("r")
    assert keys.get("r") is None


def test_a_helper_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"credHelpers": {"r": "nosuch", "s": "../x"}}))
    with pytest.raises(RegistryError, match="docker-credential-nosuch: executable file not found"):
        Keychain(tmp_path).get("r")
    with pytest.raises(StoreError, match="no credential helper's name"):
        Keychain(tmp_path).get("s")


def test_two_at_once_lose_nothing(tmp_path: Path) -> None:
    threads = [threading.Thread(target=Keychain(tmp_path).put, args=(f"r{n}", Login("a", "b"))) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(json.loads((tmp_path / "config.json").read_text())["auths"]) == 20
