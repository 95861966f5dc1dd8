"""Networks as a container has them: addresses, names, published ports, isolation, in every tier that can."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from dockerlab.engine import Container, Engine, RunOptions
from dockerlab.engine.options import NetworkWord, Publication
from dockerlab.errors import AlreadyExists, ContainerError, InUse, InvalidRequest, NotFound, NotSupportedHere
from dockerlab.linux.netlink import dropping_forwarder
from tests.conftest import gone, until

_SERVE = "mkdir -p /srv; echo hello > /srv/index.html; exec httpd -f -p 80 -h /srv"


@pytest.fixture
def net(engine: Engine) -> Engine:
    """An engine whose containers have networks of their own."""
    if not engine.capabilities.namespaces:
        pytest.skip("this tier has no namespaces")
    return engine


def free_port(kind: int = socket.SOCK_STREAM) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def said(engine: Engine, script: str, network: str = "bridge", **options: object) -> str:
    out: list[bytes] = []
    engine.containers.run("busybox", ["sh", "-c", script], RunOptions(network=network, **options), stdout=out.append, stderr=out.append)  # type: ignore[arg-type]
    return b"".join(out).decode()


def started(engine: Engine, script: str = "sleep 100", **options: object) -> Container:
    container = engine.containers.create("busybox", ["sh", "-c", script], RunOptions(**options))  # type: ignore[arg-type]
    container.start(detach=True).close()
    return container


def fetched(port: int, host: str = "127.0.0.1") -> str:
    """Gives what a web server says, which may be about to begin."""
    deadline = time.monotonic() + 10
    while True:
        try:
            with urllib.request.urlopen(f"http://{host}:{port}/", timeout=5) as answer:
                return str(answer.read().decode())
        except (OSError, urllib.error.URLError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def answers(container: Container, name: str) -> str:
    """Gives what a server called so says inside a container, once it does."""
    deadline = time.monotonic() + 10
    while True:
        result = container.exec_run(["wget", "-qO-", f"http://{name}/"])
        if result.exit_code == 0 or time.monotonic() > deadline:
            return result.output.decode()
        time.sleep(0.05)


def test_a_container_has_an_address_of_its_own(net: Engine) -> None:
    text = said(net, "ip -4 addr show eth0; ip route; tail -n 1 /etc/hosts; hostname; ls /sys/class/net 2>/dev/null", hostname="hh")
    subnet = net.networks.get("bridge").subnet
    first, gateway = subnet.replace(".0/16", ".2"), net.networks.get("bridge").gateway
    assert f"inet {first}/16" in text and f"default via {gateway} dev eth0" in text and f"{first}\thh\n" in text
    if net.capabilities.mounts:
        assert text.endswith("eth0\nlo\n"), "nothing of the host's network is seen in /sys"


def test_bytes_are_counted(net: Engine) -> None:
    from dockerlab.engine.measuring import sample

    web = started(net, _SERVE, name="web", network="bridge")
    before = sample(web)
    assert said(net, "until wget -qO- http://web/; do :; done 2>/dev/null", link=("web",)) == "hello\n"
    after = sample(web)
    assert after.received > before.received + 100 and after.sent > before.sent + 100


def searched() -> list[str]:
    """Gives the line of this host's resolv.conf that a container's begins with, if there is one."""
    return [line for line in Path("/etc/resolv.conf").read_text().splitlines() if line.startswith("search ")]


def test_names_and_aliases(net: Engine) -> None:
    net.networks.create("lab")
    web = started(net, _SERVE, name="web", networks=(NetworkWord("lab", ("www",)),))
    client = started(net, name="client", network="lab")
    for name in ("web", "www", "web.lab", web.short_id, "WEB"):
        assert answers(client, name) == "hello\n", name
    address = web.state.networks["lab"]["ip"]
    assert "web.lab" in client.exec_run(["nslookup", address]).output.decode()
    assert client.exec_run(["cat", "/etc/resolv.conf"]).output.decode().splitlines()[0] in ("nameserver 127.0.0.11", next(iter(searched()), ""))
    web.rename("site")
    assert answers(client, "site") == "hello\n" and client.exec_run(["wget", "-qO-", "http://web/"]).exit_code
    web.stop(timeout=0)
    assert client.exec_run(["wget", "-qO-", "http://site/"]).exit_code, "who has ended has no name"


def test_networks_are_apart(net: Engine) -> None:
    net.networks.create("one")
    net.networks.create("two")
    net.networks.create("closed", internal=True)
    web = started(net, _SERVE, name="web", network="one")
    inner = started(net, _SERVE, name="inner", network="closed")
    mate, other, shut = started(net, network="one"), started(net, network="two"), started(net, network="closed")
    address = web.state.networks["one"]["ip"]
    assert answers(mate, "web") == answers(shut, "inner") == "hello\n"
    for container, place in ((other, "web"), (shut, "web"), (mate, "inner")):
        assert container.exec_run(["wget", "-qO-", f"http://{place}/"]).exit_code, "names are those of one's own networks"
    for container in (other, shut, started(net, network="bridge")):
        assert container.exec_run(["nc", "-w", "1", address, "80"]).exit_code
    assert mate.exec_run(["nc", "-w", "1", inner.state.networks["closed"]["ip"], "80"]).exit_code
    assert "default" not in shut.exec_run(["ip", "route"]).output.decode()


@pytest.mark.parametrize("tier", ["root", "single", "single-chroot", "chroot", "proot"])
def test_published_ports(engine: Engine) -> None:
    outer, inner = free_port(), 80 if engine.capabilities.namespaces else free_port()
    script = _SERVE.replace("80", str(inner))
    web = started(engine, script, name="web", network="bridge", publish=(Publication("", outer, outer, inner, "tcp"),))
    assert fetched(outer) == "hello\n"
    if os.path.exists("/proc/net/if_inet6"):
        assert fetched(outer, "[::1]") == "hello\n"
    assert ("0.0.0.0", outer, inner, "tcp") in web.state.ports
    with pytest.raises(ContainerError, match=rf"driver failed programming external connectivity on endpoint other \(.*\): Bind for 0.0.0.0:{outer} failed: port is already allocated"):
        started(engine, name="other", network="bridge", publish=(Publication("", outer, outer, 81, "tcp"),))
    assert engine.containers.get("other").state.status == "created"
    web.restart(timeout=0)
    assert fetched(outer) == "hello\n"
    web.remove(force=True)
    started(engine, name="third", network="bridge", publish=(Publication("", outer, outer, 81, "tcp"),))
    with pytest.raises(OSError):
        urllib.request.urlopen(f"http://127.0.0.1:{outer}/", timeout=2)


def test_a_port_of_another_program_s(net: Engine) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ContainerError, match=rf"listen tcp4 127.0.0.1:{port}: bind: address already in use"):
            started(net, network="bridge", publish=(Publication("127.0.0.1", port, port, 80, "tcp"),))


def test_a_range_and_any_port(net: Engine) -> None:
    first = free_port()
    one = started(net, _SERVE, network="bridge", publish=(Publication("127.0.0.1", first, first + 20, 80, "tcp"),))
    two = started(net, _SERVE, network="bridge", publish=(Publication("127.0.0.1", first, first + 20, 80, "tcp"), Publication("", 0, 0, 90, "tcp")))
    ports = [one.state.ports[0][1], two.state.ports[0][1]]
    assert len(set(ports)) == 2 and all(first <= port <= first + 20 for port in ports)
    assert [fetched(port) for port in ports] == ["hello\n"] * 2
    assert two.state.ports[1][1] >= 32768 and len({port for _, port, inner, _ in two.state.ports if inner == 90}) == 1


def echoing(namespace: int) -> socket.socket:
    """Gives a socket at port 53 of a network namespace, where a thread sends back what comes: busybox has no program for it."""
    from concurrent.futures import ThreadPoolExecutor

    from dockerlab.linux import syscalls

    def bind() -> socket.socket:
        syscalls.setns(namespace, syscalls.CLONE_NEWNET)
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.bind(("0.0.0.0", 53))
        return made

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(bind).result()


def test_datagrams(net: Engine) -> None:
    port = free_port(socket.SOCK_DGRAM)
    web = started(net, network="bridge", publish=(Publication("127.0.0.1", port, port, 53, "udp"),))
    try:
        namespace = os.open(f"/proc/{web.state.pid}/ns/net", os.O_RDONLY)
        server = echoing(namespace)
    except PermissionError:
        pytest.skip("only root may enter a container's namespace from outside")
    with server, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        for each in (client, other):
            each.settimeout(5)
            each.connect(("127.0.0.1", port))
        for each, text in ((client, b"one"), (other, b"two"), (client, b"three" * 300)):
            each.send(text)
            data, sender = server.recvfrom(65535)
            server.sendto(data, sender)
            assert each.recv(65535) == text
    os.close(namespace)


def test_through_a_published_port_from_inside(net: Engine) -> None:
    """Hairpin: a container reaches another by the host's address."""
    if net.capabilities.tier != "root":
        pytest.skip("the host has an address of its own for containers where root ties them to it")
    if dropping_forwarder():
        pytest.skip("this host's firewall forwards nothing that it does not know: networks are not tied to it")
    port = free_port()
    started(net, _SERVE, network="bridge", publish=(Publication("", port, port, 80, "tcp"),))
    fetched(port)
    assert said(net, f"wget -qO- http://hostess:{port}/", add_host=(("hostess", "host-gateway"),)) == "hello\n"
    gateway = net.networks.get("bridge").gateway
    assert said(net, f"wget -qO- http://{gateway}:{port}/") == "hello\n", "the gateway is the host, as with docker"


def test_connecting_and_disconnecting(net: Engine) -> None:
    lab = net.networks.create("lab", subnet="10.123.4.0/24", ip_range="10.123.4.128/25", gateway="10.123.4.9")
    web = started(net, _SERVE, name="web", network="lab")
    late = started(net, name="late", network="bridge")
    assert web.state.networks["lab"]["ip"] == "10.123.4.128" and late.exec_run(["wget", "-qO-", "http://web/"]).exit_code
    net.networks.connect("lab", late, aliases=("second",), ip="10.123.4.20")
    assert answers(late, "web") == "hello\n"
    assert web.exec_run(["ping", "-c", "1", "-W", "2", "second"]).exit_code == 0
    assert "10.123.4.20\t" in late.exec_run(["cat", "/etc/hosts"]).output.decode()
    with pytest.raises(InvalidRequest, match="endpoint with name late already exists in network lab"):
        net.networks.connect("lab", net.containers.get("late"))
    with pytest.raises(InUse, match=f"network lab id {lab.id} has active endpoints"):
        net.networks.remove("lab")
    net.networks.disconnect("bridge", late)
    assert "default via 10.123.4.9 dev eth1" in late.exec_run(["ip", "route"]).output.decode()
    assert late.exec_run(["ip", "link", "show", "eth0"]).exit_code
    late.restart(timeout=0)
    late = net.containers.get("late")
    assert list(late.state.networks) == ["lab"] and late.state.networks["lab"]["ip"] == "10.123.4.20"
    net.networks.disconnect("lab", late)
    with pytest.raises(InvalidRequest, match=f"container {late.id} is not connected to network lab"):
        net.networks.disconnect("lab", net.containers.get("late"))
    assert late.exec_run(["ip", "route"]).output == b""


def test_links(net: Engine) -> None:
    started(net, _SERVE, name="my-web", network="bridge", expose=("80/tcp", "81/tcp", "82/tcp", "90/udp"), env={"COURSE": "yes"})
    text = said(net, "env; tail -n 2 /etc/hosts; wget -qO- http://web/", link=("my-web:web",), name="client")
    address = net.containers.get("my-web").state.networks["bridge"]["ip"]
    for line in (
        f"WEB_PORT=tcp://{address}:80", f"WEB_PORT_80_TCP=tcp://{address}:80", f"WEB_PORT_80_TCP_ADDR={address}", "WEB_PORT_80_TCP_PORT=80", "WEB_PORT_80_TCP_PROTO=tcp",
        f"WEB_PORT_80_TCP_START=tcp://{address}:80", f"WEB_PORT_80_TCP_END=tcp://{address}:82", "WEB_PORT_80_TCP_PORT_END=82", f"WEB_PORT_90_UDP=udp://{address}:90",
        "WEB_NAME=/client/web", "WEB_ENV_COURSE=yes", f"{address}\tweb {net.containers.get('my-web').short_id} my-web", "hello",
    ):  # fmt: skip
        assert line in text.splitlines(), line
    keeper = started(net, name="keeper", network="bridge", link=("my-web:web",))
    assert f"WEB_PORT_80_TCP=tcp://{address}:80" in keeper.exec_run(["env"]).output.decode(), "one program more knows them too"
    net.containers.get("my-web").stop(timeout=0)
    with pytest.raises(InvalidRequest, match="Cannot link to a non running container: /my-web AS /client/web"):
        net.containers.get("client").start()
    with pytest.raises(InvalidRequest, match="could not get container for nosuch: No such container: nosuch"):
        said(net, "true", link=("nosuch",))


def test_another_container_s_network(net: Engine) -> None:
    web = started(net, _SERVE, name="web", network="bridge")
    answers(web, "localhost")
    assert said(net, "wget -qO- http://127.0.0.1/; ip -4 addr show eth0", network="container:web").startswith("hello\n")
    with pytest.raises(InvalidRequest, match="conflicting options: hostname and the network mode"):
        said(net, "true", network="container:web", hostname="x")
    sharing = net.containers.create("busybox", ["true"], RunOptions(network="container:web"))
    web.stop(timeout=0)
    with pytest.raises(InvalidRequest, match=f"cannot join network of a non running container: {web.id}"):
        sharing.start()


def test_a_low_port_is_for_root(net: Engine) -> None:
    """Curriculum B8."""
    assert "Permission denied" in said(net, "nc -l -p 80 -w 1", user="1000:1000")
    open_to_all = {"net.ipv4.ip_unprivileged_port_start": "0"}
    if net.capabilities.mounts:
        assert "Permission denied" not in said(net, "nc -l -p 80 & sleep 0.3; kill $!; echo done", user="1000:1000", sysctl=open_to_all)


def test_a_switch_that_was_killed(net: Engine, make_engine: Callable[[str], Engine]) -> None:
    net.networks.create("lab")
    port = free_port()
    web = started(net, _SERVE, name="web", network="lab", publish=(Publication("127.0.0.1", port, port, 80, "tcp"),))
    client = started(net, name="client", network="lab")
    before = {c.name: c.state.networks["lab"]["ip"] for c in (web, client)}
    assert fetched(port) == "hello\n"
    os.kill(switch_of(net), signal.SIGKILL)
    assert fetched(port) == answers(client, "web") == "hello\n"
    until(lambda: {c.name: c.state.networks.get("lab", {}).get("ip") for c in (web, client)} == before)
    assert web.state.status == client.state.status == "running"


def test_a_switch_that_was_killed_after_its_launcher(net: Engine) -> None:
    port = free_port()
    web = started(net, _SERVE, name="web", network="bridge", publish=(Publication("127.0.0.1", port, port, 80, "tcp"),))
    before, switch = web.state.networks["bridge"]["ip"], switch_of(net)
    launcher = int(Path(f"/proc/{web.state.monitor}/stat").read_text().rpartition(")")[2].split()[1])
    assert fetched(port) == "hello\n"
    net.world.stop()
    with contextlib.suppress(ChildProcessError):
        os.waitpid(launcher, 0)  # its number is free from now on
    os.kill(switch, signal.SIGKILL)
    until(lambda: web.state.networks.get("bridge", {}).get("ip") == before)
    assert fetched(port) == "hello\n"
    net.networks.disconnect("bridge", web)
    net.networks.connect("bridge", web)
    assert web.state.networks["bridge"]["ip"] and switch_of(net) != switch


def test_a_launcher_that_ended_between_two(net: Engine) -> None:
    net.networks.create("lab")
    started(net, _SERVE, name="web", network="lab")
    net.world.stop()
    client = started(net, name="client", network="lab")
    assert answers(client, "web") == "hello\n"


def test_a_switch_ends_when_nobody_needs_it(net: Engine) -> None:
    container = started(net, network="bridge")
    pid = switch_of(net)
    container.remove(force=True)
    net.world.stop()
    assert gone(pid, within=10)
    assert not list(net.settings.runtime.glob("network-*[a-z0-9]")) or not any(path.is_socket() for path in net.settings.runtime.glob("network-*"))


def switch_of(engine: Engine) -> int:
    """Gives the process that holds this engine's switch: the one that listens at its socket, as SO_PEERCRED tells."""
    import struct

    with socket.socket(socket.AF_UNIX) as line:
        line.connect(str(engine.settings.runtime / f"network-{engine.capabilities.tier}"))
        return int(struct.unpack("3i", line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0])


def test_what_cannot_be(net: Engine) -> None:
    with pytest.raises(NotFound, match="network nosuch not found"):
        started(net, network="nosuch")
    net.networks.create("lab", subnet="10.123.4.0/24")
    with pytest.raises(AlreadyExists, match="network with name lab already exists"):
        net.networks.create("lab")
    with pytest.raises(InvalidRequest, match="Pool overlaps"):
        net.networks.create("other", subnet="10.123.0.0/16")
    with pytest.raises(InvalidRequest, match="user specified IP address is supported on user defined networks only"):
        started(net, networks=(NetworkWord("bridge", (), "172.17.0.99"),))
    with pytest.raises(InvalidRequest, match="does not belong to any of this network's subnets"):
        started(net, networks=(NetworkWord("lab", (), "10.9.9.9"),))
    started(net, networks=(NetworkWord("lab", (), "10.123.4.7"),))
    with pytest.raises(ContainerError, match="Address already in use"):
        started(net, networks=(NetworkWord("lab", (), "10.123.4.7"),))
    with pytest.raises(InvalidRequest, match="bridge is a pre-defined network and cannot be removed"):
        net.networks.remove("bridge")
    assert net.networks.prune(lambda labels, created: True) == [] and [n.name for n in net.networks.list()] == ["bridge", "host", "lab", "none"]


@pytest.mark.parametrize("tier", ["chroot", "proot"])
def test_names_on_a_host_without_namespaces(engine: Engine) -> None:
    engine.networks.create("lab")
    port = free_port()
    started(engine, _SERVE.replace("80", str(port)), name="web", networks=(NetworkWord("lab", ("www",)),))
    assert fetched(port) == "hello\n"
    for name in ("web", "www"):
        assert said(engine, f"wget -qO- http://{name}:{port}/", network="lab") == "hello\n"
    started(engine, _SERVE.replace("80", str(free_port())), name="old", network="bridge", expose=("80/tcp",))
    text = said(engine, "env; cat /etc/hosts", network="bridge", link=("old:web",))
    assert "WEB_PORT_80_TCP=tcp://127.0.0.1:80" in text and "127.0.0.1\tweb " in text


@pytest.mark.parametrize("tier", ["chroot", "proot"])
def test_a_host_without_namespaces(engine: Engine) -> None:
    with pytest.raises(NotSupportedHere, match="no network of its own"):
        said(engine, "true", network="none")
    with pytest.raises(NotSupportedHere, match="no network of its own"):
        said(engine, "true", network="container:x")
    assert "127.0.1.1" in said(engine, "cat /etc/hosts")
    assert Path("/proc/net/route").exists()
