"""What a registry answers, read with care: bounded, decoded, and without what nobody else should see."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar
from urllib.parse import urljoin, urlsplit

import msgspec

from dockerlab.errors import CorruptContent, RegistryError
from dockerlab.oci.visible import visible
from dockerlab.registry.transport import Reply, Transport

__all__ = ["Counted", "Page", "beginning", "decoded", "hidden", "is_local", "joined", "limited", "place_of", "redacted", "same_host", "told_header", "too_many", "trusted"]

T = TypeVar("T")


class Page(msgspec.Struct):
    tags: list[str] | None = None
    repositories: list[str] | None = None


class Counted:
    """Counts what is read of an answer."""

    def __init__(self) -> None:
        self.bytes = 0
        self._reply: Any = None

    def around(self, reply: Reply) -> Any:
        self._reply, self.status, self.headers = reply, reply.status, reply.headers
        return self

    def blocks(self) -> Iterator[bytes]:
        for block in self._reply.blocks():
            self.bytes += len(block)
            yield block

    def close(self) -> None:
        pass


def is_local(host: str) -> bool:
    """Tells whether docker would speak http with it unasked: this machine."""
    name = urlsplit(f"//{host}").hostname or ""
    return name == "localhost" or name == "::1" or bool(re.fullmatch(r"127(\.\d{1,3}){3}", name))


def same_host(one: str, other: str) -> bool:
    first, second = urlsplit(one), urlsplit(other)
    return (first.scheme, first.netloc) == (second.scheme, second.netloc)


def place_of(base: str, reply: Reply) -> str:
    return joined(base, reply.headers.get("Location", ""))


def limited(reply: Reply, limit: int) -> bytes:
    blocks, size = [], 0
    for block in reply.blocks():
        size += len(block)
        if size > limit:
            raise CorruptContent(f"the registry's answer is longer than {limit} bytes", hint="it is not a document of the protocol")
        blocks.append(block)
    return b"".join(blocks)


def beginning(reply: Reply, limit: int) -> bytes:
    """Gives the first bytes of a body: an error's page may be of any length."""
    blocks, size = [], 0
    for block in reply.blocks():
        blocks.append(block)
        size += len(block)
        if size >= limit:
            break
    return b"".join(blocks)[:limit]


def joined(base: str, place: str) -> str:
    try:
        url = urljoin(base, place)
        _ = urlsplit(url).port
    except ValueError as error:
        raise RegistryError(f"the registry named an address that is none: {visible(place)[:100]}") from error
    return url


def decoded(raw: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RegistryError(f"the registry's answer cannot be read: {error}") from error


def too_many(headers: Mapping[str, str], message: str) -> RegistryError:
    """Gives a refusal of status 429, with when to come back."""
    wait = headers.get("Retry-After", "")
    when = f"come back in {wait[:12]} seconds" if wait.isdecimal() else f"come back at {visible(wait)[:40]}" if wait else "come back later"
    limit = headers.get("RateLimit-Limit", "").partition(";")[0]
    allowed, more = (f" (allowed are {limit} pulls in a window)", ", log in for a higher limit, or set a mirror") if re.fullmatch("[0-9]{1,9}", limit) else ("", "")
    return RegistryError(f"toomanyrequests: {message or 'too many requests'}{allowed}", code="TOOMANYREQUESTS", status=429, hint=f"{when}{more}")


def hidden(url: str) -> str:
    """Gives an address without what would let its reader in: in place of passwords, signatures and tokens stand variables, and no other `$` is left."""
    parts = urlsplit(url.replace("$", "%24"))
    host = parts.netloc.rpartition("@")[2]
    query = "&".join(each if re.match(r"(digest|mount|from|n|last|service|scope|account|tag|artifactType)=", each) else _variable(each) for each in parts.query.split("&") if each)
    return f"{parts.scheme}://{host}{parts.path}{'?' if query else ''}{query}"


def _variable(parameter: str) -> str:
    name = parameter.partition("=")[0]
    return f"{name}=${re.sub('[^A-Z0-9]+', '_', name.upper()).strip('_0123456789') or 'HIDDEN'}"


def trusted(url: str, lenient: bool, transport: Transport) -> str:
    """Gives whose certificates were believed, as an exchange tells it."""
    if not url.startswith("https"):
        return ""
    if lenient:
        return "any"
    files = getattr(transport, "authorities", ())
    return str(files[0]) if files else ""


def told_header(name: str, value: str) -> str:
    """Gives an answer's header as it may be shown: an address may hold a signature that opens what it leads to."""
    if name != "Location":
        return visible(value)[:300]
    with contextlib.suppress(ValueError):
        return visible(hidden(value) if "://" in value else hidden(f"http://x{value}").removeprefix("http://x"))[:300]
    return "…"


def redacted(headers: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    shown = {"Authorization": lambda value: f"{value.partition(' ')[0]} {'$TOKEN' if value.startswith('Bearer') else '$LOGIN'}"}
    return tuple((name, shown[name](value) if name in shown else value) for name, value in headers.items() if name != "User-Agent")


