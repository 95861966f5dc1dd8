"""What is made ready before anybody asks for it, and that a container gets at none of it."""

from __future__ import annotations

import encodings
import os
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dockerlab.engine import Engine, RunOptions
from tests.conftest import TIERS, gone, notes, until

RM = RunOptions(rm=True)


@pytest.fixture
def engine(make_engine: Callable[[str], Engine]) -> Engine:
    """One of root's."""
    return make_engine("root")


def test_monitors_and_parents_say_what_they_have_written_to(engine: Engine) -> None:
    if not os.access("/proc/self/pagemap", os.R_OK):
        pytest.skip("this user may not read /proc/self/pagemap")

    def noted() -> bool:
        time.sleep(0.2)  # who is asked for at once makes nothing ready
        engine.containers.run("busybox", ["true"], RM)
        return all(notes(next(engine.settings.runtime.glob("launcher-root-????????"))))

    until(noted)


@pytest.mark.parametrize("tier", list(TIERS))
def test_nothing_is_imported_from_a_container(make_engine: Callable[[str], Engine], tier: str) -> None:
    """The parent of a program is root on the host, and sees the container's files: a module or a codec that it looked for would be the container's."""
    engine = make_engine(tier)
    folder = Path(encodings.__file__).parent
    names = "encodings/ascii encodings/latin_1 encodings/idna encodings/unicode_escape traceback linecache"
    plant = f"mkdir -p {folder} && cd {folder}/.. && for n in {names}; do echo 'open(\"/planted\", \"w\")' > $n.py; done"
    engine.containers.run("busybox", ["true"], RM)
    for number in range(3):
        container = engine.containers.create("busybox", ["sh", "-c", f"{plant}; exit {number}"], RunOptions())
        container.start(detach=True).close()
        assert container.wait(timeout=20) == number
        assert gone(container.state.monitor)
        changed = {change.path.rpartition("/")[2] for change in container.diff()}
        assert "ascii.py" in changed and "planted" not in changed


def test_a_first_process_shares_no_memory_with_the_engine(engine: Engine) -> None:
    """`--init` is a process of the engine's that stays: whoever may look into it finds nothing that others would read."""
    container = engine.containers.create("busybox", ["sleep", "100"], RunOptions(init=True, cap_add=("SYS_PTRACE",)))
    container.start(detach=True).close()
    maps = container.exec_run(["cat", "/proc/1/maps"]).output.decode()
    assert "[heap]" in maps and not re.search(r"^\S+ rw-s", maps, re.M), maps
    container.remove(force=True)
