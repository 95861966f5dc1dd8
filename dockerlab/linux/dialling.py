"""Requests to addresses that somebody else chose: never to this machine or its neighbours, whatever a name resolves to (OWASP, "Server-Side Request Forgery").

The address that was looked at is the one that is connected to, so that a name which changes its mind in between gains nothing; redirects pass through here too.
"""

from __future__ import annotations

import contextlib
import functools
import ipaddress
import os
import re
import socket
import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, unquote, urlsplit

from dockerlab.linux import loopback

if TYPE_CHECKING:
    import urllib3

__all__ = ["guarded", "is_public", "port_of", "proxy", "restrict", "restricted", "through", "why"]

# IANA's special-purpose registries (RFC 6890 and after), written out: what Python's `is_global` means changes with its release.
_NOT_PUBLIC_4 = [
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15",
    "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/3",
]  # fmt: skip
# Of IPv6 only what was given out as global unicast, less what embeds an IPv4 address or is for documents and tests.
_PUBLIC_6, _NOT_PUBLIC_6 = "2000::/3", ["2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"]
_exceptions: frozenset[tuple[str, int]] | None = None


@functools.cache
def _networks(words: tuple[str, ...]) -> list[Any]:
    return [ipaddress.ip_network(word) for word in words]


def is_public(address: str) -> bool:
    """Tells whether an IP address is one of the whole internet's.

    >>> [is_public(each) for each in ("93.184.216.34", "127.0.0.1", "169.254.169.254", "::ffff:93.184.216.34", "2606:4700::1")]
    [True, False, False, False, True]
    """
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv4Address):
        return not any(found in network for network in _networks(tuple(_NOT_PUBLIC_4)))
    return found in _networks((_PUBLIC_6,))[0] and not any(found in network for network in _networks(tuple(_NOT_PUBLIC_6)))


def restrict(exceptions: Iterable[str]) -> None:
    """Has this process reach public addresses alone from now on, and what is named as HOST:PORT."""
    global _exceptions
    _exceptions = frozenset((word.rpartition(":")[0].strip("[]"), int(word.rpartition(":")[2])) for word in exceptions if word.rpartition(":")[2].isdecimal())


def restricted() -> bool:
    """Tells whether `restrict` was called: whoever connects has to ask for a `guarded` pool then, and takes no proxy, which would connect for it."""
    return _exceptions is not None


def why(error: BaseException) -> str:
    """Gives a failure in the words of the system, or of the protocol, without the names of a library's objects."""
    inner = error
    while isinstance(below := getattr(inner, "reason", None) or inner.__cause__ or inner.__context__, BaseException):
        inner = below
    if refused := re.search(r"Tunnel connection failed: \d+ (.+)", str(inner)):  # by a proxy
        return refused[1]
    said = getattr(inner, "strerror", None) or str(inner) or type(inner).__name__
    return re.sub(r"\bb'([^']*)'", r"\1", re.sub(r"^HTTPS?Connection(Pool)?\(.*?\): ", "", said))


def port_of(parts: SplitResult) -> int:
    """Gives the port of an address, named or its scheme's own: of http, else of https."""
    return parts.port or {"http": 80}.get(parts.scheme, 443)


def proxy(url: str) -> str:
    """Gives the proxy that the environment names for an address, "" for none: $HTTP_PROXY, $HTTPS_PROXY, and $NO_PROXY with names, addresses and networks, as Go reads them.

    Raises ConnectionError for one that is not spoken.
    """
    parts = urlsplit(url)
    host, port = parts.hostname or "", port_of(parts)
    from urllib.request import getproxies_environment

    if host in ("", "localhost") or _loopback(host) or _excepted(host, port, os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""):
        return ""
    found = getproxies_environment().get(parts.scheme, "")
    found = found if not found or "://" in found else f"http://{found}"
    if found and urlsplit(found).scheme not in ("http", "https"):
        raise ConnectionError(f"a proxy by {urlsplit(found).scheme} is not spoken here")
    return found


def _loopback(host: str) -> bool:
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return False


def _excepted(host: str, port: int, words: str) -> bool:
    """Tells whether $NO_PROXY names a host, in the words of Go's golang.org/x/net/http/httpproxy: `*`, names with all below them, `.name` for these alone, addresses, networks, `:PORT` after each."""
    for word in (each.strip().lower() for each in words.split(",")):
        name, colon, only = word.rpartition(":")
        if not colon or not only.isdecimal() or (":" in name and not name.startswith("[")):
            name, only = word, ""
        if word == "*" or (name and (not only or int(only) == port) and _named(host.lower(), name.strip("[]"))):
            return True
    return False


def _named(host: str, name: str) -> bool:
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host) in ipaddress.ip_network(name, strict=False)
    with contextlib.suppress(ValueError):
        ipaddress.ip_address(host)
        return False  # no name ends like an address
    name = name.removeprefix("*")
    return host.endswith(name) if name.startswith(".") else host == name or host.endswith(f".{name}")


def through(proxy: str, **options: Any) -> urllib3.PoolManager:
    """Gives a pool that reaches everything by way of a proxy; the name and password in its address are told to it alone (RFC 7617)."""
    import urllib3

    parts = urlsplit(proxy)
    login = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}" if parts.username else None
    return urllib3.ProxyManager(parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl(), proxy_headers=urllib3.make_headers(proxy_basic_auth=login), **options)


def _public(host: str, port: int) -> str:
    """Gives the address to connect to; raises OSError where one that the name resolves to is not public."""
    addresses = [str(each[4][0]) for each in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    if not all(is_public(each) for each in addresses):
        raise OSError("an address of a private network")
    return addresses[0]


@functools.cache
def _classes(checked: bool, within: float) -> dict[str, Any]:
    from urllib3.connection import HTTPConnection, HTTPSConnection
    from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
    from urllib3.exceptions import NewConnectionError
    from urllib3.util.connection import create_connection

    class Guarded:
        def _new_conn(self: Any) -> socket.socket:
            try:
                excepted = (self._dns_host, self.port) in (_exceptions or ())
                place = loopback.stand_in(self._dns_host, self.port) if excepted or not checked else ""
                host = _public(self._dns_host, self.port) if checked and not excepted else self._dns_host
                if place:
                    sock = loopback.connected(place, self.timeout)
                else:
                    sock = create_connection((host, self.port), self.timeout, source_address=self.source_address, socket_options=self.socket_options)
            except OSError as error:
                raise NewConnectionError(self, f"{error.strerror or error}") from error
            if within:
                timer = threading.Timer(within, _shut, [sock])  # a timeout of the socket's own begins anew with each byte
                timer.daemon = True
                timer.start()
            return sock

    class Secure(Guarded, HTTPSConnection):
        def connect(self) -> None:
            super().connect()
            self.is_verified = True  # or nobody has to vouch for this host: urllib3 would warn of each connection

    plain, secure = type("Plain", (Guarded, HTTPConnection), {}), Secure
    return {"http": type("PlainPool", (HTTPConnectionPool,), {"ConnectionCls": plain}), "https": type("SecurePool", (HTTPSConnectionPool,), {"ConnectionCls": secure})}


def _shut(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)


def guarded(*, private: bool = False, within: float = 0, **options: Any) -> urllib3.PoolManager:
    """Gives a pool that reaches public addresses alone, or with `private` all, ports that are sockets (`loopback`) as well; with `within` a connection lives so many seconds. It knows no proxy."""
    import urllib3

    pool = urllib3.PoolManager(**{"timeout": urllib3.Timeout(connect=5, read=20), **options})
    if not private or within or loopback.folder():
        pool.pool_classes_by_scheme = _classes(not private, within)
    return pool
