"""Ports that are sockets in a folder."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from dockerlab.errors import InvalidArgument
from dockerlab.linux import dialling, loopback
from dockerlab.registry.serving import Listening, bound
from dockerlab.registry.transport import Sockets


@pytest.fixture
def ports(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(loopback.VARIABLE, "")  # so that it is put back
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
    assert ports.stat().st_mode & 0o777 == 0o700


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
            assert sorted(os.listdir(ports)) == ["5000", "5001"]
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


ASK = "from dockerlab.linux import loopback; found = loopback.handed(); print(found and found.getsockname())"


def test_a_socket_that_listens_can_be_the_standard_input(ports: Path) -> None:
    def told(stdin: int) -> str:
        return subprocess.run([sys.executable, "-c", ASK], stdin=stdin, capture_output=True, text=True, check=True).stdout.strip()

    one, other = socket.socketpair()
    with one, other, loopback.listening(str(ports / "5001")) as listens:
        assert told(listens.fileno()) != told(one.fileno()) == told(subprocess.DEVNULL) == "None"
    assert subprocess.run([sys.executable, "-c", ASK], check=True, capture_output=True, text=True, preexec_fn=lambda: os.close(0)).stdout.strip() == "None"
