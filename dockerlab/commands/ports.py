"""Published ports as docker shows them: the column PORTS, `docker port`, and the maps of `inspect`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from dockerlab.commands.call import Call, Outcome
from dockerlab.engine.containers import Container
from dockerlab.errors import InvalidArgument, InvalidRequest
from dockerlab.runtime.ports import Published
from dockerlab.store.containers import State

__all__ = ["asked", "bindings", "column", "numbers", "port", "published", "span"]


def published(state: State) -> list[Published]:
    """Gives what is published of a running container."""
    return [Published(*each) for each in state.ports] if state.running else []


def column(container: Container, state: State) -> str:
    """Gives `0.0.0.0:8080->80/tcp, 90/tcp`, with ports that follow one another as a range; "" for a container that does not run."""
    if not state.running or container.record.host["network"] == "none":
        return ""
    shown = published(state)
    alone = [("", 0, number, protocol) for number, protocol in container.config.ports if not any((each.port, each.protocol) == (number, protocol) for each in shown)]
    ordered = sorted((*((e.host, e.host_port, e.port, e.protocol) for e in shown), *alone), key=lambda e: (e[2], e[3], ":" in e[0], e[0], e[1]))
    groups: dict[tuple[str, str, bool], list[tuple[int, int]]] = {}
    told: list[str] = []
    for host, outer, inner, protocol in ordered:
        if outer and outer != inner:  # docker joins only those that have the same number inside and outside
            told.append(f"{_host(host)}:{outer}->{inner}/{protocol}")
            continue
        groups.setdefault((host, protocol, bool(outer)), []).append((outer, inner))
    ranges = [_range(host, protocol, span) for (host, protocol, _), pairs in groups.items() for span in _spans(pairs)]
    return ", ".join([*ranges, *told])


def _host(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _spans(pairs: Iterable[tuple[int, int]]) -> list[list[tuple[int, int]]]:
    spans: list[list[tuple[int, int]]] = []
    for pair in sorted(pairs, key=lambda p: p[1]):
        if spans and spans[-1][-1][1] + 1 == pair[1]:
            spans[-1].append(pair)
        else:
            spans.append([pair])
    return spans


def _range(host: str, protocol: str, span: Sequence[tuple[int, int]]) -> str:
    first, last = span[0], span[-1]
    inner = f"{first[1]}-{last[1]}" if len(span) > 1 else str(first[1])
    return f"{_host(host)}:{inner}->{inner}/{protocol}" if first[0] else f"{inner}/{protocol}"


def bindings(container: Container, state: State) -> dict[str, Any]:
    """Gives NetworkSettings.Ports: what each port of the container is published as, None for one that is only exposed."""
    found: dict[str, Any] = {f"{number}/{protocol}": None for number, protocol in sorted(container.config.ports)} if state.running else {}
    for each in published(state):
        name = f"{each.port}/{each.protocol}"
        found[name] = [*(found.get(name) or ()), {"HostIp": each.host, "HostPort": str(each.host_port)}]
    return found


def asked(container: Container) -> dict[str, Any]:
    """Gives HostConfig.PortBindings: what was asked for."""
    found: dict[str, Any] = {}
    for host, first, last, number, protocol in container.record.host.get("publish", ()):
        span = f"{first}-{last}" if last > first else str(first or "")
        found.setdefault(f"{number}/{protocol}", []).append({"HostIp": host, "HostPort": span})
    return found


def span(text: str, kind: str) -> set[tuple[int, str]]:
    """Gives the ports of `80`, `80/udp`, `80-90/tcp`, as the filters `publish` and `expose` have them; raises InvalidRequest."""
    ports, _, protocol = text.partition("/")
    first, _, last = ports.partition("-")
    hint = "write 80, 53/udp or 8000-8010/tcp"
    if not all(part.isascii() and part.isdigit() for part in (first, last or first)) or (protocol or "tcp") not in ("tcp", "udp", "sctp"):
        raise InvalidRequest(f"invalid filter value '{text}' for port", hint=hint)
    if large := next((part for part in (first, last) if len(part) > 5 or int(part or 0) > 65535), ""):
        raise InvalidRequest(f'error while looking up for {kind} {text}: strconv.ParseUint: parsing "{large}": value out of range', hint=hint)
    if int(first) > int(last or first):
        raise InvalidRequest(f"error while looking up for {kind} {text}: Invalid range specified for the Port: {ports}", hint=hint)
    return {(number, protocol or "tcp") for number in range(int(first), int(last or first) + 1)}


def numbers(container: Container, state: State, kind: str) -> set[tuple[int, str]]:
    """Gives the container's ports that are published, by their number inside, or exposed."""
    shown = {(each.port, each.protocol) for each in published(state)}
    return shown if kind == "publish" else shown | set(container.config.ports)


def port(call: Call) -> Outcome:
    """docker port."""
    container = call.engine.containers.get(call.args[0])
    state = container.state
    shown = sorted(published(state), key=lambda each: (each.port, each.protocol))
    if len(call.args) == 1:
        for each in shown:
            call.out(f"{each.port}/{each.protocol} -> {_host(each.host)}:{each.host_port}")
        return Outcome()
    number, _, protocol = call.args[1].partition("/")
    if not number.isascii() or not number.isdigit() or int(number) > 65535:
        raise InvalidArgument(f'Error: invalid port ({number}): strconv.ParseUint: parsing "{number}": invalid syntax', hint="write 80 or 53/udp")
    found = [each for each in shown if (each.port, each.protocol) == (int(number), protocol or "tcp")]
    if not found:
        raise InvalidArgument(f"Error: No public port '{call.args[1]}' published for {call.args[0]}")
    for each in found:
        call.out(f"{_host(each.host)}:{each.host_port}")
    return Outcome()

