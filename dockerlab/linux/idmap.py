"""Maps of user and group ids between a user namespace and its parent; user_namespaces(7), subuid(5)."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Extent", "current", "ranges", "single", "write_by_helpers", "write_own"]


@dataclass(frozen=True, slots=True)
class Extent:
    """`size` ids from `inside` are those from `outside`."""

    inside: int
    outside: int
    size: int

    def __str__(self) -> str:
        return f"{self.inside} {self.outside} {self.size}"


def single(inside: int, outside: int) -> tuple[Extent, ...]:
    """Gives the map of one id."""
    return (Extent(inside, outside, 1),)


def ranges(kind: str) -> tuple[Extent, ...]:
    """Gives root inside as oneself outside, then the range that /etc/subuid or /etc/subgid grants; () without a range.

    `kind` is "uid" or "gid".
    """
    own = os.geteuid() if kind == "uid" else os.getegid()
    names = {str(os.geteuid())}
    try:
        names.add(pwd.getpwuid(os.geteuid()).pw_name)
        with open(f"/etc/sub{kind}") as table:
            fields = [line.strip().split(":") for line in table]
    except (OSError, KeyError, UnicodeDecodeError):
        return ()
    granted = [(int(first), int(size)) for name, first, size in (f for f in fields if len(f) == 3) if name in names and first.isdigit() and size.isdigit()]
    if not granted:
        return ()
    first, size = max(granted, key=lambda grant: grant[1])
    return (Extent(0, own, 1), Extent(1, first, min(size, 65536)))


def write_own(uid: Sequence[Extent], gid: Sequence[Extent]) -> None:
    """Writes the maps of one's own new user namespace: groups must be given up first, the order is compulsory. Raises OSError."""
    for name, content in (("setgroups", "deny"), ("uid_map", _text(uid)), ("gid_map", _text(gid))):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(content)


def write_by_helpers(pid: int, uid: Sequence[Extent], gid: Sequence[Extent]) -> None:
    """Has newuidmap(1) and newgidmap(1) write the maps of `pid`, from outside its namespace. Raises OSError with their words."""
    for program, extents in (("newuidmap", uid), ("newgidmap", gid)):
        path = shutil.which(program, path="/usr/bin:/usr/local/bin:/bin:" + os.environ.get("PATH", ""))
        if path is None:
            raise FileNotFoundError(2, "no such program", program)
        words = [word for extent in extents for word in str(extent).split()]
        done = subprocess.run([path, str(pid), *words], capture_output=True, text=True, check=False)
        if done.returncode:
            raise PermissionError(1, done.stderr.strip() or "refused", program)


def current(kind: str = "uid") -> tuple[Extent, ...]:
    """Gives the map of the namespace that this process lives in."""
    with open(f"/proc/self/{kind}_map") as table:
        return tuple(Extent(*map(int, line.split())) for line in table)


def _text(extents: Sequence[Extent]) -> str:
    return "\n".join(map(str, extents)) + "\n"
