"""Webhooks, both ways: what the hub tells others when something was pushed, and how a message that begins a build proves who sent it.

Signatures are GitHub's: `X-Hub-Signature-256: sha256=` and the HMAC of the body, by a secret that both ends know.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
import time
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import urllib3
from sqlalchemy import delete, select

from dockerlab.errors import InvalidArgument, NotFound
from dockerlab.hub.people import audited
from dockerlab.hub.repositories import allowed_one
from dockerlab.hub.rights import Identity
from dockerlab.hub.state import State
from dockerlab.hub.tables import Delivery, Repository, Webhook, now
from dockerlab.linux.dialling import guarded

__all__ = ["Webhooks", "headers", "right", "signature"]

_TRIES, _KEPT, _MOST, _WAITING = 3, 50, 10, 200
_SECONDS = 10.0  # for one try, altogether
_SAID = 200  # characters of an answer that are kept


def signature(secret: str, body: bytes) -> str:
    """Gives the value of X-Hub-Signature-256.

    >>> signature("It's a Secret to Everybody", b"Hello, World!")
    'sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17'
    """
    return "sha256=" + hmac.digest(secret.encode(), body, hashlib.sha256).hex()


def right(secret: str, body: bytes, told: str) -> bool:
    """Tells whether a signature is that of the body; takes as long for every wrong one."""
    return hmac.compare_digest(signature(secret, body).encode(), told.strip().encode(errors="replace"))


def headers(event: str, secret: str, body: bytes) -> dict[str, str]:
    """Gives the headers of a message, as GitHub sends them."""
    return {"Content-Type": "application/json", "User-Agent": "dockerlab-hub", "X-GitHub-Event": event, "X-GitHub-Delivery": str(uuid.uuid4()), "X-Hub-Signature-256": signature(secret, body)}


class Webhooks:
    """The addresses that want to know of pushes. `private`: they may be in this network."""

    def __init__(self, state: State, *, private: bool = False) -> None:
        self._state, self._private = state, private
        self._sending, self._ended = ThreadPoolExecutor(4, thread_name_prefix="webhooks"), False
        self._waiting: Counter[int] = Counter()  # how many messages of a repository are under way: nobody's slow listeners are in others' way

    def add(self, identity: Identity, path: str, url: str, *, address: str = "") -> str:
        """Adds an address to a repository and gives the secret that its messages are signed with; raises NotFound, InvalidArgument."""
        _checked(url)
        secret = secrets.token_urlsafe(24)
        with self._state.writing() as db:
            found = allowed_one(db, identity, path, "settle")
            if len(db.scalars(select(Webhook.id).where(Webhook.repository_id == found.id)).all()) >= _MOST:
                raise InvalidArgument(f"a repository has at most {_MOST} webhooks", hint="remove one")
            db.add(Webhook(repository_id=found.id, url=url, secret=secret))
            audited(db, identity.name, address, "webhook added", f"{path} {url}")
        return secret

    def remove(self, identity: Identity, path: str, ident: int, *, address: str = "") -> None:
        """Takes one away; raises NotFound."""
        with self._state.writing() as db:
            found = allowed_one(db, identity, path, "settle")
            hook = db.get(Webhook, ident)
            if hook is None or hook.repository_id != found.id:
                raise NotFound("no such webhook", kind="webhook", name=str(ident))
            db.delete(hook)
            audited(db, identity.name, address, "webhook removed", f"{path} {hook.url}")

    def of(self, repository: int) -> list[tuple[Webhook, list[Delivery]]]:
        """Gives a repository's webhooks, each with its last deliveries."""
        with self._state.reading() as db:
            hooks = db.scalars(select(Webhook).where(Webhook.repository_id == repository).order_by(Webhook.id)).all()
            return [(hook, list(db.scalars(select(Delivery).where(Delivery.webhook_id == hook.id).order_by(Delivery.id.desc()).limit(5)))) for hook in hooks]

    def tell(self, repository: Repository, tag: str, digest: str, actor: str) -> None:
        """Sends word of a push to all of them, behind everybody's back."""
        document = {
            "push_data": {"pushed_at": int(now().timestamp()), "pusher": actor, "tag": tag, "digest": digest},
            "repository": {"name": repository.name, "namespace": repository.owner.name, "repo_name": repository.path, "is_private": repository.private},
        }
        body = json.dumps(document).encode()
        for hook, _ in self.of(repository.id):
            if self._ended or self._waiting[repository.id] >= _MOST or self._waiting.total() >= _WAITING:
                self._note(hook, 0, "too many messages are waiting")
                continue
            self._waiting[repository.id] += 1
            self._sending.submit(self._deliver, hook, body).add_done_callback(lambda _: self._waiting.subtract([repository.id]))

    def _deliver(self, hook: Webhook, body: bytes) -> None:
        status, said = 0, ""
        pool = guarded(private=self._private, within=_SECONDS)
        sent = headers("push", hook.secret, body)
        for _ in range(_TRIES):
            began = time.monotonic()
            try:
                reply = pool.request("POST", hook.url, body=body, headers=sent, redirect=False, retries=False, preload_content=False)
                status, said = reply.status, reply.read(_SAID).decode(errors="replace")
                reply.close()
            except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
                status, said = 0, str(error).rpartition(": ")[2]
            if 0 < status < 500 or self._ended or time.monotonic() - began > _SECONDS / 2:  # who is slow is not asked again
                break
        self._note(hook, status, said)

    def _note(self, hook: Webhook, status: int, said: str) -> None:
        with self._state.writing() as db:
            if db.get(Webhook, hook.id) is None:
                return  # it was removed meanwhile
            db.add(Delivery(webhook_id=hook.id, status=status, said=said[:_SAID]))
            old = select(Delivery.id).where(Delivery.webhook_id == hook.id).order_by(Delivery.id.desc()).offset(_KEPT)
            db.execute(delete(Delivery).where(Delivery.id.in_(db.scalars(old).all())))

    def close(self) -> None:
        """Ends; what waits is not sent any more."""
        self._ended = True
        self._sending.shutdown(cancel_futures=True)


def _checked(url: str) -> None:
    try:
        parts = urlsplit(url)
        fine = parts.scheme in ("http", "https") and parts.hostname and not parts.username and (parts.port or 1) > 0
    except ValueError:
        fine = False
    if not fine or len(url) > 500 or re.search(r"[\x00-\x20\x7f]", url):
        raise InvalidArgument("a webhook's address is http://HOST/PATH or https://HOST/PATH, without a password", hint="the secret travels as a signature")
