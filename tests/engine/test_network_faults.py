"""Networks under odd input and at bad moments: what is sent by nobody, asked for twice, removed meanwhile, written into files."""

from __future__ import annotations

import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dockerlab.engine import Engine, RunOptions
from dockerlab.engine.options import NetworkWord
from dockerlab.errors import DockerlabError, InUse, InvalidRequest
from dockerlab.linux.netlink import dropping_forwarder
from tests.engine.test_networks import net, said, started

__all__ = ["net"]

# Sends a datagram with a source of one's own choice from the network namespace of a process: what CAP_NET_RAW, which docker gives, lets a container do.
_FORGED = r"""
import os, socket, struct, sys
pid, source, target = sys.argv[1:]
import ctypes
assert ctypes.CDLL(None, use_errno=True).setns(os.open(f"/proc/{pid}/ns/net", os.O_RDONLY), 0x40000000) == 0
data = b"forged\n"
udp = struct.pack("!4H", 1111, 9999, 8 + len(data), 0) + data
head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 1, 0, 64, 17, 0, socket.inet_aton(source), socket.inet_aton(target))
with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as line:
    for _ in range(3):
        line.sendto(head + udp, (target, 0))
"""


def test_the_host_s_own_routes_stay() -> None:
    """A network with a subnet that the host reaches already comes after what was there."""
    code = """
from dockerlab.linux import netlink, syscalls
syscalls.unshare(syscalls.CLONE_NEWNET)
with netlink.Links() as links:
    links.up("lo")
    links.bridge("br0")
    links.address("br0", "198.51.100.2", 24)
    links.bridge("br1")
    links.address("br1", "169.254.9.1", 30)
    for _ in range(2):
        links.route_beside("198.51.100.0/24", "169.254.9.2", 1 << 24)
    there = lambda: [route.get_attr("RTA_PRIORITY") for route in links._ip.get_routes(family=2, table=254) if route.get_attr("RTA_DST") == "198.51.100.0"]
    print(there())
    links.unroute("198.51.100.0/24", "169.254.9.2", 1 << 24)
    print(there())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=30)
    if "PermissionError" in done.stderr:
        pytest.skip("no network namespace for this user as it is")
    assert done.stdout.splitlines() == ["[None, 16777216]", "[None]"], done.stderr


@pytest.mark.parametrize("network", ["bridge", "closed"])
def test_the_host_reaches_a_container_and_another_engine_does_not(make_engine: Callable[[str], Engine], tmp_path: Path, network: str) -> None:
    engine = make_engine("root")
    if not engine.capabilities.direct:
        pytest.skip("the host reaches containers where root ties them to it")
    if dropping_forwarder():
        pytest.skip("this host's firewall forwards nothing that it does not know: networks are not tied to it")
    engine.networks.create("closed", internal=True)
    web = started(engine, "while :; do echo hello | nc -l -p 80; done", network=network)
    address = web.state.networks[network]["ip"]
    deadline, heard = time.monotonic() + 10, b""
    while not heard and time.monotonic() < deadline:
        try:
            with socket.create_connection((address, 80), timeout=2) as line:
                heard = line.recv(100)
        except OSError:
            time.sleep(0.05)
    assert heard == b"hello\n"
    other = Engine(tmp_path / "other")
    try:
        assert "hello" not in said(other, f"nc -w 1 {address} 80")
    finally:
        other.world.stop()


def test_nobody_bears_another_s_address(net: Engine) -> None:
    """Docker gives CAP_NET_RAW: with it a container writes any source, and none but its own gets out of its network."""
    if net.capabilities.tier != "root":
        pytest.skip("a process of this test cannot enter the namespace of a container of another user namespace")
    net.networks.create("one")
    net.networks.create("closed", internal=True)
    thief = started(net, network="one")
    host = next(line.split()[0] for line in thief.exec_run(["cat", "/etc/hosts"]).output.decode().splitlines() if line.startswith("127."))
    host = said(net, "awk '/host/ {print $1}' /etc/hosts | tail -n 1", add_host=(("hostess", "host-gateway"),)).strip() or host
    for kind in ("closed", "bridge"):
        ear = started(net, "nc -u -l -p 9999 > /heard & sleep 100", network=kind)
        target = ear.state.networks[kind]["ip"]
        for source in (host, target.rpartition(".")[0] + ".77", thief.state.networks["one"]["ip"]):
            subprocess.run([sys.executable, "-c", _FORGED, str(thief.state.pid), source, target], check=True, timeout=20)
        time.sleep(0.3)
        assert ear.exec_run(["cat", "/heard"]).output == b""


@pytest.mark.parametrize("tier", ["root", "single"])
def test_connected_once(net: Engine) -> None:
    """Of several that connect a container to one network at once, one does."""
    net.networks.create("lab")
    one = started(net, name="one", network="bridge")

    def connect(_: int) -> str:
        try:
            net.networks.connect("lab", net.containers.get("one"))
        except InvalidRequest as error:
            return error.message
        return ""

    with ThreadPoolExecutor(4) as several:
        told = list(several.map(connect, range(4)))
    assert told.count("") == 1 and {text for text in told if text} == {"endpoint with name one already exists in network lab"}
    assert [number for number in range(4) if f"eth{number}" in one.exec_run(["ip", "-o", "link"]).output.decode()] == [0, 1]
    net.networks.disconnect("lab", net.containers.get("one"))
    net.networks.connect("lab", net.containers.get("one"))
    with pytest.raises(InvalidRequest, match="network lab is specified multiple times"):
        started(net, networks=(NetworkWord("lab"), NetworkWord(net.networks.get("lab").id)))


@pytest.mark.parametrize("tier", ["root", "single"])
def test_removed_while_it_is_joined(net: Engine) -> None:
    """Either the network goes first and nobody is in it, or it stays."""
    one = started(net, name="one", network="bridge")
    for _ in range(6):
        net.networks.create("brief")
        with ThreadPoolExecutor(2) as both:
            joined = both.submit(lambda: net.networks.connect("brief", net.containers.get("one")))
            gone = both.submit(lambda: net.networks.remove("brief"))
            failed = [isinstance(each.exception(), DockerlabError) for each in (joined, gone)]
        there = "brief" in [each.name for each in net.networks.list()]
        assert there == ("brief" in one.state.networks) == failed[1], failed
        if there:
            net.networks.disconnect("brief", net.containers.get("one"))
            net.networks.remove("brief")
    one.restart(timeout=0)
    assert list(net.containers.get("one").state.networks) == ["bridge"]


@pytest.mark.parametrize("tier", ["root", "single"])
def test_a_container_that_rests_between_two_starts(net: Engine) -> None:
    net.networks.create("lab")
    rests = started(net, "exit 1", restart="always", network="bridge")
    deadline = time.monotonic() + 10
    while rests.state.status != "restarting" or rests.state.restarts < 2:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    net.networks.connect("lab", net.containers.get(rests.id))
    rests.remove(force=True)


@pytest.mark.parametrize("tier", ["root", "single"])
def test_one_line_each(engine: Engine) -> None:
    for options in (
        {"hostname": "a\n6.6.6.6 evil"}, {"domainname": "d\te"}, {"add_host": (("foo\n6.6.6.6 evil", "1.2.3.4"),)}, {"dns_option": ("x\nnameserver 6.6.6.6",)},
        {"dns_search": ("a\nb",)}, {"networks": (NetworkWord("bridge", ("x\ny",)),)},
    ):  # fmt: skip
        with pytest.raises(InvalidRequest, match="invalid"):
            engine.containers.create("busybox", ["true"], RunOptions(**options))  # type: ignore[arg-type]


@pytest.mark.parametrize("tier", ["root", "single"])
def test_too_many_ports(net: Engine) -> None:
    from dockerlab.engine.options import Publication

    with pytest.raises(DockerlabError, match="60000 published ports are too many"):
        started(net, network="bridge", publish=tuple(Publication("", 0, 0, port, "tcp") for port in range(1, 60001)))


def test_an_image_s_links_that_lead_nowhere(engine: Engine) -> None:
    """Ubuntu's root file systems have such a resolv.conf: the file is made where it would be, inside."""
    plain, linked = engine.home / "plain.tar", engine.home / "linked.tar"
    with open(plain, "wb") as file:
        engine.containers.create("busybox", ["true"]).export(file.fileno())
    with tarfile.open(plain) as before, tarfile.open(linked, "w") as after:
        for member in before:
            if member.name not in ("etc/hosts", "etc/resolv.conf"):
                after.addfile(member, before.extractfile(member) if member.isreg() else None)
        for name, target in (("etc/resolv.conf", "../run/deep/er/stub.conf"), ("etc/hosts", "/etc/hosts.d/h")):
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, target
            after.addfile(link)
    engine.images.import_(linked, name="linked")
    out: list[bytes] = []
    engine.containers.run("linked", ["sh", "-c", "readlink /etc/hosts; grep -q localhost /etc/hosts.d/h && echo names; test -f /run/deep/er/stub.conf && echo there"], stdout=out.append)
    assert b"".join(out) == b"/etc/hosts.d/h\nnames\nthere\n"


@pytest.mark.parametrize("tier", ["root", "single"])
def test_a_network_that_is_used_is_not_removed(net: Engine) -> None:
    net.networks.create("lab")
    one = started(net, network="lab")
    with pytest.raises(InUse):
        net.networks.remove("lab")
    one.stop(timeout=0)
    net.networks.remove("lab")
