"""Amounts, in docker's words."""

from __future__ import annotations

import re

import pytest

from dockerlab.commands.quantities import processors, size, swap


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("0", 0), ("512", 512), ("10k", 10240), ("10 m", 10 << 20), ("1.5GiB", 3 << 29), ("2TB", 2 << 40), ("7b", 7), ("1P", 1 << 50), (".5k", 512), ("0.3", 0)],
)
def test_sizes(text: str, wanted: int) -> None:
    assert size(text) == swap(text) == wanted


@pytest.mark.parametrize(
    ("text", "said"),
    [("", "invalid size: ''"), ("k", "invalid size: 'k'"), ("-1", "invalid size: '-1'"), ("10x", "invalid suffix: 'x'"), ("10mib5", "invalid size: '10mib5'"),
     ("10KBB", "invalid suffix: 'kbb'"), ("10bb", "invalid suffix: 'bb'"), ("1..5m", 'strconv.ParseFloat: parsing "1..5": invalid syntax')],
)  # fmt: skip
def test_what_is_no_size(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        size(text)


def test_processors() -> None:
    assert [processors(text) for text in ("0.5", "3/2", "1e-1", "2")] == [500000000, 1500000000, 100000000, 2000000000]
    assert swap("-1") == -1
    for text, said in (("x", "failed to parse x as a rational number"), ("1/0", "failed to parse 1/0"), ("1.0000000001", "value is too precise")):
        with pytest.raises(ValueError, match=said):
            processors(text)
