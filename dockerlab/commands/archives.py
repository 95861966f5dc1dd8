"""Images as files: `save`, `load`."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from dockerlab.commands.call import Call, Outcome
from dockerlab.errors import InvalidArgument

__all__ = ["load", "save"]


def save(call: Call) -> Outcome:
    """docker save."""
    images, name = call.engine.images, call.flag("output")
    if not name:
        with open(call.surface.binary(), "wb", closefd=False) as file:
            images.save(call.args, file.write)
        return Outcome()
    path = call.folder / name
    if not path.parent.is_dir():
        raise InvalidArgument(f'failed to save image: invalid output path: stat {Path(name).parent}: no such file or directory', hint="make the folder first, or choose another")
    if path.exists() and not path.is_file():
        raise InvalidArgument(f'failed to save image: invalid output path: "{name}" must be a directory or a regular file', hint="choose a file")
    path = path.resolve()
    descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=".dockerlab-save-")
    try:
        with open(descriptor, "wb") as file:
            images.save(call.args, file.write)
        os.replace(draft, path)
    finally:
        Path(draft).unlink(missing_ok=True)
    return Outcome()


def load(call: Call) -> Outcome:
    """docker load."""
    name = call.flag("input")
    try:
        with open(call.folder / name, "rb") if name else call.surface.source() as file:
            for line in call.engine.images.load(file):
                call.out(line)
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        if not name or error.filename != str(call.folder / name):
            raise
        raise InvalidArgument(f"open {name}: {(error.strerror or '').lower()}", hint="look where you are: pwd") from error
    return Outcome()
