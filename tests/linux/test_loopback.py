"""Ports that are sockets in a folder."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dockerlab.errors import InvalidArgument
from dockerlab.linux import dialling, loopback
from dockerlab.registry.serving import Listening, bound
from dockerlab.registry.transport import Sockets


@pytest.fixture
def ports(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(loopback.VARIABLE, str(runtime / "ports"))
    loopback.declare(runtime / "ports", (5000, 5001))
    return runtime / "ports"


def test_a_port_that_somebody_has_cannot_be_had() -> None:
    with socket.socket() as held:
        held.bind(("0.0.0.0", 0))
        held.listen(1)
        port = held.getsockname()[1]
        assert loopback.refusal([0]) == ""
        assert loopback.refusal([0, port]) == f"port {port}: address already in use"
    assert loopback.refusal([port]) == ""


@pytest.mark.parametrize(("host", "port", "stands_in"), [
    ("localhost", 5000, True), ("127.0.0.1", 5001, True), ("127.9.9.9", 5000, True), ("::1", 5000, True), ("[::1]", 5000, True), ("0.0.0.0", 5000, True), ("", 5000, True),
    ("localhost", 5002, False), ("example.org", 5000, False), ("10.0.0.1", 5000, False), ("localhost.example.org", 5000, False), ("../5000", 5000, False),
])  # fmt: skip
def test_only_ports_of_this_machine_that_were_declared_are_sockets(ports: Path, host: str, port: int, stands_in: bool) -> None:
    assert loopback.stand_in(host, port) == (str(ports / str(port)) if stands_in else "")


def test_without_the_variable_no_port_is(ports: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(loopback.VARIABLE)
    assert loopback.stand_in("localhost", 5000) == loopback.folder() == ""


def test_nobody_else_on_the_machine_reaches_the_folder(ports: Path) -> None:
    ports.chmod(0o755)
    loopback.declare(ports, ())
    assert ports.stat().st_mode & 0o777 == 0o700


def test_a_port_that_is_lost_later_becomes_a_socket_when_somebody_listens(ports: Path) -> None:
    with socket.socket() as held:
        held.bind(("0.0.0.0", 0))
        held.listen(1)
        port = held.getsockname()[1]
        loopback.declare(ports, (), wanted=(port, 5002))
        assert loopback.stand_in("localhost", port) == "" == loopback.claim("localhost", 5003) and loopback.claim("localhost", 5002) == ""
        assert loopback.claim("example.org", port) == ""
        assert loopback.claim("", port) == str(ports / str(port))
        assert loopback.stand_in("localhost", 5002)  # the others that were wanted with it


def test_of_many_at_once_one_has_the_port(ports: Path) -> None:
    def tried(_: int) -> socket.socket | None:
        try:
            return loopback.listening(str(ports / "5000"))
        except OSError:
            return None

    with ThreadPoolExecutor(6) as pool:
        for _ in range(30):
            found = [each for each in pool.map(tried, range(6)) if each]
            assert len(found) == 1
            found[0].close()


def test_a_path_that_is_too_long_is_said_to_be(ports: Path) -> None:
    with pytest.raises(OSError, match="too long"):
        loopback.listening(str(ports / ("x" * 120)))


def test_what_curl_is_told_begins_with_a_persons_own_words(ports: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".curlrc").write_text("silent")
    loopback.declare(ports, ())
    assert (ports / "curlrc").read_text() == f'silent\nunix-socket = "{ports}/proxy"\n'
    assert (ports / "inside").read_text() == 'unix-socket = "/run/loopback/proxy"\n'


def test_who_listens_has_the_port_until_they_end(ports: Path) -> None:
    place = str(ports / "5000")
    with pytest.raises(ConnectionRefusedError):
        loopback.connected(place, 1)
    for _ in range(2):  # what a killed server leaves behind is in nobody's way
        with loopback.listening(place):
            loopback.connected(place, 1).close()
            with pytest.raises(OSError, match="in use") as caught:
                loopback.listening(place)
            assert caught.value.errno == errno.EADDRINUSE
            assert not [name for name in os.listdir(ports) if name.startswith("5000.")]
        with pytest.raises(ConnectionRefusedError):
            loopback.connected(place, 1)


def test_a_registry_listens_there_and_refuses_in_the_usual_words(ports: Path) -> None:
    with bound(Listening(port=5000)) as first:
        assert first.family == socket.AF_UNIX
        with pytest.raises(InvalidArgument, match="listen tcp 127.0.0.1:5000: bind: address already in use"):
            bound(Listening(port=5000))
    with bound(Listening(port=0)) as other:
        assert other.family == socket.AF_INET


def test_clients_find_nobody_in_the_usual_words(ports: Path) -> None:
    with pytest.raises(ConnectionError, match="^connect: connection refused$"):
        Sockets().send("GET", "http://localhost:5000/v2/", {}, None)


def test_what_may_reach_public_addresses_alone_reaches_no_such_port(ports: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dialling, "_exceptions", frozenset({("localhost", 5001)}))
    with loopback.listening(str(ports / "5000")), pytest.raises(ConnectionError, match="private network"):
        Sockets().send("GET", "http://localhost:5000/v2/", {}, None)
    with pytest.raises(ConnectionError, match="refused"):  # by the socket: this one was named
        Sockets().send("GET", "http://localhost:5001/v2/", {}, None)


ASK = "from dockerlab.linux import loopback; found = loopback.activated(); print(found and found.getsockname())"


def test_the_addresses_of_a_name_are_tried_one_after_another(ports: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.2", 0))
        port = held.getsockname()[1]
        with socket.socket() as other:
            other.bind(("127.0.0.1", port))
            other.listen(1)
            both = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in ("127.0.0.2", "127.0.0.1")]
            monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: both)
            with pytest.raises(ConnectionError, match="timed out|timeout|closed"):  # it is reached, and says nothing
                Sockets().send("GET", f"http://localhost:{port}/v2/", {}, None, timeout=0.3)


def test_a_socket_that_listens_can_be_the_standard_input(ports: Path) -> None:
    def told(stdin: int) -> str:
        return subprocess.run([sys.executable, "-c", ASK], stdin=stdin, capture_output=True, text=True, check=True).stdout.strip()

    one, other = socket.socketpair()
    with one, other, loopback.listening(str(ports / "5001")) as listens:
        assert told(listens.fileno()) != told(one.fileno()) == told(subprocess.DEVNULL) == "None"
    assert subprocess.run([sys.executable, "-c", ASK], check=True, capture_output=True, text=True, preexec_fn=lambda: os.close(0)).stdout.strip() == "None"
