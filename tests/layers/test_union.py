"""The computed union: by example, and equal to the kernel's overlayfs on random stacks."""

from __future__ import annotations

import io
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dockerlab.layers import archive, folders, packing, tar
from dockerlab.layers.index import Entry
from dockerlab.layers.union import UnionView
from dockerlab.linux import syscalls

OVERLAY = archive.Style("overlay", "trusted.overlay.opaque")


def view(*layers: list[Entry]) -> dict[str, int]:
    return {path: seen.layer for path, seen in UnionView(layers).walk()}


def marks(union: UnionView, path: str) -> str:
    return " ".join(f"{s.layer}{s.mark}" for s in union.history(path))


D, F, G = Entry("d", "dir", 0o755), Entry("d/f", "file", 0o644, size=5), Entry("d/g", "file", 0o644, size=7)


@pytest.mark.parametrize(
    ("layers", "seen"),
    [
        ([], {}),
        ([[D, F]], {"d": 0, "d/f": 0}),
        ([[F]], {"d": 0, "d/f": 0}),
        ([[D, F], [D, G]], {"d": 1, "d/f": 0, "d/g": 1}),
        ([[D, F], [Entry("d/f", "whiteout")]], {"d": 0}),
        ([[D, F], [Entry("d", "whiteout")]], {}),
        ([[D, F], [Entry("d", "whiteout"), D, G]], {"d": 1, "d/g": 1}),
        ([[D, F], [Entry("d", "opaque"), D, G]], {"d": 1, "d/g": 1}),
        ([[D, F], [Entry("", "opaque"), Entry("x", "file")]], {"x": 1}),
        ([[D, F], [Entry("d", "file")]], {"d": 1}),
        ([[D, F], [Entry("d", "symlink", link="x")], [D, G]], {"d": 2, "d/g": 2}),
        ([[D, F], [Entry("d/f", "dir"), Entry("d/f/x", "file")]], {"d": 0, "d/f": 1, "d/f/x": 1}),
        ([[D, F], [Entry("d", "whiteout")], [D, F]], {"d": 2, "d/f": 2}),
        ([[D], [Entry("nothing", "whiteout")]], {"d": 0}),
        ([[D], [Entry("new/nothing", "whiteout")]], {"d": 0, "new": 1}),
        ([[Entry("d", "file")], [Entry("d", "opaque")]], {"d": 1}),
    ],
)
def test_what_is_seen(layers: list[list[Entry]], seen: dict[str, int]) -> None:
    assert view(*layers) == seen


def test_history_and_hidden_bytes() -> None:
    union = UnionView([[D, F, G], [Entry("d/f", "file", size=2)], [Entry("d/f", "whiteout")], [Entry("d", "opaque"), D, F]])
    assert marks(union, "d/f") == "0A 1C 2D 3A"
    assert marks(union, "d/g") == "0A 3D"
    assert union.hidden == [12, 2, 0, 0]
    assert union.depth == 4


def test_a_whiteout_and_its_replacement_are_one_change() -> None:
    union = UnionView([[F], [Entry("d/f", "whiteout"), Entry("d/f", "symlink", link="g")]])
    assert marks(union, "d/f") == "0A 1C"
    assert union.hidden == [5, 0]
    assert union.shadowed() == ["d/f"]


def test_a_hard_link_is_resolved_to_its_file_even_when_the_first_name_is_gone() -> None:
    union = UnionView([[F, Entry("d/h", "link", link="d/f")], [Entry("d/f", "whiteout")]])
    assert union.get("d/f") is None
    seen = union.resolved("d/h")
    assert seen is not None and seen.entry == F


def test_links_that_lead_in_a_circle_end() -> None:
    union = UnionView([[Entry("a", "link", link="b"), Entry("b", "link", link="a")]])
    assert union.resolved("a") is not None


def test_a_deep_stack_and_a_wide_folder() -> None:
    wide = [Entry(f"d/{n}", "file") for n in range(5000)]
    union = UnionView([[D, *wide]] + [[Entry(f"d/{n}", "whiteout")] for n in range(100)])
    assert len(union.children("d")) == 4900


@pytest.mark.timeout(20)
def test_deep_trees_are_hidden_without_recursion() -> None:
    deep = ["/".join(["a"] * n) for n in range(1, 1024)]
    union = UnionView([[Entry(path, "dir") for path in deep], [Entry("a", "whiteout")]])
    assert list(union.walk()) == []
    union = UnionView([[Entry(deep[-1] + "/f", "file")]])
    assert len(list(union.walk())) == 1024


# Random stacks


@dataclass
class Model:
    """A tree in memory: path -> (kind, content or target), from which each layer's archive is made, as an engine would write it."""

    tree: dict[str, tuple[str, str]] = field(default_factory=dict)

    def below(self, path: str) -> list[str]:
        return [p for p in self.tree if p.startswith(path + "/")]

    def drop(self, path: str) -> None:
        for gone in [path, *self.below(path)]:
            self.tree.pop(gone, None)


NAMES = ["a", "b", "c", "a/a", "a/b", "b/a", "b/b", "a/a/a", "a/a/b", "b/a/c"]
ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["file", "dir", "symlink", "link", "delete", "opaque", "replace"]), st.sampled_from(NAMES), st.integers(0, 9)
    ),
    max_size=8,
)
STACKS = st.lists(ACTIONS, min_size=1, max_size=5)
MODES = [0o644, 0o600, 0o755, 0o4755, 0o444]


def one_layer(model: Model, actions: list[tuple[str, str, int]]) -> list[Entry]:
    """Applies the actions to the model and gives the layer: markers and entries in a shuffled but valid order."""
    before = set(model.tree)
    made: dict[str, Entry] = {}
    opaque: set[str] = set()
    for what, path, number in actions:
        parents = [path[:n] for n in range(len(path)) if path[n] == "/"]
        if any(model.tree.get(p, ("dir", ""))[0] != "dir" for p in parents) or (what not in ("delete", "opaque") and path in made):
            continue
        if what == "delete" and path not in model.tree:
            continue
        for parent in parents:
            made.setdefault(parent, Entry(parent, "dir", 0o755))
            model.tree[parent] = ("dir", "")
        if what == "delete":
            model.drop(path)
            for gone in [p for p in made if p == path or p.startswith(path + "/")]:
                del made[gone]
            opaque -= {p for p in opaque if p == path or p.startswith(path + "/")}
            continue
        build(model, made, opaque, (what, path, number))
    for path in [p for p, e in made.items() if e.kind == "link" and (e.link not in made or made[e.link].kind != "file")]:
        del made[path]  # what it was a name of has gone, and it with it
        model.drop(path)
    gone = {p for p in before if p not in model.tree and not any(p.startswith(o + "/") for o in opaque)}
    tops = {p for p in gone if p.rpartition("/")[0] not in gone and p.rpartition("/")[0] not in [q for q in made if made[q].kind != "dir"]}
    return [Entry(p, "whiteout") for p in sorted(tops)] + sorted(
        [*made.values(), *(Entry(p, "opaque") for p in opaque)], key=lambda e: (e.kind == "link", e.path, e.marker)
    )


def build(model: Model, made: dict[str, Entry], opaque: set[str], action: tuple[str, str, int]) -> None:
    what, path, number = action
    mode = MODES[number % len(MODES)]
    if what in ("dir", "opaque", "replace"):
        if what != "dir" or model.tree.get(path, ("dir", ""))[0] != "dir":
            model.drop(path)
            for gone in [p for p in made if p.startswith(path + "/")]:
                del made[gone]
            opaque -= {p for p in opaque if p.startswith(path + "/")}
        if what != "dir":
            opaque.add(path)
        made[path], model.tree[path] = Entry(path, "dir", mode | 0o700), ("dir", "")
    else:
        model.drop(path)
        for gone in [p for p in made if p.startswith(path + "/")]:
            del made[gone]
        opaque -= {p for p in opaque if p == path or p.startswith(path + "/")}
        sources = sorted(p for p, e in made.items() if e.kind == "file")
        kind = what if what != "link" or sources else "file"
        link = sources[number % len(sources)] if kind == "link" else "a/b" if kind == "symlink" else ""
        made[path] = Entry(path, kind, 0o777 if kind == "symlink" else mode, size=number + 1 if kind == "file" else 0, link=link)  # type: ignore[arg-type]
        model.tree[path] = (kind, "")


def as_tar(layer: list[Entry], number: int) -> io.BytesIO:
    blocks: list[bytes] = []
    for entry in layer:
        blocks.append(tar.header(packing.marker(entry) if entry.marker else entry))
        if entry.kind == "file":
            blocks.append(bytes([65 + number]) * entry.size + tar.padding(entry.size))
    return io.BytesIO(b"".join(blocks) + tar.END)


Shape = dict[str, tuple[int, str]]


def fact(place: str) -> tuple[int, str]:
    status = os.lstat(place)
    if stat.S_ISLNK(status.st_mode):
        return status.st_mode, os.readlink(place)
    return status.st_mode, Path(place).read_text() if stat.S_ISREG(status.st_mode) else ""


def on_disk(root: str) -> Shape:
    return {
        os.path.relpath(f"{here}/{name}", root): fact(f"{here}/{name}") for here, names, files in os.walk(root) for name in names + files
    }


def computed(tables: list[list[Entry]]) -> Shape:
    union, found = UnionView(tables), {}
    kinds = {"file": stat.S_IFREG, "dir": stat.S_IFDIR, "symlink": stat.S_IFLNK}
    for path, _ in union.walk():
        seen = union.resolved(path)
        assert seen is not None
        entry = seen.entry
        content = entry.link if entry.kind == "symlink" else chr(65 + seen.layer) * entry.size
        found[path] = (kinds[entry.kind] | entry.mode, content)
    return found


def in_child(action: Callable[[], object]) -> object:
    """Gives what the action gives, run in a process with a mount namespace of its own; an OSError comes back as its text."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            syscalls.unshare(syscalls.CLONE_NEWNS)
            syscalls.mount(None, "/", None, syscalls.MS_REC | syscalls.MS_PRIVATE)
            answer = json.dumps(action())
        except BaseException as error:
            answer = json.dumps(f"{type(error).__name__}: {error}")
        with open(writer, "w") as file:
            file.write(answer)
        os._exit(0)
    os.close(writer)
    with open(reader) as file:
        text = file.read()
    os.waitpid(child, 0)
    return json.loads(text)


def mounted(lowers: list[str], place: str) -> object:
    def look() -> Shape:
        words = f"lowerdir={':'.join(lowers)}"
        syscalls.mount("overlay", place, "overlay", syscalls.MS_RDONLY, words)
        return on_disk(place)

    answer = in_child(look)
    return {path: tuple(facts) for path, facts in answer.items()} if isinstance(answer, dict) else answer


def refused() -> str:
    if os.geteuid() != 0:
        return "overlayfs in the first user namespace needs root"
    with tempfile.TemporaryDirectory() as place:
        for name in ("a", "b", "m"):
            os.mkdir(f"{place}/{name}")
        answer = mounted([f"{place}/a", f"{place}/b"], f"{place}/m")
    return "" if isinstance(answer, dict) else f"overlayfs cannot be mounted here: {answer}"


REFUSED = refused()


@pytest.mark.skipif(bool(REFUSED), reason=REFUSED or "-")
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(STACKS)
def test_four_ways_to_the_same_union(stack: list[list[tuple[str, str, int]]]) -> None:
    model, place = Model(), tempfile.mkdtemp()
    try:
        os.mkdir(f"{place}/m")
        os.mkdir(f"{place}/plain")
        os.mkdir(f"{place}/empty")
        tables, lowers = [], [f"{place}/empty"]
        for number, actions in enumerate(stack):
            layer = one_layer(model, actions)
            os.mkdir(f"{place}/{number}")
            tables.append(archive.apply(as_tar(layer, number), f"{place}/{number}", OVERLAY))
            archive.apply(as_tar(layer, number), f"{place}/plain", archive.Style())
            lowers.insert(0, f"{place}/{number}")
        kernel = mounted(lowers, f"{place}/m")
        assert computed(tables) == kernel
        assert {f.path: fact(f.place) for f in folders.walk(tuple(lowers)) if f.path} == kernel
        assert on_disk(f"{place}/plain") == kernel
        assert set(model.tree) >= set(kernel)  # type: ignore[call-overload]
    finally:
        shutil.rmtree(place)


@pytest.mark.skipif(bool(REFUSED), reason=REFUSED or "-")
@pytest.mark.xfail(strict=True, reason="a folder that only a whiteout asks for is made with 0755 over the one below")
def test_a_layer_that_names_a_file_and_not_its_folder(tmp_path: Path) -> None:
    tables, lowers = [], []
    for number, layer in enumerate([[Entry("a", "dir", 0o700), Entry("a/f", "file", 0o644)], [Entry("a/f", "whiteout")]]):
        (tmp_path / str(number)).mkdir()
        tables.append(archive.apply(as_tar(layer, number), str(tmp_path / str(number)), OVERLAY))
        lowers.insert(0, str(tmp_path / str(number)))
    (tmp_path / "m").mkdir()
    assert computed(tables) == mounted(lowers, str(tmp_path / "m"))


@pytest.mark.parametrize(
    ("path", "place"),
    [("/d/f", "d/f"), ("dl/f", "d/f"), ("d/../dl/./f", "d/f"), ("up/x", "x"), ("far", "nosuch/place"), ("d/f/..", "d"), ("../../d", "d"), ("loop", "loop"), ("", "")],
)
def test_follow_stays_inside_the_tree(path: str, place: str) -> None:
    links = {"dl": "/d", "up": "../../../..", "far": "/nosuch/place", "loop": "loop"}
    view = UnionView([[Entry("d", "dir"), Entry("d/f", "file"), *(Entry(name, "symlink", link=text) for name, text in links.items())]])
    assert view.follow(path) == place


def test_counts_of_each_layer() -> None:
    base = [Entry("d", "dir", 0o755), Entry("d/a", "file", 0o644, size=3), Entry("d/b", "file", 0o644, size=5)]
    later = [Entry("d/a", "file", 0o600, size=4), Entry("d/b", "whiteout"), Entry("c", "symlink", link="d")]
    view = UnionView([base, later])
    assert view.counts() == [{"A": 3, "C": 0, "D": 0}, {"A": 1, "C": 1, "D": 1}]
    assert view.hidden == [8, 0] and view.known() == ["c", "d", "d/a", "d/b"]
