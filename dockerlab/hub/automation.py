"""Automated builds: a push to Git sends a signed message, the message becomes builds by the repository's rules, and builds stand in a queue.

    Git push -> POST /hooks/OWNER/NAME (signature, never twice) -> rules -> queue -> worker (`worker`) -> registry
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session as Db

from dockerlab.errors import InvalidArgument, NotFound, RegistryError
from dockerlab.hub.people import audited
from dockerlab.hub.repositories import allowed_one, located
from dockerlab.hub.rights import ANYBODY, Identity
from dockerlab.hub.state import State
from dockerlab.hub.tables import Automation, Build, Heard, Link, Repository, Rule, now
from dockerlab.hub.webhooks import right
from dockerlab.registry.protocol import TAG, refusal

__all__ = ["DEFAULT_RULES", "Automations", "Wanted", "matched"]

DEFAULT_RULES = (Rule(kind="branch", pattern="main", tag="latest"), Rule(kind="branch", pattern="master", tag="latest"))
_MOST = {"rules": 20, "links": 10, "queued": 50, "linked": 50, "tags": 10}
_DEPTH = 5  # builds that begin builds
_LOOKED = 200  # builds that are looked at for the tags that are still made
_COMMIT = re.compile("[0-9a-f]{40}")
_STARS = 3


@dataclass(frozen=True, slots=True)
class Wanted:
    """A build as a rule asks for it."""

    tag: str
    dockerfile: str
    folder: str


def matched(rules: Iterable[Rule], ref: str) -> list[Wanted]:
    """Gives the builds that a reference (refs/heads/… or refs/tags/…) asks for, each image tag once."""
    kind, name = {"heads": "branch", "tags": "tag"}.get(ref.split("/")[1] if ref.count("/") >= 2 else "", ""), ref.split("/", 2)[-1]
    found: dict[str, Wanted] = {}
    for rule in rules:
        parts = re.fullmatch("(.*)".join(re.escape(part) for part in rule.pattern.split("*")), name[:255]) if rule.kind == kind else None
        if parts is None:
            continue
        tag = rule.tag.replace("{ref}", name)
        for number, part in enumerate(parts.groups(), 1):
            tag = tag.replace(f"{{{number}}}", part)
        tag = re.sub(r"[^a-zA-Z0-9._-]", "-", tag)
        if re.fullmatch(TAG, tag):
            found.setdefault(tag, Wanted(tag, rule.dockerfile, rule.folder))
    return list(found.values())


class Automations:
    """Which repositories are built, and from what."""

    def __init__(self, state: State) -> None:
        self._state = state

    def configure(self, identity: Identity, path: str, *, source: str = "", rules: Iterable[Rule] = DEFAULT_RULES, bases: Iterable[str] = (), address: str = "") -> Automation:
        """Has a repository be built from a Git address, or with "" from the hub's own Git; raises NotFound, InvalidArgument."""
        rules, bases = list(rules), sorted(set(bases))
        _checked(source, rules, bases, path)
        with self._state.writing() as db:
            found = allowed_one(db, identity, path, "settle")
            made = _configured(db, found, source, rules)
            for base in bases:
                if "pull" not in located(db, identity, base)[2]:
                    raise InvalidArgument(f"no such repository: {base[:140]}", hint="name a repository of this hub as OWNER/NAME")
                db.add(Link(repository_id=found.id, base=base))
            audited(db, identity.name, address, "automation changed", path)
            return made

    def begun(self, identity: Identity, path: str) -> Automation | None:
        """Gives the automation of a repository that somebody pushes a Git repository to, made with the usual rules where there is none; None for one that is built from elsewhere."""
        with self._state.writing() as db:
            _, found, may = located(db, identity, path)
            assert found is not None and "push" in may
            known = db.get(Automation, found.id)
            if known is None:
                audited(db, identity.name, "", "automation made", path)
                return _configured(db, found, "", DEFAULT_RULES)
            return known if not known.source else None

    def stop(self, identity: Identity, path: str, *, address: str = "") -> None:
        """Has a repository not be built any more; raises NotFound."""
        with self._state.writing() as db:
            found = allowed_one(db, identity, path, "settle")
            if known := db.get(Automation, found.id):
                known.active, known.source = False, ""
            for table in (Rule, Link):
                db.execute(delete(table).where(table.repository_id == found.id))
            audited(db, identity.name, address, "automation removed", path)

    def get(self, repository: int) -> tuple[Automation | None, list[Rule], list[str]]:
        """Gives how a repository is built: the automation, its rules, the repositories that it is linked to."""
        with self._state.reading() as db:
            rules = list(db.scalars(select(Rule).where(Rule.repository_id == repository).order_by(Rule.id)))
            known = db.get(Automation, repository)
            return known if known and known.active else None, rules, sorted(db.scalars(select(Link.base).where(Link.repository_id == repository)))

    # What begins builds.

    def received(self, path: str, headers: Mapping[str, str], body: bytes) -> list[Build]:
        """Takes a message in GitHub's format and gives the builds that it began. `headers` are X-GitHub-Event, X-GitHub-Delivery, X-Hub-Signature-256.

        Raises RegistryError: 401 where the signature is not right (also where nothing is built), 409 for a message that was here before.
        """
        with self._state.reading() as db:
            _, found, _ = located(db, ANYBODY, path)
            automation = db.get(Automation, found.id) if found else None
            automation = automation if automation and automation.active else None
        secret = automation.secret if automation else secrets.token_hex()
        if not right(secret, body, headers.get("X-Hub-Signature-256", "")) or automation is None:
            raise refusal("UNAUTHORIZED", message="the signature is not right")
        if headers.get("X-GitHub-Event") != "push":
            return []
        ref, commit, actor = _pushed(body)
        # The signature does not cover the delivery's number: who sends a body again could give it another one.
        delivery = headers.get("X-GitHub-Delivery", "")[:80]
        marks = [f"body {hashlib.sha256(body).hexdigest()}", *([f"delivery {delivery}"] if delivery else [])]
        try:
            with self._state.writing() as db:
                db.add_all([Heard(what=f"{automation.repository_id} {mark}") for mark in marks])
                db.flush()
                repository = db.get_one(Repository, automation.repository_id)
                rules = db.scalars(select(Rule).where(Rule.repository_id == repository.id).order_by(Rule.id)).all()
                wanted = matched(rules, ref) if commit else []  # a branch that was deleted has none
                return [_queued(db, repository, each, commit, f"push of {ref.split('/', 2)[-1]} by {actor}") for each in wanted]
        except IntegrityError:
            raise refusal("DENIED", message="this message was here before", status=409) from None

    def again(self, identity: Identity, path: str, ref: str = "", *, address: str = "") -> list[Build]:
        """Begins the builds of a branch ("refs/heads/…") or a Git tag by hand, or repeats the last build of each tag; raises NotFound."""
        with self._state.writing() as db:
            _, found, may = located(db, identity, path)
            automation = db.get(Automation, found.id) if found else None
            if found is None or automation is None or not automation.active or "push" not in may:
                raise NotFound(f"{path[:140]} is not built here", kind="automation", name=path)
            audited(db, identity.name, address, "build begun", f"{path} {ref}".strip())
            if ref:
                rules = db.scalars(select(Rule).where(Rule.repository_id == found.id).order_by(Rule.id)).all()
                return [_queued(db, found, wanted, ref, f"begun by {identity.name}") for wanted in matched(rules, ref)]
            return _repeated(db, found, f"begun by {identity.name}", 0)

    def based(self, base: str, depth: int) -> list[Build]:
        """Repeats the builds of what is linked to a repository that was pushed; not endlessly, and whoever pushed it hears nothing of what fails there."""
        if depth >= _DEPTH:
            return []
        with self._state.reading() as db:
            linked = db.scalars(select(Link.repository_id).where(Link.base == base).limit(_MOST["linked"])).all()
        begun: list[Build] = []
        for ident in linked:
            with contextlib.suppress(RegistryError), self._state.writing() as db:
                begun += self._linked(db, ident, base, depth + 1)
        return begun

    @staticmethod
    def _linked(db: Db, ident: int, base: str, depth: int) -> list[Build]:
        repository, automation = db.get(Repository, ident), db.get(Automation, ident)
        if repository is None or automation is None or not automation.active:
            return []
        # A link outlives the right to read what it leads to; it is of no use then.
        _, found, may = located(db, Identity(repository.owner_id, repository.owner.name), base)
        if found is None or "pull" not in may:
            return []
        return _repeated(db, repository, f"push of {'its base' if found.private else base}", depth)


def _configured(db: Db, repository: Repository, source: str, rules: Iterable[Rule]) -> Automation:
    known = db.get(Automation, repository.id)
    db.execute(delete(Rule).where(Rule.repository_id == repository.id))
    db.execute(delete(Link).where(Link.repository_id == repository.id))
    if known is None:
        known = Automation(repository_id=repository.id, source=source, secret=secrets.token_urlsafe(24), repository=repository)
        db.add(known)
    known.source, known.active = source, True
    for rule in rules:
        db.add(Rule(repository_id=repository.id, kind=rule.kind, pattern=rule.pattern, tag=rule.tag, dockerfile=rule.dockerfile or "Dockerfile", folder=rule.folder or ""))
    db.flush()
    return known


def _checked(source: str, rules: list[Rule], bases: list[str], path: str) -> None:
    try:
        parts = urlsplit(source)
        _ = parts.port
    except ValueError:
        raise InvalidArgument("a source is http://HOST/PATH or https://HOST/PATH") from None
    if source and (parts.scheme not in ("http", "https") or not parts.hostname or parts.username or len(source) > 500 or re.search(r"[\x00-\x20\x7f]", source)):
        raise InvalidArgument("a source is http://HOST/PATH or https://HOST/PATH, without a password", hint="leave it empty for the hub's own Git")
    if len(rules) > _MOST["rules"] or len(bases) > _MOST["links"] or path in bases:
        raise InvalidArgument(f"at most {_MOST['rules']} rules and {_MOST['links']} base images, and no repository is its own")
    for rule in rules:
        if rule.kind not in ("branch", "tag") or not 0 < len(rule.pattern) <= 100 or not rule.pattern.isprintable() or rule.pattern.count("*") > _STARS:
            raise InvalidArgument(f"{rule.kind} {rule.pattern[:40]!r} is no rule", hint=f"branch or tag, and a name with at most {_STARS} stars")
        if not re.fullmatch(TAG, re.sub(r"\{(ref|[1-9])\}", "x", rule.tag)):
            raise InvalidArgument(f"{rule.tag[:40]!r} is no tag", hint="letters, digits, . _ and -; {ref} stands for the branch, {1} for what the first * stood for")
        for place in (rule.dockerfile or "", rule.folder or ""):
            if place.startswith("/") or ".." in place.split("/") or len(place) > 200 or re.search(r"[\x00-\x1f]", place):
                raise InvalidArgument(f"{place[:40]!r} leads out of the repository")


def _pushed(body: bytes) -> tuple[str, str, str]:
    """Gives what moved, to which commit ("" where it was deleted), by whom; raises RegistryError."""
    try:
        document: dict[str, Any] = json.loads(body)
        ref, commit = str(document["ref"]), str(document["after"])
        actor = str((document.get("pusher") or {}).get("name") or "somebody")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise refusal("UNSUPPORTED", message="the message is no push event", status=400) from error
    if not ref.isprintable() or not re.fullmatch(r"refs/(heads|tags)/[^\x00-\x20]{1,255}", ref) or not _COMMIT.fullmatch(commit):
        raise refusal("UNSUPPORTED", message="the message is no push event", status=400)
    return ref, commit if commit.strip("0") else "", "".join(letter for letter in actor if letter.isprintable())[:60]


def _queued(db: Db, repository: Repository, wanted: Wanted, commit: str, cause: str, depth: int = 0) -> Build:
    waiting = db.scalars(select(Build).where(Build.repository_id == repository.id, Build.state == "queued").order_by(Build.id)).all()
    if len([build for build in waiting if build.tag != wanted.tag]) >= _MOST["queued"]:
        raise refusal("TOOMANYREQUESTS", message=f"a repository has at most {_MOST['queued']} builds in the queue")
    for build in waiting:
        if build.tag == wanted.tag:  # only the newest is of interest
            build.state, build.key, build.ended = "superseded", "", now()
    build = Build(
        repository_id=repository.id, repository=repository, cause=cause[:200], commit=commit, depth=depth,
        tag=wanted.tag, dockerfile=wanted.dockerfile, folder=wanted.folder, state="queued", key="", digest="",
    )  # fmt: skip
    db.add(build)
    db.flush()
    return build


def _repeated(db: Db, repository: Repository, cause: str, depth: int) -> list[Build]:
    """Queues the last build of each tag again, of the tags that were built last."""
    last: dict[str, Build] = {}
    for build in db.scalars(select(Build).where(Build.repository_id == repository.id).order_by(Build.id.desc()).limit(_LOOKED)):
        last.setdefault(build.tag, build)
    tags = list(last.values())[: _MOST["tags"]]
    return [_queued(db, repository, Wanted(each.tag, each.dockerfile, each.folder), each.commit, cause, depth) for each in reversed(tags)]
