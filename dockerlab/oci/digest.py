"""Names made from bytes (OCI image-spec, descriptor.md "Digests").

Four kinds of name look alike and mean different things, so they are four types:

- `Digest`   of a blob as it is stored and sent (a layer's *compressed* bytes, a manifest, a config)
- `DiffId`   of a layer's *uncompressed* tar
- `ChainId`  of a stack of layers: this layer on exactly these
- `ImageId`  of an image's config; what docker prints as IMAGE ID
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import BinaryIO, NewType

from dockerlab.errors import CorruptContent

__all__ = ["ChainId", "DiffId", "Digest", "ImageId", "chain_ids", "digest_of", "hexadecimal", "parse_digest", "short", "verified"]

Digest = NewType("Digest", str)
DiffId = NewType("DiffId", str)
ChainId = NewType("ChainId", str)
ImageId = NewType("ImageId", str)

_SHA256 = re.compile(r"sha256:[0-9a-f]{64}")
_BLOCK = 1 << 20


def parse_digest(text: str) -> Digest:
    """Gives `text` as a digest; raises CorruptContent unless it is `sha256:` and 64 hexadecimal digits."""
    if not _SHA256.fullmatch(text):
        raise CorruptContent(f"not a sha256 digest: {text!r}", hint="a digest reads sha256: and 64 hexadecimal digits")
    return Digest(text)


def digest_of(data: bytes) -> Digest:
    """Gives the digest of `data`."""
    return Digest("sha256:" + hashlib.sha256(data).hexdigest())


def hexadecimal(name: str) -> str:
    """Gives the part behind `sha256:`."""
    return name.partition(":")[2]


def short(name: str) -> str:
    """Gives the 12 digits that docker shows."""
    return hexadecimal(name)[:12] if ":" in name else name[:12]


def verified(stream: BinaryIO, *, expected: Digest, size: int) -> Iterable[bytes]:
    """Yields the stream's blocks; raises CorruptContent at its end unless digest and size are as promised."""
    hasher, seen = hashlib.sha256(), 0
    while block := stream.read(_BLOCK):
        hasher.update(block)
        seen += len(block)
        yield block
    actual = "sha256:" + hasher.hexdigest()
    if seen != size or actual != expected:
        raise CorruptContent(f"blob {short(expected)} is damaged: {seen} bytes of {size}", expected=expected, actual=actual)


def chain_ids(diff_ids: Iterable[DiffId]) -> tuple[ChainId, ...]:
    """Gives the chain id of each layer, base first (image-spec, config.md "Layer ChainID")."""
    chain: list[ChainId] = []
    for diff_id in diff_ids:
        chain.append(ChainId(diff_id) if not chain else ChainId(digest_of(f"{chain[-1]} {diff_id}".encode())))
    return tuple(chain)
