"""A folder that every user of this machine can read: the project as it is now, with an environment of its own."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.hosts.shapes import Shape

__all__ = ["Room", "room", "user"]

_ROOT = Path(__file__).parents[2]
_USER, _RANGE = "dockerlab-test", "400000:65536"


@dataclass(frozen=True, slots=True)
class Room:
    """Where things lie: `tree` is the project, `python` its interpreter."""

    folder: Path

    @property
    def tree(self) -> Path:
        """The project's files."""
        return self.folder / "tree"

    @property
    def python(self) -> Path:
        """The environment's interpreter."""
        return self.folder / "env" / "bin" / "python"

    def home(self, shape: Shape, uid: int, gid: int) -> Path:
        """Gives a home folder for one shape."""
        folder = self.folder / f"home-{shape.name}"
        folder.mkdir(mode=0o700, exist_ok=True)
        if shape.user:
            os.chown(folder, uid, gid)
        return folder


@contextlib.contextmanager
def room(kept: str = "") -> Iterator[Room]:
    """Gives a room that goes away afterwards, or in the folder `kept` stays and is used again. Needs git, and what `tools/bootstrap.py` needs."""
    with contextlib.ExitStack() as stack:
        folder = Path(kept or stack.enter_context(tempfile.TemporaryDirectory(prefix="dockerlab-hosts-", dir="/var/tmp", ignore_cleanup_errors=True)))
        folder.mkdir(exist_ok=True)
        folder.chmod(0o755)
        found = Room(folder)
        _furnish(found)
        yield found


def _furnish(found: Room) -> None:
    shutil.rmtree(found.tree, ignore_errors=True)
    found.tree.mkdir()
    names = subprocess.run(["git", "ls-files", "-z", "-co", "--exclude-standard"], cwd=_ROOT, check=True, capture_output=True).stdout
    there = b"\0".join(name for name in names.split(b"\0") if name and os.path.lexists(_ROOT / os.fsdecode(name)))
    packed = subprocess.run(["tar", "--null", "-T", "-", "-c"], cwd=_ROOT, check=True, input=there, capture_output=True).stdout
    subprocess.run(["tar", "-x", "--no-same-owner", "-C", str(found.tree)], check=True, input=packed)
    if found.python.exists():
        return
    # An interpreter in root's own home would be out of the others' reach.
    system = "/usr/bin/python3"
    base = system if os.access(system, os.X_OK) else sys.executable
    subprocess.run([base, "tools/bootstrap.py", str(found.folder / "env")], cwd=found.tree, check=True)
    subprocess.run([found.python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-e", ".[test,zstd]"], cwd=found.tree, check=True)


def user() -> tuple[int, int]:
    """Gives uid and gid of the ordinary user that tests become; makes that user, with a range of ids, where there is none."""
    try:
        found = pwd.getpwnam(_USER)
    except KeyError:
        subprocess.run(["useradd", "--create-home", _USER], check=True)
        found = pwd.getpwnam(_USER)
    for name in ("/etc/subuid", "/etc/subgid"):
        path = Path(name)
        if not path.exists() or f"{_USER}:" not in path.read_text():
            with open(path, "a") as file:
                file.write(f"{_USER}:{_RANGE}\n")
    return found.pw_uid, found.pw_gid
