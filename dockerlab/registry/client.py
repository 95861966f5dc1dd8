"""A registry, seen by its client (distribution-spec 1.1, and schema 2 as docker sends it)."""

from __future__ import annotations

import contextlib
import hashlib
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlencode, urlsplit

from dockerlab.errors import CorruptContent, Interrupted, RegistryError
from dockerlab.events import Event, HttpExchange
from dockerlab.oci.digest import Digest
from dockerlab.oci.manifest import INDEX, Descriptor, Index
from dockerlab.oci.reference import DEFAULT_REGISTRY
from dockerlab.oci.visible import visible
from dockerlab.registry.authentication import Tokens, Wish, basic, challenges
from dockerlab.registry.keychain import Login
from dockerlab.registry.protocol import DIGEST, INDEXES, MANIFESTS, MAX_MANIFEST, NAME, TAG, decode_errors, media_type
from dockerlab.registry.replies import Counted, Page, beginning, decoded, hidden, is_local, joined, limited, place_of, redacted, same_host, told_header, too_many, trusted
from dockerlab.registry.transport import Reply, Transport, unreachable

__all__ = ["Fetched", "Registry", "about"]

_BLOCK = 1 << 20
_SMALL = 1 << 20  # a blob up to here goes in one PUT
_PIECE = 8 << 20  # of a larger one, once it was cut
_LOST = ("BLOB_UPLOAD_UNKNOWN", "BLOB_UPLOAD_INVALID")
_TRIES, _REDIRECTS = 5, 5
_GREETING = 2.0  # seconds
_NEAR = 0.01  # seconds
_HUB_HOST = "registry-1.docker.io"
_SHOWN = (
    "Location", "Range", "Content-Range", "Content-Type", "Content-Length", "Docker-Content-Digest", "WWW-Authenticate", "OCI-Subject", "Link", "Retry-After", "RateLimit-Limit",
    "RateLimit-Remaining",
)  # fmt: skip
Tell = Callable[[Event], object]
# What the exchanges of this thread are about, in the words of whoever asks.
about: ContextVar[str] = ContextVar("about", default="")


@dataclass(frozen=True, slots=True)
class Fetched:
    """A manifest as it came: its bytes, media type and digest."""

    raw: bytes
    media_type: str
    digest: Digest


class Registry:
    """One registry. `tell` hears every exchange; without it none is noted.

    `insecure`: http, or https with any certificate, will do; `schemes` are tried in this order, by default docker's. `pause` are the seconds before something is tried again, twice as many each time.
    """

    def __init__(
        self, host: str, transport: Transport, *, login: Login | None = None, insecure: bool = False, tell: Tell | None = None, pause: float = 0.2,
        schemes: tuple[str, ...] = (),
    ) -> None:  # fmt: skip
        self.host, self._transport, self._login, self._tell, self._first_pause = host, transport, login, tell, pause
        self.stopped = threading.Event()  # whoever sets it wants nothing to be tried again
        self._insecure = insecure or is_local(host)
        self._schemes = schemes or (("https", "http") if self._insecure else ("https",))  # docker's order
        self._presumed = self._schemes[0] if schemes or len(self._schemes) == 1 else ""
        self._answering = _HUB_HOST if host == DEFAULT_REGISTRY else host
        self._base, self.greeted = "", False
        self.near = False  # it answers at once: threads would take longer than asking it one thing after another
        self._told: list[Any] = []  # the challenges of the last refusal: the next request answers them at once
        self._tokens = Tokens()

    # Asking.

    def _ask(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> tuple[int, Mapping[str, str], bytes]:
        """Asks a server that grants tokens; a password does not leave in the clear because a registry says so."""
        if urlsplit(url).scheme == "http" and self.base.startswith("https") and not (self._insecure or is_local(urlsplit(url).netloc)):
            raise RegistryError("the registry wants the password sent to an address without TLS", code="UNAUTHORIZED", status=401, hint=f"it names {hidden(url)[:100]}")
        with self._sent(method, url, headers, body) as reply:
            return reply.status, reply.headers, limited(reply, 1 << 20)

    @property
    def base(self) -> str:
        """The registry's address, found out with the first request; raises RegistryError."""
        if not self._base:
            self.greet()
        return self._base

    def _found(self) -> str:
        host = self._answering
        failures: dict[str, ConnectionError] = {}
        answers: list[str] = []
        for scheme in self._schemes:
            began = time.perf_counter()
            try:
                # Some servers of http wait for the end of what they take for a line.
                with self._sent("GET", f"{scheme}://{host}/v2/", {}, None, timeout=_GREETING if len(self._schemes) > 1 else 0) as reply:
                    self._told = challenges(reply.headers.get("WWW-Authenticate", ""))
                    self.near = time.perf_counter() - began < _NEAR
                    answers.append(f"{scheme}://{host}")
                    if scheme == "https" or reply.status in (200, 401):
                        break  # else it may be a server of TLS that was spoken to in the clear, or one that leads there
            except ConnectionError as error:
                failures[scheme] = error
        if answers:
            return answers[-1]
        scheme = min(failures)  # docker tries http at last, and tells the last failure
        raise unreachable("GET", f"{scheme}://{host}/v2/", failures[scheme]) from failures[scheme]

    def _lenient(self, url: str) -> bool:
        """Whether any certificate will do: only the registry's own, if it was said of it, or one of this machine."""
        host = urlsplit(url).netloc
        return (self._insecure and host == self.host) or is_local(host)

    @contextlib.contextmanager
    def _sent(self, method: str, url: str, headers: Mapping[str, str], body: Any, timeout: float = 0) -> Iterator[Reply]:
        """One exchange, and the note of it."""
        began, reply, counted, trouble = time.perf_counter(), None, Counted(), ""
        try:
            reply = self._transport.send(method, url, headers, body, verify=not self._lenient(url), timeout=timeout)
            yield counted.around(reply) if self._tell else reply
        except ConnectionError as error:
            trouble = str(error)
            raise
        finally:
            if reply is not None:
                reply.close()
            if self._tell:
                self._note(method, url, headers, reply, time.perf_counter() - began, body, counted.bytes, trouble)

    def _note(self, method: str, url: str, headers: Mapping[str, str], reply: Reply | None, seconds: float, body: Any, received: int, error: str) -> None:
        assert self._tell
        sent = len(body) if isinstance(body, bytes) else int(headers.get("Content-Length", 0)) if body is not None else 0
        answered = {name.lower(): value for name, value in reply.headers.items()} if reply else {}
        shown = tuple((name, told_header(name, answered[name.lower()])) for name in _SHOWN if name.lower() in answered)
        trust = trusted(url, self._lenient(url), self._transport)
        self._tell(HttpExchange(method, hidden(url), reply.status if reply else 0, seconds, sent, received, redacted(headers), shown, error, about.get(), trust))

    @contextlib.contextmanager
    def call(
        self, method: str, path: str, wish: Wish, *, headers: Mapping[str, str] | None = None, body: Callable[[], Any] | None = None,
    ) -> Iterator[Reply]:  # fmt: skip
        """Gives the answer to a request, which one is logged in for where need be; the body is made anew each time. Raises RegistryError for 401 and 429, and where nobody answers."""
        url = joined(f"{self.base}/", path)
        for attempt in range(2):
            sent = dict(headers or {})
            try:
                if self._told and same_host(url, self.base):
                    sent["Authorization"] = self._tokens.answer(self._told, wish.scopes, self._login, self._ask)
                with self._followed(method, url, sent, body() if body else None) as (reply, answered):
                    # What another host asks for is none of its business.
                    if reply.status == 401 and attempt == 0 and same_host(answered, self.base):
                        self._told = challenges(reply.headers.get("WWW-Authenticate", ""))
                        if "Authorization" in sent:
                            self._tokens.forget()
                        if self._told:
                            continue
                    if reply.status in (401, 429):
                        raise self.refused(reply, method, path)
                    yield reply
                    return
            except ConnectionError as error:
                raise unreachable(method, hidden(url), error) from error

    @contextlib.contextmanager
    def _followed(self, method: str, url: str, headers: dict[str, str], body: Any) -> Iterator[tuple[Reply, str]]:
        """Follows redirects of what only reads; gives the answer and whose it is. A secret stays with the host that it is meant for; RFC 9110, section 15.4."""
        for _ in range(_REDIRECTS):
            with self._sent(method, url, headers, body) as reply:
                if reply.status not in (301, 302, 303, 307, 308) or method not in ("GET", "HEAD"):
                    yield reply, url
                    return
                target = joined(url, reply.headers.get("Location", ""))
            if urlsplit(target).scheme not in ("http", "https") or (urlsplit(url).scheme == "https" and urlsplit(target).scheme == "http" and not self._insecure):
                raise ConnectionError(f"redirected to {hidden(target)[:200]}, which is not followed")
            if not same_host(url, target):
                headers.pop("Authorization", None)
            url = target
        raise ConnectionError("stopped after 5 redirects")

    def refused(self, reply: Reply, method: str, path: str) -> RegistryError:
        """Gives what a refusal says, in docker's words."""
        told = decode_errors(beginning(reply, 1 << 16))
        code, message = told[0] if told else ("", "")
        if reply.status == 429:
            return too_many(reply.headers, message)
        told_scope = any(each.parameters.get("error") == "insufficient_scope" for each in challenges(reply.headers.get("WWW-Authenticate", "")))
        if reply.status == 401 and told_scope:  # RFC 6750, section 3.1: who one is is known, and does not suffice
            code, message = "DENIED", "requested access to the resource is denied"
        words = {401: "unauthorized", 403: "denied", 404: "not found"}.get(reply.status, "")
        lowered = code.lower().replace("_", " ")
        text = f"{lowered}: {message}" if code and message else lowered or f"received unexpected HTTP status: {reply.status} {words}".strip()
        denied = reply.status == 401 or (reply.status == 403 and message in ("", "requested access to the resource is denied"))
        hint = "docker login, with the registry's name" if denied else ""
        return RegistryError(text, code=code, status=reply.status, hint=hint)

    def _wait(self, attempt: int) -> None:
        if self.stopped.wait(self._first_pause * 2**attempt):
            raise Interrupted("the transfer was stopped")

    # What the specification has.

    def ping(self) -> None:
        """end-1; raises RegistryError where one may not enter."""
        with self.call("GET", "/v2/", Wish()) as reply:
            if reply.status >= 400:
                raise self.refused(reply, "GET", "/v2/")

    def greet(self) -> None:
        """Finds out where the registry is and what it wants to know, once, before several threads ask at the same time. Raises RegistryError where nobody answers."""
        if not self.greeted:
            self._base, self.greeted = self._found(), True

    def presume(self) -> None:
        """Takes it that the registry answers as it did last time, or as it only can, until it is greeted: who asks for what it should have needs no other sign of it."""
        if self._presumed and not self._base:
            self._base = f"{self._presumed}://{self._answering}"

    def manifest(self, name: str, reference: str, *, head: bool = False, strict: bool = False, push: bool = False) -> Fetched | None:
        """Gives a manifest, verified, or None where there is none (with `strict` the registry's refusal is raised); end-3. With `head` its bytes are left out."""
        wish, path = _wish(name, push=push), f"/v2/{name}/manifests/{reference}"
        with self.call("HEAD" if head else "GET", path, wish, headers={"Accept": ", ".join(MANIFESTS)}) as reply:
            if reply.status == 404 and not strict:
                return None
            if reply.status != 200:
                raise self.refused(reply, "GET", path)
            kind = reply.headers.get("Content-Type", "").partition(";")[0].strip()
            told = reply.headers.get("Docker-Content-Digest", "")
            if head:
                return Fetched(b"", kind, Digest(told if re.fullmatch(DIGEST, told) else ""))
            raw = limited(reply, MAX_MANIFEST)
        wanted = reference if ":" in reference else told
        algorithm = wanted.partition(":")[0] if wanted.startswith("sha512:") else "sha256"
        digest = f"{algorithm}:{hashlib.new(algorithm, raw).hexdigest()}"
        if wanted and wanted != digest:
            why, hint = f"the manifest is not what its digest says: {visible(wanted)[:80]}", "try again; if it stays so, the registry is damaged"
            raise CorruptContent(why, expected=visible(wanted)[:160], actual=digest, hint=hint)
        said = media_type(raw)
        if kind in MANIFESTS and (not said or (said in INDEXES) != (kind in INDEXES)):
            raise CorruptContent(f"{digest[:19]} is called {kind}, and is something else", hint="an image and an index in one: whoever made it wants two readers to see two things")
        return Fetched(raw, kind, Digest(digest))

    def put_manifest(self, name: str, reference: str, raw: bytes, media_type: str) -> str:
        """Pushes a manifest and gives the digest that the registry says it has; end-7."""
        path, headers = f"/v2/{name}/manifests/{reference}", {"Content-Type": media_type, "Content-Length": str(len(raw))}
        with self.call("PUT", path, Wish(name, ("pull", "push")), headers=headers, body=lambda: raw) as reply:
            if reply.status not in (200, 201, 202):
                raise self.refused(reply, "PUT", path)
            return reply.headers.get("Docker-Content-Digest", "")

    def has_blob(self, name: str, digest: str, *, push: bool = False) -> int | None:
        """Gives a blob's size there, None where it is not; end-2."""
        with self.call("HEAD", f"/v2/{name}/blobs/{digest}", _wish(name, push=push)) as reply:
            if reply.status == 200:
                length = reply.headers.get("Content-Length", "")
                return int(length) if re.fullmatch(r"[0-9]{1,18}", length) else 0
            if reply.status in (404, 405):
                return None
            raise self.refused(reply, "HEAD", digest)

    def begin(self, name: str, *, mount: str = "", source: str = "") -> str:
        """Begins an upload and gives its address; "" where the blob was mounted from another repository instead: end-4a, end-11."""
        words = f"?{urlencode({'mount': mount, 'from': source})}" if mount else ""
        path = f"/v2/{name}/blobs/uploads/{words}"
        with self.call("POST", path, Wish(name, ("pull", "push"), source), headers={"Content-Length": "0"}, body=lambda: b"") as reply:
            if reply.status == 201 and mount:
                return ""
            if reply.status != 202:
                raise self.refused(reply, "POST", path)
            return place_of(self.base, reply)

    def upload(self, name: str, digest: str, size: int, opened: Callable[[], BinaryIO], *, place: str = "", progress: Callable[[int], object] | None = None) -> None:
        """Uploads a blob, in one PUT where it is small, else by PATCH; end-5, end-6, end-13.

        After a cut it goes on where the registry says it stands, in pieces that are less to lose, and begins anew where the registry knows no more of it.
        """
        place = place or self.begin(name)
        wish = Wish(name, ("pull", "push"))
        if size <= _SMALL:
            self._finished(wish, place, digest, opened, size, progress)
            return
        have = best = attempt = 0
        piece = size
        while have < size:
            try:
                place = self._patched(wish, place, opened, have, min(have + piece, size), progress)
                have += min(piece, size - have)
            except RegistryError as error:
                lost = error.code in _LOST
                if (error.status not in (0, 416, 500, 502, 503, 504) and not (lost and attempt)) or attempt == _TRIES - 1:
                    raise
                self._wait(attempt)
                attempt, piece = attempt + 1, _PIECE
                place, have = ("", 0) if lost else self._standing(wish, place)
                place = place or self.begin(name)
                if have > best:  # as long as something gets through, it is worth going on
                    attempt, best = 1, have
        self._finished(wish, place, digest, None, 0, None)

    def _patched(self, wish: Wish, place: str, opened: Callable[[], BinaryIO], have: int, end: int, progress: Callable[[int], object] | None) -> str:
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(end - have), "Content-Range": f"{have}-{end - 1}"}
        with self.call("PATCH", place, wish, headers=headers, body=lambda: _read(opened, have, progress, end)) as reply:
            if reply.status not in (202, 204):
                raise self.refused(reply, "PATCH", place)
            return place_of(place, reply)

    def _standing(self, wish: Wish, place: str) -> tuple[str, int]:
        """Gives where an upload goes on, "" where the registry knows no more of it, and how much of it has come."""
        with self.call("GET", place, wish) as reply:
            if reply.status not in (202, 204):
                error = self.refused(reply, "GET", place)
                if error.code in _LOST:
                    return "", 0
                raise error
            found = re.fullmatch(r"(?:bytes=)?0-(\d+)", reply.headers.get("Range", ""))
            last = int(found[1]) if found else 0
            # "0-0" is said for one byte and for none: the one is sent again, and its range tells which it was.
            return place_of(place, reply), last + 1 if last else 0

    def _finished(self, wish: Wish, place: str, digest: str, opened: Callable[[], BinaryIO] | None, size: int, progress: Callable[[int], object] | None) -> None:
        url = f"{place}{'&' if '?' in place else '?'}{urlencode({'digest': digest})}"
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
        body: Callable[[], Any] = (lambda: _read(opened, 0, progress, size)) if opened and size else lambda: b""
        with self.call("PUT", url, wish, headers=headers, body=body) as reply:
            if reply.status not in (201, 204):
                raise self.refused(reply, "PUT", url)

    def download(self, name: str, digest: str, size: int, target: Path, *, progress: Callable[[int], object] | None = None) -> None:
        """Writes a blob to a file, verified while it comes; after a cut it goes on from there (RFC 9110, section 14). Raises RegistryError, CorruptContent."""
        state = hashlib.new(digest.partition(":")[0])
        have, path = 0, f"/v2/{name}/blobs/{digest}"
        with open(target, "wb", buffering=0) as file:
            for attempt in range(_TRIES):
                headers = {"Range": f"bytes={have}-"} if have else {}
                try:
                    with self.call("GET", path, Wish(name), headers=headers) as reply:
                        if reply.status not in (200, 206):
                            raise self.refused(reply, "GET", path)
                        if have and reply.status == 200:  # a server that knows no ranges begins anew
                            have, state = 0, hashlib.new(digest.partition(":")[0])
                            file.seek(0)
                            file.truncate()
                        for block in reply.blocks():
                            have += len(block)
                            if have > size:
                                raise CorruptContent(f"{digest[:19]} is longer than its descriptor says", expected=str(size), hint="the registry is damaged, or lies")
                            state.update(block)
                            file.write(block)
                            if progress:
                                progress(have)
                    if have == size:
                        break
                    raise RegistryError(f"{digest[:19]} was cut short: {have} of {size} bytes", status=0, hint="try again")
                except RegistryError as error:
                    if error.status not in (0, 500, 502, 503, 504) or attempt == _TRIES - 1:
                        raise
                    self._wait(attempt)
        if f"{digest.partition(':')[0]}:{state.hexdigest()}" != digest:
            raise CorruptContent(f"filesystem layer verification failed for digest {digest}", expected=digest, actual=state.hexdigest(), hint="try again; if it stays so, the registry is damaged")

    def blob(self, name: str, digest: str, limit: int) -> bytes:
        """Gives a short blob, verified; raises RegistryError, CorruptContent."""
        path = f"/v2/{name}/blobs/{digest}"
        with self.call("GET", path, Wish(name)) as reply:
            if reply.status != 200:
                raise self.refused(reply, "GET", path)
            raw = limited(reply, limit)
        if f"{digest.partition(':')[0]}:{hashlib.new(digest.partition(':')[0], raw).hexdigest()}" != digest:
            raise CorruptContent(f"blob {digest[:19]} is not what its digest says", expected=digest)
        return raw

    def delete_manifest(self, name: str, reference: str) -> None:
        """Takes a tag away, or by digest a manifest with all its tags; end-9."""
        path = f"/v2/{name}/manifests/{reference}"
        with self.call("DELETE", path, Wish(name, ("pull", "delete"))) as reply:
            if reply.status not in (202, 204):
                raise self.refused(reply, "DELETE", path)

    def tags(self, name: str) -> list[str]:
        """Gives all tags, page by page; end-8. Raises NotFound's like as RegistryError with status 404."""
        return [tag for page in self._pages(f"/v2/{name}/tags/list", Wish(name)) for tag in page.tags or () if re.fullmatch(TAG, tag)]

    def catalog(self) -> list[str]:
        """Gives all repositories, where the registry tells them."""
        return [name for page in self._pages("/v2/_catalog", Wish()) for name in page.repositories or () if re.fullmatch(NAME, name)]

    def _pages(self, path: str, wish: Wish) -> Iterator[Page]:
        for _ in range(200):
            with self.call("GET", path, wish) as reply:
                if reply.status != 200:
                    raise self.refused(reply, "GET", path)
                page, link = decoded(limited(reply, 16 << 20), Page), reply.headers.get("Link", "")
            yield page
            found = re.match(r'\s*<([^>]+)>\s*;\s*rel="?next"?', link)
            if not found:
                return
            path = found[1]

    def search(self, words: str, limit: int) -> bytes:
        """Gives the answer of the first protocol's search, which knows Basic alone; raises RegistryError."""
        headers = {"Authorization": f"Basic {basic(self._login)}"} if self._login and self._login.password else {}
        url = f"{self.base}/v1/search?{urlencode({'q': words, 'n': limit})}"
        try:
            status, _, body = self._ask("GET", url, headers, None)
        except ConnectionError as error:
            raise unreachable("GET", url, error) from error
        if status != 200:
            raise RegistryError(f"Unexpected status code {status}", status=status, hint=f"{self.host} may know no search: most registries do not")
        return body

    def referrers(self, name: str, digest: str) -> tuple[Descriptor, ...]:
        """Gives what has a manifest as its subject, by the API or by the tag that stands in for it; end-12a, "Referrers Tag Schema"."""
        path = f"/v2/{name}/referrers/{digest}"
        with self.call("GET", path, Wish(name), headers={"Accept": INDEX}) as reply:
            if reply.status == 200:
                return Index.decode(limited(reply, MAX_MANIFEST)).manifests
            if reply.status != 404:
                raise self.refused(reply, "GET", path)
        fetched = self.manifest(name, digest.replace(":", "-", 1)[:104])
        return Index.decode(fetched.raw).manifests if fetched and fetched.media_type == INDEX else ()


def _wish(name: str, *, push: bool) -> Wish:
    """Gives the scope of a question that stands before a push, or of one by itself: a token is asked for once."""
    return Wish(name, ("pull", "push")) if push else Wish(name)


def _read(opened: Callable[[], BinaryIO], start: int, progress: Callable[[int], object] | None, end: int) -> Iterator[bytes]:
    with opened() as file:
        file.seek(start)
        done = start
        while block := file.read(min(_BLOCK, end - done)):
            done += len(block)
            if progress:
                progress(done)
            yield block
