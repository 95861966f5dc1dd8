"""Verbs on networks, and what `inspect` says of a container's."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from dockerlab.commands import ports, pruning
from dockerlab.commands.call import Call, Outcome
from dockerlab.commands.filters import TRUTH, condition, labelled, named, passes
from dockerlab.commands.go_text import NIL, NilList, NilMap, Struct
from dockerlab.commands.rows import Rows, moment
from dockerlab.commands.showing import shown
from dockerlab.engine.containers import Container
from dockerlab.errors import DockerlabError, InvalidArgument, InvalidRequest, NotFound
from dockerlab.oci.config import env_map
from dockerlab.store.containers import State
from dockerlab.store.networks import Network

__all__ = ["connect", "create", "disconnect", "facts", "inspect", "look", "ls", "prune", "rm", "settings"]

_HEADINGS = {"ID": "NETWORK ID", "Name": "NAME", "Driver": "DRIVER", "Scope": "SCOPE", "IPv4": "IPV4", "IPv6": "IPV6", "Internal": "INTERNAL", "Labels": "LABELS", "CreatedAt": "CREATED AT"}
_TESTS = ("dangling", "driver", "id", "label", "name", "scope", "type")


def create(call: Call) -> Outcome:
    """docker network create."""
    subnets, gateways, ranges = (tuple(call.flag(name)) for name in ("subnet", "gateway", "ip-range"))
    if len(subnets) > 1:
        raise InvalidArgument("multiple subnets are not supported here", hint="name one --subnet")
    made = call.engine.networks.create(
        call.args[0], driver=call.flag("driver"), subnet="".join(subnets), gateway="".join(gateways[:1]), ip_range="".join(ranges[:1]),
        internal=call.flag("internal"), attachable=call.flag("attachable"), labels=env_map(tuple(call.flag("label"))),
    )  # fmt: skip
    call.out(made.id)
    return Outcome(made)


def ls(call: Call) -> Outcome:
    """docker network ls."""
    tests = [_test(word) for word in call.flag("filter")]
    used = {facts["network"] for container in call.engine.containers.list() for facts in container.state.networks.values()} if any(name == "dangling" for name, _ in tests) else set()
    found = [network for network in call.engine.networks.list() if passes(tests, partial(_fits, network, used))]
    rows = [_row(network, full=call.flag("no-trunc")) for network in found]
    shown_as = "{{.ID}}" if call.flag("quiet") else call.flag("format")
    return Outcome(Rows(rows, _HEADINGS, default="table {{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.Scope}}", format=shown_as, caption=f"networks: {len(rows)}"))


def _row(network: Network, *, full: bool) -> dict[str, Any]:
    labels = network.labels
    return {
        "ID": network.id if full else network.id[:12], "Name": network.name, "Driver": network.driver, "Scope": "local", "IPv4": str(network.driver == "bridge").lower(), "IPv6": "false",
        "Internal": str(network.internal).lower(), "Labels": ",".join(f"{k}={v}" for k, v in sorted(labels.items())), "CreatedAt": moment(network.created),
        "Label": lambda name: labels.get(name, ""),
    }  # fmt: skip


def _test(word: str) -> tuple[str, str]:
    name, value = condition(word, _TESTS)
    if name == "type" and value not in ("builtin", "custom"):
        raise InvalidRequest(f"invalid filter: 'type'='{value}'", hint="write builtin or custom")
    return name, value


def _fits(network: Network, used: set[str], name: str, value: str) -> bool:
    checks: dict[str, Callable[[str], bool]] = {
        "dangling": lambda value: (not network.built_in and network.id not in used) == TRUTH[value.lower()], "driver": lambda value: network.driver == value,
        "id": lambda value: named(value, network.id), "label": lambda value: labelled(network.labels, value), "name": lambda value: named(value, network.name),
        "scope": lambda value: value == "local", "type": lambda value: network.built_in == (value == "builtin"),
    }  # fmt: skip
    return checks[name](value)


def rm(call: Call) -> Outcome:
    """docker network rm."""
    code = 0
    for name in call.args:
        try:
            call.engine.networks.remove(name)
            call.out(name)
        except DockerlabError as error:
            if not (call.flag("force") and isinstance(error, NotFound)):
                call.surface.err(f"Error response from daemon: {error.message}\n")
                code = 1
    if code:
        call.surface.err("exit status 1\n")
    return Outcome(exit_code=code)


def prune(call: Call) -> Outcome:
    """docker network prune."""
    wanted = pruning.wanted(call, "label", "until")
    if not pruning.agreed(call, "This will remove all custom networks not used by at least one container."):
        return Outcome()
    gone = call.engine.networks.prune(wanted)
    if gone:
        call.out("Deleted Networks:\n" + "".join(f"{name}\n" for name in gone))
    return Outcome()


def connect(call: Call) -> Outcome:
    """docker network connect."""
    container = call.engine.containers.get(call.args[1])
    call.engine.networks.connect(call.args[0], container, aliases=call.flag("alias"), ip=call.flag("ip"))
    return Outcome()


def disconnect(call: Call) -> Outcome:
    """docker network disconnect."""
    call.engine.networks.disconnect(call.args[0], call.engine.containers.get(call.args[1]))
    return Outcome()


def inspect(call: Call) -> Outcome:
    """docker network inspect."""
    return shown(call, look)


def look(call: Call, name: str) -> dict[str, Any]:
    """Gives the facts of the network called so; raises NotFound in the words of docker's client."""
    try:
        return facts(call, call.engine.networks.get(name))
    except NotFound as error:
        raise NotFound(f"Error response from daemon: {error.message}") from None


def facts(call: Call, network: Network) -> dict[str, Any]:
    """Gives a network's facts."""
    members = call.engine.networks.members(network)
    config = {"Subnet": network.subnet, **({"IPRange": network.ip_range} if network.ip_range else {}), "Gateway": network.gateway}
    return Struct({
        "Name": network.name, "Id": network.id, "Created": network.created, "Scope": "local", "Driver": network.driver, "EnableIPv4": network.driver == "bridge", "EnableIPv6": False,
        "IPAM": Struct({"Driver": "default", "Options": NilMap() if network.built_in else {}, "Config": [config] if network.subnet else []}),
        "Internal": network.internal, "Attachable": network.attachable, "Ingress": False, "ConfigFrom": {"Network": ""}, "ConfigOnly": False,
        "Containers": {
            container.id: {"Name": container.name, "EndpointID": own["endpoint"], "MacAddress": own["mac"], "IPv4Address": f"{own['ip']}/{own['prefix']}", "IPv6Address": ""}
            for container, own in sorted(members, key=lambda pair: pair[0].id)
        },
        "Options": dict(network.options), "Labels": dict(sorted(network.labels.items())),
    })  # fmt: skip


def settings(container: Container, state: State) -> dict[str, Any]:
    """Gives NetworkSettings: what a container has in each of its networks while it runs."""
    host = container.record.host
    words = {word["name"]: word for word in host.get("networks", ())}
    every = {name: _endpoint(container, state, words.get(name, {}), state.networks.get(name, {})) for name in sorted({*words, *state.networks})}
    main = every.get("bridge") or _endpoint(container, state, {}, {})
    return Struct({
        "Bridge": "", "SandboxID": "", "SandboxKey": "", "Ports": ports.bindings(container, state), "HairpinMode": False, "LinkLocalIPv6Address": "", "LinkLocalIPv6PrefixLen": 0,
        "SecondaryIPAddresses": NilList(), "SecondaryIPv6Addresses": NilList(), **{name: main[name] for name in (
            "EndpointID", "Gateway", "GlobalIPv6Address", "GlobalIPv6PrefixLen", "IPAddress", "IPPrefixLen", "IPv6Gateway", "MacAddress")},
        "Networks": every,
    })  # fmt: skip


def _endpoint(container: Container, state: State, word: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    user_defined = bool(word) and word["name"] not in ("bridge", "host", "none")
    aliases = [*word.get("aliases", ()), container.short_id] if user_defined else None
    return Struct({
        "IPAMConfig": {"IPv4Address": word["ip"]} if word.get("ip") else NIL, "Links": NilList(), "Aliases": aliases or NilList(), "MacAddress": own.get("mac", ""), "DriverOpts": NilMap(),
        "GwPriority": 0, "NetworkID": own.get("network", ""), "EndpointID": own.get("endpoint", ""), "Gateway": own.get("gateway", ""), "IPAddress": own.get("ip", ""),
        "IPPrefixLen": own.get("prefix", 0), "IPv6Gateway": "", "GlobalIPv6Address": "", "GlobalIPv6PrefixLen": 0,
        "DNSNames": list(dict.fromkeys([container.name, *(aliases or ())])) if own and user_defined else NilList(),
    })  # fmt: skip
