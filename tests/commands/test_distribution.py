"""Pulls where nobody can be asked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dockerlab.commands.call import Surface
from dockerlab.commands.run import perform
from dockerlab.engine import Engine
from dockerlab.errors import NotFound, RegistryError
from tests.conftest import end


class Cut:
    """A network that leads nowhere."""

    def send(self, *_: Any, **__: Any) -> Any:
        """Carries nothing."""
        raise ConnectionError("lookup registry-1.docker.io: no such host")


class Paper(Surface):
    """Keeps what is shown."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def out(self, text: str) -> None:
        """Keeps it."""
        self.lines.append(text)

    err = note = out


@pytest.fixture
def offline(tmp_path: Path) -> Iterator[Engine]:
    """An engine without a network."""
    engine = Engine(tmp_path / "home")
    engine.distribution.transport = Cut()
    yield engine
    end(engine)


def test_an_image_of_the_course_is_made_where_it_cannot_be_pulled(offline: Engine, tmp_path: Path) -> None:
    paper = Paper()
    perform(["pull", "busybox"], lambda: offline, paper, folder=tmp_path)
    said = "".join(line if line.endswith("\n") else f"{line}\n" for line in paper.lines)
    assert "no such host: the image is one that can be made on this machine, and it was" in said and said.endswith("docker.io/library/busybox:latest\n")
    assert offline.images.get("busybox").tags


@pytest.mark.parametrize("words", [("pull", "nobody/nothing"), ("pull", "-a", "busybox"), ("pull", "localhost:1/busybox"), ("pull", "busybox@sha256:" + "0" * 64)])
def test_no_other_is(offline: Engine, words: tuple[str, ...], tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="no such host"):
        perform(list(words), lambda: offline, Paper(), folder=tmp_path)
    with pytest.raises(NotFound):
        offline.images.get("busybox")
