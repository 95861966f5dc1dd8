"""Files that give rights: found where the layers have them, whatever became of them."""

from __future__ import annotations

import struct

from hypothesis import example, given
from hypothesis import strategies as st

from dockerlab.layers.audit import Found, Sifted, audit, file_capabilities, narrowed, reachers, traits
from dockerlab.layers.index import Entry
from dockerlab.layers.union import UnionView

SET_UID, PLAIN = 0o4755, 0o755


def capability(*numbers: int, inheritable: int = 0) -> dict[str, bytes]:
    low, high = (sum(1 << (n % 32) for n in numbers if n // 32 == half) for half in (0, 1))
    return {"security.capability": struct.pack("<5I", 0x02000001, low, inheritable, high, 0)}


def told(*layers: list[Entry]) -> list[tuple[str, int, str, int]]:
    return [(each.path, each.layer, each.fate, each.layer_after) for each in audit(UnionView(layers))]


def test_what_a_file_gives() -> None:
    assert traits(Entry("f", "file", 0o4755)) == ("set-uid",) and traits(Entry("f", "file", 0o6755)) == ("set-uid", "set-gid")
    assert traits(Entry("f", "file", 0o2644)) == (), "without the group's x bit set-gid meant a lock"
    assert traits(Entry("f", "file", 0o646)) == ("world-writable",) and traits(Entry("f", "symlink", 0o777)) == ()
    assert traits(Entry("d", "dir", 0o777)) == ("no sticky bit",) and traits(Entry("d", "dir", 0o1777)) == () == traits(Entry("d", "dir", 0o6755))
    found = Entry("f", "file", 0o755, xattrs=capability(7, 13, 38))
    assert traits(found) == ("capabilities",) and file_capabilities(found) == ("CAP_SETUID", "CAP_NET_RAW", "CAP_PERFMON")
    for raw in (b"", b"x", b"\0" * 11, b"\0" * 64):
        assert file_capabilities(Entry("f", "file", 0o755, xattrs={"security.capability": raw})) == ()


def test_what_became_of_it() -> None:
    base = [Entry("bin", "dir", PLAIN), *(Entry(f"bin/{name}", "file", SET_UID) for name in "abcde"), Entry("bin/f", "link", 0, link="bin/a")]
    later = [Entry("bin/a", "file", PLAIN), Entry("bin/b", "whiteout"), Entry("bin/c", "file", SET_UID), Entry("bin/d", "dir", PLAIN)]
    assert told(base, later) == [
        ("bin/c", 1, "acts", -1), ("bin/e", 0, "acts", -1), ("bin/f", 0, "acts", -1), ("bin/a", 0, "cleared", 1), ("bin/b", 0, "deleted", 1), ("bin/c", 0, "replaced", 1), ("bin/d", 0, "cleared", 1),
    ]  # fmt: skip
    assert {fate for _, _, fate, _ in told(base, [Entry("bin", "opaque")])} == {"deleted"}
    assert {fate for _, _, fate, _ in told(base, [Entry("bin", "file", PLAIN)])} == {"deleted"}
    assert told(base, [Entry("bin/b", "whiteout")], [Entry("bin/b", "file", SET_UID)])[1] == ("bin/b", 2, "acts", -1), "one that comes back acts again"


def test_who_reaches_it() -> None:
    union = UnionView([[Entry("a", "dir", 0o750, gid=5), Entry("a/f", "file", 0o4755), Entry("g", "file", 0o4710, gid=5), Entry("w", "file", 0o602)]])
    who = [("root", 0, frozenset({0})), ("in", 7, frozenset({5})), ("out", 8, frozenset({8}))]
    assert reachers(union, "a/f", who, 1) == ["root", "in"] == reachers(union, "g", who, 1)
    assert reachers(union, "w", who, 2) == ["root", "in", "out"]


_PATHS = st.sampled_from(["a", "b", "d/a", "d/b", "d"])
_KINDS, _MODES = st.sampled_from(["file", "dir", "whiteout", "opaque", "symlink"]), st.sampled_from([SET_UID, PLAIN, 0o777, 0o2755, 0o646])
_ENTRIES = st.builds(lambda path, kind, mode: Entry(path, kind, mode), _PATHS, _KINDS, _MODES)


@given(st.lists(st.lists(_ENTRIES, max_size=6), max_size=4))
def test_what_acts_is_what_the_union_shows(layers: list[list[Entry]]) -> None:
    union = UnionView(layers)
    shown = {path: seen.entry for path, seen in union.walk()}
    found: list[Found] = audit(union)
    assert {each.path for each in found if each.fate == "acts"} == {path for path, entry in shown.items() if path and traits(entry)}
    assert all(each.layer_after > each.layer for each in found if each.fate != "acts")


_NAMES = st.sampled_from(["a", "b", "d", "d/a", "d/b", "d/e", "d/e/f"])
_ANY = st.one_of(
    st.builds(lambda path, kind, mode: Entry(path, kind, mode), _NAMES, _KINDS, _MODES), st.builds(lambda path, link: Entry(path, "link", link=link), _NAMES, _NAMES),
    st.builds(lambda path: Entry(path, "file", 0o755, xattrs={"security.capability": b"x"}), _NAMES),
)  # fmt: skip


@given(st.lists(st.lists(_ANY, max_size=8), max_size=5), st.lists(_NAMES, max_size=2))
@example([[Entry("d/a", "link", link="a")]], ["d"])  # a folder that is there by its child alone
@example([[Entry("d", "file", SET_UID)], [Entry("d/a", "file", PLAIN)]], [])  # and one that replaces a file so
@example([[Entry("d/a", "file", PLAIN), Entry("d", "dir", 0o777)], [Entry("d", "link", link="a")]], [])  # named after its child
@example([[Entry("a", "file", 0o4755)], [Entry("b", "file", PLAIN), Entry("a", "link", link="b")]], [])  # its second name tells what became of it
def test_a_part_of_the_tables_says_the_same(layers: list[list[Entry]], besides: list[str]) -> None:
    """What was narrowed gives the same audit as the whole, and shows the same at the paths besides."""
    whole, part = UnionView(layers), UnionView(narrowed([Sifted.of(layer) for layer in layers], besides))
    assert audit(part) == audit(whole)
    assert [part.get(path) for path in besides] == [whole.get(path) for path in besides]
