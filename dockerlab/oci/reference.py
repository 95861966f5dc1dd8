"""What people type to name an image, normalised as docker does (distribution-spec "Pulling manifests"; docker's reference grammar)."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from dockerlab.errors import InvalidReference
from dockerlab.oci.digest import Digest

__all__ = ["DEFAULT_REGISTRY", "Reference"]

DEFAULT_REGISTRY = "docker.io"
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_PART}(?:/{_PART})*")
_TAG = re.compile(r"\w[\w.-]{0,127}", re.ASCII)
_HOST = re.compile(r"(?:(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])(?:\.(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9]))*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Reference:
    """registry/repository:tag@digest; tag and digest may each be missing."""

    registry: str
    repository: str
    tag: str = ""
    digest: Digest | None = None

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Gives the reference that `text` means; raises InvalidReference in docker's words.

        >>> str(Reference.parse("hello"))
        'docker.io/library/hello'
        """
        if re.fullmatch(r"[a-f0-9]{64}", text):
            raise _invalid(text, "cannot specify 64-byte hexadecimal strings")
        rest, _, digest = text.partition("@")
        if "@" in text and not _DIGEST.fullmatch(digest):
            raise _invalid(text)
        head, slash, tail = rest.rpartition("/")
        tail, colon, tag = tail.partition(":")
        if colon and not _TAG.fullmatch(tag):
            raise _invalid(text)
        registry, path = _split_registry(f"{head}{slash}{tail}")
        if not _HOST.fullmatch(registry) or not _PATH.fullmatch(path):
            raise _invalid(text, _uppercase(path))
        if len(path) > 255:
            raise InvalidReference("repository name must not be more than 255 characters", hint="give a shorter name")
        return cls(registry, path, tag, Digest(digest) if digest else None)

    @property
    def familiar_name(self) -> str:
        """The repository as docker shows it: without `docker.io/library/`."""
        if self.registry != DEFAULT_REGISTRY:
            return f"{self.registry}/{self.repository}"
        return self.repository.removeprefix("library/") if self.repository.count("/") == 1 else self.repository

    @property
    def familiar(self) -> str:
        """The whole reference as docker shows it."""
        return self.familiar_name + self._tail()

    def tagged(self) -> Reference:
        """Gives the same reference, with `latest` where neither tag nor digest is given."""
        return self if self.tag or self.digest else replace(self, tag="latest")

    def untagged(self) -> Reference:
        """Gives the same reference without a tag: what a digest is noted under."""
        return replace(self, tag="") if self.tag else self

    def __str__(self) -> str:
        return f"{self.registry}/{self.repository}{self._tail()}"

    def _tail(self) -> str:
        return (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")


def _split_registry(name: str) -> tuple[str, str]:
    first, slash, rest = name.partition("/")
    # A first part is a host only if it could not be a user's name: docker's rule.
    if slash and ("." in first or ":" in first or first == "localhost" or first.lower() != first):
        registry, path = ("docker.io" if first == "index.docker.io" else first), rest
    else:
        registry, path = DEFAULT_REGISTRY, name
    return registry, f"library/{path}" if registry == DEFAULT_REGISTRY and "/" not in path else path


def _uppercase(path: str) -> str:
    return f"repository name ({path}) must be lowercase" if path != path.lower() and _PATH.fullmatch(path.lower()) else ""


def _invalid(text: str, reason: str = "") -> InvalidReference:
    why = "invalid reference format" + (f": {reason}" if reason else "")
    if reason.startswith("cannot"):
        why = f"invalid repository name ({text}), {reason}"
    return InvalidReference(why, hint="an image name reads registry/repository:tag, in lower case")
