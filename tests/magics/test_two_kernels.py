"""Two notebooks on one store: both build and run at once, and one of them may die."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.magics.test_cells import ROOT, Kernel, jupyter_client, text

BUILD = "%%docker\n" + "\n".join(
    f"docker run --name {{0}}{n} busybox sh -c 'echo {n} > /f'; docker commit {{0}}{n} image-{{0}}:{n} > /dev/null; docker rm {{0}}{n} > /dev/null" for n in range(4)
)
SAME = "%%dockerfile -t same\nFROM busybox\nRUN echo one > /one\nRUN echo two > /two\n"


@pytest.fixture
def kernels(tmp_path: Path, runtime: Path) -> Iterator[list[Kernel]]:
    env = {**os.environ, "DOCKERLAB_HOME": str(tmp_path / "home"), "XDG_RUNTIME_DIR": str(runtime), "PYTHONPATH": str(ROOT)}
    made = [Kernel(*jupyter_client.manager.start_new_kernel(kernel_name="python3", env=env, cwd=str(tmp_path))) for _ in range(2)]
    try:
        for kernel in made:
            status, outputs = kernel.run("%load_ext dockerlab\nfrom dockerlab.engine.current import current\ncurrent().capabilities")
            if status != "ok":
                pytest.skip(f"no engine here: {outputs}")
        yield made
        made[1].run("current().world.stop()")
    finally:
        for kernel in made:
            kernel.client.stop_channels()
            kernel.manager.shutdown_kernel(now=True)


def test_two_kernels_work_at_once(kernels: list[Kernel]) -> None:
    for source in (SAME, BUILD):
        asked = [kernel.client.execute(source.replace("{0}", "ab"[number])) for number, kernel in enumerate(kernels)]
        for kernel, ident in zip(kernels, asked, strict=True):
            reply = kernel.answer(ident, timeout=60)
            assert reply["status"] == "ok", reply
    status, outputs = kernels[0].run("%%docker\ndocker system check\ndocker images -q image-a | wc -l\ndocker images -q image-b | wc -l\ndocker ps -aq | wc -l\ndocker run --rm same cat /one /two")
    assert text(outputs).split() == ["the", "store", "is", "sound", "4", "4", "0", "one", "two"] and status == "ok"


def test_a_kernel_that_is_killed_takes_its_container_along_and_nothing_else(kernels: list[Kernel]) -> None:
    first, second = kernels
    first.client.execute("%container run --name mine busybox sleep 60")
    deadline = time.monotonic() + 20
    while "mine" not in text(second.run("%%docker\ndocker ps --format '{{.Names}}'")[1]) and time.monotonic() < deadline:
        time.sleep(0.1)
    first.manager.signal_kernel(9)
    while text(second.run("%%docker\ndocker ps -q")[1]) and time.monotonic() < deadline:
        time.sleep(0.1)
    _, outputs = second.run("%%docker\ndocker ps -aq --filter status=exited | wc -l\ndocker rm mine\ndocker system check\ndocker run --rm busybox echo still")
    assert text(outputs) == "1\nmine\nthe store is sound\nstill\n"
