"""What stands for a password: personal access tokens, and the cookie of a browser that is logged in. Both are kept as hashes: who reads the database cannot use them."""

from __future__ import annotations

import hashlib
import secrets
from datetime import timedelta

from sqlalchemy import delete, select

from dockerlab.errors import InvalidArgument, NotFound
from dockerlab.hub.people import audited
from dockerlab.hub.rights import PREFIX, SCOPES, Identity
from dockerlab.hub.state import State
from dockerlab.hub.tables import Account, Build, Session, Token, now

__all__ = ["BUILDER", "OWN", "Passes", "digest"]

BUILDER = "builder"  # the name that builds log in with: too much like a person's to be one, so it is followed by a dot and a number
OWN = ("token made", "token revoked")  # what the audit log says of nobody's business but one's own
_SESSION = timedelta(days=14)
_MOST = 50  # tokens of a user
_TOUCHED = timedelta(minutes=1)


def digest(secret: str) -> str:
    """Gives what is kept of a secret that is long enough not to be guessed."""
    return hashlib.sha256(secret.encode()).hexdigest()


class Passes:
    """A hub's tokens and sessions."""

    def __init__(self, state: State) -> None:
        self._state = state

    def issue(self, identity: Identity, label: str, scope: str, *, days: int = 0, address: str = "") -> str:
        """Makes a token that ends after so many days (0: never) and gives its text, which is not to be had again; raises InvalidArgument."""
        if scope not in SCOPES:
            raise InvalidArgument(f"{scope[:40]!r} is no scope", hint=f"one of {', '.join(SCOPES)}")
        if not label.strip() or len(label) > 100 or "\0" in label or not 0 <= days <= 3660:
            raise InvalidArgument("a token has a label of at most 100 letters, and ends within ten years or never")
        text = PREFIX + secrets.token_urlsafe(30)
        with self._state.writing() as db:
            if len(db.scalars(select(Token.id).where(Token.user_id == identity.user)).all()) >= _MOST:
                raise InvalidArgument(f"nobody has more than {_MOST} tokens", hint="remove one that is not used")
            db.add(Token(user_id=identity.user, label=label.strip(), digest=digest(text), scope=scope, expires=now() + timedelta(days=days) if days else None))
            audited(db, identity.name, address, OWN[0], f"{label} {scope}")
        return text

    def tokens(self, identity: Identity) -> list[Token]:
        """Gives a user's tokens, the newest first."""
        with self._state.reading() as db:
            return list(db.scalars(select(Token).where(Token.user_id == identity.user).order_by(Token.id.desc())))

    def revoke(self, identity: Identity, ident: int, *, address: str = "") -> None:
        """Ends a token of a user; raises NotFound."""
        with self._state.writing() as db:
            token = db.get(Token, ident)
            if token is None or token.user_id != identity.user:
                raise NotFound("no such token", kind="token", name=str(ident))
            db.delete(token)
            audited(db, identity.name, address, OWN[1], token.label)

    def shown(self, name: str, text: str) -> Identity | None:
        """Gives whom a token stands for, if it is that user's and has not ended."""
        with self._state.reading() as db:
            row = db.execute(select(Token, Account).join(Account, Token.user_id == Account.id).where(Token.digest == digest(text), Account.name == name)).first()
        if row is None:
            return None
        token, account = row
        if token.expires and token.expires <= now():
            return None
        if token.used is None or now() - token.used > _TOUCHED:
            with self._state.writing() as db:
                if found := db.get(Token, token.id):
                    found.used = now()
        return Identity(account.id, account.name, scope=token.scope)

    def builder(self, name: str, text: str) -> Identity | None:
        """Gives a build that runs, as somebody who acts for the repository's owner in this one repository."""
        kind, _, number = name.partition(".")
        if kind != BUILDER or not number.isdecimal() or len(number) > 9:
            return None
        with self._state.reading() as db:
            build = db.get(Build, int(number))
            if build is None or build.state != "running" or not secrets.compare_digest(build.key, digest(text)):
                return None
            return Identity(build.repository.owner_id, name, only=build.repository_id)

    # Browsers.

    def begin(self, identity: Identity, *, address: str = "") -> str:
        """Gives the cookie of a new session."""
        text = secrets.token_urlsafe(32)
        with self._state.writing() as db:
            db.execute(delete(Session).where(Session.expires < now()))
            db.add(Session(digest=digest(text), user_id=identity.user, expires=now() + _SESSION))
            audited(db, identity.name, address, "login")
        return text

    def browsing(self, cookie: str) -> Identity | None:
        """Gives whose session a cookie is."""
        with self._state.reading() as db:
            row = db.execute(select(Session, Account).join(Account, Session.user_id == Account.id).where(Session.digest == digest(cookie))).first()
        return Identity(row[1].id, row[1].name) if row and row[0].expires > now() else None

    def end(self, cookie: str) -> None:
        """Ends a session."""
        with self._state.writing() as db:
            db.execute(delete(Session).where(Session.digest == digest(cookie)))
