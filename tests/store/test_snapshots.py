"""Every snapshotter keeps to the same list, and says in words when the disk is full."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import dockerlab.store.work as functions
from dockerlab.errors import StoreError
from dockerlab.layers import tar
from dockerlab.layers.index import Entry
from dockerlab.linux import syscalls
from dockerlab.oci.digest import ChainId
from dockerlab.oci.manifest import LAYER_TAR
from dockerlab.store.files import locked
from dockerlab.store.native import NativeSnapshotter
from dockerlab.store.overlay import OverlaySnapshotter
from dockerlab.store.snapshots import Snapshotter

_SPEC = importlib.util.spec_from_file_location("snapshotter_suite", Path(__file__).parents[1] / "suites" / "snapshotter.py")
assert _SPEC and _SPEC.loader
suite = importlib.util.module_from_spec(_SPEC)
sys.modules[_SPEC.name] = suite
_SPEC.loader.exec_module(suite)

ROOT = os.geteuid() == 0
needs_root = pytest.mark.skipif(not ROOT, reason="kernel whiteouts and owners need root")


def work(name: str, **options: Any) -> Any:
    return functions.FUNCTIONS[name](**options)


@needs_root
class TestOverlay(suite.SnapshotterSuite):  # type: ignore[misc, name-defined]
    @pytest.fixture
    def snapshotter(self, tmp_path: Path) -> Snapshotter:
        return OverlaySnapshotter(tmp_path / "snapshots", work, userxattr=False)


@needs_root
class TestOverlayWithUserAttributes(suite.SnapshotterSuite):  # type: ignore[misc, name-defined]
    @pytest.fixture
    def snapshotter(self, tmp_path: Path) -> Snapshotter:
        return OverlaySnapshotter(tmp_path / "snapshots", work, userxattr=True)


class TestNative(suite.SnapshotterSuite):  # type: ignore[misc, name-defined]
    @pytest.fixture
    def snapshotter(self, tmp_path: Path) -> Snapshotter:
        return NativeSnapshotter(tmp_path / "snapshots", work, owners=ROOT, devices=ROOT)


MAKERS: dict[str, Callable[[Path], Snapshotter]] = {
    "overlay": lambda root: OverlaySnapshotter(root, work, userxattr=False),
    "native": lambda root: NativeSnapshotter(root, work),
}


def on_tmpfs(place: Path, action: Callable[[], object]) -> str:
    """Runs the action in a child with a tmpfs of 256 KiB at `place`; gives "" or the error, "refused" where nothing can be mounted."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        answer = ""
        try:
            syscalls.unshare(syscalls.CLONE_NEWNS)
            syscalls.mount(None, "/", None, syscalls.MS_REC | syscalls.MS_PRIVATE)
            syscalls.mount("tmpfs", str(place), "tmpfs", 0, "size=256k")
        except OSError:
            os.write(writer, b"refused")
            os._exit(0)
        try:
            action()
        except BaseException as error:
            answer = f"{type(error).__name__}: {error}"
        os.write(writer, answer.encode())
        os._exit(0)
    os.close(writer)
    with open(reader) as file:
        answer = file.read()
    os.waitpid(child, 0)
    if answer == "refused":
        pytest.skip("a tmpfs cannot be mounted here")
    return answer


@pytest.mark.parametrize("kind", MAKERS)
def test_a_full_disk_is_said_and_leaves_nothing(tmp_path: Path, kind: str) -> None:
    one, two = (ChainId("sha256:" + digit * 64) for digit in "12")
    disk = tmp_path / "disk"
    disk.mkdir()
    for name, size in (("small", 100_000), ("large", 400_000)):
        (tmp_path / name).write_bytes(tar.header(Entry("f", "file", 0o644, size=size)) + bytes(size) + tar.padding(size) + tar.END)

    def fill() -> None:
        snapshotter = MAKERS[kind](disk)
        snapshotter.unpack(one, None, (tmp_path / "small", LAYER_TAR))
        try:
            snapshotter.unpack(two, one, (tmp_path / "large", LAYER_TAR))
        except StoreError as error:
            assert "no space left" in error.message and not snapshotter.exists(two) and snapshotter.prune({one}) == 0
            raise

    assert on_tmpfs(disk, fill).startswith("StoreError")


def test_a_copy_that_does_not_fit_is_said_and_can_be_removed(tmp_path: Path) -> None:
    one = ChainId("sha256:" + "1" * 64)
    disk = tmp_path / "disk"
    disk.mkdir()
    (tmp_path / "half").write_bytes(tar.header(Entry("f", "file", 0o644, size=180_000)) + bytes(180_000) + tar.padding(180_000) + tar.END)

    def fill() -> None:
        snapshotter = MAKERS["native"](disk)
        snapshotter.unpack(one, None, (tmp_path / "half", LAYER_TAR))
        try:
            snapshotter.prepare("k", (one,))
        except StoreError:
            assert snapshotter.keys() == set()
            raise

    assert on_tmpfs(disk, fill).startswith("StoreError")


def test_a_copy_that_is_being_made_ahead_is_waited_for(tmp_path: Path) -> None:
    chain = ChainId("sha256:" + "1" * 64)
    layer = tmp_path / "layer"
    layer.write_bytes(tar.header(Entry("f", "file", 0o644, size=1)) + b"x" + tar.padding(1) + tar.END)
    snapshotter = NativeSnapshotter(tmp_path / "snapshots", work, owners=False, devices=False)
    snapshotter.unpack(chain, None, (layer, LAYER_TAR))
    spare = tmp_path / "snapshots" / "spare" / snapshotter.committed(chain).name
    spare.mkdir(parents=True)
    (spare / "f").write_text("made ahead")
    spare.rename(draft := spare.with_name("draft"))
    with ThreadPoolExecutor() as pool, locked(spare.with_name(f"{spare.name}.lock")):
        taken = pool.submit(snapshotter.prepare, "one", (chain,))
        with pytest.raises(TimeoutError):
            taken.result(timeout=0.2)
        draft.rename(spare)
    assert Path(taken.result(timeout=10)[0].source, "f").read_text() == "made ahead"
    # A maker that was killed holds no lock: nobody waits for it.
    assert Path(snapshotter.prepare("two", (chain,))[0].source, "f").read_text() == "x"
