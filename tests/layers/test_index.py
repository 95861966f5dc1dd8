"""A layer's table of contents on disk."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockerlab.errors import CorruptContent
from dockerlab.layers.index import Entry, decode, encode, implied_folder, parent_of

TEXT = st.binary(max_size=12).map(lambda raw: raw.decode("utf-8", "surrogateescape"))
KINDS = st.sampled_from(["file", "dir", "symlink", "link", "char", "block", "fifo", "whiteout", "opaque"])
NUMBER = st.integers(0, 2**31 - 1)
ENTRIES = st.builds(
    Entry,
    TEXT,
    KINDS,
    st.integers(0, 0o7777),
    NUMBER,
    NUMBER,
    st.integers(0, 2**62),
    st.integers(-(2**40), 2**40),
    TEXT,
    st.tuples(NUMBER, NUMBER),
    st.dictionaries(TEXT, st.binary(max_size=9), max_size=2),
)


@given(st.lists(ENTRIES, max_size=5))
def test_any_bytes_in_names_survive(entries: list[Entry]) -> None:
    assert list(decode(encode(entries))) == entries


@given(st.binary(max_size=200))
def test_noise_is_corrupt_or_a_table(raw: bytes) -> None:
    try:
        assert isinstance(decode(raw), tuple)
    except CorruptContent as error:
        assert "index" in error.message


@pytest.mark.parametrize(
    "raw",
    [
        b"{",
        b'["a"]\n',
        b'["a","house"]\n',
        b'["a","file",-1.5]\n',
        b'["a",7]\n',
        '["\u4e00","file"]\n'.encode(),
        b'["\xff","file"]\n',
        b"[" * 100_000,
        b"null\n",
        b'["a","file",1,1,1,1,1,"",[1]]\n',
        b'["a","file",1,1,1,1,1,"",[1,2],{"k":"not base64!"}]\n',
        '["a","file",1,1,1,1,1,"",[1,2],{"\u4e00":""}]\n'.encode(),
    ],
)
def test_what_is_no_table(raw: bytes) -> None:
    with pytest.raises(CorruptContent):
        decode(raw)


def test_markers_and_parents() -> None:
    assert [Entry("a", kind).marker for kind in ("whiteout", "opaque", "file", "char")] == [True, True, False, False]
    assert (parent_of("a/b/c"), parent_of("a"), parent_of("")) == ("a/b", "", "")
    assert implied_folder("x") == Entry("x", "dir", 0o755)


def test_what_an_entry_weighs() -> None:
    entries = [Entry("f", "file", size=5), Entry("l", "symlink", link="tärget"), Entry("h", "link", link="f"), Entry("d", "dir"), Entry("w", "whiteout")]
    assert [entry.weight for entry in entries] == [5, 7, 0, 0, 0]
