"""What every snapshotter must do, whatever it is made of: subclass `SnapshotterSuite` and give it a `snapshotter` fixture."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest

from dockerlab.errors import AlreadyExists, CorruptContent, NotFound, UnsafeArchive
from dockerlab.layers import diff, folders, tar
from dockerlab.layers.index import Entry
from dockerlab.oci.digest import ChainId, DiffId, chain_ids
from dockerlab.oci.manifest import LAYER_GZIP, LAYER_TAR
from dockerlab.store.snapshots import Snapshotter, Stack

D, FIRST, SECOND = Entry("d", "dir", 0o751), Entry("d/first", "file", 0o640, size=3), Entry("d/second", "file", 0o644, size=3)
GONE = Entry("d/.wh.first", "file")


def layer(*entries: Entry) -> bytes:
    return b"".join(tar.header(e) + (b"abc" + tar.padding(3) if e.size else b"") for e in entries) + tar.END


class SnapshotterSuite:
    """The list."""

    snapshotter: Snapshotter

    def chain(self, count: int) -> tuple[ChainId, ...]:
        return chain_ids(DiffId("sha256:" + f"{n:064x}") for n in range(1, count + 1))

    def blob(self, tmp_path: Path, data: bytes) -> tuple[Path, str]:
        place = tmp_path / f"blob{len(os.listdir(tmp_path))}"
        place.write_bytes(data)
        return place, LAYER_TAR

    def two(self, snapshotter: Snapshotter, tmp_path: Path) -> tuple[ChainId, ...]:
        chain = self.chain(2)
        snapshotter.unpack(chain[0], None, self.blob(tmp_path, layer(D, FIRST)))
        snapshotter.unpack(chain[1], chain[0], self.blob(tmp_path, layer(D, SECOND, GONE)))
        return chain

    @staticmethod
    def seen(stack: Stack) -> list[str]:
        return [found.path for found in folders.walk(stack.folders) if found.path]

    @staticmethod
    def told(stack: Stack) -> list[str]:
        # A copy made just now is newer than any program: nothing counts as changed before this moment but what differs.
        return [str(c) for c in diff.changes(stack.upper, stack.lowers, diff.Comparison(whole=stack.whole))]

    def test_a_layer_on_a_layer(self, snapshotter: Snapshotter, tmp_path: Path) -> None:
        chain = self.two(snapshotter, tmp_path)
        assert [snapshotter.exists(c) for c in (*chain, self.chain(3)[2])] == [True, True, False]
        assert snapshotter.prepare("one", chain) == snapshotter.mounts("one")
        stack = snapshotter.stack("one")
        assert self.seen(stack) == ["d", "d/second"]
        assert self.told(stack) == []
        assert snapshotter.keys() == {"one"}

    def test_no_parent(self, snapshotter: Snapshotter, tmp_path: Path) -> None:
        (mount,) = snapshotter.prepare("empty", ())
        assert mount.type == "bind" and os.listdir(mount.source) == []
        assert self.seen(snapshotter.stack("empty")) == [] and snapshotter.usage("empty") == (0, 0)

    def test_packed_or_not_is_the_same(self, snapshotter: Snapshotter, tmp_path: Path) -> None:
        (one,) = self.chain(1)
        place, _ = self.blob(tmp_path, gzip.compress(layer(D, FIRST)))
        snapshotter.unpack(one, None, (place, LAYER_GZIP))
        snapshotter.prepare("k", (one,))
        assert self.seen(snapshotter.stack("k")) == ["d", "d/first"]

    def test_what_is_written_is_told_and_stays_apart(self, snapshotter: Snapshotter, tmp_path: Path) -> None:
        chain = self.two(snapshotter, tmp_path)
        snapshotter.prepare("one", chain)
        snapshotter.prepare("two", chain)
        stack = snapshotter.stack("one")
        Path(stack.upper, "new").write_text("hello")
        assert self.told(stack) == ["A /new"]
        assert self.told(snapshotter.stack("two")) == [] and self.seen(snapshotter.stack("two")) == ["d", "d/second"]
        size, files = snapshotter.usage("one")
        assert size >= 5 and files >= 1

    def test_commit_makes_a_parent(self, snapshotter: Snapshotter, tmp_path: Path) -> None:
        chain = self.two(snapshotter, tmp_path)
        third = self.chain(3)[2]
        snapshotter.prepare("step", chain)
        Path(snapshotter.stack("step").upper, "built").write_text("x")
        snapshotter.commit(third, "step")
        assert snapshotter.exists(third) and snapshotter.keys() == set()
        snapshotter.prepare("next", (*chain, third))
        assert self.seen(snapshotter.stack("next")) == ["built", "d", "d/second"]
        assert self.told(snapshotter.stack("next")) == []

    def test_the_second_to_arrive_gives_way(self, snapshotter: Snapshotter, tmp_path: Path) -> None:
        (one,) = self.chain(1)
        for _ in range(2):
            snapshotter.unpack(one, None, self.blob(tmp_path, layer(D, FIRST)))
        snapshotter.prepare("step", ())
        snapshotter.commit(one, "step")
        assert snapshotter.keys() == set()
        snapshotter.prepare("k", (one,))
        assert self.seen(snapshotter.stack("k")) == ["d", "d/first"]

    def test_keys_are_taken_once(self, snapshotter: Snapshotter, tmp_path: Path) -> None:
        snapshotter.prepare("key", ())
        with pytest.raises(AlreadyExists):
            snapshotter.prepare("key", ())
        snapshotter.remove("key")
        snapshotter.remove("key")
        snapshotter.prepare("key", ())
        assert snapshotter.keys() == {"key"}

    def test_what_is_not_there(self, snapshotter: Snapshotter, tmp_path: Path) -> None:
        (one,) = self.chain(1)
        for ask in (snapshotter.mounts, snapshotter.stack, snapshotter.usage, lambda key: snapshotter.commit(one, key)):
            with pytest.raises(NotFound):
                ask("missing")
        with pytest.raises(NotFound):
            snapshotter.prepare("k", (one,))
        assert snapshotter.keys() == set()

    @pytest.mark.parametrize(
        "data",
        [
            b"no tar at all" * 100,
            layer(D, FIRST)[:700],
            gzip.compress(layer(D, FIRST))[:60],
            b"\x1f\x8b" + b"x" * 600,
            b"\x28\xb5\x2f\xfd" + b"x" * 600,
            layer(Entry("../up", "dir")),
            gzip.compress(layer(D, FIRST))[:-4] + b"\0\0\0\0",
        ],
        ids=["noise", "cut", "cut gzip", "broken gzip", "broken zstd", "hostile", "wrong checksum"],
    )
    def test_a_layer_that_cannot_be_unpacked_leaves_nothing(self, snapshotter: Snapshotter, tmp_path: Path, data: bytes) -> None:
        (one,) = self.chain(1)
        with pytest.raises((CorruptContent, UnsafeArchive)):
            snapshotter.unpack(one, None, self.blob(tmp_path, data))
        assert not snapshotter.exists(one)
        assert snapshotter.prune(set()) == 0

    def test_prune_spares_what_is_kept_or_in_use(self, snapshotter: Snapshotter, tmp_path: Path) -> None:
        chain = self.two(snapshotter, tmp_path)
        snapshotter.prepare("running", chain[:1])
        assert snapshotter.prune(set()) == 1
        assert [snapshotter.exists(c) for c in chain] == [True, False]
        snapshotter.remove("running")
        assert snapshotter.prune({chain[0]}) == 0
        assert snapshotter.prune(set()) == 1 and not snapshotter.exists(chain[0])

    def test_many_processes_unpack_the_same(self, snapshotter: Snapshotter, tmp_path: Path) -> None:
        (one,) = self.chain(1)
        blob = self.blob(tmp_path, layer(D, FIRST, *(Entry(f"d/{n}", "file", 0o644, size=3) for n in range(50))))
        children = []
        for _ in range(12):
            child = os.fork()
            if child == 0:
                try:
                    snapshotter.unpack(one, None, blob)
                except BaseException:
                    os._exit(1)
                os._exit(0)
            children.append(child)
        assert {os.waitpid(child, 0)[1] for child in children} == {0}
        assert snapshotter.exists(one) and snapshotter.prune({one}) == 0
