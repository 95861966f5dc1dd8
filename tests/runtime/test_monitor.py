"""A monitor does its work whatever those at the other ends of its pipes do."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest

from dockerlab.engine import Container, Engine, RunOptions
from dockerlab.engine.containers import Attach
from dockerlab.runtime.world import Session


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    yield reader, writer
    for descriptor in (reader, writer):
        os.close(descriptor)


def begun(engine: Engine, attach: Attach, *words: str, interactive: bool = False) -> tuple[Container, Session]:
    container = engine.containers.create("busybox", words, RunOptions(interactive=interactive))
    return container, container.start(attach)


def test_a_container_whose_reader_is_slow_can_be_removed(engine: Engine, pipe: tuple[int, int]) -> None:
    container, _session = begun(engine, Attach(None, pipe[1]), "yes")
    time.sleep(0.3)
    began = time.monotonic()
    container.remove(force=True)
    assert time.monotonic() - began < 5


def test_a_slow_reader_gets_all_of_it(engine: Engine, pipe: tuple[int, int]) -> None:
    _, session = begun(engine, Attach(None, pipe[1]), "sh", "-c", "head -c 3000000 /dev/zero; echo end")
    out = b""
    while not out.endswith(b"end\n"):
        time.sleep(0.001)
        out += os.read(pipe[0], 1 << 16)
    assert len(out) == 3000004
    assert session.next() == {"exit": 0}


def test_output_is_there_after_the_end_for_a_reader_who_comes_late(engine: Engine, pipe: tuple[int, int]) -> None:
    container, session = begun(engine, Attach(None, pipe[1]), "sh", "-c", "head -c 100000 /dev/zero; echo end")
    assert container.wait() == 0
    out = b""
    while not out.endswith(b"end\n"):
        out += os.read(pipe[0], 1 << 16)
    assert len(out) == 100004
    assert session.next() == {"exit": 0}


def test_an_input_that_nobody_takes_costs_nothing(engine: Engine, pipe: tuple[int, int]) -> None:
    os.set_blocking(pipe[1], False)
    container, _session = begun(engine, Attach(pipe[0]), "sleep", "100", interactive=True)
    for _ in range(3):
        os.write(pipe[1], b"x" * 60000)
        time.sleep(0.1)

    def spent() -> int:
        with open(f"/proc/{container.state.monitor}/stat") as file:
            return sum(map(int, file.read().rpartition(")")[2].split()[11:13]))

    before = spent()
    time.sleep(0.5)
    assert spent() - before < 10
    container.remove(force=True)
