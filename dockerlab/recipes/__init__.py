"""Base images made without a registry: each name of the course that this host can make, and how."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from dockerlab.errors import NotFound
from dockerlab.layers.index import Entry
from dockerlab.recipes import busybox, debian

__all__ = ["Recipe", "find"]


@dataclass(frozen=True, slots=True)
class Recipe:
    """One way to make an image of one layer.

    `make` writes the layer as a tar and gives its table of contents and the image's time (seconds); it raises NotSupportedHere.
    `wait` says why it takes a while, "" where it does not.
    """

    name: str
    labels: Mapping[str, str]
    cmd: tuple[str, ...]
    make: Callable[[Callable[[bytes], object]], tuple[list[Entry], int]]
    wait: str = ""


def find(reference: str) -> Recipe | None:
    """Gives the recipe for a full reference, or None; raises NotFound where only another release of the same distribution can be made."""
    if reference in busybox.NAMES:
        return Recipe("busybox", busybox.LABELS, ("sh",), busybox.make)
    if reference in (known := debian.names()):
        return Recipe("debian", debian.provenance(reference), ("bash",), debian.make, f"it is made from {known[reference]}'s packages, which takes a moment")
    if hint := debian.nearest(reference):
        familiar = reference.removeprefix("docker.io/library/")
        raise NotFound(f"Unable to find image '{familiar}' locally", kind="image to pull", name=familiar, hint=hint)
    return None
