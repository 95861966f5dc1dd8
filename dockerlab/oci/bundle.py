"""How images travel as one tar: an OCI image layout, and beside it docker's `manifest.json`, so that either reader finds its own.

OCI image-spec, image-layout.md; moby image/spec/spec.md "Combined Image JSON + Filesystem Changeset Format".
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from dockerlab.errors import CorruptContent
from dockerlab.oci.digest import Digest, hexadecimal

__all__ = ["INDEX_FILE", "ITEMS_FILE", "LAYOUT", "LAYOUT_FILE", "NAME", "TAG", "Item", "blob", "decode_items", "encode_items"]

LAYOUT, LAYOUT_FILE, INDEX_FILE, ITEMS_FILE = b'{"imageLayoutVersion":"1.0.0"}', "oci-layout", "index.json", "manifest.json"
# Annotations of a descriptor in `index.json`: the whole name as containerd writes it, and the specification's, which is a tag to some and a name to others.
NAME, TAG = "io.containerd.image.name", "org.opencontainers.image.ref.name"


class Item(msgspec.Struct, frozen=True, rename="pascal"):
    """One image in docker's `manifest.json`: paths in the archive, base layer first, and its names."""

    config: str
    repo_tags: tuple[str, ...] | None
    layers: tuple[str, ...]


def blob(digest: Digest) -> str:
    """Gives the path of a blob in a layout."""
    return f"blobs/sha256/{hexadecimal(digest)}"


def decode_items(raw: bytes) -> list[Item]:
    """Gives the images of a `manifest.json`; raises CorruptContent."""
    try:
        return msgspec.json.decode(raw, type=list[Item])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CorruptContent(f"manifest.json cannot be read: {error}", hint="docker save and skopeo write such archives") from error


def encode_items(items: Sequence[Item]) -> bytes:
    """Gives the canonical bytes."""
    return msgspec.json.encode(list(items))
