"""The hub's doors for programs: tokens, search, Git, webhooks, workers, and a registry that tells what happened."""

from __future__ import annotations

import contextlib
import hmac
import json
import re
import uuid
from typing import TYPE_CHECKING, Any

import msgspec

from dockerlab.errors import DockerlabError, RegistryError
from dockerlab.hub.automation import matched
from dockerlab.hub.gitserver import Change, needed
from dockerlab.hub.granting import ISSUER, SERVICE, answer
from dockerlab.hub.people import Throttled
from dockerlab.hub.rights import ANYBODY, Identity
from dockerlab.hub.webhooks import headers
from dockerlab.registry.access import credentials
from dockerlab.registry.messages import Answer, Request
from dockerlab.registry.protocol import NAME, refusal

if TYPE_CHECKING:
    from dockerlab.hub.app import Hub

__all__ = ["Doors"]

_BASIC = ("WWW-Authenticate", 'Basic realm="dockerlab hub", charset="UTF-8"')
_BODY = 1 << 20
_RESULTS = 100


def _whole(request: Request, limit: int = _BODY) -> bytes:
    blocks, size = [], 0
    while block := request.read(1 << 16):
        blocks.append(block)
        size += len(block)
        if size > limit:
            raise refusal("SIZE_INVALID", message=f"at most {limit} bytes", status=413)
    return b"".join(blocks)


def _bearer(request: Request) -> str:
    scheme, _, text = request.header("Authorization").partition(" ")
    return text.strip() if scheme.lower() == "bearer" else ""


class _Event(msgspec.Struct):
    action: str = ""
    target: dict[str, Any] = {}
    actor: dict[str, Any] = {}
    request: dict[str, Any] = {}


class _Events(msgspec.Struct):
    events: list[_Event] = []


class Doors:
    """What programs ask."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def _who(self, request: Request) -> Identity | None:
        """Gives who a Basic header (RFC 7617) names, anybody where there is none, None where its secret is wrong; raises RegistryError 429."""
        if not request.header("Authorization"):
            return ANYBODY
        given = credentials(request)
        if given is None or not given[0].isprintable():
            return None
        name, password = given
        try:
            return self._hub.who(name, password, request.address)
        except Throttled as error:
            raise RegistryError(error.message, code="TOOMANYREQUESTS", status=429, detail={"seconds": error.seconds}) from error

    def token(self, request: Request) -> Answer:
        """Grants a registry's token: to anybody what is public."""
        identity = self._who(request)
        if identity is None:
            return Answer.json({"errors": [{"code": "UNAUTHORIZED", "message": "incorrect username or password"}]}, _BASIC, status=401)
        granted = answer(self._hub.key, identity, self._hub.repositories.rights, issuer=ISSUER, service=SERVICE, asked=request.query.get("scope", []))
        return Answer.json(granted, ("Cache-Control", "no-store"))

    def search(self, request: Request) -> Answer:
        """docker search: the first registry API's, which is all that docker ever asks."""
        identity = self._who(request)
        if identity is None:
            return Answer.json({"errors": [{"code": "UNAUTHORIZED", "message": "incorrect username or password"}]}, _BASIC, status=401)
        words, text = request.one("q")[:100], request.one("n")
        limit = min(int(text), _RESULTS) if text.isascii() and text.isdecimal() and 0 < len(text) < 6 else 25
        total, found = self._hub.repositories.search(identity, words, limit=max(limit, 1))
        rows = [
            {"name": each.repository.path, "description": each.repository.description, "star_count": each.stars, "is_official": False, "is_automated": each.automated, "is_trusted": each.automated}
            for each in found
        ]
        return Answer.json({"query": words, "num_results": total, "num_pages": 1, "page": 1, "page_size": limit, "results": rows})

    def ping(self, request: Request) -> Answer:
        """What docker asks before it searches."""
        return Answer.json(True, ("X-Docker-Registry-Standalone", "false"))

    # Git.

    def git(self, request: Request, path: str, door: str) -> Answer:
        """Serves a Git repository; the first push makes it, and has the image be built from it."""
        action = needed(request, door)
        if not action:
            return Answer(403, [("Content-Type", "text/plain")], b"only smart HTTP is spoken here (git 1.6.6 and later)\n")
        identity = self._who(request)
        may = self._hub.repositories.rights(identity, path) if identity else frozenset()
        if identity is None or (not identity.known and action not in may):
            return Answer(401, [_BASIC, ("Content-Type", "text/plain")], b"who are you?\n")
        if "pull" not in may:
            return Answer(404, [("Content-Type", "text/plain")], b"no such repository\n")
        if action not in may:
            return Answer(403, [("Content-Type", "text/plain")], b"denied: you may read this repository, not write it\n")
        if action == "push" and request.method == "POST":
            self._prepared(identity, path)
        elif action == "push" and not self._hub.git.exists(path):
            return self._hub.git.empty(request, door)  # only what is pushed makes a repository
        return self._hub.git.answer(request, path, door, lambda changes: self._moved(identity, path, changes, request.address))

    def _prepared(self, identity: Identity, path: str) -> None:
        try:
            self._hub.repositories.get(identity, path)
        except DockerlabError:
            self._hub.repositories.create(identity, path)
        if self._hub.automations.begun(identity, path) is None:
            raise refusal("DENIED", message="this repository is built from another address")
        self._hub.git.made(path)

    def _moved(self, identity: Identity, path: str, changes: list[Change], address: str) -> None:
        """Sends what GitHub would send, through the same door: a webhook of our own gets no other treatment."""
        self._hub.note(identity.name, address, "git push", *(f"{path} {change.ref} {(change.after or 'removed')[:12]}" for change in changes))
        automation, rules, _ = self._hub.automations.get(self._hub.repositories.get(identity, path).id)
        if automation is None:
            return
        for change in changes:
            if not matched(rules, change.ref):
                continue
            document = {
                "ref": change.ref, "before": change.before or "0" * 40, "after": change.after or "0" * 40, "deleted": not change.after,
                "repository": {"full_name": path}, "pusher": {"name": identity.name}, "id": str(uuid.uuid4()),
            }  # fmt: skip
            body = json.dumps(document).encode()
            with contextlib.suppress(RegistryError):  # the push was taken; that no build follows is seen on the page of builds
                self._hub.automations.received(path, headers("push", automation.secret, body), body)
        self._hub.queue.hand_out()

    # Messages.

    def hook(self, request: Request, path: str) -> Answer:
        """Takes a signed message that begins builds."""
        names = ("X-GitHub-Event", "X-GitHub-Delivery", "X-Hub-Signature-256")
        if not re.fullmatch("sha256=[0-9a-f]{64}", request.header("X-Hub-Signature-256").strip()):
            raise refusal("UNAUTHORIZED", message="the signature is not right")  # nobody's body is read for nothing
        begun = self._hub.automations.received(path, {name: request.header(name) for name in names}, _whole(request))
        self._hub.queue.hand_out()
        return Answer.json({"builds": [build.id for build in begun]}, status=202 if begun else 200)

    def log(self, request: Request, ident: str) -> Answer:
        """Adds to a build's log."""
        self._hub.queue.log(int(ident), _bearer(request), _whole(request))
        return Answer(204)

    def report(self, request: Request, ident: str) -> Answer:
        """Notes how far a build is."""
        try:
            document = json.loads(_whole(request))
            state, digest, readme = (str(text).encode(errors="replace").decode() for text in (document["state"], document.get("digest", ""), document.get("readme", "")))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise refusal("UNSUPPORTED", message="a state is expected", status=400) from None
        build = self._hub.queue.its(int(ident), _bearer(request))
        if state == "success":
            self._hub.repositories.explained(build.repository_id, readme.replace("\0", ""))
        self._hub.queue.report(build.id, _bearer(request), state, digest)
        return Answer(204)

    def events(self, request: Request) -> Answer:
        """Takes what CNCF distribution tells of (its "Notifications")."""
        secret = self._hub.events_secret
        if not secret or not hmac.compare_digest(_bearer(request).encode(), secret.encode()):
            raise refusal("UNAUTHORIZED")
        try:
            told = msgspec.json.decode(_whole(request, 8 << 20), type=_Events)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise refusal("UNSUPPORTED", message="events are expected", status=400) from None
        for each in told.events:
            words = {name: str(each.target.get(name) or "") for name in ("repository", "digest", "mediaType", "tag")}
            if not re.fullmatch(NAME, words["repository"]):
                continue
            self._hub.heard(each.action, words["repository"], words["digest"], media_type=words["mediaType"], tag=words["tag"], actor=str(each.actor.get("name") or ""),
                            address=str(each.request.get("addr") or ""))
        return Answer(200)
