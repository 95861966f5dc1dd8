"""Which manifest of an index is for which machine (image-spec, image-index.md "platform")."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from typing import Any

from dockerlab.errors import InvalidRequest, NotFound
from dockerlab.oci.manifest import Descriptor, Index
from dockerlab.oci.visible import visible

__all__ = ["architecture", "parsed", "pick"]

_ALIASES = {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64", "armhf": "arm", "i386": "386"}


def architecture() -> str:
    """Gives this machine's name in Go's words, as image configs have it."""
    machine = platform.machine()
    return _ALIASES.get(machine, machine)


def parsed(text: str, default: str) -> dict[str, str]:
    """Gives os, architecture and perhaps variant of `os/architecture/variant`, `os` or `architecture`; raises InvalidRequest.

    >>> parsed("arm64", "amd64")
    {'os': 'linux', 'architecture': 'arm64'}
    """
    parts = text.lower().split("/") if text else []
    if len(parts) > 3:
        raise InvalidRequest(f'"{text}": cannot parse platform specifier: invalid argument', hint="write linux/amd64, or linux/arm64")
    if any(not part for part in parts):
        raise InvalidRequest(f'"{text}": unknown operating system or architecture: invalid argument', hint="write linux/amd64, or linux/arm64")
    if len(parts) == 1:
        parts = [parts[0], default] if parts[0] in ("linux", "windows", "darwin") else ["linux", parts[0]]
    names = dict(zip(("os", "architecture", "variant"), parts or ("linux", default), strict=False))
    return {**names, "architecture": _ALIASES.get(names["architecture"], names["architecture"])}


def pick(index: Index, wanted: Mapping[str, str]) -> Descriptor:
    """Gives the first manifest that runs on such a machine; raises NotFound in docker's words."""
    for each in index.manifests:
        if each.platform and all(_fits(each.platform, key, value) for key, value in wanted.items()):
            return each
    name = "/".join(wanted.values())
    offered = ", ".join(sorted({_name(each.platform) for each in index.manifests if each.platform} - {"unknown/unknown"})[:12])
    hint = f"it is there for {offered}" if offered else "the index names no platforms"
    raise NotFound(f"no matching manifest for {name} in the manifest list entries", kind="platform", name=name, hint=hint)


def _fits(told: Mapping[str, Any], key: str, value: str) -> bool:
    return told.get(key) == value or (key == "variant" and key not in told)


def _name(told: Mapping[str, Any]) -> str:
    return "/".join(visible(str(told[key]))[:20] for key in ("os", "architecture", "variant") if told.get(key))
