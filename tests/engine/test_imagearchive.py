"""What lies in an image, out of its layers, is what lies in a container that was made of it."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from dockerlab.engine import Engine
from dockerlab.engine.imagearchive import ImageArchive
from dockerlab.errors import InvalidRequest, NotFound

pytestmark = pytest.mark.files

TEXT = """FROM busybox
RUN mkdir -p /a/b && echo one > /a/b/f && ln /a/b/f /a/g && ln -s b/f /a/s && ln -s /a /top && ln -s /top/../a/b /a/up && chmod 4750 /a/g && touch /a/gone
RUN rm /a/gone && echo two >> /a/b/f && mkdir -m 700 /a/shut
"""


def held(files: Any, path: str, place: Path) -> tuple[Any, list[tuple[Any, ...]]]:
    with open(place, "w+b") as file:
        files.get_archive(path, file.fileno())
        file.seek(0)
        with tarfile.open(fileobj=file) as archive:
            members = [(m.name, m.type, m.mode, m.uid, m.gid, m.size, m.linkname, (archive.extractfile(m) or file).read() if m.isreg() else b"") for m in archive]
    seen = files.stat(path)
    return (seen.name, seen.mode, seen.target), sorted(members)


def test_an_image_is_read_as_its_containers_are(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    image = engine.builds.build(TEXT, tmp_path / "none")
    container = engine.containers.create(image.id, ["true"])
    apart = {"etc/hosts", "etc/hostname", "etc/resolv.conf"}  # the container's own
    for path in ("/a", "/a/", "/a/.", "/a/b/f", "/a/g", "/a/s", "/top", "/top/", "/top/b/f", "/a/up/f", "/bin/busybox", "a/b", "/etc"):
        ours, theirs = held(ImageArchive(image), path, tmp_path / "ours"), held(container.files, path, tmp_path / "theirs")
        assert ours[0] == theirs[0], path
        assert [member for member in ours[1] if member[0] not in apart] == [member for member in theirs[1] if member[0] not in apart], path


def test_no_layer_is_unpacked(engine: Engine, tmp_path: Path) -> None:
    image = engine.images.resolve("busybox")
    with open(os.devnull, "wb") as nowhere:
        ImageArchive(image).get_archive("/etc/passwd", nowhere.fileno())
    assert engine.snapshotter.prune([]) == 0
    for path, error in (("/nosuch", NotFound), ("/etc/passwd/x", NotFound), ("", InvalidRequest), ("/../../nosuch", NotFound)):
        with pytest.raises(error):
            ImageArchive(image).stat(path)
