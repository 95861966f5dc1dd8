"""Word of what happens in a registry, sent to whoever was named: CNCF distribution's notifications ("Work with Notifications", its events of version 1)."""

from __future__ import annotations

import queue
import sys
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import urlsplit

import msgspec

from dockerlab.errors import InvalidArgument
from dockerlab.linux import dialling
from dockerlab.registry.server import Notice

__all__ = ["EVENTS", "Endpoint", "Notifier"]

EVENTS = "application/vnd.docker.distribution.events.v1+json"
_MOST, _TRIES, _PAUSE = 10_000, 5, 1.0


class Endpoint(msgspec.Struct, frozen=True):
    """Where to: an http or https address, and headers that it wants (a secret, perhaps)."""

    url: str
    name: str = ""
    headers: dict[str, list[str] | str] = {}

    @classmethod
    def checked(cls, url: str) -> Endpoint:
        """Gives the endpoint of an address; raises InvalidArgument."""
        if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
            raise InvalidArgument(f"{url}: no address to send notifications to", hint="http://HOST/PATH")
        return cls(url)


class Notifier:
    """Call it with a `Notice`: each endpoint is sent all of them in their order, so that one that takes none keeps no other waiting."""

    def __init__(self, endpoints: Sequence[Endpoint], *, pause: float = _PAUSE) -> None:
        self._lines = [_Line(each, pause) for each in endpoints]

    def __call__(self, notice: Notice) -> None:
        body = _envelope(notice)
        for line in self._lines:
            line.put(body)


@dataclass
class _Line:
    """One endpoint's, in a thread of its own: tried again where it takes nothing, and dropped, with a word on standard error, at last."""

    to: Endpoint
    pause: float
    _waiting: queue.Queue[bytes] = field(default_factory=lambda: queue.Queue(_MOST))
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _thread: threading.Thread | None = None

    def put(self, body: bytes) -> None:
        try:
            self._waiting.put_nowait(body)
        except queue.Full:
            sys.stderr.write(f"notifications: too many are waiting for {self._name}, one was dropped\n")
        with self._lock:
            if self._thread is None or not self._thread.is_alive():  # each process has its own: threads do not outlive fork(2)
                self._thread = threading.Thread(target=self._send, name="notifications", daemon=True)
                self._thread.start()

    @property
    def _name(self) -> str:
        return self.to.name or str(urlsplit(self.to.url).hostname)

    def _send(self) -> None:
        import urllib3

        pool = dialling.guarded(private=True, timeout=urllib3.Timeout(connect=5, read=10), retries=False)
        headers = urllib3.HTTPHeaderDict({"Content-Type": EVENTS})
        for name, value in self.to.headers.items():
            for each in [value] if isinstance(value, str) else value:
                headers.add(name, each)
        while True:
            body, why = self._waiting.get(), "nothing"
            for attempt in range(_TRIES):
                time.sleep(self.pause * 2 ** (attempt - 1) if attempt else 0)
                try:
                    status = pool.request("POST", self.to.url, body=body, headers=headers, redirect=False).status
                    if 200 <= status < 400:
                        break
                    why = f"status {status}"
                except (urllib3.exceptions.HTTPError, OSError) as error:
                    why = type(error).__name__
            else:
                sys.stderr.write(f"notifications: {self._name} took none: {why}\n")


def _envelope(notice: Notice) -> bytes:
    target: dict[str, object] = {"mediaType": notice.media_type, "digest": notice.digest, "size": notice.size, "length": notice.size, "repository": notice.repository}
    if notice.digest:
        kind = "blobs" if notice.media_type in ("", "application/octet-stream") else "manifests"
        target["url"] = f"{notice.base}/v2/{notice.repository}/{kind}/{notice.digest}"
    if notice.tag:
        target["tag"] = notice.tag
    event: Mapping[str, object] = {
        "id": str(uuid.uuid4()), "timestamp": datetime.now(UTC).isoformat().replace("+00:00", "Z"), "action": notice.action, "target": target,
        "request": {"id": str(uuid.uuid4()), "addr": notice.address, "host": notice.base.partition("://")[2], "method": notice.method, "useragent": notice.agent},
        "actor": {"name": notice.actor} if notice.actor else {}, "source": {},
    }  # fmt: skip
    return msgspec.json.encode({"events": [event]})
