"""What a container wants of networks: kept when it is made, turned into a request to the switch at each start."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Network
from typing import TYPE_CHECKING, Any

from dockerlab.engine import linking
from dockerlab.engine.options import NetworkWord, RunOptions
from dockerlab.errors import InvalidRequest, NotFound, NotSupportedHere
from dockerlab.linux import dialling, loopback
from dockerlab.runtime import hostfiles
from dockerlab.store.networks import Network

if TYPE_CHECKING:
    from dockerlab.engine import Engine
    from dockerlab.engine.container import Container

__all__ = ["activation", "donor", "endpoint", "extra_hosts", "hostname", "lent", "mode", "planned", "request", "share", "switch"]


def planned(engine: Engine, chosen: RunOptions) -> dict[str, Any]:
    """Gives what is kept of a container's wishes; raises InvalidRequest in docker's words."""
    words = list(chosen.networks) or [NetworkWord(chosen.network or engine.settings.network)]
    mode = "bridge" if words[0].name == "default" else words[0].name
    if mode.startswith("container:"):
        mode = _of_another(engine, chosen, mode)
    elif mode in ("host", "none") and len(words) > 1:
        raise InvalidRequest(f"conflicting options: cannot attach both user-defined and non-user-defined network-modes ({mode})", hint="name it alone")
    if mode == "host" and chosen.link:
        raise InvalidRequest("conflicting options: host type networking can't be used with links. This would result in undefined behavior", hint="the host's network has every port already")
    links = [_link(engine, word) for word in chosen.link]
    if len({_known(engine, word.name) for word in words}) < len(words):
        raise InvalidRequest(f"network {words[0].name} is specified multiple times", hint="name each network once")
    kept = [] if mode.startswith("container:") else [{"name": mode if n == 0 else word.name, "aliases": list(word.aliases), "ip": word.ip} for n, word in enumerate(words)]
    return {"network": mode, "networks": kept, "publish": [list(each) for each in chosen.publish], "publish_all": chosen.publish_all, "links": links}


def _known(engine: Engine, name: str) -> str:
    """Gives a network's id, or the name where there is none of that name: which the container's start will tell."""
    try:
        return engine.networks.get("bridge" if name == "default" else name).id
    except NotFound:
        return name


def _of_another(engine: Engine, chosen: RunOptions, mode: str) -> str:
    name = mode.partition(":")[2]
    if not name:
        raise InvalidRequest("Invalid network mode: invalid container format container:<name|id>", hint="name a container behind the colon")
    conflicts = (
        (chosen.hostname, "hostname and the network mode"), (chosen.link, "container type network can't be used with links. This would result in undefined behavior"),
        (chosen.dns, "dns and the network mode"), (chosen.add_host, "custom host-to-IP mapping and the network mode"),
        (chosen.publish or chosen.publish_all, "port publishing and the container type network mode"), (chosen.expose, "port exposing and the container type network mode"),
    )  # fmt: skip
    for given, what in conflicts:
        if given:
            raise InvalidRequest(f"conflicting options: {what}", hint="say it of the container whose network it is")
    if not engine.capabilities.namespaces:
        raise NotSupportedHere("this host gives a container no network of its own, so there is none to share", reason="no namespaces", hint="leave it out: all share this machine's network")
    return f"container:{engine.containers.get(name).id}"


def _link(engine: Engine, word: str) -> list[str]:
    name, _, alias = word.partition(":")
    try:
        return [engine.containers.get(name).id, name, alias or name]
    except NotFound:
        raise InvalidRequest(f"could not get container for {name}: No such container: {name}", hint="start it first") from None


def donor(engine: Engine, mode: str) -> Container | None:
    """Gives the container whose network another one has, and with it the name and the files of /etc that go with that; None where it has its own."""
    return engine.containers.get(mode.partition(":")[2]) if mode.startswith("container:") else None


def mode(engine: Engine, kind: str, word: str) -> str:
    """Gives a mode of --pid or --ipc with the other container's id in place of its name; raises NotFound, InvalidRequest, NotSupportedHere."""
    if not word.startswith("container:"):
        return word
    name = word.partition(":")[2]
    if not name:
        raise InvalidRequest(f"can't join {kind.upper()} of container : invalid name or ID supplied: \"\"", hint="name a container behind the colon")
    if not engine.capabilities.namespaces:
        raise NotSupportedHere(f"this host gives a container no {kind.upper()} namespace of its own, so there is none to share", reason="no namespaces", hint=f"leave out --{kind}")
    other = engine.containers.get(name)
    if not other.state.running:
        joined = f"can't join IPC of container {other.id}: " if kind == "ipc" else ""
        raise InvalidRequest(f"{joined}container {other.id} is not running", hint=f"docker start {other.name}")
    return f"container:{other.id}"


def switch(engine: Engine) -> dict[str, Any]:
    """Gives where the engine's switch listens, and what it may do."""
    able, tap = engine.capabilities, any(finding.ok for finding in engine.findings if finding.name == "tap")
    path = engine.settings.runtime / f"network-{able.tier}"
    return {"path": str(path), "root": str(engine.home), "tied": able.direct and able.namespaces, "tap": tap, "isolated": able.namespaces}


def request(engine: Engine, container: Container, linked: Sequence[linking.Target]) -> dict[str, Any] | None:
    """Gives what a container's monitor is to ask of the switch, and `linked` what it is linked to; None where it asks nothing. Raises NotFound, InvalidRequest."""
    host = container.record.host
    mode, isolated = host["network"], engine.capabilities.namespaces
    if mode in ("none", "host") or mode.startswith("container:"):
        return None
    networks = [endpoint(engine, container, word) for word in host.get("networks", ())]
    ports = _ports(container)
    text = hostfiles.resolver(dns=host.get("dns", ()), search=host.get("dns_search", ()), options=host.get("dns_options", ()))
    user_defined = not linking.by_default(container)
    others = linking.neighbours(engine, container) if user_defined and not isolated else []
    if not isolated and not ports and not linked and not others:
        return None
    return {
        "switch": switch(engine), "networks": networks if isolated else [], "ports": ports, "dns": host.get("dns", []), "resolve": isolated and hostfiles.local_only(text),
        "links": {alias: other.name for other, _, alias in linked} if user_defined else {}, "hostname": _names(container),
        "etc": {"resolver": text, "extra": extra_hosts(container, isolated=isolated), "linked": others if user_defined else linking.lines(linked)},
    }  # fmt: skip


def endpoint(engine: Engine, container: Container, word: Mapping[str, Any]) -> dict[str, Any]:
    """Gives what the switch is told of one network that a container is to be in; raises NotFound, InvalidRequest."""
    found = engine.networks.get(word["name"])
    if word["ip"]:
        _check_address(found, word["ip"])
    aliases = [] if found.built_in else [*word["aliases"], container.short_id, *filter(None, [container.record.host.get("hostname", "")])]
    return {"id": found.id, "ip": word["ip"], "aliases": list(dict.fromkeys(aliases))}


def _check_address(found: Network, address: str) -> None:
    if found.built_in:
        raise InvalidRequest("user specified IP address is supported on user defined networks only", hint="docker network create --subnet 10.1.2.0/24 NAME")
    if not found.chosen:
        raise InvalidRequest("user specified IP address is supported only when connecting to networks with user configured subnets", hint="create the network with --subnet")
    subnet = IPv4Network(found.subnet)
    try:
        meant = ipaddress.ip_address(address)
    except ValueError:
        raise InvalidRequest(f"Invalid IPv4 address: {address})", hint=f"name one of {subnet}") from None
    if meant in (subnet.network_address, subnet.broadcast_address):
        raise InvalidRequest("Address already in use", hint="the first and the last address of a subnet are nobody's")
    if meant not in subnet:
        raise InvalidRequest(f"Invalid address {address}: It does not belong to any of this network's subnets", hint=f"name one of {found.subnet}")


def _ports(container: Container) -> list[list[Any]]:
    """Gives what is published, as `Publication`s; what is exposed as well with -P, the ports of which nobody names."""
    host = container.record.host
    published = [list(each) for each in host.get("publish", ())]
    asked = [each for each in published if not _socket(each)]
    if host.get("publish_all"):
        named = {(each[3], each[4]) for each in published}
        asked += [["", 0, 0, port, protocol] for port, protocol in sorted(container.config.ports, key=lambda e: (-e[0], e[1] == "tcp")) if (port, protocol) not in named]
    return asked


def _socket(port: Sequence[Any]) -> str:
    host, first, last, _, protocol = port
    return loopback.stand_in(host, first) if protocol == "tcp" and first == last else ""


def activation(engine: Engine, container: Container) -> dict[str, Any] | None:
    """Gives the port that the container publishes and a socket stands for, as what is `Published`, and that socket; None where ports are ports.

    Raises NotSupportedHere for two, and for a program with an input of its own.
    """
    host = container.record.host
    if host["network"] in ("none", "host") or host["network"].startswith("container:"):
        return None
    ours = {port[1] for other in engine.containers.list() for port in other.state.ports} if loopback.folder() else set()
    for address, first, last, _, protocol in host.get("publish", ()):
        if protocol == "tcp" and first == last and first not in ours:  # what another container of ours has is no reason to look elsewhere
            loopback.claim(address, first)
    found = [{"path": place, "port": ["127.0.0.1", each[1], each[3], each[4]]} for each in host.get("publish", ()) if (place := _socket(each))]
    if len(found) > 1:
        raise NotSupportedHere("a program has one standard input, and so one port where ports are sockets", reason="ports are sockets", hint="publish one of them")
    if found and (host.get("interactive") or host.get("tty")):
        raise NotSupportedHere("a program whose port is a socket has that as its standard input", reason="ports are sockets", hint="leave out -i and -t")
    return found[0] if found else None


def lent(engine: Engine, container: Container) -> dict[str, str]:
    """Gives what is mounted so that a container with this machine's network finds its ports, by its place; nothing where all ports are TCP's."""
    able, mode = engine.capabilities, container.record.host["network"]
    if dialling.restricted() or (mode != "host" and (able.namespaces or mode == "none")):
        return {}
    files = loopback.lent()
    # Where nothing can be mounted a socket gets a second name, which it can have on its own file system alone.
    return files if able.binds or all(os.stat(path).st_dev == os.stat(engine.home).st_dev for path in files.values()) else {}


def share(engine: Engine, container: Container) -> dict[str, str]:
    """Gives, by kind of namespace, the folder of the container whose namespace it shares; raises InvalidRequest where that does not run, NotFound."""
    found = {}
    for kind, mode in (("network", container.record.host["network"]), ("pid", container.record.host.get("pid", "")), ("ipc", container.record.host.get("ipc", ""))):
        if mode.startswith("container:"):
            other = engine.containers.get(mode.partition(":")[2])
            if not other.state.running:
                what = {"network": f"cannot join network of a non running container: {other.id}"}
                raise InvalidRequest(what.get(kind, f"cannot join {kind.upper()} of a non running container: {other.id}"), hint=f"docker start {other.name}")
            found[kind] = str(other.folder)
    return found


def hostname(container: Container) -> str:
    """Gives the name that the container calls itself."""
    host = container.record.host
    return str(host.get("hostname") or (os.uname().nodename if host.get("uts") == "host" else container.short_id))


def _names(container: Container) -> str:
    """Gives the container's own names for /etc/hosts: the whole one, and its first word."""
    domain, name = container.record.host.get("domainname", ""), hostname(container)
    return f"{name}.{domain} {name}" if domain else f"{name} {name.partition('.')[0]}" if "." in name else name


def extra_hosts(container: Container, *, isolated: bool) -> list[list[Any]]:
    """Gives the lines of /etc/hosts that a person asked for; where the container has no address of its own, also one for its name."""
    named = [word.partition(":")[::2] for word in container.record.host.get("extra_hosts", ())]
    own = [] if isolated else [["127.0.1.1", [_names(container)]]]
    return [*own, *([address, [name]] for name, address in named)]
