"""What both ends of the wire agree on: names, digests, error codes (OCI distribution-spec 1.1)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import msgspec

from dockerlab.errors import RegistryError
from dockerlab.oci.manifest import INDEX, MANIFEST, SCHEMA_2, SCHEMA_2_LIST
from dockerlab.oci.visible import visible

__all__ = ["CODES", "DIGEST", "INDEXES", "MANIFESTS", "MAX_MANIFEST", "NAME", "TAG", "Code", "decode_errors", "encode_error", "media_type", "refusal"]

_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
NAME = rf"{_PART}(?:/{_PART})*"
TAG = r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}"
DIGEST = r"(?:sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})"
# "Pushing Manifests": at least 4 megabytes should be taken.
MAX_MANIFEST = 4 << 20
MANIFESTS, INDEXES = (MANIFEST, INDEX, SCHEMA_2, SCHEMA_2_LIST), (INDEX, SCHEMA_2_LIST)


@dataclass(frozen=True, slots=True)
class Code:
    """One row of "Error Codes", with the status that goes with it."""

    status: int
    message: str


CODES = {
    "BLOB_UNKNOWN": Code(404, "blob unknown to registry"),
    "BLOB_UPLOAD_INVALID": Code(400, "blob upload invalid"),
    "BLOB_UPLOAD_UNKNOWN": Code(404, "blob upload unknown to registry"),
    "DIGEST_INVALID": Code(400, "provided digest did not match uploaded content"),
    "MANIFEST_BLOB_UNKNOWN": Code(404, "manifest references a manifest or blob unknown to registry"),
    "MANIFEST_INVALID": Code(400, "manifest invalid"),
    "MANIFEST_UNKNOWN": Code(404, "manifest unknown"),
    "NAME_INVALID": Code(400, "invalid repository name"),
    "NAME_UNKNOWN": Code(404, "repository name not known to registry"),
    "PAGINATION_NUMBER_INVALID": Code(400, "invalid number of results requested"),
    "RANGE_INVALID": Code(416, "invalid content range"),
    "SIZE_INVALID": Code(400, "provided length did not match content length"),
    "TAG_INVALID": Code(400, "manifest tag did not match URI"),
    "UNAUTHORIZED": Code(401, "authentication required"),
    "DENIED": Code(403, "requested access to the resource is denied"),
    "UNSUPPORTED": Code(405, "the operation is unsupported"),
    "TOOMANYREQUESTS": Code(429, "too many requests"),
    "UNAVAILABLE": Code(503, "the registry cannot store anything"),
}


def refusal(code: str, detail: Any = None, *, message: str = "", status: int = 0) -> RegistryError:
    """Gives the error of that code, to be raised or encoded; `detail` says what it is about."""
    known = CODES[code]
    return RegistryError(message or known.message, code=code, status=status or known.status, detail=detail)


def encode_error(error: RegistryError) -> bytes:
    """Gives the body of a 4xx answer."""
    told = {"code": error.code, "message": error.message, **({"detail": error.detail} if error.detail is not None else {})}
    return msgspec.json.encode({"errors": [told]}) + b"\n"


class _Told(msgspec.Struct):
    code: str = ""
    message: str = ""
    detail: Any = None


class _Answer(msgspec.Struct):
    errors: list[_Told] = []


def decode_errors(body: bytes) -> list[tuple[str, str]]:
    """Gives (code, message) of each error in an answer's body; [] where it is none of the specification's. The words come from the other end: they are not to be trusted."""
    try:
        return [(each.code if re.fullmatch("[A-Z_]{1,40}", each.code) else "", visible(each.message)[:500]) for each in msgspec.json.decode(body, type=_Answer).errors]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return []


class _Kind(msgspec.Struct, rename="camel"):
    schema_version: Any = None
    media_type: Any = ""
    manifests: Any = msgspec.UNSET
    config: Any = msgspec.UNSET
    layers: Any = msgspec.UNSET


def media_type(raw: bytes) -> str:
    """Gives the media type that a manifest says it has, or that its fields show; "" for what is none, or could be taken for an image as well as for an index (CVE-2021-41190)."""
    try:
        kind = msgspec.json.decode(raw, type=_Kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
    if kind.schema_version != 2:
        return ""
    index, image = kind.manifests is not msgspec.UNSET, kind.config is not msgspec.UNSET and kind.layers is not msgspec.UNSET
    if index == image or (index and (kind.config, kind.layers) != (msgspec.UNSET, msgspec.UNSET)):
        return ""
    if not kind.media_type:
        return INDEX if index else MANIFEST
    said = kind.media_type if isinstance(kind.media_type, str) else ""
    return "" if said in MANIFESTS and (said in INDEXES) != index else said


