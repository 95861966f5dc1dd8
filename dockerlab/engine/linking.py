"""`--link`: the other container's address under its alias, and the variables that programs looked for before networks had names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from dockerlab.errors import InvalidRequest

if TYPE_CHECKING:
    from dockerlab.engine import Engine
    from dockerlab.engine.container import Container

__all__ = ["Target", "by_default", "lines", "neighbours", "targets", "variables"]


class Target(NamedTuple):
    """A container that another is linked to: itself, its address, its name there."""

    container: Container
    address: str
    alias: str


def by_default(container: Container) -> bool:
    """Tells whether a container is in the default network, where links are addresses and variables; elsewhere they are further names."""
    return any(word["name"] == "bridge" for word in container.record.host.get("networks", ()))


def targets(engine: Engine, container: Container) -> list[Target]:
    """Gives those that a container is linked to; raises InvalidRequest where one does not run, or has no address in the default network."""
    found = []
    host, default = container.record.host, by_default(container)
    for ident, _, alias in host.get("links", ()):
        other = engine.containers.get(ident)
        state = other.state
        if default and not state.running:
            raise InvalidRequest(f"Cannot link to a non running container: /{other.name} AS /{container.name}/{alias}", hint=f"docker start {other.name}")
        address = state.networks.get("bridge", {}).get("ip", "") if engine.capabilities.namespaces else "127.0.0.1"
        if default and not address:
            raise InvalidRequest(f"Cannot link to /{other.name}, as it does not belong to the default network", hint=f"docker network connect bridge {other.name}")
        found.append(Target(other, address, alias))
    return found


def neighbours(engine: Engine, container: Container) -> list[list[Any]]:
    """Gives lines of /etc/hosts for a host without namespaces: the containers that run in this one's networks are all at 127.0.0.1, those that come later are not known."""
    own = {word["name"]: word for word in container.record.host.get("networks", ())}
    found: list[list[Any]] = [["127.0.0.1", names] for word in own.values() if (names := list(word["aliases"]))]
    linked = {ident: alias for ident, _, alias in container.record.host.get("links", ())}
    for other in engine.containers.list():
        shared = [word for word in other.record.host.get("networks", ()) if word["name"] in own]
        if shared and other.id != container.id:
            aliases = [*(alias for word in shared for alias in word["aliases"]), *filter(None, [other.record.host.get("hostname", "")])]
            found.append(["127.0.0.1", list(dict.fromkeys([other.name, *aliases, other.short_id, *([linked[other.id]] if other.id in linked else [])]))])
    return found


def lines(linked: Sequence[Target]) -> list[list[Any]]:
    """Gives what /etc/hosts says of them: address, and names: the alias, the short id, the name."""
    return [[address, [alias, other.short_id, *([other.name] if other.name != alias else [])]] for other, address, alias in linked]


def variables(container: Container, linked: Sequence[Target]) -> list[str]:
    """Gives the environment's words for them: NAME_PORT_80_TCP and its like, NAME_NAME, NAME_ENV_*."""
    found: list[str] = []
    for other, address, alias in linked:
        prefix = alias.upper().replace("-", "_")
        ports = sorted(other.config.ports, key=lambda p: (p[0], p[1] != "tcp"))
        if ports:
            number, protocol = ports[0]
            found.append(f"{prefix}_PORT={protocol}://{address}:{number}")
        found += _ranges(prefix, address, ports)
        for number, protocol in ports:
            stem = f"{prefix}_PORT_{number}_{protocol.upper()}"
            found += [f"{stem}={protocol}://{address}:{number}", f"{stem}_ADDR={address}", f"{stem}_PORT={number}", f"{stem}_PROTO={protocol}"]
        found.append(f"{prefix}_NAME=/{container.name}/{alias}")
        # What every container has says nothing of this one.
        found += [f"{prefix}_ENV_{word}" for word in other.config.env if "=" in word and word.partition("=")[0] not in ("HOME", "PATH")]
    return found


def _ranges(prefix: str, address: str, ports: Sequence[tuple[int, str]]) -> list[str]:
    """Gives the words for three ports or more that follow one another."""
    found, at = [], 0
    while at < len(ports):
        end = at
        while end + 1 < len(ports) and ports[end + 1] == (ports[end][0] + 1, ports[at][1]):
            end += 1
        (first, protocol), last = ports[at], ports[end][0]
        if end > at + 1:
            stem = f"{prefix}_PORT_{first}_{protocol.upper()}"
            found += [f"{stem}_START={protocol}://{address}:{first}", f"{stem}_ADDR={address}", f"{stem}_PROTO={protocol}", f"{stem}_PORT_START={first}",
                      f"{stem}_END={protocol}://{address}:{last}", f"{stem}_PORT_END={last}"]  # fmt: skip
        at = end + 1
    return found
