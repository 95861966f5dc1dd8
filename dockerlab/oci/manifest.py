"""Descriptors, manifests and indexes (OCI image-spec: descriptor.md, manifest.md, image-index.md)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

import msgspec

from dockerlab.errors import CorruptContent
from dockerlab.oci.digest import Digest, parse_digest

__all__ = ["CONFIG", "INDEX", "LAYER_GZIP", "LAYER_TAR", "LAYER_ZSTD", "MANIFEST", "SCHEMA_2", "SCHEMA_2_LIST", "Descriptor", "Index", "Manifest"]

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER_TAR = "application/vnd.oci.image.layer.v1.tar"
LAYER_GZIP = LAYER_TAR + "+gzip"
LAYER_ZSTD = LAYER_TAR + "+zstd"
# What docker wrote before there was OCI, with the same fields.
SCHEMA_2 = "application/vnd.docker.distribution.manifest.v2+json"
SCHEMA_2_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"

T = TypeVar("T")


class Descriptor(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Points at content: what it is, its digest, its size in bytes."""

    media_type: str
    digest: Digest
    size: Annotated[int, msgspec.Meta(le=(1 << 63) - 1)]
    annotations: Mapping[str, str] = {}
    platform: Mapping[str, Any] | None = None


class Manifest(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One image for one platform: its config and its layers, base first."""

    schema_version: int = 2
    media_type: str = MANIFEST
    config: Descriptor
    layers: tuple[Descriptor, ...]
    annotations: Mapping[str, str] = {}

    @classmethod
    def decode(cls, raw: bytes) -> Manifest:
        """Gives the manifest in `raw`; raises CorruptContent with the JSON path of what is wrong."""
        return _checked(_decode(raw, cls, "manifest"))

    def encode(self) -> bytes:
        """Gives the canonical bytes: compact, fields in the specification's order."""
        return msgspec.json.encode(self)


class Index(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Several manifests: `index.json` of a layout, or one image for many platforms."""

    schema_version: int = 2
    media_type: str = INDEX
    manifests: tuple[Descriptor, ...] = ()
    annotations: Mapping[str, str] = {}

    @classmethod
    def decode(cls, raw: bytes) -> Index:
        """Gives the index in `raw`; raises CorruptContent with the JSON path of what is wrong."""
        index = _decode(raw, cls, "index")
        if index.schema_version != 2:
            raise CorruptContent(f"index of schema version {index.schema_version}; dockerlab knows 2")
        for descriptor in index.manifests:
            parse_digest(descriptor.digest)
        return index

    def encode(self) -> bytes:
        """Gives the canonical bytes."""
        return msgspec.json.encode(self)


def _decode(raw: bytes, kind: type[T], name: str) -> T:
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CorruptContent(f"{name} cannot be read: {error}") from error


def _checked(manifest: Manifest) -> Manifest:
    if manifest.schema_version != 2:
        raise CorruptContent(f"manifest of schema version {manifest.schema_version}; dockerlab knows 2")
    for descriptor in (manifest.config, *manifest.layers):
        parse_digest(descriptor.digest)
        if descriptor.size < 0:
            raise CorruptContent(f"negative size for {descriptor.digest}")
    return manifest
