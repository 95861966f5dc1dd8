from __future__ import annotations

from dockerlab.layers.index import Entry
from dockerlab.layers.permissions import READ, RUN, WRITE, rules
from dockerlab.layers.union import UnionView

TREE = [
    Entry("bin", "dir", 0o755), Entry("bin/ls", "file", 0o755), Entry("etc", "dir", 0o755), Entry("etc/passwd", "file", 0o644),
    Entry("etc/shadow", "file", 0o640), Entry("home", "dir", 0o755), Entry("home/bob", "dir", 0o700, 1000, 1000),
    Entry("home/bob/notes", "file", 0o600, 1000, 1000), Entry("root", "dir", 0o700), Entry("root/open", "file", 0o666), Entry("tmp", "dir", 0o1777),
    Entry("srv", "dir", 0o775, 0, 50), Entry("bin/link", "link", 0o755, 0, 0, 0, 0, "bin/ls"),
]  # fmt: skip


def effective(path: str, uid: int, *gids: int) -> int:
    granted = 0
    for place, rights in rules(UnionView([TREE]), uid, gids):
        if path == place or path.startswith(place.rstrip("/") + "/"):
            granted |= rights
    return granted


def test_bob_may_do_what_the_modes_say() -> None:
    assert effective("/etc/passwd", 1000, 1000) & (READ | WRITE) == READ
    assert effective("/etc/shadow", 1000, 1000) & (READ | WRITE) == 0
    assert effective("/etc/new", 1000, 1000) & WRITE == 0
    assert effective("/bin/ls", 1000, 1000) & (RUN | WRITE) == RUN and effective("/bin/link", 1000, 1000) & RUN == RUN
    assert effective("/root/open", 1000, 1000) == 0
    assert effective("/tmp/new", 1000, 1000) & WRITE and effective("/home/bob/notes", 1000, 1000) & (READ | WRITE) == READ | WRITE


def test_others_and_groups() -> None:
    assert effective("/home/bob/notes", 1001, 1001) & (READ | WRITE) == 0
    assert effective("/srv/new", 1001, 50) & WRITE and not effective("/srv/new", 1001, 1001) & WRITE


def test_few_rules_for_an_open_tree() -> None:
    tree = [Entry("", "dir", 0o755), Entry("usr", "dir", 0o755), *(Entry(f"usr/{n}", "file", 0o755) for n in range(100))]
    assert rules(UnionView([tree]), 5, [5]) == [("/", READ | RUN)]
