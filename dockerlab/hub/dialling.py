"""Requests to addresses that somebody else chose: never to this machine or its neighbours, whatever a name resolves to (OWASP, "Server-Side Request Forgery").

The address that was looked at is the one that is connected to, so that a name which changes its mind in between gains nothing; redirects pass through here too.
"""

from __future__ import annotations

import ipaddress
import socket
from typing import Any

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import NewConnectionError
from urllib3.util.connection import create_connection

__all__ = ["guarded", "is_public"]


def is_public(address: str) -> bool:
    """Tells whether an IP address is one of the whole internet's; IPv4 within IPv6 is looked at as what it is.

    >>> [is_public(each) for each in ("93.184.216.34", "127.0.0.1", "169.254.169.254", "::ffff:10.0.0.1")]
    [True, False, False, False]
    """
    found = ipaddress.ip_address(address.partition("%")[0])
    inner = found.ipv4_mapped or found.sixtofour or (found.teredo[1] if found.teredo else None) if isinstance(found, ipaddress.IPv6Address) else None
    if isinstance(found, ipaddress.IPv6Address) and found in ipaddress.ip_network("64:ff9b::/96"):
        inner = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
    return found.is_global and not found.is_multicast and (inner is None or (inner.is_global and not inner.is_multicast))


class _Guarded:
    def _new_conn(self: Any) -> socket.socket:
        try:
            found = socket.getaddrinfo(self._dns_host, self.port, type=socket.SOCK_STREAM)
            addresses = [str(each[4][0]) for each in found]
            if not all(is_public(each) for each in addresses):
                raise OSError("an address of a private network")
            return create_connection((addresses[0], self.port), self.timeout, source_address=self.source_address, socket_options=self.socket_options)
        except OSError as error:
            raise NewConnectionError(self, f"{error.strerror or error}") from error


class _Plain(_Guarded, HTTPConnection):
    pass


class _Secure(_Guarded, HTTPSConnection):
    pass


class _PlainPool(HTTPConnectionPool):
    ConnectionCls = _Plain


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _Secure


def guarded(*, private: bool = False) -> urllib3.PoolManager:
    """Gives a pool that reaches public addresses alone, or with `private` all. It knows no proxy: a proxy would connect for it."""
    pool = urllib3.PoolManager(timeout=urllib3.Timeout(connect=5, read=20))
    if not private:
        pool.pool_classes_by_scheme = {"http": _PlainPool, "https": _SecurePool}
    return pool
