"""Names made from bytes."""

from __future__ import annotations

import io

import pytest

from dockerlab.errors import CorruptContent
from dockerlab.oci.digest import DiffId, Digest, chain_ids, digest_of, hexadecimal, parse_digest, short, verified

EMPTY = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_digest_of_nothing() -> None:
    assert digest_of(b"") == EMPTY == parse_digest(EMPTY)
    assert (hexadecimal(EMPTY)[:4], short(EMPTY), short("0123456789abcdef")) == ("e3b0", "e3b0c44298fc", "0123456789ab")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sha256:",
        EMPTY[:-1],
        EMPTY + "0",
        EMPTY.upper(),
        EMPTY + "\n",
        " " + EMPTY,
        "sha512:" + "a" * 128,
        EMPTY.replace("e", "g"),
        "sha256:" + "٠" * 64,
    ],
)
def test_what_is_no_digest(text: str) -> None:
    with pytest.raises(CorruptContent, match="not a sha256 digest"):
        parse_digest(text)


def test_chain_ids_follow_the_specification() -> None:
    one, two, three = (DiffId("sha256:" + d * 64) for d in "123")
    chain = chain_ids([one, two, three])
    assert chain[0] == one
    assert chain[1] == digest_of(f"{one} {two}".encode()) and chain[2] == digest_of(f"{chain[1]} {three}".encode())
    assert chain_ids([]) == () and chain_ids([one, two]) == chain[:2]


@pytest.mark.parametrize(("data", "size"), [(b"abc", 4), (b"abd", 3), (b"", 3), (b"abcd", 3)])
def test_verified_tells_damage_at_the_end(data: bytes, size: int) -> None:
    with pytest.raises(CorruptContent, match="damaged"):
        list(verified(io.BytesIO(data), expected=digest_of(b"abc"), size=size))
    assert b"".join(verified(io.BytesIO(b"abc"), expected=Digest(digest_of(b"abc")), size=3)) == b"abc"
