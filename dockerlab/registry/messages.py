"""A request and its answer, as the registry's handlers see them: WSGI (PEP 3333) without its dictionary."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import msgspec

from dockerlab.registry.protocol import refusal

__all__ = ["Answer", "Body", "Request", "Slice"]

_BLOCK = 1 << 20
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)
_CONTENT_RANGE = re.compile(r"(?:bytes )?(\d{1,18})-(\d{1,18})(?:/.*)?", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]|[^\x00-\xff]")


class Request:
    """One request."""

    def __init__(self, environ: Mapping[str, Any]) -> None:
        self.environ = environ
        self.method: str = environ["REQUEST_METHOD"]
        self.path: str = environ.get("PATH_INFO", "")
        self.actor = ""  # who asks, once that is known
        try:
            self.query = dict(parse_qs(environ.get("QUERY_STRING", ""), keep_blank_values=True, max_num_fields=100))
        except ValueError:
            raise refusal("UNSUPPORTED", "too many parameters", status=414) from None

    def header(self, name: str) -> str:
        """Gives a header, or ""."""
        key = name.upper().replace("-", "_")
        return str(self.environ.get(key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}", "") or "")

    def one(self, name: str) -> str:
        """Gives a query parameter, or ""."""
        return str(self.query.get(name, [""])[0])

    @property
    def address(self) -> str:
        """From where."""
        return str(self.environ.get("REMOTE_ADDR", ""))

    @property
    def base(self) -> str:
        """How who asks calls this server: scheme and host, the latter being their word."""
        return f"{self.environ.get('wsgi.url_scheme', 'http')}://{self.header('Host')}"

    @property
    def length(self) -> int | None:
        """The body's length, None where it comes in chunks; raises SIZE_INVALID."""
        text = self.header("Content-Length")
        if text and not re.fullmatch(r"\d{1,18}", text, re.ASCII):
            raise refusal("SIZE_INVALID", text)
        if text:
            return int(text)
        return None if "chunked" in self.header("Transfer-Encoding").lower() else 0

    def read(self, size: int) -> bytes:
        """Gives at most so many bytes of the body; b"" at its end."""
        data: bytes = self.environ["wsgi.input"].read(size)
        return data

    @property
    def chunk(self) -> int | None:
        """Where Content-Range says that the body begins, None where nothing is said; raises RANGE_INVALID."""
        text = self.header("Content-Range")
        if not text:
            return None
        found = _CONTENT_RANGE.fullmatch(text.strip())
        if not found:
            raise refusal("RANGE_INVALID", text[:80], status=400)
        first, last = int(found[1]), int(found[2])
        if self.length is not None and last - first + 1 != self.length and not (self.length == 0 and last == first == 0):
            raise refusal("SIZE_INVALID", {"range": text[:80], "length": self.length})
        return first

    def has(self, tag: str) -> bool:
        """Tells whether who asks has what has this ETag already; RFC 9110, section 13.1.2."""
        known = [word.strip().removeprefix("W/") for word in self.header("If-None-Match").split(",")]
        return tag in known or "*" in known

    def part(self, size: int, tag: str) -> tuple[int, int] | None:
        """Gives (start, length) of the part of a thing of that size and ETag that is asked for, None for all of it; raises RANGE_INVALID. RFC 9110, sections 13.1.5 and 14."""
        text, given = self.header("Range").strip(), self.header("If-Range").strip()
        found = _RANGE.fullmatch(text)
        if not found or not (found[1] or found[2]) or self.method != "GET" or (given and given != tag):
            return None  # several ranges, other units, a part of something else: the whole is a right answer
        first = int(found[1]) if found[1] else max(size - int(found[2]), 0)
        last = min(int(found[2]), size - 1) if found[1] and found[2] else size - 1
        if first > last or first >= size:
            raise refusal("RANGE_INVALID", {"range": text[:80], "size": size})
        return first, last - first + 1


@dataclass(frozen=True, slots=True)
class Slice:
    """A part of a file, sent by sendfile(2) where the server can, else block by block. Opened when the answer is made: a blob that is deleted meanwhile is sent to its end."""

    descriptor: int
    offset: int
    length: int
    after: Callable[[], object] = lambda: None  # called once it was sent, or will not be

    @classmethod
    def of(cls, path: Path, offset: int = 0, length: int | None = None) -> Slice:
        """Opens a file; raises FileNotFoundError."""
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        return cls(descriptor, offset, os.fstat(descriptor).st_size - offset if length is None else length)

    def __iter__(self) -> Iterator[bytes]:
        offset, left = self.offset, self.length
        while left and (block := os.pread(self.descriptor, min(_BLOCK, left), offset)):
            yield block
            offset, left = offset + len(block), left - len(block)

    def close(self) -> None:
        """Closes the file; the server calls it (PEP 3333)."""
        os.close(self.descriptor)
        self.after()


Body = bytes | Slice


@dataclass(slots=True)
class Answer:
    """A status, headers in order, and a body."""

    status: int
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: Body = b""

    @classmethod
    def json(cls, value: object, *headers: tuple[str, str], status: int = 200) -> Answer:
        """Gives a document."""
        return cls(status, [("Content-Type", "application/json"), *headers], msgspec.json.encode(value))

    def header(self, name: str) -> str:
        """Gives a header that was set, or ""."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), "")

    @property
    def size(self) -> int:
        """The body's bytes."""
        return len(self.body) if isinstance(self.body, bytes) else self.body.length

    def send(self, method: str, start_response: Callable[..., object]) -> Iterable[bytes]:
        """Begins the response and gives what is to be sent."""
        # A header must end where it ends, whatever a name or a digest holds.
        headers = [(name, _CONTROL.sub("?", value)) for name, value in self.headers]
        if not self.header("Content-Length") and self.status not in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED):
            headers.append(("Content-Length", str(self.size)))
        start_response(f"{self.status} {HTTPStatus(self.status).phrase}", headers)
        if method == "HEAD":
            if isinstance(self.body, Slice):
                self.body.close()
            return []
        return [self.body] if isinstance(self.body, bytes) else self.body
