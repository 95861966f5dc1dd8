"""Accounts: users and organisations, passwords, and how often one may guess them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
import threading
import time
from datetime import timedelta

from sqlalchemy import delete, func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session as Db

from dockerlab.errors import AlreadyExists, DockerlabError, InvalidArgument, NotFound
from dockerlab.hub.rights import PREFIX, Identity, Namespace
from dockerlab.hub.state import State
from dockerlab.hub.tables import Account, Audit, Failure, Member, Session, now

__all__ = ["People", "Throttled", "audited", "namespace"]

_NAME = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*", re.ASCII)
_SHORTEST, _LONGEST = 2, 30
# What would be taken for something else in an image's name or in an address of the hub.
_RESERVED = frozenset((
    "library", "v1", "v2", "token", "git", "hooks", "events", "builds", "static", "login", "logout", "signup", "search", "settings", "new", "orgs", "admin",
    "root", "localhost", "hub", "builder",
))  # fmt: skip
_PASSWORD = 8  # characters at least: NIST SP 800-63B, 5.1.1
_BCRYPT_LIMIT = 72  # bytes that bcrypt looks at
_BELIEVED = 300.0  # seconds that a password which was right is not hashed again
_WINDOW = timedelta(minutes=15)
_GUESSES = {"both": 5, "name": 200, "address": 200}  # within the window; a class sits behind one address, so that one bounds guesses of names alone
_ORGANISATIONS = 20  # of one founder
ROLES = ("member", "admin")


class Throttled(DockerlabError):
    """Too many wrong passwords; `seconds` until the next may be tried."""

    def __init__(self, seconds: int) -> None:
        super().__init__("too many wrong passwords", hint=f"try again in {seconds} seconds")
        self.seconds = seconds


def audited(db: Db, actor: str, address: str, action: str, what: str = "") -> None:
    """Writes a line into the audit log; control characters do not get into it."""
    db.add(Audit(actor=_seen(actor)[:64], address=address, action=action, what=_seen(what)[:300]))


def _seen(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def namespace(db: Db, identity: Identity, name: str) -> Namespace | None:
    """Gives an account with the role that somebody has in it, or None where there is no such account."""
    account = db.scalar(select(Account).where(Account.name == name))
    if account is None:
        return None
    if account.id == identity.user:
        return Namespace(name, "owner")
    member = db.get(Member, (account.id, identity.user)) if account.kind == "organisation" and identity.known else None
    return Namespace(name, member.role if member else "")


class People:
    """The accounts of a hub. `cost` is bcrypt's: each one more doubles the time of a guess."""

    def __init__(self, state: State, *, cost: int = 11) -> None:
        self._state, self._cost = state, cost
        self._lock, self._secret = threading.Lock(), os.urandom(32)
        self._turns = [threading.Lock() for _ in range(64)]
        self._right: dict[bytes, float] = {}
        self._decoy = ""

    # Accounts.

    def add(self, name: str, password: str, *, address: str = "") -> Identity:
        """Makes a user; raises InvalidArgument, AlreadyExists."""
        checked = self._hashed(_named(name), password)
        account = self._added(Account(name=name, kind="user", password=checked), name, address)
        return Identity(account.id, name)

    def organise(self, name: str, founder: Identity, *, address: str = "") -> Account:
        """Makes an organisation whose admin is its founder; raises InvalidArgument, AlreadyExists."""
        account = Account(name=_named(name), kind="organisation")
        return self._added(account, founder.name, address, founder)

    def _added(self, account: Account, actor: str, address: str, founder: Identity | None = None) -> Account:
        try:
            with self._state.writing() as db:
                db.add(account)
                db.flush()
                if founder:
                    if (db.scalar(select(func.count()).select_from(Member).where(Member.user_id == founder.user, Member.role == "admin")) or 0) >= _ORGANISATIONS:
                        raise InvalidArgument(f"nobody is admin of more than {_ORGANISATIONS} organisations")
                    db.add(Member(organisation_id=account.id, user_id=founder.user, role="admin"))
                audited(db, actor, address, f"{account.kind} made", account.name)
        except IntegrityError:
            raise AlreadyExists(f"the name {account.name} is taken", kind="account", name=account.name, hint="choose another one") from None
        return account

    def get(self, name: str) -> Account:
        """Gives an account; raises NotFound."""
        with self._state.reading() as db:
            return _account(db, name)

    def members(self, organisation: str) -> list[Member]:
        """Gives who belongs to an organisation, by name; raises NotFound."""
        with self._state.reading() as db:
            account = _account(db, organisation)
            return sorted(db.scalars(select(Member).where(Member.organisation_id == account.id)), key=lambda member: member.user.name)

    def organisations(self, user: int) -> list[Account]:
        """Gives the organisations that a user belongs to, by name."""
        with self._state.reading() as db:
            return list(db.scalars(select(Account).join(Member, Member.organisation_id == Account.id).where(Member.user_id == user).order_by(Account.name)))

    def appoint(self, organisation: str, user: str, role: str, *, actor: str = "", address: str = "") -> None:
        """Gives a user a role in an organisation, "" takes it away; raises NotFound, InvalidArgument where nobody would be left to decide."""
        if role not in (*ROLES, ""):
            raise InvalidArgument(f"{role!r} is no role", hint=f"one of {', '.join(ROLES)}")
        with self._state.writing() as db:
            account, person = _account(db, organisation), _account(db, user)
            if account.kind != "organisation" or person.kind != "user":
                raise InvalidArgument(f"{organisation} is no organisation, or {user} no user")
            others = db.scalars(select(Member).where(Member.organisation_id == account.id, Member.role == "admin", Member.user_id != person.id)).first()
            if role != "admin" and others is None:
                raise InvalidArgument(f"{organisation} needs an admin", hint="make somebody else admin first")
            member = db.get(Member, (account.id, person.id))
            if not role and member:
                db.delete(member)
            elif role and member:
                member.role = role
            elif role:
                db.add(Member(organisation_id=account.id, user_id=person.id, role=role))
            audited(db, actor, address, "member" if role else "member removed", f"{organisation} {user} {role}".strip())

    # Passwords.

    def _hashed(self, name: str, password: str) -> str:
        import bcrypt

        raw = password.encode()
        if len(password) < _PASSWORD or password == name or password.startswith(PREFIX):
            raise InvalidArgument(f"a password has at least {_PASSWORD} characters, and is neither the name nor a token", hint="four words are easy to remember")
        if len(raw) > _BCRYPT_LIMIT or b"\0" in raw:
            raise InvalidArgument(f"a password has at most {_BCRYPT_LIMIT} bytes, none of them zero")
        return bcrypt.hashpw(raw, bcrypt.gensalt(self._cost)).decode()

    def change(self, identity: Identity, password: str, *, address: str = "") -> None:
        """Changes a user's password and ends all sessions; raises InvalidArgument."""
        hashed = self._hashed(identity.name, password)
        with self._state.writing() as db:
            account = db.get(Account, identity.user)
            assert account is not None
            account.password = hashed
            db.execute(delete(Session).where(Session.user_id == identity.user))
            audited(db, identity.name, address, "password changed")

    def login(self, name: str, password: str, *, address: str = "") -> Identity | None:
        """Gives the user whose password that is, or None. It takes as long for a name that is not there. Raises Throttled."""
        import bcrypt

        shown = _seen(name[:64])
        keys = {"both": f"both {shown} {address}", "name": f"name {shown}", "address": f"address {address}"}
        with self._state.reading() as db:
            known = name if _NAME.fullmatch(name) else ""
            account = db.scalar(select(Account).where(Account.name == known, Account.kind == "user"))
        stored = account.password if account else self._someones()
        mark = hmac.digest(self._secret, b"\0".join((name.encode(errors="replace"), stored.encode(), password.encode(errors="replace"))), hashlib.sha256)
        if account:
            del keys["address"]  # who guesses names is stopped, not their neighbours
        # One after another: of several that come at once with the right password only the first is a guess.
        with self._turns[hash(keys["both"]) % len(self._turns)]:
            if account and self._right.get(mark, 0) > time.monotonic():
                return Identity(account.id, account.name)
            self._reserve(keys)
            raw = password.encode(errors="replace")
            right = bcrypt.checkpw(raw[:_BCRYPT_LIMIT].replace(b"\0", b"?"), stored.encode()) and len(raw) <= _BCRYPT_LIMIT
            with self._state.writing() as db:
                if not (right and account):
                    audited(db, name, address, "login refused")
                    return None
                db.execute(delete(Failure).where(Failure.what == keys["both"]))
                db.execute(update(Failure).where(Failure.what == keys["name"]).values(count=Failure.count - 1))
            with self._lock:
                self._right = {known: until for known, until in self._right.items() if until > time.monotonic()} | {mark: time.monotonic() + _BELIEVED}
        return Identity(account.id, account.name)

    def _someones(self) -> str:
        if not self._decoy:
            import bcrypt

            self._decoy = bcrypt.hashpw(base64.b64encode(os.urandom(30)), bcrypt.gensalt(self._cost)).decode()
        return self._decoy

    def _reserve(self, keys: dict[str, str]) -> None:
        """Counts a guess before it is tried, so that many at once are no more than one after another; raises Throttled."""
        with self._state.writing() as db:
            db.execute(delete(Failure).where(Failure.until < now()))
            found = {kind: db.get(Failure, key) for kind, key in keys.items()}
            for kind, failure in found.items():
                if failure and failure.count >= _GUESSES[kind]:
                    raise Throttled(max(int((failure.until - now()).total_seconds()), 1))
            for kind, key in keys.items():
                failure = found[kind]
                if failure:
                    failure.count, failure.until = failure.count + 1, now() + _WINDOW
                else:
                    db.add(Failure(what=key, count=1, until=now() + _WINDOW))


def _named(name: str) -> str:
    if not _SHORTEST <= len(name) <= _LONGEST or not _NAME.fullmatch(name):
        raise InvalidArgument(f"{name[:40]!r} is no name", hint=f"{_SHORTEST} to {_LONGEST} small letters and digits, with single hyphens between them")
    if name in _RESERVED:
        raise InvalidArgument(f"the name {name} is reserved", hint="choose another one")
    return name


def _account(db: Db, name: str) -> Account:
    account = db.scalar(select(Account).where(Account.name == name))
    if account is None:
        raise NotFound(f"no such account: {name[:40]}", kind="account", name=name)
    return account
