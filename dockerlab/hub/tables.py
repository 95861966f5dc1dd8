"""What a hub remembers, as tables. Image data is not among it: that is the registry's."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import DateTime, ForeignKey, Text, TypeDecorator, UniqueConstraint
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

__all__ = [
    "SCHEMA", "Account", "Audit", "Automation", "Build", "Delivery", "Failure", "Gone", "Heard", "Link", "Member", "Repository", "Rule", "Schema", "Session", "Star", "Tables", "Token",
    "Webhook", "now",
]  # fmt: skip

SCHEMA = 1
_NEVER_AGAIN = {"sqlite_autoincrement": True}  # a number that stands in a log's name or in an address must not come to mean something else


def now() -> datetime:
    """Gives this moment, in UTC."""
    return datetime.now(UTC)


class _Moment(TypeDecorator[datetime]):
    """A moment in UTC: SQLite forgets the zone, and gives it back here."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value if value is None or value.tzinfo else value.replace(tzinfo=UTC)


class Tables(DeclarativeBase):
    """All tables."""

    type_annotation_map = {datetime: _Moment, str: Text}


class Schema(Tables):
    """One row: which version of these tables a database has."""

    __tablename__ = "schema"
    version: Mapped[int] = mapped_column(primary_key=True)


class Account(Tables):
    """A user or an organisation: both are namespaces. `password` is a bcrypt hash, "" for an organisation."""

    __tablename__ = "accounts"
    __table_args__ = _NEVER_AGAIN
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    kind: Mapped[str]  # user, organisation
    password: Mapped[str] = mapped_column(default="")
    created: Mapped[datetime] = mapped_column(default=now)


class Member(Tables):
    """That a user belongs to an organisation. Roles: member, admin."""

    __tablename__ = "members"
    organisation_id: Mapped[int] = mapped_column(ForeignKey("accounts.id", ondelete="CASCADE"), primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("accounts.id", ondelete="CASCADE"), primary_key=True)
    role: Mapped[str]
    user: Mapped[Account] = relationship(foreign_keys=[user_id], lazy="joined")


class Repository(Tables):
    """A repository's page; its images are in the registry."""

    __tablename__ = "repositories"
    __table_args__ = (UniqueConstraint("owner_id", "name"), _NEVER_AGAIN)
    id: Mapped[int] = mapped_column(primary_key=True)
    owner_id: Mapped[int] = mapped_column(ForeignKey("accounts.id", ondelete="CASCADE"))
    name: Mapped[str]
    private: Mapped[bool] = mapped_column(default=False)
    description: Mapped[str] = mapped_column(default="")
    readme: Mapped[str] = mapped_column(default="")
    pulls: Mapped[int] = mapped_column(default=0)
    created: Mapped[datetime] = mapped_column(default=now)
    pushed: Mapped[datetime | None]
    owner: Mapped[Account] = relationship(lazy="joined")

    @property
    def path(self) -> str:
        """owner/name."""
        return f"{self.owner.name}/{self.name}"


class Gone(Tables):
    """A repository that was removed: until then a token that was granted before may still be held."""

    __tablename__ = "gone"
    path: Mapped[str] = mapped_column(primary_key=True)
    until: Mapped[datetime]


class Star(Tables):
    """That a user likes a repository."""

    __tablename__ = "stars"
    repository_id: Mapped[int] = mapped_column(ForeignKey("repositories.id", ondelete="CASCADE"), primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("accounts.id", ondelete="CASCADE"), primary_key=True)


class Token(Tables):
    """A personal access token: `digest` is the SHA-256 of what its owner was shown once."""

    __tablename__ = "tokens"
    __table_args__ = _NEVER_AGAIN
    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("accounts.id", ondelete="CASCADE"), index=True)
    label: Mapped[str]
    digest: Mapped[str] = mapped_column(unique=True)
    scope: Mapped[str]
    created: Mapped[datetime] = mapped_column(default=now)
    expires: Mapped[datetime | None]
    used: Mapped[datetime | None]


class Session(Tables):
    """A browser that is logged in; `digest` is the SHA-256 of its cookie."""

    __tablename__ = "sessions"
    digest: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("accounts.id", ondelete="CASCADE"))
    expires: Mapped[datetime]


class Failure(Tables):
    """How often logging in failed, for a name, an address, or both together."""

    __tablename__ = "failures"
    what: Mapped[str] = mapped_column(primary_key=True)
    count: Mapped[int]
    until: Mapped[datetime]  # when it is forgotten


class Audit(Tables):
    """Who did what, and from where."""

    __tablename__ = "audit"
    __table_args__ = _NEVER_AGAIN
    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(default=now)
    actor: Mapped[str] = mapped_column(index=True)
    address: Mapped[str]
    action: Mapped[str]
    what: Mapped[str]


class Automation(Tables):
    """How a repository is built: from the hub's own Git repository ("" as its source), or from a URL."""

    __tablename__ = "automations"
    repository_id: Mapped[int] = mapped_column(ForeignKey("repositories.id", ondelete="CASCADE"), primary_key=True)
    source: Mapped[str] = mapped_column(default="")
    secret: Mapped[str]  # of the webhook that begins builds
    active: Mapped[bool] = mapped_column(default=True)  # False: its owner wants no builds, and a push does not begin them again
    repository: Mapped[Repository] = relationship(lazy="joined")


class Rule(Tables):
    """Which branch or tag becomes which image tag. In `pattern` a * stands for anything; `tag` may hold {ref}, and {1} for what the first * stood for."""

    __tablename__ = "rules"
    __table_args__ = _NEVER_AGAIN
    id: Mapped[int] = mapped_column(primary_key=True)
    repository_id: Mapped[int] = mapped_column(ForeignKey("repositories.id", ondelete="CASCADE"), index=True)
    kind: Mapped[str]  # branch, tag
    pattern: Mapped[str]
    tag: Mapped[str]
    dockerfile: Mapped[str] = mapped_column(default="Dockerfile")
    folder: Mapped[str] = mapped_column(default="")


class Link(Tables):
    """That a repository is built again when its base was pushed."""

    __tablename__ = "links"
    repository_id: Mapped[int] = mapped_column(ForeignKey("repositories.id", ondelete="CASCADE"), primary_key=True)
    base: Mapped[str] = mapped_column(primary_key=True)  # owner/name


class Build(Tables):
    """One build: queued, running, success, failed. `key` is the SHA-256 of what its worker may say who it is with."""

    __tablename__ = "builds"
    __table_args__ = _NEVER_AGAIN
    id: Mapped[int] = mapped_column(primary_key=True)
    repository_id: Mapped[int] = mapped_column(ForeignKey("repositories.id", ondelete="CASCADE"), index=True)
    state: Mapped[str] = mapped_column(default="queued", index=True)
    cause: Mapped[str]
    commit: Mapped[str]
    tag: Mapped[str]
    dockerfile: Mapped[str]
    folder: Mapped[str]
    depth: Mapped[int] = mapped_column(default=0)  # how many pushes of base images led to it
    key: Mapped[str] = mapped_column(default="")
    digest: Mapped[str] = mapped_column(default="")
    created: Mapped[datetime] = mapped_column(default=now)
    began: Mapped[datetime | None]
    ended: Mapped[datetime | None]
    repository: Mapped[Repository] = relationship(lazy="joined")


class Heard(Tables):
    """A webhook that was taken, so that it is not taken twice."""

    __tablename__ = "heard"
    what: Mapped[str] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(default=now)


class Webhook(Tables):
    """An address that wants to know of pushes."""

    __tablename__ = "webhooks"
    __table_args__ = _NEVER_AGAIN
    id: Mapped[int] = mapped_column(primary_key=True)
    repository_id: Mapped[int] = mapped_column(ForeignKey("repositories.id", ondelete="CASCADE"), index=True)
    url: Mapped[str]
    secret: Mapped[str]


class Delivery(Tables):
    """What became of telling it."""

    __tablename__ = "deliveries"
    __table_args__ = _NEVER_AGAIN
    id: Mapped[int] = mapped_column(primary_key=True)
    webhook_id: Mapped[int] = mapped_column(ForeignKey("webhooks.id", ondelete="CASCADE"), index=True)
    at: Mapped[datetime] = mapped_column(default=now)
    status: Mapped[int]  # HTTP, 0 where no answer came
    said: Mapped[str]
