"""How `run` and `create` are told of networks and ports: docker's words, and the errors of its client."""

from __future__ import annotations

import csv
import io
import ipaddress
import re
from collections.abc import Sequence

from dockerlab.commands.call import Call
from dockerlab.engine.options import NetworkWord, Publication
from dockerlab.errors import InvalidArgument, InvalidRequest, NotSupportedHere

__all__ = ["link", "networks", "publications"]

_HINT = "write -p 8080:80, -p 127.0.0.1:8080:80 or -p 53:53/udp"


def link(text: str) -> str:
    """`--link`: container, or container and alias."""
    parts = text.split(":")
    if not text:
        raise ValueError("empty string specified for links")
    if len(parts) > 2:
        raise ValueError(f"bad format for links: {text}")
    return text


def networks(call: Call) -> tuple[NetworkWord, ...]:
    """Gives the networks that are named by --network, --net, --network-alias and --ip; () where none is. Raises InvalidArgument."""
    words = [_word(text) for name in ("network", "net") for text in call.flag(name)]
    aliases, address = tuple(call.flag("network-alias")), str(call.flag("ip"))
    if not words and not aliases and not address:
        return ()
    first = words[0] if words else NetworkWord("default")
    if aliases and first.aliases:
        raise InvalidArgument("conflicting options: cannot specify both --network-alias and per-network alias", hint="say it once")
    if address and first.ip:
        raise InvalidArgument("conflicting options: cannot specify both --ip and per-network IPv4 address", hint="say it once")
    first = NetworkWord(first.name, aliases or first.aliases, _address(address) or first.ip)
    for word in (first, *words[1:]):
        if word.aliases and (word.name in ("default", "bridge", "host", "none") or word.name.startswith("container:")):
            raise InvalidArgument("network-scoped aliases are only supported for user-defined networks", hint="docker network create NAME")
    if len({word.name for word in words}) < len(words):
        raise InvalidArgument(f"network {first.name} is specified multiple times", hint="name each network once")
    return (first, *words[1:])


def _address(text: str) -> str:
    if not text:
        return ""
    try:
        return str(ipaddress.IPv4Address(text))
    except ValueError:
        raise InvalidRequest(f"invalid IPv4 address: {text}", hint="write four numbers, as 10.1.2.3") from None


def _fields(text: str) -> list[str]:
    try:
        return next(csv.reader(io.StringIO(text, newline="")), [])  # a second line is not read, nor is it by docker
    except csv.Error as error:
        raise InvalidArgument(f"invalid field {text!r}: {error}", hint="write name=value,name=value on one line") from None


def _word(text: str) -> NetworkWord:
    if "=" not in text:
        return NetworkWord(text)
    name, aliases, address = "", [], ""
    for field in _fields(text):
        key, equals, value = field.partition("=")
        key = key.strip().lower()
        if not equals or not key:
            raise InvalidArgument(f"invalid field {field}", hint="write name=NETWORK,alias=NAME,ip=ADDRESS")
        if key == "name":
            name = value.strip()
        elif key == "alias":
            aliases.append(value.strip())
        elif key == "ip":
            address = value.strip()
        elif key in ("ip6", "link-local-ip", "driver-opt", "gw-priority", "mac-address"):
            raise NotSupportedHere(f"{key} of --network is not supported here: not done by dockerlab yet", reason="not done yet", hint="leave it out")
        else:
            raise InvalidArgument(f"invalid field key {key}", hint="write name=NETWORK,alias=NAME,ip=ADDRESS")
    return NetworkWord(name, tuple(aliases), _address(address))


def publications(words: Sequence[str]) -> tuple[Publication, ...]:
    """Gives what `-p` asks for; raises InvalidArgument in the words of docker's client."""
    return tuple(each for word in words for each in _published(_short(word) if "=" in word else word))


def _short(text: str) -> str:
    """Gives the short form of `published=8080,target=80,protocol=tcp`."""
    found = {"published": "", "target": "", "protocol": "tcp"}
    for field in _fields(text):
        key, _, value = field.partition("=")
        found[key] = value
    return f"{found['published']}:{found['target']}/{found['protocol']}"


def _published(text: str) -> list[Publication]:
    place, _, protocol = text.partition("/")
    host, middle, inside = _split(place)
    if not inside:
        raise InvalidArgument(f"no port specified: {text}<empty>", hint=_HINT)
    address = host.removeprefix("[").removesuffix("]")
    if address:
        try:
            ipaddress.ip_address(address)
        except ValueError:
            raise InvalidArgument(f"invalid IP address: {host}", hint=_HINT) from None
    first, last = _span(inside, "containerPort")
    low, high = _span(middle, "hostPort") if middle else (0, 0)
    protocol = protocol.lower() or "tcp"
    if middle and last - first != high - low and first != last:
        raise InvalidArgument(f"invalid ranges specified for container and host Ports: {inside} and {middle}", hint="give two ranges of one length")
    if protocol not in ("tcp", "udp", "sctp"):
        raise InvalidArgument(f"invalid proto: {protocol}", hint=_HINT)
    if protocol == "sctp":
        raise NotSupportedHere("publishing a port by sctp is not supported here: not done by dockerlab yet", reason="not done yet", hint="publish tcp or udp")
    if first == last:
        return [Publication(address, low, high, first, protocol)]
    return [Publication(address, low and low + n, low and low + n, first + n, protocol) for n in range(last - first + 1)]


def _split(text: str) -> tuple[str, str, str]:
    parts = text.split(":")
    if len(parts) == 1:
        return "", "", parts[0]
    return ":".join(parts[:-2]), parts[-2], parts[-1]


def _span(text: str, what: str) -> tuple[int, int]:
    found = re.fullmatch(r"([0-9]+)(?:-([0-9]+))?", text, re.ASCII)
    if found:
        first, last = int(found[1]), int(found[2] or found[1])
        if first <= last <= 65535:
            return first, last
    raise InvalidArgument(f"invalid {what}: {text}", hint=_HINT)
