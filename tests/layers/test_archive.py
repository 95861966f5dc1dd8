"""Archives laid down in a folder: what a layer means, and that nothing is ever written outside of it."""

from __future__ import annotations

import io
import os
import resource
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dockerlab.errors import CorruptContent, UnsafeArchive
from dockerlab.layers import archive, folders, index, packing, tar
from dockerlab.layers.index import Entry
from dockerlab.layers.union import UnionView

ROOT = os.geteuid() == 0
PLAIN = archive.Style(owners=False, devices=ROOT)
OVERLAY = archive.Style("overlay", "trusted.overlay.opaque" if ROOT else "user.overlay.opaque", owners=False, devices=ROOT)
STYLES = [PLAIN, *([OVERLAY] if ROOT else [])]


def file(path: str, size: int = 3, **facts: object) -> Entry:
    return Entry(path, "file", 0o644, size=size, **facts)  # type: ignore[arg-type]


def folder(path: str, mode: int = 0o755) -> Entry:
    return Entry(path, "dir", mode)


def symlink(path: str, target: str) -> Entry:
    return Entry(path, "symlink", 0o777, link=target)


def hard(path: str, target: str) -> Entry:
    return Entry(path, "link", 0o644, link=target)


def stream(*entries: Entry) -> io.BytesIO:
    return io.BytesIO(
        b"".join(tar.header(e) + (b"x" * e.size + tar.padding(e.size) if e.kind == "file" else b"") for e in entries) + tar.END
    )


def shape(root: Path) -> dict[str, tuple[object, ...]]:
    found: dict[str, tuple[object, ...]] = {}
    for here, names, files in os.walk(root):
        for name in [".", *names, *files]:
            status = os.lstat(os.path.join(here, name))
            found[os.path.normpath(os.path.relpath(os.path.join(here, name), root))] = (
                status.st_mode,
                status.st_nlink,
                status.st_size,
                status.st_mtime_ns,
            )
    return found


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """A folder with a canary beside it that must not change."""
    canary = tmp_path / "canary"
    (canary / "inner").mkdir(parents=True)
    (canary / "secret").write_text("untouched")
    for place in (canary / "inner", canary / "secret", canary):
        os.utime(place, (1, 1))
    (tmp_path / "root").mkdir()
    before = shape(canary)
    yield tmp_path / "root"
    assert shape(canary) == before
    assert (canary / "secret").read_text() == "untouched"
    assert sorted(os.listdir(tmp_path)) == ["canary", "root"]


HOSTILE: dict[str, list[Entry]] = {
    "climbs": [file("../canary/new")],
    "climbs in the middle": [file("a/../../canary/new")],
    "absolute": [file("/etc/dockerlab-canary")],
    "replaces the root": [symlink("", "../canary")],
    "hard link climbs": [hard("l", "../canary/secret")],
    "hard link is absolute": [hard("l", "/etc/passwd")],
    "hard link to nothing": [hard("l", "nothing")],
    "hard link to the root": [hard("l", "")],
    "hard link to a folder": [folder("d"), hard("l", "d")],
    "hard link to itself": [hard("l", "l")],
    "hard link through a symlink": [symlink("s", "../canary"), hard("l", "s/secret")],
    "symlink leads out": [symlink("s", "../canary"), file("s/new")],
    "absolute symlink leads out": [symlink("s", "CANARY"), file("s/new")],
    "symlink to a symlink leads out": [symlink("s", "t"), symlink("t", "../canary"), file("s/new")],
    "circle": [symlink("a", "b"), symlink("b", "a"), file("a/f")],
    "circle of one": [symlink("a", "a"), file("a/f")],
    "whiteout of nothing": [file(".wh.", 0)],
    "whiteout of the folder": [file("a/.wh..", 0)],
    "whiteout of the parent": [file("a/.wh...", 0)],
    "whiteout through a symlink": [symlink("s", "../canary"), file("s/.wh.secret", 0)],
    "opaque through a symlink": [symlink("s", "../canary"), file("s/.wh..wh..opq", 0)],
    "opaque circle": [symlink("s", "s"), file("s/.wh..wh..opq", 0)],
    "file twice": [file("f"), file("f")],
    "file and folder": [file("f"), folder("f")],
    "whiteout twice": [file(".wh.f", 0), file(".wh.f", 0)],
    "twice by another spelling": [file("a/f"), file("./a//f")],
    "long name": [file("x" * 256)],
    "long hidden name": [hard("l", "y" * 256)],
    "nul in a symlink": [symlink("s", "a\0" + "b" * 200)],
    "nul in a name": [file("a\0" + "b" * 200)],
    "empty symlink": [symlink("s", "")],
    "symlink of five thousand bytes": [symlink("s", "a/" * 2500)],
    "nul in an attribute": [file("f", xattrs={"user.a\0b": b"v"})],
    "attribute without a name": [file("f", xattrs={"": b"v"})],
    "attribute with a long name": [file("f", xattrs={"user." + "n" * 300: b"v"})],
    "attribute with a long value": [file("f", xattrs={"user.big": b"v" * 70_000})],
    "attribute that does not fit": [file("f", xattrs={"user.big": b"v" * 60_000})],
}
REFUSED = [
    name
    for name in HOSTILE
    if name
    not in (
        "attribute that does not fit",
        "symlink leads out",
        "absolute symlink leads out",
        "symlink to a symlink leads out",
        "whiteout through a symlink",
        "opaque through a symlink",
    )
]


@pytest.mark.parametrize("style", STYLES, ids=lambda style: style.whiteout)
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_archives(root: Path, style: archive.Style, name: str) -> None:
    entries = [symlink(e.path, str(root.parent / "canary")) if e.link == "CANARY" else e for e in HOSTILE[name]]
    try:
        archive.apply(stream(*entries), str(root), style)
    except (UnsafeArchive, CorruptContent):
        return
    assert name not in REFUSED


@pytest.mark.parametrize("style", STYLES, ids=lambda style: style.whiteout)
def test_a_folder_turned_into_a_symlink_is_not_settled_through_it(root: Path, style: archive.Style) -> None:
    canary = root.parent / "canary"
    trick = [folder("x"), folder("x/d", 0o777), symlink("alias", "x"), symlink("alias/d", str(canary / "inner"))]
    table = archive.apply(stream(*trick), str(root), style)
    assert os.readlink(root / "x" / "d") == str(canary / "inner")
    assert [entry.path for entry in table] == ["x", "x/d", "alias", "alias/d"]


def test_a_lower_symlink_leads_nowhere_outside(root: Path) -> None:
    (root / "lower").symlink_to("../canary")
    (root / "other").symlink_to("/canary/inner")
    for entry in (file("lower/new"), file("other/new"), file("lower/.wh.secret", 0), folder("lower/inner", 0o700)):
        with pytest.raises(UnsafeArchive, match="leads nowhere"):
            archive.apply(stream(entry), str(root), PLAIN)


@pytest.mark.parametrize("style", STYLES, ids=lambda style: style.whiteout)
def test_links_between_many_folders(root: Path, style: archive.Style) -> None:
    many = [folder(f"d{n}") for n in range(400)] + [file("d0/source")]
    many += [file(f"d{n}/f") for n in range(400)] + [hard(f"d{n}/link", f"d{n * 7 % 400}/f") for n in range(1, 400)]
    archive.apply(stream(*many), str(root), style)
    for number in range(1, 400):
        assert (root / f"d{number}" / "link").samefile(root / f"d{number * 7 % 400}" / "f")


@pytest.mark.parametrize("depth", [300, 900, 1020])
def test_deep_paths(root: Path, depth: int) -> None:
    path = "a/" * depth + "f"
    soft, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, most))
    try:
        archive.apply(stream(file(path)), str(root), PLAIN)
        assert (root / path).stat().st_size == 3
        descriptor = os.open(root, os.O_RDONLY)
        archive.remove_entry(descriptor, "a")
        os.close(descriptor)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, most))
    assert os.listdir(root) == []


def test_a_tree_deeper_than_any_path_can_be_removed(root: Path) -> None:
    here = os.open(root, os.O_RDONLY)
    for number in range(5000):
        os.mkdir("deep", dir_fd=here)
        inner = os.open("deep", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
        if number % 100 == 0:
            os.symlink("/", "link", dir_fd=here)
            os.close(os.open("file", os.O_CREAT | os.O_WRONLY, 0, dir_fd=here))
            os.fchmod(here, 0o500)
            os.fchmod(here, 0o700)
    os.close(here)
    top = os.open(root, os.O_RDONLY)
    try:
        archive.remove_entry(top, "deep")
        assert os.listdir(root) == []
    finally:
        os.close(top)
        subprocess.run(["rm", "-rf", root / "deep"], check=True)


@pytest.mark.skipif(not ROOT, reason="the overlay form needs root")
def test_the_overlay_s_own_attributes_are_not_taken_from_an_archive(root: Path) -> None:
    marks = {"trusted.overlay.opaque": b"y", "user.overlay.opaque": b"y", "trusted.overlay.redirect": b"/secret", "user.kept": b"1"}
    archive.apply(stream(Entry("d", "dir", 0o755, xattrs=marks)), str(root), OVERLAY)
    assert os.listxattr(root / "d") == ["user.kept"]


@pytest.mark.skipif(not ROOT, reason="device nodes need root")
@pytest.mark.parametrize("style", STYLES, ids=lambda style: style.whiteout)
def test_a_device_with_the_kernel_s_whiteout_number_is_a_whiteout(root: Path, style: archive.Style) -> None:
    (root / "gone").write_text("below")
    table = archive.apply(stream(Entry("gone", "char", 0o600)), str(root), style)
    assert [(entry.path, entry.kind) for entry in table] == [("gone", "whiteout")]
    assert [found.path for found in folders.walk((str(root),))][1:] == []


def test_attribute_names_of_any_bytes_reach_the_table(root: Path) -> None:
    entry = file("f", xattrs={"user.\udcff": b"v"})
    table = archive.apply(stream(entry), str(root), PLAIN)
    assert list(index.decode(index.encode(table))) == table == [msgspec.structs.replace(entry, place=table[0].place)]
    assert os.getxattr(root / "f", b"user.\xff") == b"v"


def test_folders_get_their_mode_and_time_at_the_end(root: Path) -> None:
    archive.apply(
        stream(Entry("d", "dir", 0o555, mtime=7), file("d/f"), Entry("d/e", "dir", 0o500, mtime=8), file("d/e/f")), str(root), PLAIN
    )
    assert [(stat.S_IMODE(s.st_mode), s.st_mtime) for s in (os.stat(root / "d"), os.stat(root / "d" / "e"))] == [(0o555, 7), (0o500, 8)]


@pytest.mark.parametrize(
    ("below", "above", "left"),
    [
        (["f", "g"], [file(".wh.f", 0)], ["g"]),
        (["d/f", "d/g"], [file("d/.wh.f", 0)], ["d", "d/g"]),
        (["d/f"], [file(".wh.d", 0)], []),
        (["d/f"], [file(".wh.d", 0), folder("d"), file("d/g")], ["d", "d/g"]),
        (["d/f"], [folder("d"), file("d/g"), file("d/.wh..wh..opq", 0)], ["d", "d/g"]),
        (["d/f"], [folder("d"), file("d/g"), file(".wh.d", 0)], ["d", "d/g"]),
        (["d/f"], [file("d/g"), file(".wh.d", 0)], ["d", "d/g"]),
        (["d/f"], [file(".wh.d", 0), file("d/g")], ["d", "d/g"]),
        (["d/f"], [file("d/e/g"), file("d/.wh..wh..opq", 0)], ["d", "d/e", "d/e/g"]),
        (["d/f"], [file("d/.wh..wh..opq", 0), file("d/g")], ["d", "d/g"]),
        (["d/f"], [file("d")], ["d"]),
        (["d"], [folder("d"), file("d/f")], ["d", "d/f"]),
        (["f"], [file(".wh.f", 0), file("f", 9)], ["f"]),
        (["f"], [file("f", 9), file(".wh.f", 0)], ["f"]),
        ([], [file(".wh.f", 0)], []),
        (["f"], [file(".wh..wh.aufs", 0)], ["f"]),
        (["a/b/c"], [file(".wh..wh..opq", 0), file("n")], ["n"]),
    ],
)
def test_what_markers_mean(root: Path, below: list[str], above: list[Entry], left: list[str]) -> None:
    lower = archive.apply(stream(*map(file, below)), str(root), PLAIN)
    upper = archive.apply(stream(*above), str(root), PLAIN)
    assert [found.path for found in folders.walk((str(root),))][1:] == left
    assert [path for path, _ in UnionView([lower, upper]).walk()] == left


@pytest.mark.skipif(not ROOT, reason="the overlay form needs root")
@pytest.mark.parametrize(
    "above", [[file(".wh.d", 0), folder("d"), file("d/g")], [folder("d"), file("d/g"), file(".wh.d", 0)], [file(".wh.d", 0), file("d/g")]]
)
def test_a_whiteout_beside_its_own_folder_hides_what_lies_below(root: Path, above: list[Entry]) -> None:
    for name, entries in (("low", [file("d/f")]), ("up", above)):
        (root / name).mkdir()
        archive.apply(stream(*entries), str(root / name), OVERLAY)
    assert [found.path for found in folders.walk((str(root / "up"), str(root / "low")))][1:] == ["d", "d/g"]


PARTS = st.sampled_from(["a", "b", "..", ".", "", ".wh.a", ".wh..wh..opq", ".wh..", ".wh...", ".wh.", "s", "/"])
PATHS = st.lists(PARTS, min_size=1, max_size=4).map("/".join)
TARGETS = st.sampled_from(
    ["a", "s", "/", "..", "../canary", "../../canary", "/canary", "CANARY", ".", "a/b", "../root/a", "/proc/self/root"]
)
MADE = st.one_of(
    st.builds(file, PATHS, st.just(3)),
    st.builds(folder, PATHS, st.sampled_from([0o777, 0o500])),
    st.builds(symlink, PATHS, TARGETS),
    st.builds(hard, PATHS, st.one_of(PATHS, TARGETS)),
    st.builds(lambda path: Entry(path, "fifo", 0o600), PATHS),
)


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(MADE, min_size=1, max_size=9), st.sampled_from(STYLES))
def test_nothing_leaves_the_root(root: Path, entries: list[Entry], style: archive.Style) -> None:
    canary = root.parent / "canary"
    before = shape(canary)
    place = root / "inner"
    place.mkdir()
    for n, entry in enumerate(entries):
        if entry.link == "CANARY":
            entries[n] = Entry(entry.path, entry.kind, link=str(canary))
    try:
        archive.apply(stream(*entries), str(place), style, limits=tar.Limits(bytes=1 << 20))
    except (UnsafeArchive, CorruptContent):
        pass
    finally:
        descriptor = os.open(root, os.O_RDONLY)
        archive.remove_entry(descriptor, "inner")
        os.close(descriptor)
    assert shape(canary) == before
    assert os.listdir(root) == []


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 4095), st.integers(1, 255)), min_size=1, max_size=4), st.booleans())
def test_flipped_bytes_stay_inside(root: Path, flips: list[tuple[int, int]], mend: bool) -> None:
    raw = bytearray(stream(folder("d"), file("d/f"), hard("h", "d/f"), symlink("s", "d"), Entry("p", "fifo"), file("l" * 120)).getvalue())
    for where, bits in flips:
        raw[where] ^= bits
        start = where - where % 512
        if mend:
            raw[start + 148 : start + 156] = b" " * 8
            raw[start + 148 : start + 156] = b"%06o\0 " % sum(raw[start : start + 512])
    place = root / "inner"
    place.mkdir()
    try:
        table = archive.apply(io.BytesIO(bytes(raw)), str(place), PLAIN, limits=tar.Limits(bytes=1 << 20))
        assert list(index.decode(index.encode(table))) == table
    except (UnsafeArchive, CorruptContent):
        pass
    finally:
        descriptor = os.open(root, os.O_RDONLY)
        archive.remove_entry(descriptor, "inner")
        os.close(descriptor)


def test_same_tree_gives_same_bytes(tmp_path: Path) -> None:
    made = []
    for turn in ("one", "two"):
        root = tmp_path / turn
        for name in ["b", "a", "c"] if turn == "one" else ["c", "b", "a"]:
            (root / name).mkdir(parents=True)
            (root / name / "f").write_text(name)
            os.utime(root / name / "f", (5, 5))
            os.utime(root / name, (6, 6))
        blocks: list[bytes] = []
        packing.pack(packing.pack_tree((str(root),)), lambda block: blocks.append(bytes(block)))
        made.append(b"".join(blocks))
    assert made[0] == made[1]


def test_a_file_that_shrinks_while_it_is_packed(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x" * 4000)
    items = list(packing.pack_tree((str(tmp_path),)))
    (tmp_path / "f").write_bytes(b"x")
    with pytest.raises(CorruptContent, match="became shorter"):
        packing.pack(items, lambda _: None)
