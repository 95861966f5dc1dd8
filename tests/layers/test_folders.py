"""Layers side by side on disk, joined as overlayfs joins them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from dockerlab.layers import folders

MARK = "trusted.overlay.opaque" if os.geteuid() == 0 else "user.overlay.opaque"
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="a kernel whiteout needs root")


def lay(root: Path, *names: str) -> str:
    """Makes a layer: `x/` is a folder, `x!` an opaque one, `-x` a whiteout, anything else a file."""
    root.mkdir()
    for name in names:
        place = root / name.strip("/!-")
        if name.endswith(("/", "!")):
            place.mkdir()
            if name.endswith("!"):
                os.setxattr(place, MARK, b"y")
        elif name.startswith("-"):
            os.mknod(place, stat.S_IFCHR, 0)
        else:
            place.write_text(f"{root.name}")
    return str(root)


@pytest.mark.parametrize(
    ("low", "middle", "top", "seen"),
    [
        (["f"], [], [], {"f": "low"}),
        (["f"], ["f"], [], {"f": "middle"}),
        (["d/", "d/f"], ["d/", "d/g"], ["d/", "d/h"], {"d": "top", "d/f": "low", "d/g": "middle", "d/h": "top"}),
        (["d/", "d/f"], ["d!", "d/g"], [], {"d": "middle", "d/g": "middle"}),
        (["d/", "d/f"], ["d"], ["d/", "d/g"], {"d": "top", "d/g": "top"}),
        (["d/", "d/f"], [], ["d"], {"d": "top"}),
        (["d"], ["d/", "d/f"], [], {"d": "middle", "d/f": "middle"}),
        pytest.param(["f"], ["-f"], [], {}, marks=needs_root),
        pytest.param(["f"], ["-f"], ["f"], {"f": "top"}, marks=needs_root),
        pytest.param(["d/", "d/f"], ["-d"], ["d/", "d/g"], {"d": "top", "d/g": "top"}, marks=needs_root),
        pytest.param(["-f"], [], [], {}, marks=needs_root),
        pytest.param([], [], ["-f"], {}, marks=needs_root),
    ],
)
def test_who_provides_what(tmp_path: Path, low: list[str], middle: list[str], top: list[str], seen: dict[str, str]) -> None:
    stack = (lay(tmp_path / "top", *top), lay(tmp_path / "middle", *middle), lay(tmp_path / "low", *low))
    assert {f.path: Path(f.place).relative_to(tmp_path).parts[0] for f in folders.walk(stack) if f.path} == seen


def test_a_folder_stands_before_what_it_holds_and_names_are_in_byte_order(tmp_path: Path) -> None:
    root = lay(tmp_path / "one", "b/", "b/x", "a", "B", "bé", "b\udcff")
    assert [f.path for f in folders.walk((root,))] == ["", "B", "a", "b", "b/x", "bé", "b\udcff"]


def test_symlinks_are_not_followed(tmp_path: Path) -> None:
    root = lay(tmp_path / "one", "d/", "d/f")
    os.symlink("d", f"{root}/s")
    os.symlink("/", f"{root}/out")
    found = {f.path: f for f in folders.walk((root,))}
    assert sorted(found) == ["", "d", "d/f", "out", "s"]
    assert not found["s"].is_dir and not found["out"].joined


@pytest.mark.timeout(20)
def test_a_deep_tree_is_walked(tmp_path: Path) -> None:
    (tmp_path / ("a/" * 900)).mkdir(parents=True)
    assert len(list(folders.walk((str(tmp_path),)))) == 901
