"""Who a container runs as: docker's `name|uid[:group|gid]`, looked up in the container's own passwd(5) and group(5)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

__all__ = ["LARGEST", "Identity", "identify", "with_groups"]

LARGEST = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Identity:
    """Numbers, and the home folder."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str


def identify(user: str, passwd: str, group: str) -> Identity:
    """Gives who `user` is by the text of the two files; raises LookupError in docker's words."""
    name, colon, group_name = user.partition(":")
    row = next((r for r in _rows(passwd, 7) if r[0] == name or r[2] == (name or "0")), None)
    if row is None and name and not name.isdigit():
        raise LookupError(f"unable to find user {name}: no matching entries in passwd file")
    uid = int(row[2]) if row and row[2].isdigit() else int(name or 0)
    gid = int(row[3]) if row and row[3].isdigit() else 0
    groups = tuple(int(r[2]) for r in _rows(group, 4) if row and row[0] in r[3].split(",") and r[2].isdigit())
    if colon and group_name:
        found = next((r for r in _rows(group, 4) if r[0] == group_name), None)
        if found is None and not group_name.isdigit():
            raise LookupError(f"unable to find group {group_name}: no matching entries in group file")
        gid = int(found[2]) if found and found[2].isdigit() else int(group_name)
    if max(uid, gid) > LARGEST:
        raise LookupError(f"uids and gids must be in range 0-{LARGEST}")
    return Identity(uid, gid, groups, row[5] if row and row[5] else "/")


def with_groups(who: Identity, names: Sequence[str], group: str) -> Identity:
    """Gives the same user in more groups, by name or number; raises LookupError in docker's words."""
    more = []
    for name in names:
        found = next((r[2] for r in _rows(group, 4) if r[0] == name), name)
        if not found.isdigit():
            raise LookupError(f"Unable to find group {name}: no matching entries in group file")
        more.append(int(found))
    return replace(who, groups=tuple(dict.fromkeys((*who.groups, *more))))


def _rows(text: str, columns: int) -> Iterator[list[str]]:
    for line in text.splitlines():
        row = line.strip().split(":")
        if len(row) >= columns:
            yield row
