"""What `docker build -` reads from standard input: a Dockerfile, or a tar (plain or compressed) that is the whole context."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from dockerlab.build.context import Context
from dockerlab.build.ignore import IgnoreRules
from dockerlab.errors import CorruptContent, InvalidRequest
from dockerlab.layers import archive
from dockerlab.store import opening

__all__ = ["context", "is_archive"]


def is_archive(data: bytes) -> bool:
    """Tells whether this begins as a tar does, perhaps inside a compression."""
    try:
        block = opening.open_layer(io.BytesIO(data)).read(512)
    except (OSError, CorruptContent):
        return False
    return len(block) == 512 and block[257:262] == b"ustar"


@contextmanager
def context(data: bytes, dockerfile: str = "Dockerfile") -> Iterator[tuple[Context, bytes]]:
    """Gives the context, for as long as it is used, and its Dockerfile; a Dockerfile alone is a context that holds nothing else.

    Raises InvalidRequest and CorruptContent in docker's words.
    """
    with TemporaryDirectory(prefix="dockerlab-context-") as name:
        folder = Path(name).resolve()
        if is_archive(data):
            _unpack(data, folder)
        else:
            (folder / "Dockerfile").write_bytes(data)
        place = Path(os.path.realpath(folder / dockerfile))
        if not place.is_relative_to(folder) or not place.is_file():
            raise InvalidRequest(f"Cannot locate specified Dockerfile: {dockerfile}", hint="put it into the archive, or name it with -f")
        text = place.read_bytes()
        _hide(folder, dockerfile)
        yield Context(folder, lasting=False), text


def _unpack(data: bytes, folder: Path) -> None:
    try:
        archive.apply(opening.open_layer(io.BytesIO(data)), str(folder), archive.Style(owners=False, devices=False))
    except CorruptContent as error:
        raise CorruptContent(f"Error processing tar file: {error.message}", hint=error.hint) from error


def _hide(folder: Path, dockerfile: str) -> None:
    """Whoever made the archive chose what is in it: its .dockerignore only says whether itself and the Dockerfile may be copied."""
    path = folder / ".dockerignore"
    if path.is_file() and Path(os.path.realpath(path)).is_relative_to(folder):
        rules = IgnoreRules.from_text(path.read_text(errors="surrogateescape"))
        for name in filter(rules.ignores, (dockerfile, ".dockerignore")):
            (folder / name).unlink(missing_ok=True)
