"""Which manifest is for which machine."""

from __future__ import annotations

import pytest

from dockerlab.errors import InvalidRequest, NotFound
from dockerlab.oci.digest import Digest
from dockerlab.oci.manifest import MANIFEST, Descriptor, Index
from dockerlab.oci.platforms import parsed, pick


def entry(number: int, **platform: str) -> Descriptor:
    return Descriptor(media_type=MANIFEST, digest=Digest(f"sha256:{number:064}"), size=1, platform=platform or None)


INDEX = Index(manifests=(entry(0), entry(1, os="linux", architecture="arm", variant="v7"), entry(2, os="linux", architecture="amd64"), entry(3, os="linux", architecture="amd64")))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", {"os": "linux", "architecture": "amd64"}), ("linux", {"os": "linux", "architecture": "amd64"}), ("arm64", {"os": "linux", "architecture": "arm64"}),
        ("linux/x86_64", {"os": "linux", "architecture": "amd64"}), ("Linux/ARM/v7", {"os": "linux", "architecture": "arm", "variant": "v7"}),
    ],
)  # fmt: skip
def test_words(text: str, found: dict[str, str]) -> None:
    assert parsed(text, "amd64") == found


@pytest.mark.parametrize("text", ["a/b/c/d", "linux/", "/amd64", "//"])
def test_words_that_are_none(text: str) -> None:
    with pytest.raises(InvalidRequest):
        parsed(text, "amd64")


def test_the_first_that_fits() -> None:
    assert pick(INDEX, parsed("", "amd64")).digest.endswith("2")
    assert pick(INDEX, parsed("linux/arm/v7", "")).digest.endswith("1")
    assert pick(INDEX, parsed("linux/arm", "")).digest.endswith("1")
    assert pick(INDEX, parsed("linux/amd64/v2", "")).digest.endswith("2")
    with pytest.raises(NotFound, match="no matching manifest for linux/s390x") as caught:
        pick(INDEX, parsed("s390x", ""))
    assert caught.value.hint == "it is there for linux/amd64, linux/arm/v7"
