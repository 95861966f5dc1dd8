"""A registry: one WSGI application, the whole of distribution-spec 1.1, to be read as a lesson.

A push is some HEADs (do you have this blob?), for each missing one a POST (I begin), PATCHes (a chunk), a PUT (that was all, and this is its digest), and at
last a PUT of the manifest under a tag. A pull is a GET of the manifest and one of each blob. Everything else here is lists and deletions.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol
from urllib.parse import quote, urlencode

import msgspec

from dockerlab.errors import RegistryError
from dockerlab.oci.manifest import INDEX
from dockerlab.registry.messages import Answer, Request, Slice
from dockerlab.registry.protocol import DIGEST, MANIFESTS, MAX_MANIFEST, NAME, TAG, encode_error, media_type, refusal
from dockerlab.registry.storage import Repository, Storage, descriptors, subject_of
from dockerlab.registry.uploads import Upload, Uploads

__all__ = ["Access", "Notice", "RegistryApp"]

_PAGE = 1000  # names in a list, where not fewer are asked for
_DRAINED = 8 << 20  # bytes of a refused body that are read, so that its sender reads the answer


class Access(Protocol):
    """Who may do what."""

    def check(self, request: Request, name: str, action: str) -> str:
        """Gives the user's name, "" for nobody in particular; raises UNAUTHORIZED (with `challenge` among its facts) or DENIED.

        `name` is "" for what belongs to no repository; `action` is pull, push, delete or "*".
        """

    def challenge(self, request: Request, name: str, action: str) -> str:
        """Gives the WWW-Authenticate header for who is not known."""


@dataclass(frozen=True, slots=True)
class Notice:
    """What happened in a repository: action is push, pull, mount or delete. `address`, `agent`, `method` and `base` (scheme and host) tell of the request."""

    action: str
    repository: str
    digest: str
    media_type: str = ""
    tag: str = ""
    size: int = 0
    actor: str = ""
    address: str = ""
    agent: str = ""
    method: str = ""
    base: str = ""


class RegistryApp:
    """The application: call it as PEP 3333 says.

    `access` may refuse; `told` hears what happened (`Notice`), `log` is given a line's facts for each request.
    """

    def __init__(
        self, storage: Storage, *, access: Access | None = None, read_only: bool = False,
        told: Callable[[Notice], object] | None = None, log: Callable[[Mapping[str, Any]], object] | None = None,
    ) -> None:  # fmt: skip
        self.storage, self.access, self.read_only, self._told, self._log = storage, access, read_only, told, log
        self._routes = [(re.compile(path), handlers) for path, handlers in self._table()]

    def _table(self) -> list[tuple[str, dict[str, Callable[..., Answer]]]]:
        return [
            (r"/v2/?", {"GET": self.base}),
            (rf"/v2/(?P<name>{NAME})/manifests/(?P<reference>[^/]+)", {"GET": self.get_manifest, "PUT": self.put_manifest, "DELETE": self.delete_manifest}),
            (rf"/v2/(?P<name>{NAME})/blobs/(?P<digest>[^/]+:[^/]+)", {"GET": self.get_blob, "DELETE": self.delete_blob}),
            (rf"/v2/(?P<name>{NAME})/blobs/uploads/?", {"POST": self.begin}),
            (
                rf"/v2/(?P<name>{NAME})/blobs/uploads/(?P<ident>[^/]+)",
                {"GET": self.progress, "PATCH": self.chunk, "PUT": self.finish, "DELETE": self.cancel},
            ),
            (rf"/v2/(?P<name>{NAME})/tags/list", {"GET": self.tags}),
            (rf"/v2/(?P<name>{NAME})/referrers/(?P<digest>[^/]+)", {"GET": self.referrers}),
            (r"/v2/_catalog", {"GET": self.catalog}),
            (r"/healthz", {"GET": self.health}),
        ]

    def __call__(self, environ: Mapping[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
        began, request = time.perf_counter(), None
        try:
            request = Request(environ)
            answer = self._answer(request)
        except RegistryError as error:
            answer = self._refused(request, error)
        except Exception:
            traceback.print_exc()
            answer = Answer(500, [("Content-Type", "application/json")], b'{"errors":[{"code":"UNKNOWN","message":"the registry has failed; its log says how"}]}')
        answer.headers.append(("Docker-Distribution-Api-Version", "registry/2.0"))
        answer.headers.append(("X-Content-Type-Options", "nosniff"))
        done = partial(self._logged, environ, answer.status, answer.size, began, request.actor if request else "")
        if isinstance(answer.body, Slice):
            answer.body = replace(answer.body, after=done)  # what takes time is still to come
        else:
            done()
        return answer.send(environ["REQUEST_METHOD"], start_response)

    def _logged(self, environ: Mapping[str, Any], status: int, size: int, began: float, user: str) -> None:
        if not self._log:
            return
        path, agent = environ.get("PATH_INFO", ""), str(environ.get("HTTP_USER_AGENT", ""))[:200]
        facts = {"method": environ["REQUEST_METHOD"], "path": path, "status": status, "bytes": size, "seconds": round(time.perf_counter() - began, 6), "user": user}
        with contextlib.suppress(OSError):  # who reads the log is gone: that is no reason to serve nobody
            self._log(facts | {"remote": environ.get("REMOTE_ADDR", ""), "agent": agent})

    def _answer(self, request: Request) -> Answer:
        method = "GET" if request.method == "HEAD" else request.method
        for pattern, handlers in self._routes:
            if found := pattern.fullmatch(request.path):
                if len(found.groupdict().get("name") or "") > 255:
                    raise refusal("NAME_INVALID", found["name"][:300])
                if method not in handlers:
                    raise refusal("UNSUPPORTED", {"allowed": ["HEAD", *handlers] if "GET" in handlers else list(handlers)})
                return self._allowed(request, handlers[method], found.groupdict())
        if re.match(r"/v2/.+/(manifests|blobs|tags|referrers)/", request.path):
            raise refusal("NAME_INVALID", request.path[:300])
        return Answer(404)

    def _allowed(self, request: Request, handler: Callable[..., Answer], words: dict[str, str]) -> Answer:
        action = {"GET": "pull", "HEAD": "pull", "DELETE": "delete"}.get(request.method, "push")
        if handler == self.health:
            return handler(request)
        if self.read_only and action != "pull":
            raise refusal("UNSUPPORTED", message="the registry is read-only")
        if self.access:
            name, wanted = words.get("name", ""), "*" if handler == self.catalog else action
            request.actor = self.access.check(request, name, "push" if handler == self.progress else wanted)
        if "name" in words:
            return handler(request, self.storage.repository(words.pop("name")), **words)
        return handler(request)

    def _refused(self, request: Request | None, error: RegistryError) -> Answer:
        if request is None:
            return Answer(error.status, [("Content-Type", "application/json")], encode_error(error))
        # A sender who is still sending when the connection closes may never read why.
        with contextlib.suppress(Exception):
            left = _DRAINED
            while left > 0 and (block := request.read(min(left, 1 << 16))):
                left -= len(block)
        headers = [("Content-Type", "application/json")]
        facts = error.detail if isinstance(error.detail, dict) else {}
        if "have" in facts:
            headers.append(("Range", f"0-{max(facts['have'] - 1, 0)}"))
        if error.status == 416 and "size" in facts:
            headers.append(("Content-Range", f"bytes */{facts['size']}"))
        if "allowed" in facts:
            headers.append(("Allow", ", ".join(facts["allowed"])))
        if error.code == "UNAUTHORIZED" and self.access:
            name = request.path.removeprefix("/v2/").partition("/manifests/")[0].partition("/blobs/")[0].partition("/tags/")[0].partition("/referrers/")[0]
            action = "pull" if request.method in ("GET", "HEAD") else "delete" if request.method == "DELETE" else "pull,push"
            headers.append(("WWW-Authenticate", self.access.challenge(request, name if re.fullmatch(NAME, name) else "", action)))
        return Answer(error.status or 400, headers, encode_error(error))

    def _tell(self, request: Request, action: str, repository: Repository, digest: str, **facts: Any) -> None:
        if self._told:
            agent = request.header("User-Agent")[:200]
            self._told(Notice(action, repository.name, digest, actor=request.actor, address=request.address, agent=agent, method=request.method, base=request.base, **facts))

    # Finding out.

    def base(self, request: Request) -> Answer:
        """end-1: this is a registry, and you may use it."""
        return Answer.json({})

    def health(self, request: Request) -> Answer:
        """Whether the disk can be read and, unless read-only, written."""
        with contextlib.suppress(OSError, RegistryError):
            if not self.read_only:
                with self.storage.writing():
                    pass
            return Answer.json({"status": "ok"})
        return Answer.json({"status": "the disk cannot be written"}, status=503)

    def tags(self, request: Request, repository: Repository) -> Answer:
        """end-8a, end-8b."""
        if not repository.exists():
            raise refusal("NAME_UNKNOWN", {"name": repository.name})
        page, link = _page(request, repository.tags())
        return Answer.json({"name": repository.name, "tags": page}, *link)

    def catalog(self, request: Request) -> Answer:
        """Not in the specification, but in every registry: the repositories."""
        page, link = _page(request, self.storage.repositories())
        return Answer.json({"repositories": page}, *link)

    def referrers(self, request: Request, repository: Repository, digest: str) -> Answer:
        """end-12a, end-12b: what has this manifest as its subject."""
        _digest(digest)
        found, headers = repository.referrers(digest), [("Content-Type", INDEX)]
        if kind := request.one("artifactType"):
            found = [each for each in found if each.artifact_type == kind]
            headers.append(("OCI-Filters-Applied", "artifactType"))
        body = msgspec.json.encode({"schemaVersion": 2, "mediaType": INDEX, "manifests": found})
        return Answer(200, headers, body)

    # Manifests.

    def get_manifest(self, request: Request, repository: Repository, reference: str) -> Answer:
        """end-3."""
        digest = repository.digest_of(_reference(reference))
        raw = repository.manifest(digest) if digest else None
        if raw is None or (":" in reference and repository.asked(digest) is None):
            raise refusal("MANIFEST_UNKNOWN" if repository.exists() else "NAME_UNKNOWN", {"name": repository.name, "reference": reference})
        headers = [("Content-Type", media_type(raw)), ("Docker-Content-Digest", digest), ("ETag", f'"{digest}"')]
        if request.has(f'"{digest}"'):
            return Answer(304, headers)
        if request.method == "GET":
            self._tell(request, "pull", repository, digest, media_type=media_type(raw), tag=reference if reference != digest else "", size=len(raw))
        return Answer(200, headers, raw)

    def put_manifest(self, request: Request, repository: Repository, reference: str) -> Answer:
        """end-7a, end-7b."""
        _reference(reference)
        raw = _whole(request, MAX_MANIFEST)
        algorithm = reference.partition(":")[0] if ":" in reference else "sha256"
        digest = f"{algorithm}:{hashlib.new(algorithm, raw).hexdigest()}"
        if ":" in reference and digest != reference:
            raise refusal("DIGEST_INVALID", {"expected": reference, "actual": digest})
        tags = tuple(request.query.get("tag", [])) if ":" in reference else (reference,)
        for tag in tags:
            if not re.fullmatch(TAG, tag):
                raise refusal("TAG_INVALID", tag[:200])
        with self.storage.writing():  # no blob goes between the look at it and the manifest that needs it
            self._checked(repository, raw, request.header("Content-Type").partition(";")[0].strip())
            repository.put_manifest(digest, raw, tags)
        headers = [("Location", f"/v2/{repository.name}/manifests/{digest}"), ("Docker-Content-Digest", digest)]
        if tags and ":" in reference:
            headers.append(("OCI-Tag", ", ".join(tags)))
        if subject := subject_of(raw, digest)[0]:
            headers.append(("OCI-Subject", subject))
        self._tell(request, "push", repository, digest, media_type=media_type(raw), tag=tags[0] if tags else "", size=len(raw))
        return Answer(201, headers)

    @staticmethod
    def _checked(repository: Repository, raw: bytes, told: str) -> None:
        kind = media_type(raw)
        if kind not in MANIFESTS:
            raise refusal("MANIFEST_INVALID", message="not a manifest that is known here: schema 2, OCI manifest, or an index of them")
        if told and told != kind:
            raise refusal("MANIFEST_INVALID", {"Content-Type": told[:200], "mediaType": kind})
        try:
            pointed, subject = descriptors(raw), subject_of(raw, "", strict=True)[0]
        except ValueError as error:
            raise refusal("MANIFEST_INVALID", str(error)[:200]) from error
        if subject and not re.fullmatch(DIGEST, subject):
            raise refusal("MANIFEST_INVALID", {"subject": subject[:200]})
        for each in pointed:
            if not re.fullmatch(DIGEST, each.digest):
                raise refusal("MANIFEST_INVALID", {"digest": each.digest[:200]})
            place = repository.has(each.digest)
            if place:
                os.utime(place)  # wanted again: no garbage for the next hour
            elif not each.foreign:
                raise refusal("MANIFEST_BLOB_UNKNOWN", {"digest": each.digest})

    def delete_manifest(self, request: Request, repository: Repository, reference: str) -> Answer:
        """end-9: by tag the tag alone, by digest the manifest with all its tags."""
        _reference(reference)
        gone = repository.forget_manifest(reference) if ":" in reference else repository.forget_tag(reference)
        if not gone:
            raise refusal("MANIFEST_UNKNOWN" if repository.exists() else "NAME_UNKNOWN", {"name": repository.name, "reference": reference})
        self._tell(request, "delete", repository, reference if ":" in reference else "", tag="" if ":" in reference else reference)
        return Answer(202)

    # Blobs.

    def get_blob(self, request: Request, repository: Repository, digest: str) -> Answer:
        """end-2, with ranges (RFC 9110, section 14)."""
        place = repository.asked(_digest(digest))
        headers = [("Content-Type", "application/octet-stream"), ("Docker-Content-Digest", digest), ("ETag", f'"{digest}"')]
        headers += [("Accept-Ranges", "bytes"), ("Cache-Control", "max-age=31536000, immutable")]
        try:
            if place is None:
                raise FileNotFoundError
            if request.has(f'"{digest}"'):
                return Answer(304, headers[1:])
            size = place.stat().st_size
            part = request.part(size, f'"{digest}"')
            body = Slice.of(place, *part) if part else Slice.of(place)
        except FileNotFoundError:
            raise refusal("BLOB_UNKNOWN", {"digest": digest}) from None
        if part:
            headers.append(("Content-Range", f"bytes {part[0]}-{part[0] + part[1] - 1}/{size}"))
        return Answer(206 if part else 200, headers, body)

    def delete_blob(self, request: Request, repository: Repository, digest: str) -> Answer:
        """end-10: out of this repository; the collection of garbage frees the disk."""
        if not repository.forget_blob(_digest(digest)):
            raise refusal("BLOB_UNKNOWN", {"digest": digest})
        self._tell(request, "delete", repository, digest)
        return Answer(202)

    # Uploads.

    def begin(self, request: Request, repository: Repository) -> Answer:
        """end-4a, end-4b, end-4c, and end-11: a blob that another repository has need not travel."""
        if (mount := request.one("mount")) and self._mounted(request, repository, mount):
            self._tell(request, "mount", repository, mount)
            return _created(repository, mount)
        digest = request.one("digest")
        mounting = mount.partition(":")[0] if re.fullmatch(DIGEST, mount) else ""
        algorithm = _digest(digest).partition(":")[0] if digest else request.one("digest-algorithm") or mounting or "sha256"
        upload = Uploads(repository).begin(algorithm)
        if not digest:
            return _accepted(upload, 0)
        try:
            upload.append(request.read, length=request.length)
            return self._ended(request, upload, digest)
        except BaseException:
            with contextlib.suppress(RegistryError):
                upload.cancel()  # nobody was told its address
            raise

    def _mounted(self, request: Request, repository: Repository, digest: str) -> bool:
        source = request.one("from")
        if not re.fullmatch(DIGEST, digest) or (source and not re.fullmatch(NAME, source)):
            return False
        if self.access:
            if not source:
                return False  # whose blob it is, and whether it may be read, is not known
            try:
                self.access.check(request, source, "pull")
            except RegistryError:
                return False
        if source and not self.storage.repository(source).has(digest):
            return False
        return repository.take(digest)

    def progress(self, request: Request, repository: Repository, ident: str) -> Answer:
        """end-13: how far an upload has come."""
        upload = Uploads(repository).get(ident)
        return _accepted(upload, upload.size, status=204)

    def chunk(self, request: Request, repository: Repository, ident: str) -> Answer:
        """end-5."""
        upload = Uploads(repository).get(ident)
        size = upload.append(request.read, start=request.chunk, length=request.length)
        return _accepted(upload, size)

    def finish(self, request: Request, repository: Repository, ident: str) -> Answer:
        """end-6."""
        digest, upload = _digest(request.one("digest")), Uploads(repository).get(ident)
        if request.length is None or request.length > 0:
            upload.append(request.read, start=request.chunk, length=request.length)
        return self._ended(request, upload, digest)

    def _ended(self, request: Request, upload: Upload, digest: str) -> Answer:
        size = upload.size
        upload.finish(digest)
        self._tell(request, "push", upload.repository, digest, media_type="application/octet-stream", size=size)
        return _created(upload.repository, digest)

    def cancel(self, request: Request, repository: Repository, ident: str) -> Answer:
        """end-14."""
        Uploads(repository).get(ident).cancel()
        return Answer(204)


def _digest(text: str) -> str:
    if not re.fullmatch(DIGEST, text):
        raise refusal("DIGEST_INVALID", text[:200], message="invalid digest")
    return text


def _reference(text: str) -> str:
    if ":" in text:
        return _digest(text)
    if not re.fullmatch(TAG, text):
        raise refusal("TAG_INVALID", text[:200], message="invalid tag")
    return text


def _whole(request: Request, limit: int) -> bytes:
    blocks, size = [], 0
    while block := request.read(1 << 16):
        size += len(block)
        if size > limit:
            raise refusal("MANIFEST_INVALID", {"limit": limit}, message="the manifest is too large", status=413)
        blocks.append(block)
    if request.length is not None and size != request.length:
        raise refusal("SIZE_INVALID", {"expected": request.length, "received": size})
    return b"".join(blocks)


def _page(request: Request, names: list[str]) -> tuple[list[str], list[tuple[str, str]]]:
    text, last = request.one("n"), request.one("last")
    if text and not re.fullmatch(r"\d{1,9}", text):
        raise refusal("PAGINATION_NUMBER_INVALID", text[:20])
    count = min(int(text), _PAGE) if text else _PAGE
    rest = [name for name in names if name > last] if last else names
    page = rest[:count]
    if not page or len(rest) <= len(page):
        return page, []
    words = urlencode({"n": count, "last": page[-1]}, quote_via=quote)
    return page, [("Link", f'<{quote(request.path)}?{words}>; rel="next"')]


def _accepted(upload: Upload, size: int, status: int = 202) -> Answer:
    place = f"/v2/{upload.repository.name}/blobs/uploads/{upload.ident}"
    return Answer(status, [("Location", place), ("Range", f"0-{max(size - 1, 0)}"), ("Docker-Upload-UUID", upload.ident)])


def _created(repository: Repository, digest: str) -> Answer:
    return Answer(201, [("Location", f"/v2/{repository.name}/blobs/{digest}"), ("Docker-Content-Digest", digest)])
