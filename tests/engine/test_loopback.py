"""Containers whose port is a socket: their program has it as its standard input."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path

import pytest

from dockerlab.engine import Engine, RunOptions
from dockerlab.engine.options import Publication
from dockerlab.errors import ContainerError, NotSupportedHere
from dockerlab.linux import dialling, loopback
from tests.conftest import until

pytestmark = pytest.mark.files

# From a socket that listens nobody can read; read(2), EINVAL.
READS = ["sh", "-c", "cat; exec sleep 100"]
REGISTRY = RunOptions(publish=(Publication("", 5000, 5000, 5000, "tcp"),), restart="always", network="bridge")


@pytest.fixture
def ports(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(loopback.VARIABLE, str(runtime / "ports"))
    loopback.declare(runtime / "ports", (5000, 5001))
    return runtime / "ports"


def answers(ports: Path) -> bool:
    try:
        with loopback.connected(str(ports / "5000"), 5) as made:
            made.sendall(b"GET /v2/ HTTP/1.0\r\nHost: localhost:5000\r\n\r\n")
            return b" 200 OK\r\n" in made.recv(1 << 16)
    except OSError:
        return False


def test_a_registry_in_a_container_is_reached_and_begins_again(engine: Engine, ports: Path) -> None:
    container = engine.containers.create("registry:2", (), REGISTRY)
    container.start(detach=True)
    until(lambda: answers(ports))
    assert container.state.ports == [("127.0.0.1", 5000, 5000, "tcp")]
    engine.images.tag(engine.images.resolve("busybox").record.id, "localhost:5000/me/box")
    assert engine.distribution.push("localhost:5000/me/box")
    other = engine.containers.create("registry:2", (), REGISTRY)
    with pytest.raises(ContainerError, match="Bind for 0.0.0.0:5000 failed: port is already allocated"):
        other.start(detach=True)
    container.restart()
    until(lambda: answers(ports))
    engine.images.remove("localhost:5000/me/box")
    assert engine.distribution.pull("localhost:5000/me/box")
    container.stop()
    assert not answers(ports)
    other.start(detach=True)
    until(lambda: answers(ports))
    other.remove(force=True)


def test_its_program_has_the_socket_and_no_name_of_the_hosts(engine: Engine, ports: Path) -> None:
    container = engine.containers.create("busybox", READS, REGISTRY)
    container.start(detach=True)
    text = str(ports)
    until(lambda: b"Invalid argument" in b"".join(data for _, _, data in container.logs()))
    with loopback.connected(str(ports / "5000"), 5) as made:
        assert text not in str(made.getpeername())
    container.remove(force=True)


@pytest.mark.parametrize("options", [
    RunOptions(publish=(Publication("", 5000, 5000, 5000, "tcp"), Publication("", 5001, 5001, 5001, "tcp")), network="bridge"),
    RunOptions(publish=REGISTRY.publish, network="bridge", interactive=True), RunOptions(publish=REGISTRY.publish, network="bridge", tty=True),
])  # fmt: skip
def test_one_program_has_one_input_and_so_one_such_port(engine: Engine, ports: Path, options: RunOptions) -> None:
    with pytest.raises(NotSupportedHere, match="standard input"):
        engine.containers.create("busybox", ["true"], options).start(detach=True)


def test_who_has_the_hosts_network_publishes_nothing(engine: Engine, ports: Path) -> None:
    container = engine.containers.create("busybox", ["sleep", "100"], RunOptions(publish=REGISTRY.publish, network="host"))
    container.start(detach=True)
    assert container.state.ports == []
    assert not (ports / "5000").is_socket()
    container.remove(force=True)


def test_a_port_that_a_container_of_ours_has_is_no_reason_for_a_socket(engine: Engine, ports: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("0.0.0.0", 0))
        port = probe.getsockname()[1]
    loopback.declare(ports, (), wanted=(port,))
    options = RunOptions(publish=(Publication("", port, port, port, "tcp"),), network="bridge")
    first, second = (engine.containers.create("busybox", ["sleep", "100"], options) for _ in range(2))
    first.start(detach=True)
    with pytest.raises(ContainerError, match="port is already allocated"):
        second.start(detach=True)
    assert not (ports / str(port)).exists()
    first.remove(force=True)


@pytest.mark.parametrize("user", ["", "1000:1000"])
def test_who_has_the_hosts_network_is_lent_its_ports(engine: Engine, ports: Path, user: str) -> None:
    with loopback.listening(str(ports / "proxy")):
        os.chmod(ports / "proxy", 0o666)
        said: list[bytes] = []
        script = 'cat "$CURL_HOME/.curlrc"; test -S /run/loopback/proxy && test -w /run/loopback/proxy && echo there'
        container = engine.containers.run("busybox", ["sh", "-c", script], RunOptions(network="host", user=user), stdout=said.append, stderr=said.append)
        assert b"".join(said) == b'unix-socket = "/run/loopback/proxy"\nthere\n'
        assert "CURL_HOME=" not in str(container.record.config)
        if engine.capabilities.namespaces:
            said.clear()
            engine.containers.run("busybox", ["sh", "-c", "ls /run/loopback; echo $CURL_HOME"], RunOptions(network="bridge", user=user), stdout=said.append)
            assert b"".join(said) == b"\n"
    loopback.declare(ports, ())
    shutil.rmtree(ports)
    container.start(detach=True)  # what was lent is nothing that it needs
    assert container.wait() != 125


def test_nothing_is_lent_to_a_build_of_strangers(engine: Engine, ports: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dialling, "_exceptions", frozenset())
    with loopback.listening(str(ports / "proxy")):
        said: list[bytes] = []
        engine.containers.run("busybox", ["sh", "-c", "ls /run/loopback; echo $CURL_HOME"], RunOptions(network="host"), stdout=said.append)
        assert b"".join(said) == b"\n"


def test_a_folder_of_that_name_in_an_image_is_nobody_elses(engine: Engine) -> None:
    made = engine.containers.run("busybox", ["sh", "-c", "mkdir -p /run/loopback; echo secret > /run/loopback/s; chmod 600 /run/loopback/s"])
    made.commit("own:1")
    said: list[bytes] = []
    engine.containers.run("own:1", ["cat", "/run/loopback/s"], RunOptions(user="1000:1000"), stdout=said.append)
    assert not said


@pytest.mark.skipif(not shutil.which("curl"), reason="no curl here, so no image of it")
def test_a_socket_can_be_a_volume(engine: Engine, ports: Path) -> None:
    with loopback.listening(str(ports / "5000")) as listens:
        listens.settimeout(20)
        (ports / "link").symlink_to("5000")
        container = engine.containers.create("dockerinaction/curl", ["-s", "--unix-socket", "/x/there", "http://any/"], RunOptions(volume=(f"{ports}/link:/x/there",)))
        for _ in range(2):  # at its second start the first one's is there
            container.start(detach=True)
            with listens.accept()[0] as made:
                assert made.recv(100).startswith(b"GET / HTTP/1.1\r\n")
            container.wait()
