"""Engines for the tests: every test that takes `engine` runs in each tier that this host can show."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import struct
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dockerlab.engine import Engine
from dockerlab.errors import DockerlabError
from dockerlab.runtime.sandbox import Capabilities
from dockerlab.runtime.world import World

# A command server outlives what started it; the tests of it ask for one.
os.environ["DOCKERLAB_SERVER"] = "0"

# Most tests are about something else, and a network of its own costs each a process more.
os.environ["DOCKERLAB_NETWORK"] = "host"

# What each tier's engine is told that its host lacks.
TIERS: dict[str, tuple[str, ...]] = {
    "root": (),
    "ranged": ("root",),
    "single": ("root", "id range"),
    "copy": ("root", "id range", "overlay userxattr"),
    "single-chroot": ("root", "id range", "mount"),
    "chroot": ("root", "user namespace"),
    "proot": ("root", "user namespace", "chroot"),
}

# Those that differ from another one in how files are kept, and in nothing else.
TWINS = {"copy": "single", "chroot": "single-chroot"}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out, but for tests of files, what the other twin shows as well, where root has both; $DOCKERLAB_TIERS=all has all."""
    if os.environ.get("DOCKERLAB_TIERS") == "all" or os.geteuid():
        return

    def twice(item: pytest.Item) -> bool:
        call = getattr(item, "callspec", None)
        return bool(call and call.params.get("tier") in TWINS and not item.get_closest_marker("files"))

    if left_out := [item for item in items if twice(item)]:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not twice(item)]


def end(engine: Engine) -> None:
    """Ends the launcher that this engine started, and removes its folder of sockets."""
    with contextlib.suppress(DockerlabError):
        engine.world.stop()
    shutil.rmtree(engine.settings.runtime, ignore_errors=True)


def strongest() -> str:
    """Gives the tier that an engine takes here; skips where there is none."""
    with tempfile.TemporaryDirectory() as home:
        engine = Engine(home)
        try:
            return engine.capabilities.tier
        except DockerlabError as error:
            pytest.skip(f"no tier works here: {error.message}")
        finally:
            shutil.rmtree(engine.settings.runtime, ignore_errors=True)


@pytest.fixture(params=list(TIERS))
def tier(request: pytest.FixtureRequest) -> str:
    """The tier's name."""
    return str(request.param)


@pytest.fixture
def make_engine(tmp_path: Path) -> Iterator[Callable[[str], Engine]]:
    """Gives a function that opens an engine in a tier, or skips with the host's reason."""
    opened: list[Engine] = []

    def make(name: str) -> Engine:
        engine = Engine(tmp_path / "home", without=TIERS[name])
        opened.append(engine)
        try:
            able = engine.capabilities
        except DockerlabError as error:
            pytest.skip(f"no tier works here: {error.message}")
        wanted = "single" if name == "copy" else name
        if able.tier != wanted:
            refused = ", ".join(f.name for f in engine.findings if not f.ok)
            pytest.skip(f"this host gives {able.tier}, not {wanted}; refused here: {refused}")
        return engine

    yield make
    for engine in opened:
        if "world" not in vars(engine):
            shutil.rmtree(engine.settings.runtime, ignore_errors=True)
            continue
        for container in engine.containers.list(all=True):
            container.remove(force=True)
        end(engine)


@pytest.fixture
def engine(tier: str, make_engine: Callable[[str], Engine]) -> Engine:
    """An engine with a fresh store, in each tier in turn."""
    return make_engine(tier)


def gone(pid: int, *, within: float = 3.0) -> bool:
    """Tells whether a process ends in time."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    return False


def until(done: Callable[[], bool]) -> None:
    """Waits for something to come true, thirty seconds at most."""
    deadline = time.monotonic() + 30
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def notes(place: Path) -> list[int]:
    """Gives where the first range of pages begins in each note of the process that listens there; 0 for one that is empty."""
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(str(place))
        pid = struct.unpack("3i", line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
    maps = Path(f"/proc/{pid}/maps").read_text()
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        return [int.from_bytes(os.pread(memory.fileno(), 8, int(start, 16)), "little") for start in re.findall(r"^([0-9a-f]+)-\S+ rw-s", maps, re.M)]


def end_server(place: Path) -> None:
    """Ends the command server that listens here."""
    with socket.socket(socket.AF_UNIX) as line, contextlib.suppress(OSError):
        line.connect(str(place))
        os.kill(int.from_bytes(line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 4), sys.byteorder), signal.SIGTERM)


@pytest.fixture
def runtime() -> Iterator[Path]:
    """A short folder for sockets; launchers that were started in it are ended."""
    folder = Path(tempfile.mkdtemp(prefix="dl-", dir="/tmp"))
    yield folder
    for server in folder.glob("dockerlab-*/*-*-*"):
        end_server(server)
    for launcher in folder.glob("*/launcher-*"):
        World(Capabilities("", False, False, "", False, False, ""), launcher.parent).stop(str(launcher))
    shutil.rmtree(folder, ignore_errors=True)
