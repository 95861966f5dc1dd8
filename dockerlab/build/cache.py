"""Which image a step made the last time: parent + what the step is + what it reads → image. One sqlite file (WAL)."""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
from collections.abc import Sequence
from pathlib import Path

__all__ = ["Cache", "key_of"]

_TABLE = "create table if not exists steps (key text primary key, image text, parent text, line text, made real default (julianday('now')))"


def key_of(parent: str, line: str, inputs: Sequence[str]) -> str:
    """Gives the name under which a step's image is kept."""
    return hashlib.sha256(json.dumps([parent, line, *inputs]).encode()).hexdigest()


class Cache:
    """Opened for each question: no connection may live through a fork."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @contextlib.contextmanager
    def _open(self):  # type: ignore[no-untyped-def]
        connection = sqlite3.connect(self._path, timeout=30, isolation_level=None)
        try:
            connection.execute("pragma journal_mode=wal")
            connection.execute(_TABLE)
            yield connection
        finally:
            connection.close()

    def get(self, key: str) -> str:
        """Gives the image id, "" for none."""
        with self._open() as connection:
            row = connection.execute("select image from steps where key = ?", (key,)).fetchone()
        return str(row[0]) if row else ""

    def put(self, key: str, image: str, *, parent: str, line: str) -> None:
        """Notes the image of a step."""
        with self._open() as connection:
            connection.execute("insert or replace into steps (key, image, parent, line) values (?, ?, ?, ?)", (key, image, parent, line))

    def siblings(self, parent: str, keyword: str) -> list[str]:
        """Gives the lines that were built on the same parent with the same instruction, newest first."""
        with self._open() as connection:
            rows = connection.execute("select line from steps where parent = ? order by made desc limit 20", (parent,)).fetchall()
        return [line for (line,) in rows if keyword in line]
