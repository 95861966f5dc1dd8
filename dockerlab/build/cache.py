"""Which image a step made the last time: parent + what the step is + what it reads → image. One sqlite file (WAL)."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dockerlab.errors import StoreError

__all__ = ["Cache", "key_of"]

_VERSION, _PATIENCE = 2, 30  # seconds
_TABLES = (
    "create table if not exists steps (key text primary key, image text)",
    "create table if not exists builds (origin text primary key, steps blob)",
    "create table if not exists places (image text primary key, place text)",
    "create table if not exists secrets (key text, ident text, mark text, primary key (key, ident))",
    "create table if not exists salt (one integer primary key check (one = 1), bytes blob)",
)


def _prepare(connection: sqlite3.Connection, version: int) -> None:
    begun = time.monotonic()
    while True:
        try:
            for statement in ("pragma journal_mode=wal", *_TABLES):
                connection.execute(statement)
            if version == 0 and any(column[1] == "line" for column in connection.execute("pragma table_info(steps)")):
                connection.execute("update steps set parent = null, line = null")  # of a time when build arguments were kept as they were
            connection.execute(f"pragma user_version = {_VERSION}")
            return
        except sqlite3.OperationalError as error:
            # Who changes a journal's mode does not wait for another who does.
            if "locked" not in str(error) or time.monotonic() - begun > _PATIENCE:
                raise
            time.sleep(0.02)


def key_of(parent: str, line: str, inputs: Sequence[str]) -> str:
    """Gives the name under which a step's image is kept."""
    return hashlib.sha256(json.dumps([parent, line, *inputs]).encode()).hexdigest()


class Cache:
    """Open for the time of one build (`with Cache(path) as cache`): no connection may live through a fork."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._expected: dict[str, str] = {}

    def __enter__(self) -> Cache:
        try:
            self._connection = self._open()
        except sqlite3.OperationalError as error:
            reason = "no space left on device" if "full" in str(error) else str(error)
            raise StoreError(f"cannot use {self._path}: {reason}", hint="free some space, or set DOCKERLAB_HOME to a folder of your own") from error
        except sqlite3.DatabaseError:
            self._anew()
        return self

    def _anew(self) -> None:
        # Damaged, and of no value but speed.
        for ending in ("", "-wal", "-shm"):
            Path(f"{self._path}{ending}").unlink(missing_ok=True)
        self._connection = self._open()

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=_PATIENCE, isolation_level=None)
        try:
            # Not waiting for the disk: a killed process loses nothing by it, and what a power cut damages is made anew.
            connection.execute("pragma synchronous=off")
            (version,) = connection.execute("pragma user_version").fetchone()
            if version != _VERSION:
                _prepare(connection, version)
        except BaseException:
            connection.close()
            raise
        return connection

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def _rows(self, statement: str, *values: object) -> list[Any]:
        try:
            return self._connection.execute(statement, values).fetchall()
        except sqlite3.OperationalError:  # a full disk: what is not noted will be done again
            return []
        except sqlite3.DatabaseError:
            self._connection.close()
            self._anew()
            return []

    def _asked(self, statement: str, *values: object) -> Any:
        rows = self._rows(statement, *values)
        return rows[0][0] if rows else None

    def get(self, key: str) -> str:
        """Gives the image id, "" for none."""
        return self._expected.get(key) or str(self._asked("select image from steps where key = ?", key) or "")

    def expect(self, keys: Iterable[str]) -> None:
        """Asks for many steps at once, which `get` will be asked for one by one."""
        wanted = list(keys)
        self._expected = dict(self._rows(f"select key, image from steps where key in ({', '.join('?' * len(wanted))})", *wanted))

    def images(self) -> set[str]:
        """Gives the ids of all images that steps have made."""
        return {str(row[0]) for row in self._rows("select image from steps")}

    def put(self, key: str, image: str) -> None:
        """Notes the image of a step."""
        self._expected.pop(key, None)
        self._asked("insert or replace into steps (key, image) values (?, ?)", key, image)

    def confide(self, key: str, marks: Mapping[str, str]) -> None:
        """Notes the marks of the secrets that a step was done with, by their ids."""
        for ident, mark in marks.items():
            self._asked("insert or replace into secrets (key, ident, mark) values (?, ?, ?)", key, ident, mark)

    def confided(self, key: str) -> dict[str, str]:
        """Gives the marks of the secrets that a step was done with, by their ids."""
        return dict(self._rows("select ident, mark from secrets where key = ?", key))

    def salt(self) -> bytes:
        """Gives sixteen bytes that no other cache has; b"" where they cannot be kept."""
        if not (known := self._asked("select bytes from salt")):
            self._asked("insert or ignore into salt (one, bytes) values (1, randomblob(16))")
            known = self._asked("select bytes from salt")
        return bytes(known or b"")

    def place(self, places: Mapping[str, str]) -> None:
        """Notes where the steps stand that made images, as FILE:LINE."""
        known = self.places(places)
        for image, place in places.items():
            if known.get(image) != place:
                self._asked("insert or replace into places (image, place) values (?, ?)", image, place)

    def places(self, images: Iterable[str]) -> dict[str, str]:
        """Gives where the steps stand that made them, for those that were built here."""
        wanted = list(images)
        return dict(self._rows(f"select image, place from places where image in ({', '.join('?' * len(wanted))})", *wanted))

    def recall(self, origin: str) -> str:
        """Gives what the last build of a Dockerfile left, "" for none."""
        try:
            return zlib.decompress(self._asked("select steps from builds where origin = ?", origin) or b"").decode()
        except (zlib.error, TypeError, UnicodeDecodeError):
            return ""

    def remember(self, origin: str, steps: str) -> None:
        """Keeps what a build leaves for the next one."""
        self._asked("insert or replace into builds (origin, steps) values (?, ?)", origin, zlib.compress(steps.encode(), 1))
