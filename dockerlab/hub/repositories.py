"""Repositories: whose they are, who sees them, what is said about them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import ColumnElement, and_, delete, exists, func, or_, select, update
from sqlalchemy.orm import Session as Db

from dockerlab.errors import AlreadyExists, InvalidArgument, NotFound
from dockerlab.hub.granting import LIFE
from dockerlab.hub.people import audited, namespace
from dockerlab.hub.rights import ANYBODY, Identity, Namespace, allowed
from dockerlab.hub.state import State
from dockerlab.hub.tables import Account, Automation, Gone, Member, Repository, Star, now
from dockerlab.registry.access import LEEWAY
from dockerlab.registry.protocol import NAME

__all__ = ["Found", "Repositories", "allowed_one", "located"]

_NAME = re.compile(NAME)
_LONGEST = 100  # letters of a repository's own name
_MOST = 500  # repositories of one namespace
_DESCRIPTION, _README = 100, 64 << 10  # as docker search shows it; characters


@dataclass(frozen=True, slots=True)
class Found:
    """A repository among the results of a search."""

    repository: Repository
    stars: int
    automated: bool


def located(db: Db, identity: Identity, path: str) -> tuple[Namespace | None, Repository | None, frozenset[str]]:
    """Gives whose namespace a path (owner/name) is in, the repository if it is there, and what somebody may do with it."""
    owner, _, name = path.partition("/")
    whose = namespace(db, identity, owner)
    if whose is None or not _fits(name):  # what no repository can be called is nobody's to push to
        return None, None, frozenset()
    found = db.scalar(select(Repository).join(Account, Repository.owner_id == Account.id).where(Account.name == owner, Repository.name == name))
    return whose, found, allowed(identity, whose, private=found is None or found.private, repository=found.id if found else 0)


def allowed_one(db: Db, identity: Identity, path: str, action: str) -> Repository:
    """Gives a repository that somebody may do that with; raises NotFound, whether it is not there or not to be seen."""
    _, found, may = located(db, identity, path)
    if found is None or action not in may:
        raise NotFound(f"no such repository: {path[:140]}", kind="repository", name=path)
    return found


def _visible(identity: Identity) -> ColumnElement[bool]:
    """The condition that somebody may see a repository: `rights.allowed` for many at once (a test compares the two)."""
    public = Repository.private.is_(False)
    if not identity.known or identity.scope == "repo:public_read":
        return public
    member = exists().where(and_(Member.organisation_id == Repository.owner_id, Member.user_id == identity.user))
    return or_(public, Repository.owner_id == identity.user, member)


class Repositories:
    """The repositories of a hub. Paths are owner/name."""

    def __init__(self, state: State) -> None:
        self._state = state

    def create(self, identity: Identity, path: str, *, private: bool = False, description: str = "", address: str = "") -> Repository:
        """Makes an empty repository; raises NotFound where one may not, InvalidArgument, AlreadyExists."""
        with self._state.writing() as db:
            whose, found, may = located(db, identity, path)
            if whose is None and not _fits(path.partition("/")[2]) and namespace(db, identity, path.partition("/")[0]):
                raise InvalidArgument(f"{path[:140]!r} is no repository's name", hint="small letters and digits, with . _ or - between them")
            if whose is None or "push" not in may:
                raise NotFound(f"no such namespace: {path.partition('/')[0][:40]}", kind="account", name=path)
            if found:
                raise AlreadyExists(f"{path} is there already", kind="repository", name=path)
            db.execute(delete(Gone).where(Gone.path == path))
            made = _made(db, path, private=private, description=description)
            audited(db, identity.name, address, "repository made", path)
        return made

    def pushed(self, path: str, actor: str, *, tag: str = "", address: str = "") -> Repository | None:
        """Notes that a manifest was pushed, and makes the repository where it was the first; None where nobody owns the path any more."""
        with self._state.writing() as db:
            whose, found, _ = located(db, ANYBODY, path)
            if whose is None or (found is None and _gone(db, path)):
                return None
            if found is None:
                found = _made(db, path)
                audited(db, actor, address, "repository made", path)
            found.pushed = now()
            audited(db, actor, address, "push", f"{path}:{tag}" if tag else path)
            return found

    def gone(self, path: str) -> bool:
        """Tells whether a repository was removed so lately that tokens for it may still be about."""
        with self._state.reading() as db:
            return _gone(db, path)

    def pulled(self, path: str) -> None:
        """Counts a pull."""
        owner, _, name = path.partition("/")
        with self._state.writing() as db:
            mine = select(Account.id).where(Account.name == owner).scalar_subquery()
            db.execute(update(Repository).where(Repository.owner_id == mine, Repository.name == name).values(pulls=Repository.pulls + 1))

    def rights(self, identity: Identity, path: str) -> frozenset[str]:
        """Gives what somebody may do with a repository, or with the name of one that is not there yet."""
        with self._state.reading() as db:
            return located(db, identity, path)[2]

    def get(self, identity: Identity, path: str, action: str = "pull") -> Repository:
        """Gives a repository that somebody may do that with; raises NotFound, whether it is not there or not to be seen."""
        with self._state.reading() as db:
            return allowed_one(db, identity, path, action)

    def search(self, identity: Identity, words: str, *, limit: int = 25, offset: int = 0) -> tuple[int, list[Found]]:
        """Gives how many repositories match, and some of them: the best liked first. Each word is looked for in path and description."""
        path = Account.name + "/" + Repository.name
        conditions = [_visible(identity)]
        for word in words.lower().split()[:8]:
            pattern = "%" + re.sub(r"([%_\\])", r"\\\1", word) + "%"
            conditions.append(or_(func.lower(path).like(pattern, escape="\\"), func.lower(Repository.description).like(pattern, escape="\\")))
        stars = select(func.count()).where(Star.repository_id == Repository.id).correlate(Repository).scalar_subquery()
        automated = exists().where(Automation.repository_id == Repository.id, Automation.active)
        with self._state.reading() as db:
            base = select(Repository).join(Account, Repository.owner_id == Account.id).where(*conditions)
            total = db.scalar(select(func.count()).select_from(base.subquery())) or 0
            rows = db.execute(base.add_columns(stars.label("stars"), automated.label("automated")).order_by(stars.desc(), Repository.pulls.desc(), path).limit(limit).offset(offset))
            return total, [Found(repository, count, built) for repository, count, built in rows]

    def of(self, identity: Identity, owner: str) -> Sequence[Repository]:
        """Gives the repositories of an account that somebody may see, by name."""
        with self._state.reading() as db:
            return db.scalars(select(Repository).join(Account, Repository.owner_id == Account.id).where(Account.name == owner, _visible(identity)).order_by(Repository.name)).all()

    def describe(self, identity: Identity, path: str, *, description: str, readme: str, private: bool, address: str = "") -> None:
        """Changes what is said about a repository, and who sees it; raises NotFound."""
        with self._state.writing() as db:
            found = allowed_one(db, identity, path, "settle")
            found.description, found.readme, found.private = _line(description), readme[:_README], private
            audited(db, identity.name, address, "repository changed", f"{path} {'private' if private else 'public'}")

    def explained(self, repository: int, readme: str) -> None:
        """Takes over what the source says about itself, and its first line of prose where nobody has described the repository."""
        with self._state.writing() as db:
            found = db.get(Repository, repository)
            if found is None or not readme.strip():
                return
            found.readme = readme[:_README]
            prose = (line.strip() for line in readme.splitlines() if line.strip() and line.lstrip()[0] not in "#<![|`=-*>")
            found.description = found.description or _line(next(prose, ""))

    def remove(self, identity: Identity, path: str, *, address: str = "") -> None:
        """Takes a repository off the hub; its images are the registry's to forget. Raises NotFound."""
        with self._state.writing() as db:
            found = allowed_one(db, identity, path, "settle")
            db.delete(found)
            db.merge(Gone(path=path, until=now() + timedelta(seconds=LIFE + LEEWAY)))
            audited(db, identity.name, address, "repository removed", path)

    def star(self, identity: Identity, path: str, liked: bool, *, address: str = "") -> None:
        """Notes whether a user likes a repository; raises NotFound."""
        found = self.get(identity, path)
        with self._state.writing() as db:
            audited(db, identity.name, address, "star" if liked else "star taken back", path)
            db.execute(delete(Star).where(Star.repository_id == found.id, Star.user_id == identity.user))
            if liked:
                db.add(Star(repository_id=found.id, user_id=identity.user))

    def stars(self, repository: Repository) -> set[int]:
        """Gives the users who like a repository."""
        with self._state.reading() as db:
            return set(db.scalars(select(Star.user_id).where(Star.repository_id == repository.id)))


def _made(db: Db, path: str, *, private: bool = False, description: str = "") -> Repository:
    owner, _, name = path.partition("/")
    if not _fits(name):
        raise InvalidArgument(f"{name[:120]!r} is no repository's name", hint=f"at most {_LONGEST} small letters and digits, with . _ or - between them")
    account = db.scalar(select(Account).where(Account.name == owner))
    assert account is not None
    if (db.scalar(select(func.count()).select_from(Repository).where(Repository.owner_id == account.id)) or 0) >= _MOST:
        raise InvalidArgument(f"nobody has more than {_MOST} repositories", hint="remove one")
    made = Repository(owner=account, owner_id=account.id, name=name, private=private, description=_line(description), readme="", pulls=0)
    db.add(made)
    db.flush()
    return made


def _fits(name: str) -> bool:
    return bool(_NAME.fullmatch(name)) and "/" not in name and len(name) <= _LONGEST


def _gone(db: Db, path: str) -> bool:
    found = db.get(Gone, path)
    return found is not None and found.until > now()


def _line(text: str) -> str:
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())[:_DESCRIPTION]
