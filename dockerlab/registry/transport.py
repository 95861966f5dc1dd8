"""How a request gets to a registry: through a socket (urllib3), or by calling an application of this process."""

from __future__ import annotations

import functools
import io
import os
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import unquote, urlsplit

from dockerlab.errors import RegistryError
from dockerlab.linux import dialling, loopback

if TYPE_CHECKING:
    import urllib3

__all__ = ["Direct", "Reply", "Sockets", "Transport", "unreachable"]

_BLOCK = 1 << 18
_CONNECT = 5.0  # seconds
Stream = Iterable[bytes]


class Reply(Protocol):
    """An answer whose body has yet to be read; a context manager that ends with the connection given back."""

    @property
    def status(self) -> int:
        """The HTTP status."""

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers; names in any case."""

    def blocks(self) -> Iterator[bytes]:
        """Yields the body; raises ConnectionError where it is cut short."""

    def close(self) -> None:
        """Ends it, read or not."""


class Transport(Protocol):
    """Something that carries one request. It follows no redirect and tries nothing again: who asks knows what may be repeated."""

    def send(self, method: str, url: str, headers: Mapping[str, str], body: bytes | Stream | None, *, verify: bool = True, timeout: float = 0) -> Reply:
        """Gives the answer; raises ConnectionError with the reason in its text. A `Stream` comes with a Content-Length among the headers.

        `timeout` bounds the seconds between two bytes, 0 is the transport's own bound.
        """


def unreachable(method: str, url: str, error: BaseException) -> RegistryError:
    """Gives docker's words for a registry that does not answer."""
    parts = urlsplit(url)
    verb = method.capitalize()
    why = _dialled(parts.hostname or "", dialling.port_of(parts), str(error))
    return RegistryError(f'{verb} "{url}": {why}', hint=f"see whether a registry runs at {parts.netloc}, and whether it speaks {parts.scheme}")


def _dialled(host: str, port: int, why: str) -> str:
    if not why.startswith(("connect:", "lookup")):
        return why
    try:
        address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][4][0]
    except OSError:
        return f"dial tcp: lookup {host}: no such host"
    return f"dial tcp {f'[{address}]' if ':' in str(address) else address}:{port}: {why}"


@dataclass(frozen=True, slots=True)
class _Answered:
    reply: Any

    @property
    def status(self) -> int:
        return int(self.reply.status)

    @property
    def headers(self) -> Mapping[str, str]:
        return self.reply.headers  # type: ignore[no-any-return]

    def blocks(self) -> Iterator[bytes]:
        import urllib3.exceptions as trouble

        try:
            while block := self.reply.read(_BLOCK, decode_content=False):
                yield block
        except (trouble.HTTPError, OSError) as error:
            raise ConnectionError(_reason(error)) from error

    def close(self) -> None:
        # What is unread would have to be read before the connection serves another request.
        left = self.reply.length_remaining
        if self.reply._fp is None or self.reply._fp.isclosed():
            self.reply.release_conn()
        elif left is not None and left < _BLOCK:
            self.reply.drain_conn()
        else:
            self.reply.close()


class Sockets:
    """HTTP/1.1 by urllib3, with the environment's proxies; `authorities` gives files of certificates that are trusted besides the system's, once TLS is spoken."""

    def __init__(self, *, timeout: float = 30.0, authorities: Callable[[], Sequence[Path]] = tuple, agent: str = "dockerlab") -> None:
        self._timeout, self._authorities, self._agent = timeout, authorities, agent
        self._pools: dict[tuple[str, bool, bool, str], urllib3.PoolManager] = {}

    @functools.cached_property
    def authorities(self) -> Sequence[Path]:
        """The files of certificates."""
        return self._authorities()

    def _pool(self, proxy: str, secure: bool, verify: bool) -> urllib3.PoolManager:
        import ssl

        import urllib3

        key = proxy, secure, verify, loopback.folder()
        if key not in self._pools:
            context = None  # reading the system's certificates takes longer than a whole push
            if secure or proxy:
                context = ssl.create_default_context() if verify else ssl._create_unverified_context()
                for path in self.authorities if verify else ():
                    context.load_verify_locations(path)
            options: dict[str, Any] = {"ssl_context": context, "maxsize": 8, "blocksize": _BLOCK}
            if dialling.restricted() or (loopback.folder() and not proxy):
                self._pools[key] = dialling.guarded(private=not dialling.restricted(), **options)
                return self._pools[key]
            self._pools[key] = dialling.through(proxy, **options) if proxy else urllib3.PoolManager(**options)
            if secure and not verify:
                self._pools[key].pool_classes_by_scheme = {**self._pools[key].pool_classes_by_scheme, "https": _unverified()}
        return self._pools[key]

    def send(self, method: str, url: str, headers: Mapping[str, str], body: bytes | Stream | None, *, verify: bool = True, timeout: float = 0) -> Reply:
        """See Transport."""
        import urllib3
        import urllib3.exceptions as trouble

        sent = {"User-Agent": self._agent, "Accept-Encoding": "identity", **headers}
        if body is not None and not isinstance(body, bytes):
            body = _file(body)
        try:
            pool = self._pool(dialling.proxy(url), url.startswith("https"), verify)
            bound = urllib3.Timeout(connect=min(timeout or _CONNECT, _CONNECT), read=timeout or self._timeout)
            once = urllib3.Retry(0, read=False, redirect=False)
            reply = pool.urlopen(method, url, headers=sent, body=body, preload_content=False, decode_content=False, redirect=False, timeout=bound, retries=once)
        except (trouble.HTTPError, OSError) as error:
            raise ConnectionError(_reason(error)) from error
        return _Answered(reply)


@functools.cache
def _unverified() -> Any:
    """Connections to hosts of which it was said that any certificate will do: urllib3 would warn of each, where nobody can act on it."""
    from urllib3.connection import HTTPSConnection
    from urllib3.connectionpool import HTTPSConnectionPool

    class Connection(HTTPSConnection):
        def connect(self) -> None:
            super().connect()
            self.is_verified = True

    class Pool(HTTPSConnectionPool):
        ConnectionCls = Connection

    return Pool


def _file(blocks: Stream) -> Any:
    return _Blocks(blocks) if not hasattr(blocks, "read") else blocks


class _Blocks:
    """What http.client sends block by block, with no chunked coding, as the length is told."""

    def __init__(self, blocks: Stream) -> None:
        self._blocks, self._left = iter(blocks), b""

    def read(self, size: int = -1) -> bytes:
        block, self._left = self._left or next(self._blocks, b""), b""
        if 0 <= size < len(block):
            block, self._left = block[:size], block[size:]
        return block


def _reason(error: BaseException) -> str:
    """Gives what Go would say: docker's users know those words."""
    import ssl

    text = str(error)
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, ssl.SSLCertVerificationError):
            return f"x509: certificate cannot be verified: {inner.verify_message}"
        if isinstance(inner, ssl.SSLError):
            return "http: server gave HTTP response to HTTPS client" if "WRONG_VERSION_NUMBER" in str(inner) else f"tls: {inner.reason}"
        if isinstance(inner, OSError) and inner.errno:
            return f"connect: {os.strerror(inner.errno).lower()}"
        inner = inner.__cause__ or inner.__context__ or next((each for each in inner.args if isinstance(each, BaseException)), None) or getattr(inner, "reason", None)
        if not isinstance(inner, BaseException):
            inner = None
    if "timed out" in text:
        return "i/o timeout"
    if "resolve" in text or "Name or service" in text:
        return "lookup: no such host"
    return dialling.why(error)


class _Called:
    """An in-process application's answer."""

    def __init__(self, begun: tuple[int, list[tuple[str, str]]], body: Any) -> None:
        from urllib3 import HTTPHeaderDict

        self._begun, self._body = begun, body
        self._headers = HTTPHeaderDict(begun[1])

    @property
    def status(self) -> int:
        return self._begun[0]

    @property
    def headers(self) -> Mapping[str, str]:
        return self._headers

    def blocks(self) -> Iterator[bytes]:
        yield from self._body

    def close(self) -> None:
        if hasattr(self._body, "close"):
            self._body.close()
            self._body = []


class Direct:
    """Calls WSGI applications by the host that they stand for; other hosts go to `beyond`, or are not reachable."""

    def __init__(self, applications: Mapping[str, Callable[..., Any]], beyond: Transport | None = None) -> None:
        self._applications, self._beyond = dict(applications), beyond

    def send(self, method: str, url: str, headers: Mapping[str, str], body: bytes | Stream | None, *, verify: bool = True, timeout: float = 0) -> Reply:
        """See Transport."""
        parts = urlsplit(url)
        application = self._applications.get(parts.netloc)
        if application is None:
            if self._beyond is None:
                raise ConnectionError("connect: no route to host")
            return self._beyond.send(method, url, headers, body, verify=verify, timeout=timeout)
        source = io.BytesIO(body or b"") if body is None or isinstance(body, bytes) else _file(body)
        environ: dict[str, Any] = {
            "REQUEST_METHOD": method, "PATH_INFO": unquote(parts.path), "QUERY_STRING": parts.query, "SERVER_NAME": parts.hostname, "SERVER_PORT": str(parts.port or 80),
            "SERVER_PROTOCOL": "HTTP/1.1", "wsgi.url_scheme": parts.scheme, "wsgi.input": source, "REMOTE_ADDR": "127.0.0.1", "HTTP_HOST": parts.netloc,
        }  # fmt: skip
        for key, value in headers.items():
            name = key.upper().replace("-", "_")
            environ[name if name in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{name}"] = value
        if isinstance(body, bytes):
            environ.setdefault("CONTENT_LENGTH", str(len(body)))
        begun: list[Any] = []
        result = application(environ, lambda status, told, *_: begun.append((int(status.split()[0]), told)))
        return _Called(begun[0], result)
