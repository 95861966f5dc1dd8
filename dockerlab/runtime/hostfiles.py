"""The small files of /etc that a container gets from outside: hosts(5), resolv.conf(5)."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from pathlib import Path

__all__ = ["hosts", "local_only", "resolver", "servers", "with_servers"]

_HOSTS = (
    "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::0\tip6-localnet\nff00::0\tip6-mcastprefix\n"
    "ff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n"
)


def hosts(entries: Iterable[tuple[str, Sequence[str]]], *, gateway: str = "") -> str:
    """Gives hosts(5) with these addresses and their names below docker's own lines; `host-gateway` stands for the address `gateway`, or is left out."""
    lines = ((gateway if address == "host-gateway" else address, names) for address, names in entries)
    return _HOSTS + "".join(f"{address}\t{' '.join(names)}\n" for address, names in lines if address)


def resolver(*, dns: Sequence[str] = (), search: Sequence[str] = (), options: Sequence[str] = ()) -> str:
    """Gives resolv.conf(5) as this host has it, but for what was chosen."""
    try:
        text = Path("/etc/resolv.conf").read_text(errors="replace")
    except OSError:
        text = ""
    if not (dns or search or options):
        return text
    searched = [word for word in search if word != "."] if search else _words(text, "search")
    return _written(searched, dns or servers(text), options or _words(text, "options"))


def servers(text: str) -> list[str]:
    """Gives the name servers of a resolv.conf."""
    return [words[1] for line in text.splitlines() if (words := line.split())[:1] == ["nameserver"] and len(words) > 1]


def _words(text: str, key: str) -> list[str]:
    return [word for line in text.splitlines() if (words := line.split())[:1] == [key] for word in words[1:]]


def local_only(text: str) -> bool:
    """Tells whether nobody but the host itself can ask its name servers."""
    found = servers(text)
    try:
        return all(ipaddress.ip_address(address.partition("%")[0]).is_loopback for address in found)
    except ValueError:
        return False


def with_servers(text: str, addresses: Sequence[str], *, inner: bool = False) -> str:
    """Gives a resolv.conf with other servers; with `inner` as docker writes it for its own: a name without a dot is asked for as it is first."""
    options = _words(text, "options")
    if inner and not any(word.startswith("ndots:") for word in options):
        options.append("ndots:0")
    return _written(_words(text, "search"), addresses, options)


def _written(search: Sequence[str], addresses: Sequence[str], options: Sequence[str]) -> str:
    lines = [f"search {' '.join(search)}"] if search else []
    return "".join(f"{line}\n" for line in (*lines, *(f"nameserver {server}" for server in addresses), *([f"options {' '.join(options)}"] if options else [])))
