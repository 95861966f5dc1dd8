"""Blobs by digest."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockerlab.errors import CorruptContent, DockerlabError, NotFound, StoreError
from dockerlab.oci.digest import Digest, digest_of
from dockerlab.store.content import ContentStore


@pytest.fixture
def store(tmp_path: Path) -> ContentStore:
    return ContentStore(tmp_path / "store")


def test_put_and_read(store: ContentStore) -> None:
    digest = store.put(b"blob")
    assert digest in store and store.read(digest) == b"blob"
    assert store.put(b"blob") == digest and list(store.digests()) == [digest]
    assert (store.root / "oci-layout").read_bytes() == b'{"imageLayoutVersion":"1.0.0"}'


@pytest.mark.parametrize("damage", [b"", b"blo", b"blob!", b"bl0b"])
def test_a_damaged_blob_is_noticed(store: ContentStore, damage: bytes) -> None:
    digest = store.put(b"blob")
    store.path(digest).write_bytes(damage)
    with pytest.raises(CorruptContent, match="damaged"):
        store.read(digest)
    with pytest.raises(CorruptContent, match="damaged"):
        store.verify(digest, 4)


def test_a_missing_blob(store: ContentStore) -> None:
    gone = digest_of(b"gone")
    assert gone not in store
    for ask in (store.read, lambda digest: store.verify(digest, 4)):
        with pytest.raises(NotFound, match="missing"):
            ask(gone)
    assert store.remove([gone]) == 0


def test_drafts_are_taken_in_under_their_name(store: ContentStore) -> None:
    draft = store.draft()
    draft.write_bytes(b"large")
    store.adopt(draft, digest_of(b"large"))
    store.sync()
    assert store.read(digest_of(b"large")) == b"large" and not draft.exists()
    assert store.remove([digest_of(b"large")]) == 5 and list(store.digests()) == []


def test_sync_passes_over_what_was_removed(store: ContentStore) -> None:
    store.remove([store.put(b"short-lived")])
    store.sync()
    assert list(store.digests()) == []


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "sha256:../../../etc/passwd", "sha256:" + "A" * 64, "md5:" + "a" * 32, "", "sha256:" + "a" * 64 + "\n"]
)
def test_only_digests_become_paths(store: ContentStore, name: str) -> None:
    with pytest.raises(CorruptContent, match="not a sha256 digest"):
        store.path(Digest(name))


@given(st.text(max_size=80))
def test_no_text_leads_out(name: str) -> None:
    store = ContentStore.__new__(ContentStore)
    store.folder = Path("/blobs")
    try:
        assert store.path(Digest(name)).parent == Path("/blobs")
    except DockerlabError:
        pass


def test_a_newer_layout_is_refused(tmp_path: Path) -> None:
    ContentStore(tmp_path)
    (tmp_path / "oci-layout").write_bytes(b'{"imageLayoutVersion":"2.0.0"}')
    with pytest.raises(StoreError, match="unknown version"):
        ContentStore(tmp_path)


def test_many_processes_open_a_new_store(tmp_path: Path) -> None:
    children = []
    for number in range(20):
        child = os.fork()
        if child == 0:
            try:
                digest = ContentStore(tmp_path / "new").put(b"x" * (number % 3))
                os._exit(0 if digest else 1)
            except BaseException:
                os._exit(2)
        children.append(child)
    assert {os.waitpid(child, 0)[1] for child in children} == {0}
    assert len(list(ContentStore(tmp_path / "new").digests())) == 3
