"""Base images made without a registry: each name of the course that this host can make, and how."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from dockerlab.errors import NotFound
from dockerlab.layers.index import Entry
from dockerlab.layers.packing import Write
from dockerlab.recipes import busybox, course, debian, registry

__all__ = ["Layer", "Recipe", "find"]

# Writes a layer as a tar and gives its table of contents and its time (seconds); raises NotSupportedHere.
Layer = Callable[[Write], tuple[list[Entry], int]]


@dataclass(frozen=True, slots=True)
class Recipe:
    """One way to make an image: its layers, base first, and its settings. `wait` says why it takes a while, "" where it does not."""

    name: str
    layers: tuple[Layer, ...]
    labels: Mapping[str, str]
    cmd: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] | None = None
    wait: str = ""
    comment: str = field(default="made on this machine")
    environment: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    ports: tuple[str, ...] = ()


_SHELF = ("/var/lib/registry",)


def find(reference: str) -> Recipe | None:
    """Gives the recipe for a full reference, or None; raises NotFound, with what to use instead, for a name of the course that cannot be made."""
    if reference in busybox.NAMES:
        return Recipe("busybox", (busybox.make,), busybox.LABELS, ("sh",))
    if reference in (known := debian.names()):
        return Recipe("debian", (debian.make,), debian.provenance(reference), ("bash",), wait=f"it is made from {known[reference]}'s packages, which takes a moment")
    if reference in course.NAMES.values():
        return _of_course(reference)
    if reference in registry.OURS:
        labels = {"dockerlab.recipe": "registry", "dockerlab.provenance": "dockerlab's own registry with this host's Python; not the image of Docker Hub, but its folder is the same"}
        served = ("/usr/bin/python3", "-m", "dockerlab.registry")
        return Recipe("registry", registry.layers(), labels, ("serve", "/var/lib/registry"), served, "it is made from this host's Python, which takes a moment",
                      environment=registry.ENVIRONMENT, volumes=_SHELF, ports=("5000/tcp",))  # fmt: skip
    if reference == registry.CNCF:
        labels = {"dockerlab.recipe": "registry (CNCF distribution)", "dockerlab.provenance": "docker-registry of this host with its libraries; not the image of Docker Hub"}
        return Recipe("docker-registry", registry.cncf_layers(), labels, ("serve", "/etc/docker/registry/config.yml"), ("docker-registry",), volumes=_SHELF, ports=("5000/tcp",))
    if hint := debian.nearest(reference) or course.UNAVAILABLE.get(reference.rpartition(":")[0], ""):
        familiar = reference.removeprefix("docker.io/").removeprefix("library/")
        raise NotFound(f"Unable to find image '{familiar}' locally", kind="image to pull", name=familiar, hint=hint)
    return None


def _of_course(reference: str) -> Recipe:
    said = "made on this machine for the course; not the image of Docker Hub"
    if reference == course.NAMES["packed"]:
        return Recipe("ch7_packed", course.packed_layers(), {"dockerlab.recipe": "ch7_packed", "dockerlab.provenance": said}, ("./echo", "Packed for export."))
    if reference == course.NAMES["bound"]:
        labels = {"dia_excercise": "ch9_registry_bound", "dockerlab.recipe": "ch9_registry_bound", "dockerlab.provenance": said}
        return Recipe("ch9_registry_bound", course.registry_bound_layers(), labels, ("/echo", "Bound for a registry."))
    labels = {"dockerlab.recipe": "curl", "dockerlab.provenance": f"curl of this host with its libraries; {said}"}
    return Recipe("curl", course.curl_layers(), labels, ("--help",), ("curl",))
