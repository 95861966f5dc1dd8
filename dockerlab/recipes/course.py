"""The small images that the course names, made from what this host has; each says on its label what it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from dockerlab.layers.index import Entry
from dockerlab.layers.packing import Archive, Write
from dockerlab.recipes import busybox, closure

__all__ = ["NAMES", "UNAVAILABLE", "curl_layers", "packed_layers", "registry_bound_layers"]

_TIME = 1_577_836_800
_HUB = "docker.io/dockerinaction/"
NAMES = {"packed": f"{_HUB}ch7_packed:latest", "bound": f"{_HUB}ch9_registry_bound:latest", "curl": f"{_HUB}curl:latest"}
# What cannot be had offline, and what to use in its place.
UNAVAILABLE: Mapping[str, str] = {
    "docker.io/gliderlabs/alpine": "Alpine's packages cannot be had here: write `FROM debian` and `RUN apt-get install -y curl`, or use dockerinaction/curl, which is ready made",
    "docker.io/library/alpine": "Alpine's packages cannot be had here: write `FROM debian` and `RUN apt-get install -y`, or use `busybox`",
}


def _written(write: Write, entries: list[tuple[Entry, bytes]]) -> tuple[list[Entry], int]:
    archive = Archive(write)
    for entry, content in entries:
        archive.add(entry, (content,))
    return archive.end(), _TIME


def _file(path: str, content: bytes, mode: int = 0o644) -> tuple[Entry, bytes]:
    return Entry(path, "file", mode, 0, 0, len(content), _TIME), content


def packed_layers() -> tuple[Callable[[Write], tuple[list[Entry], int]], ...]:
    """Gives the layers of `ch7_packed`: a program, a message, and another message that hides the first."""
    return (
        lambda write: _written(write, [_file("echo", busybox.find_program().read_bytes(), 0o755)]),
        lambda write: _written(write, [_file("message", b"This message is hidden by the layer above.\n")]),
        lambda write: _written(write, [_file("message", b"Packed for export.\n")]),
    )


def registry_bound_layers() -> tuple[Callable[[Write], tuple[list[Entry], int]], ...]:
    """Gives the layer of `ch9_registry_bound`: a program that says a sentence."""
    return (lambda write: _written(write, [_file("echo", busybox.find_program().read_bytes(), 0o755)]),)


def curl_layers() -> tuple[Callable[[Write], tuple[list[Entry], int]], ...]:
    """Gives the layer of `curl`: this host's curl with its libraries and certificates."""
    names = ("/etc/ssl/certs/ca-certificates.crt", "/etc/nsswitch.conf")
    passwd = {"etc/passwd": (b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n", 0o644)}
    return (lambda write: closure.make(write, ["curl"], passwd, {}, names),)
