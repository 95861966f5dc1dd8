"""A container's copy, given to the next one."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from dockerlab.layers.diff import Comparison, changes
from dockerlab.store import recycling, trees
from dockerlab.store.trees import copy


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A snapshotter's folder with one committed snapshot and one active copy of it, out of sight."""
    base = tmp_path / "base" / "fs"
    (base / "etc" / "deep").mkdir(parents=True)
    (base / "bin").mkdir()
    (base / "etc" / "conf").write_text("as it was\n")
    (base / "etc" / "deep" / "kept").write_text("kept\n")
    (base / "bin" / "sh").write_text("#!\n")
    os.link(base / "bin" / "sh", base / "bin" / "vi")
    (base / "link").symlink_to("etc/conf")
    (base / "bin" / "sh").chmod(0o4755)
    used = tmp_path / "used"
    (used / "fs").mkdir(parents=True)
    copy(str(base), str(used / "fs"))
    (used / "parents").write_text("base\nolder")
    time.sleep(0.02)
    trees.mark(str(used))
    time.sleep(0.02)
    return tmp_path


def listed(folder: Path) -> str:
    return subprocess.run(
        ["find", ".", "-printf", "%P %y %m %U %G %n %s %T@ %l\n", "-type", "f", "-exec", "cat", "{}", ";"], cwd=folder, capture_output=True, text=True, check=True
    ).stdout


def spare(root: Path) -> Path:
    return root / "spare" / "base"


def ordered(folder: Path) -> list[str]:
    return sorted(listed(folder).splitlines())


def test_what_changed_is_as_it_was(root: Path) -> None:
    used = root / "used" / "fs"
    (used / "etc" / "conf").write_text("mine!!\n!!\n")
    (used / "etc" / "deep" / "kept").unlink()
    (used / "etc" / "new").mkdir()
    (used / "etc" / "new" / "f").write_text("new")
    (used / "etc").chmod(0o700)
    (used / "bin" / "vi").unlink()
    (used / "bin" / "vi").symlink_to("/etc/passwd")
    (used / "link").unlink()
    (used / "link").mkdir()
    recycling.retire(str(root / "used"))
    assert not (root / "used").exists()
    assert ordered(spare(root)) == ordered(root / "base" / "fs")
    assert (spare(root) / "bin" / "sh").samefile(spare(root) / "bin" / "vi")


def test_the_same_size_and_time_do_not_deceive(root: Path) -> None:
    place = root / "used" / "fs" / "etc" / "conf"
    status = place.stat()
    place.write_text("AS IT WAS\n")
    os.utime(place, ns=(status.st_atime_ns, status.st_mtime_ns))
    recycling.retire(str(root / "used"))
    assert (spare(root) / "etc" / "conf").read_text() == "as it was\n"


def test_a_folder_that_became_a_link_leads_nowhere(root: Path) -> None:
    outside = root / "outside"
    outside.mkdir()
    (outside / "mine").write_text("mine")
    used = root / "used" / "fs"
    subprocess.run(["rm", "-r", used / "etc"], check=True)
    (used / "etc").symlink_to(outside)
    recycling.retire(str(root / "used"))
    assert [path.name for path in outside.iterdir()] == ["mine"]
    assert ordered(spare(root)) == ordered(root / "base" / "fs")


def test_a_folder_in_anothers_place(root: Path) -> None:
    """What is in a folder does not change when the folder is moved."""
    base, used = root / "base" / "fs", root / "used" / "fs"
    for top in (base, used):
        for name in ("blue", "green"):
            (top / name / "deep").mkdir(parents=True)
            (top / name / "deep" / "app").write_text(name)
    shutil.copystat(base, used)
    time.sleep(0.02)
    trees.mark(str(root / "used"))
    for old, new in (("blue", "other"), ("green", "blue"), ("other", "green")):
        (used / old).rename(used / new)
    since, inodes = trees.marked(str(root / "used" / "copied"))
    changed = {change.path for change in changes(str(used), (str(base),), Comparison(whole=True, since=since, inodes=inodes))}
    assert {"blue/deep/app", "green/deep/app"} <= changed
    recycling.retire(str(root / "used"))
    assert (spare(root) / "blue" / "deep" / "app").read_text() == "blue"


def test_a_clock_that_was_set_back_tells_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "used" / "fs" / "etc" / "conf").write_text("mine")
    offset = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    monkeypatch.setattr(trees, "_offset", lambda: offset - 60)
    recycling.retire(str(root / "used"))
    assert not spare(root).exists()


def test_attributes_of_folders(root: Path) -> None:
    folder = root / "used" / "fs" / "etc"
    try:
        os.setxattr(folder, "user.mine", b"x")
    except OSError:
        pytest.skip("this file system keeps no attributes")
    recycling.retire(str(root / "used"))
    assert os.listxattr(spare(root) / "etc") == os.listxattr(root / "base" / "fs" / "etc")


def test_much_that_changed_is_removed(root: Path) -> None:
    for number in range(300):
        (root / "used" / "fs" / f"{number}").touch()
    recycling.retire(str(root / "used"))
    assert not spare(root).exists()
    assert not (root / "used").exists()


def test_one_spare_copy_is_enough(root: Path) -> None:
    spare(root).mkdir(parents=True)
    recycling.retire(str(root / "used"))
    assert not (root / "used").exists()
    assert not list(spare(root).iterdir())


def test_another_kind_of_folder_is_removed(tmp_path: Path) -> None:
    (tmp_path / "gone" / "fs").mkdir(parents=True)
    (tmp_path / "gone" / "parents").write_text("base")
    recycling.retire(str(tmp_path / "gone"))
    assert [path.name for path in tmp_path.iterdir()] == []


def test_out_of_sight(tmp_path: Path) -> None:
    (tmp_path / "active" / "c" / "fs").mkdir(parents=True)
    (tmp_path / "volume" / "fs").mkdir(parents=True)
    snapshot, volume = recycling.out_of_sight(str(tmp_path / "active" / "c")), recycling.out_of_sight(str(tmp_path / "volume"))
    assert not (tmp_path / "active" / "c").exists()
    assert (tmp_path / "volume").exists()
    snapshot()
    volume()
    assert [path.name for path in tmp_path.iterdir()] == ["active"]
