"""Which filter of system calls a container gets: docker's, a person's own, or none."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dockerlab.linux import seccomp
from dockerlab.oci.runtime import Spec

__all__ = ["chosen", "marks", "of"]

_MARK = "org.dockerlab.seccomp"


def chosen(word: str, capabilities: Iterable[str]) -> dict[str, Any]:
    """Gives the profile for `--security-opt seccomp=`: "" for docker's, `unconfined`, or a profile's text; {} for none. Raises InvalidRequest."""
    if word == "unconfined":
        return {}
    return seccomp.read_profile(word, capabilities) if word else seccomp.default_profile(capabilities)


def marks(word: str) -> dict[str, str]:
    """Gives the annotation of a spec whose filter a person chose."""
    return {_MARK: "own" if word != "unconfined" else word} if word else {}


def of(spec: Spec, default: Iterable[str] | None = None) -> dict[str, Any]:
    """Gives the profile to which a tier adds calls that the engine answers; with `default` docker's for these capabilities, unless a person chose another."""
    mark = spec.annotations.get(_MARK, "")
    if mark == "unconfined":
        return seccomp.unconfined()
    return dict(spec.linux.seccomp or {}) if mark or default is None else seccomp.default_profile(default)
