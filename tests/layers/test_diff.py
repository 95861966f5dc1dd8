"""What became different: the same answer from the overlay form and from whole copies, and nothing that only looks like a change."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dockerlab.layers.diff import ENGINE_PATHS, Comparison, changes
from dockerlab.linux import syscalls
from dockerlab.store import trees

Work = Callable[[str], None]


def below(root: Path) -> None:
    (root / "etc").mkdir(parents=True)
    (root / "bin").mkdir()
    for name in ("etc/conf", "etc/other", "bin/tool", "top"):
        (root / name).write_text(f"first {name}")
    (root / "etc" / "link").symlink_to("conf")
    (root / "empty").mkdir()
    (root / "dev").mkdir()
    (root / "proc").mkdir()


def as_overlay(base: Path, place: Path, action: Work) -> str:
    """Runs the action in an overlay mount over `base`; gives "" or why it could not be."""
    for name in ("up", "work", "all"):
        (place / name).mkdir()
    child = os.fork()
    if child == 0:
        try:
            syscalls.unshare(syscalls.CLONE_NEWNS)
            syscalls.mount(None, "/", None, syscalls.MS_REC | syscalls.MS_PRIVATE)
            shutil.copystat(base, place / "up")
            words = f"lowerdir={base},upperdir={place}/up,workdir={place}/work,metacopy=off,redirect_dir=off,index=off"
            syscalls.mount("overlay", str(place / "all"), "overlay", 0, words)
        except OSError:
            os._exit(9)
        try:
            action(str(place / "all"))
        except BaseException as error:
            sys.stderr.write(f"{error!r}\n")
            os._exit(1)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, 9)
    return "overlayfs cannot be mounted here" if code else ""


def both(place: Path, action: Work, make: Callable[[Path], None] = below) -> tuple[list[str], list[str]]:
    """Gives the changes that the action makes, as the overlay form and as a whole copy tell them."""
    make(place / "base")
    refused = as_overlay(place / "base", place, action)
    if refused:
        pytest.skip(refused)
    (place / "whole").mkdir()
    trees.copy(str(place / "base"), str(place / "whole"))
    (place / "copied").touch()
    action(str(place / "whole"))
    since = (place / "copied").stat().st_ctime_ns
    thin = changes(str(place / "up"), (str(place / "base"),), Comparison())
    whole = changes(str(place / "whole"), (str(place / "base"),), Comparison(whole=True, since=since))
    return list(map(str, thin)), list(map(str, whole))


def rewrite(root: str) -> None:
    for name in ("conf", "other"):
        os.unlink(f"{root}/etc/{name}")
    Path(f"{root}/etc/conf").write_text("second")


def replace_folder(root: str) -> None:
    shutil.rmtree(f"{root}/etc")
    os.mkdir(f"{root}/etc")
    Path(f"{root}/etc/new").write_text("new")


def engine_places(root: str) -> None:
    for name in ("dev/pts", "dev/shm", "sys"):
        os.mkdir(f"{root}/{name}")
    for name in ("etc/hosts", "etc/hostname", "etc/resolv.conf", ".dockerenv", "dev/console"):
        Path(f"{root}/{name}").touch()


def untouched(root: str) -> None:
    os.close(os.open(f"{root}/top", os.O_RDWR))
    os.chmod(f"{root}/bin/tool", os.stat(f"{root}/bin/tool").st_mode & 0o7777)
    os.chown(f"{root}/etc/conf", 0, 0)
    status = os.stat(f"{root}/etc/other")
    os.utime(f"{root}/etc/other", ns=(status.st_atime_ns, status.st_mtime_ns))
    with open(f"{root}/bin/tool", "rb") as file:
        file.read()


def linked(root: str) -> None:
    os.link(f"{root}/top", f"{root}/second-name")


CASES: dict[str, tuple[Work, list[str]]] = {
    "nothing": (lambda root: None, []),
    "add": (lambda root: Path(f"{root}/bin/new").touch(), ["C /bin", "A /bin/new"]),
    "change": (lambda root: os.truncate(f"{root}/top", 2), ["C /top"]),
    "same size": (lambda root: None if Path(f"{root}/top").write_text("FIRST top") else None, ["C /top"]),
    "mode": (lambda root: os.chmod(f"{root}/bin/tool", 0o755), ["C /bin", "C /bin/tool"]),
    "owner": (lambda root: os.chown(f"{root}/top", 5, 5), ["C /top"]),
    "attribute": (lambda root: os.setxattr(f"{root}/top", "user.a", b"1"), ["C /top"]),
    "delete": (lambda root: os.unlink(f"{root}/etc/conf"), ["C /etc", "D /etc/conf"]),
    "delete folder": (lambda root: os.rmdir(f"{root}/empty"), ["D /empty"]),
    "delete tree": (lambda root: shutil.rmtree(f"{root}/etc"), ["D /etc"]),
    "delete and write": (rewrite, ["C /etc", "C /etc/conf", "D /etc/other"]),
    "new folder of the same name": (replace_folder, ["C /etc", "D /etc/conf", "D /etc/link", "A /etc/new", "D /etc/other"]),
    "symlink": (lambda root: (os.unlink(f"{root}/etc/link"), os.symlink("other", f"{root}/etc/link"))[1], ["C /etc", "C /etc/link"]),
    "file to folder": (lambda root: (os.unlink(f"{root}/top"), os.mkdir(f"{root}/top"))[1], ["C /top"]),
    "folder to file": (lambda root: (os.rmdir(f"{root}/empty"), Path(f"{root}/empty").touch())[1], ["C /empty"]),
    "rename": (lambda root: os.rename(f"{root}/top", f"{root}/bottom"), ["A /bottom", "D /top"]),
    "fifo": (lambda root: os.mkfifo(f"{root}/pipe"), ["A /pipe"]),
    "engine's places": (engine_places, ["C /etc"]),
    "engine's place used": (lambda root: None if Path(f"{root}/etc/hosts").write_text("x") else None, ["C /etc", "A /etc/hosts"]),
    "only touched": (untouched, []),
    "source of a hard link": (linked, ["A /second-name"]),
}


@pytest.mark.skipif(os.geteuid() != 0, reason="an overlay mount needs root")
@pytest.mark.parametrize(("action", "told"), CASES.values(), ids=CASES.keys())
def test_both_forms_tell_the_same(tmp_path: Path, action: Work, told: list[str]) -> None:
    thin, whole = both(tmp_path, action)
    if told == ["C /etc"]:
        thin, whole = ([t for t in found if t not in ("C /dev",)] for found in (thin, whole))
    assert thin == told
    assert whole == told


NAMES = st.sampled_from(
    ["bin", "etc", "etc/conf", "etc/other", "etc/link", "bin/tool", "top", "empty", "empty/a", "etc/a", "a", "a/b", "bin/a"]
)
STEP = st.tuples(st.sampled_from(["write", "append", "delete", "mkdir", "symlink", "rename", "link", "chmod", "open"]), NAMES, NAMES)


def steps(actions: list[tuple[str, str, str]]) -> Work:
    def run(root: str) -> None:
        for what, name, other in actions:
            try:
                one(what, f"{root}/{name}", f"{root}/{other}")
            except OSError:
                continue

    return run


def one(what: str, place: str, other: str) -> None:
    if what in ("write", "append"):
        if os.path.islink(place):
            return
        with open(place, "w" if what == "write" else "a") as file:
            file.write(f"written {what}")
    elif what == "delete":
        shutil.rmtree(place) if os.path.isdir(place) and not os.path.islink(place) else os.unlink(place)
    elif what == "rename":
        if os.path.isdir(place) and not os.path.islink(place):
            return  # overlayfs answers EXDEV for a folder of a lower layer, and mv(1) copies
        os.rename(place, other)
    elif what == "mkdir":
        os.mkdir(place)
    elif what == "symlink":
        os.symlink("elsewhere", place)
    elif what == "link":
        os.link(place, other, follow_symlinks=False)
    elif what == "chmod":
        if not os.path.islink(place):
            os.chmod(place, 0o700)
    else:
        os.close(os.open(place, os.O_RDWR | os.O_NOFOLLOW))


@pytest.mark.skipif(os.geteuid() != 0, reason="an overlay mount needs root")
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(STEP, max_size=8))
def test_both_forms_tell_the_same_of_anything(actions: list[tuple[str, str, str]]) -> None:
    place = Path(tempfile.mkdtemp())
    try:
        thin, whole = both(place, steps(actions))
        assert thin == whole
    finally:
        shutil.rmtree(place)


def test_without_a_base_all_is_added(tmp_path: Path) -> None:
    below(tmp_path / "base")
    found = [str(change) for change in changes(str(tmp_path / "base"), (), Comparison())]
    assert found[:3] == ["A /bin", "A /bin/tool", "A /empty"]
    assert all(line.startswith("A ") for line in found)
    assert not {line[3:] for line in found} & ENGINE_PATHS


def test_order_is_by_folder_and_by_byte(tmp_path: Path) -> None:
    for name in ("a", "a/z", "a-b", "A", "b\udcff", "bé"):
        (tmp_path / name).mkdir()
    assert [c.path for c in changes(str(tmp_path), (), Comparison())] == ["A", "a", "a/z", "a-b", "bé", "b\udcff"]
