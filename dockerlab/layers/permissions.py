"""What a user may do to the files of an image, as rules on folders and files.

Where a host gives one id, every file belongs to the process and mode bits stop nobody. The layers know the true owners, so what that user
may read, write and run can be said in rules that the kernel's Landlock enforces: a rule on a folder grants for all that is in it, so a rule
grants only what holds for everything below, and what is more open below gets a rule of its own.
"""

from __future__ import annotations

from collections.abc import Iterable

from dockerlab.layers.index import Entry
from dockerlab.layers.union import UnionView

__all__ = ["READ", "RUN", "WRITE", "rules"]

READ, WRITE, RUN = 4, 2, 1
_ALL = READ | WRITE | RUN


def rules(union: UnionView, uid: int, gids: Iterable[int]) -> list[tuple[str, int]]:
    """Gives (path, rights) from the root down; rights are READ (and list), WRITE (and make, remove), RUN."""
    groups = frozenset(gids)
    common: dict[str, int] = {}
    _common(union, "", uid, groups, common)
    found: list[tuple[str, int]] = []
    _grant(union, "", 0, (uid, groups, common), found)
    return found


def _rights(entry: Entry, uid: int, groups: frozenset[int]) -> int:
    shift = 6 if entry.uid == uid else 3 if entry.gid in groups else 0
    return entry.mode >> shift & 7


def _allowed(union: UnionView, path: str, uid: int, groups: frozenset[int]) -> int:
    """What is allowed at one path; what the kernel refuses anyway, since the owner's bits are off, counts as allowed here."""
    seen = union.resolved(path)
    if seen is None or seen.entry.kind == "symlink":
        return _ALL
    entry = seen.entry
    refused_anyway = ~(entry.mode >> 6) & 7
    rights = _rights(entry, uid, groups) | refused_anyway
    if entry.kind != "dir":
        return rights
    # A folder's x bit is the way through it, which Landlock does not rule; its w bit is making and removing. In a folder with the sticky
    # bit nobody may remove what others own, which one right for the whole folder cannot say.
    return (rights & (READ | WRITE)) | RUN


def _open(union: UnionView, path: str, uid: int, groups: frozenset[int]) -> bool:
    seen = union.get(path)
    return seen is None or bool(_rights(seen.entry, uid, groups) & 1)


def _common(union: UnionView, path: str, uid: int, groups: frozenset[int], common: dict[str, int]) -> int:
    rights = _allowed(union, path, uid, groups)
    seen = union.get(path)
    if seen is not None and seen.entry.kind == "dir":
        if not _open(union, path, uid, groups):
            rights = 0
        for child in union.children(path):
            rights &= _common(union, child, uid, groups, common)
    common[path] = rights
    return rights


def _grant(union: UnionView, path: str, given: int, who: tuple[int, frozenset[int], dict[str, int]], found: list[tuple[str, int]]) -> None:
    uid, groups, common = who
    here = common[path] | given
    if common[path] & ~given:
        found.append((f"/{path}", here))
    seen = union.get(path)
    if seen is None or seen.entry.kind != "dir" or not _open(union, path, uid, groups):
        return
    for child in union.children(path):
        entry = union.get(child)
        if entry is not None and entry.entry.kind == "dir":
            _grant(union, child, here, who, found)
        elif entry is not None and entry.entry.kind != "symlink" and common[child] & ~here:
            found.append((f"/{child}", common[child] | here))
