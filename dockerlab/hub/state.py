"""The database: SQLite in the hub's folder, or whatever a URL names (PostgreSQL)."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Engine, create_engine, event, inspect, select, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from dockerlab.errors import InvalidArgument, StoreError
from dockerlab.hub.tables import SCHEMA, Schema, Tables

__all__ = ["State"]

_BUSY = 30  # seconds to wait for another writer
_LOCK = 0x646C6875  # any number that no other program locks


class State:
    """A hub's database, made where there is none; raises StoreError where it cannot be used, InvalidArgument for a URL that is none."""

    def __init__(self, url: str) -> None:
        try:
            self._engine = create_engine(url, pool_pre_ping=not url.startswith("sqlite"), connect_args={"timeout": _BUSY} if url.startswith("sqlite") else {})
        except (SQLAlchemyError, ImportError, ValueError) as error:
            raise InvalidArgument(f"{_shown(url)} names no database that can be used here: {error}", hint="sqlite:///FILE, or postgresql+psycopg://NAME@HOST/DATABASE") from error
        if url.startswith("sqlite"):
            _as_sqlite_should(self._engine)
        try:
            self._prepared()
        except SQLAlchemyError as error:
            raise StoreError(f"the hub's database cannot be used: {str(error.args[0]).splitlines()[0]}", hint=f"look at {_shown(url)}") from error

    @classmethod
    def of(cls, folder: Path, url: str = "") -> State:
        """Opens the database of a folder, or the one that a URL names."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if folder.stat().st_uid == os.geteuid():
            folder.chmod(0o700)  # hashes of passwords, secrets of webhooks
        return cls(url or URL.create("sqlite", database=str(folder / "hub.db")).render_as_string())

    def _prepared(self) -> None:
        with self.writing() as db:
            known = inspect(db.connection()).has_table(Schema.__tablename__)
            if not known:
                Tables.metadata.create_all(db.connection())
                db.add(Schema(version=SCHEMA))
            elif (found := db.scalar(select(Schema.version))) != SCHEMA:
                raise StoreError(f"the hub's database has schema {found}, this dockerlab knows {SCHEMA}", hint="use the dockerlab that made it, or begin with another database")

    @contextlib.contextmanager
    def reading(self) -> Iterator[Session]:
        """Gives a look at the database; rows stay usable afterwards."""
        with Session(self._engine, expire_on_commit=False) as db:
            yield db

    @contextlib.contextmanager
    def writing(self) -> Iterator[Session]:
        """Gives a transaction: all of it happens, or nothing, and one after another: what was looked at in it is still so at its end."""
        with Session(self._engine, expire_on_commit=False) as db:
            connection = db.connection(execution_options={"writes": True})
            if connection.dialect.name == "postgresql":
                connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
            yield db
            db.commit()

    def close(self) -> None:
        """Lets all connections go."""
        self._engine.dispose()


def _as_sqlite_should(engine: Engine) -> None:
    """What sqlite3's module does about transactions is not what a server needs: a writer says so at its beginning, or two of them wait for each other."""

    @event.listens_for(engine, "connect")
    def _(connection: Any, record: Any) -> None:
        connection.isolation_level = None
        connection.create_function("lower", 1, lambda value: value.lower() if isinstance(value, str) else value, deterministic=True)  # SQLite's own knows ASCII alone
        for line in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {line}")

    @event.listens_for(engine, "begin")
    def _(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.get_execution_options().get("writes") else "BEGIN")


def _shown(url: str) -> str:
    """Gives a database's address without its password."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"
