"""Containers whose port is a socket: their program has it as its standard input."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from dockerlab.engine import Engine, RunOptions
from dockerlab.engine.options import Publication
from dockerlab.errors import ContainerError, NotSupportedHere
from dockerlab.linux import loopback
from tests.conftest import until

pytestmark = pytest.mark.files

# From a socket that listens nobody can read; read(2), EINVAL.
READS = ["sh", "-c", "cat; exec sleep 100"]
REGISTRY = RunOptions(publish=(Publication("", 5000, 5000, 5000, "tcp"),), restart="always")


@pytest.fixture
def ports(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(loopback.VARIABLE, "")  # so that it is put back
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


def test_one_program_has_one_such_port(engine: Engine, ports: Path) -> None:
    two = RunOptions(publish=(Publication("", 5000, 5000, 5000, "tcp"), Publication("", 5001, 5001, 5001, "tcp")))
    with pytest.raises(NotSupportedHere, match="one standard input"):
        engine.containers.create("busybox", ["true"], two).start(detach=True)


@pytest.mark.parametrize("user", ["", "1000:1000"])
def test_who_has_the_hosts_network_is_lent_its_ports(engine: Engine, ports: Path, user: str) -> None:
    loopback.lend(ports)
    with loopback.listening(str(ports / "door")):
        os.chmod(ports / "door", 0o666)
        said: list[bytes] = []
        script = 'cat "$CURL_HOME/.curlrc"; test -S /run/loopback/door && test -w /run/loopback/door && echo there'
        container = engine.containers.run("busybox", ["sh", "-c", script], RunOptions(network="host", user=user), stdout=said.append, stderr=said.append)
        assert b"".join(said) == b'unix-socket = "/run/loopback/door"\nthere\n'
        assert "CURL_HOME=" not in str(container.record.config)
        if engine.capabilities.namespaces:
            said.clear()
            engine.containers.run("busybox", ["sh", "-c", "ls /run/loopback; echo $CURL_HOME"], RunOptions(network="bridge", user=user), stdout=said.append)
            assert b"".join(said) == b"\n"


@pytest.mark.skipif(not shutil.which("curl"), reason="no curl here, so no image of it")
def test_a_socket_can_be_a_volume(engine: Engine, ports: Path) -> None:
    with loopback.listening(str(ports / "5000")) as listens:
        listens.settimeout(20)
        container = engine.containers.create("dockerinaction/curl", ["-s", "--unix-socket", "/x/there", "http://any/"], RunOptions(volume=(f"{ports}/5000:/x/there",)))
        for _ in range(2):  # at its second start the first one's is there
            container.start(detach=True)
            with listens.accept()[0] as made:
                assert made.recv(100).startswith(b"GET / HTTP/1.1\r\n")
            container.wait()
