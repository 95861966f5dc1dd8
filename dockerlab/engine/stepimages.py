"""The cache of builds: images of steps that nothing else needs, and what they take."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

from dockerlab.errors import InUse, NotFound
from dockerlab.oci.dates import moment

if TYPE_CHECKING:
    from dockerlab.engine import Engine
    from dockerlab.engine.images import Image

__all__ = ["prune"]


def prune(engine: Engine, known: set[str], made: Callable[[float], bool], keep: int, *, whole: bool) -> int:
    """Removes those of the `known` images that no repository has and no name leads to, and for whose date (seconds since 1970) `made` is true, oldest first.

    What they were built on goes with them. It ends where they take no more than `keep` bytes, unless the `whole` of them is meant. Gives the bytes of the layers that are gone.
    """
    found = [image for image in engine.images.list() if image.id in known and not image.record.names and not engine.places.digests(image.id)]
    sizes = _own(engine, found)
    left, freed = sum(sizes.values()), 0
    for image in sorted(found, key=lambda image: moment(image.config.created)):
        if not whole and left <= keep:
            break
        if not made(moment(image.config.created).timestamp()):
            continue
        with contextlib.suppress(InUse, NotFound):
            told = list(engine.images.remove(image.id, unused=True, dangling=True))
            gone = sum(sizes.get(what, 0) for _, what in told)
            left, freed = left - gone, freed + gone
    return freed


def _own(engine: Engine, images: list[Image]) -> dict[str, int]:
    """Gives the sizes of the layers that none but these images have, by their chain ids."""
    holders, own = (Counter(str(chain) for image in group for chain in image.config.chain) for group in (engine.images.list(), images))
    sizes = {str(chain): size for image in images for chain, size in zip(image.config.chain, image.layer_sizes, strict=True)}
    return {chain: size for chain, size in sizes.items() if own[chain] == holders[chain]}
