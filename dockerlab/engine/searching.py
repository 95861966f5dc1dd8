"""`docker search`: the one question of the first registry protocol that docker still asks (GET /v1/search)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from dockerlab.oci.reference import DEFAULT_REGISTRY
from dockerlab.oci.visible import visible
from dockerlab.registry.replies import decoded

if TYPE_CHECKING:
    from dockerlab.engine.distribution import Distribution

__all__ = ["Result", "search"]

_INDEX = "index.docker.io"  # Docker Hub searches elsewhere than it stores


@dataclass(frozen=True, slots=True)
class Result:
    """A repository that was found."""

    name: str
    description: str
    stars: int
    official: bool
    automated: bool


class _Row(msgspec.Struct):
    name: str = ""
    description: str | None = ""
    star_count: int = 0
    is_official: bool = False
    is_automated: bool = False


class _Answer(msgspec.Struct):
    results: list[_Row] | None = None


def search(distribution: Distribution, term: str, limit: int = 25) -> list[Result]:
    """Gives what a registry finds, in its order; `term` may begin with the registry's name. Raises RegistryError."""
    first, slash, rest = term.partition("/")
    named = bool(slash) and ("." in first or ":" in first or first == "localhost")
    host, words = (first, rest) if named else (DEFAULT_REGISTRY, term)
    host = distribution.host(host)
    registry = distribution.registry(_INDEX if host == DEFAULT_REGISTRY else host)
    answer = decoded(registry.search(words, limit), _Answer)
    return [Result(visible(row.name), visible(row.description or ""), row.star_count, row.is_official, row.is_automated) for row in answer.results or []]
