"""Manifests and indexes: what is read, what is refused, and that nothing else escapes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dockerlab.errors import CorruptContent, DockerlabError
from dockerlab.oci.digest import Digest
from dockerlab.oci.manifest import CONFIG, LAYER_GZIP, MANIFEST, Descriptor, Index, Manifest

HEX = Digest("sha256:" + "a" * 64)
CONFIG_AT = {"mediaType": CONFIG, "digest": HEX, "size": 2}


def manifest(**changed: Any) -> bytes:
    return json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "config": CONFIG_AT, "layers": [CONFIG_AT], **changed}).encode()


def test_there_and_back() -> None:
    made = Manifest(
        config=Descriptor(media_type=CONFIG, digest=HEX, size=2), layers=(Descriptor(media_type=LAYER_GZIP, digest=HEX, size=9),)
    )
    assert Manifest.decode(made.encode()) == made
    assert list(json.loads(made.encode())) == ["schemaVersion", "mediaType", "config", "layers", "annotations"]
    index = Index(manifests=(made.config,))
    assert Index.decode(index.encode()) == index


def test_unknown_fields_are_passed_over() -> None:
    assert Manifest.decode(manifest(artifactType="x", subject=CONFIG_AT)).config.size == 2


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"{}",
        b"\xff",
        b"\x00",
        b"[" * 200_000,
        manifest(config=None),
        manifest(layers=None),
        manifest(layers=[None]),
        manifest(schemaVersion=1),
        manifest(schemaVersion="2"),
        manifest(config={**CONFIG_AT, "digest": "sha256:../../x"}),
        manifest(config={**CONFIG_AT, "digest": "md5:" + "a" * 32}),
        manifest(layers=[{**CONFIG_AT, "size": -1}]),
        manifest(config={**CONFIG_AT, "size": 1.5}),
        manifest(config={**CONFIG_AT, "size": "2"}),
        manifest(annotations={"a": 1}),
        manifest(layers=[{**CONFIG_AT, "size": 10**30}]),
        manifest() + b"x",
        manifest()[:-1],
        manifest(config={**CONFIG_AT, "digest": "\ud800"}),
    ],
)
def test_what_is_no_manifest(raw: bytes) -> None:
    with pytest.raises(CorruptContent):
        Manifest.decode(raw)


@pytest.mark.parametrize("raw", [b"", b"[]", b'{"schemaVersion":1}', b'{"manifests":{}}', b'{"manifests":[{"digest":1}]}', b"[" * 200_000])
def test_what_is_no_index(raw: bytes) -> None:
    with pytest.raises(CorruptContent):
        Index.decode(raw)


@settings(max_examples=300)
@given(st.integers(0, 10_000), st.integers(1, 255), st.sampled_from([Manifest, Index]))
def test_flipped_bytes(place: int, bits: int, kind: type[Manifest] | type[Index]) -> None:
    raw = bytearray(manifest(manifests=[CONFIG_AT]))
    raw[place % len(raw)] ^= bits
    try:
        assert isinstance(kind.decode(bytes(raw)), kind)
    except DockerlabError as error:
        assert error.message


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
)


@given(st.sampled_from(["config", "layers", "schemaVersion", "mediaType", "annotations"]), JSON)
def test_any_json_in_any_field(name: str, value: Any) -> None:
    try:
        assert Manifest.decode(manifest(**{name: value}))
    except DockerlabError as error:
        assert error.message
