"""Our own times on this host, in whatever shape it has: prints JSON, its name and seconds by what was done. `bench.py` runs this in other host shapes."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from dockerlab.commands.system import write_shim
from dockerlab.engine import Engine, RunOptions
from dockerlab.errors import DockerlabError
from tests.conftest import TIERS, end_server

__all__ = ["BIG", "COMMIT", "RUN", "TEN_STEPS", "looped", "warm"]

RUN = ("run", "--rm", "--net", "host", "busybox", "true")
BIG = ("run", "--name", "big", "--net", "host", "busybox", "dd", "if=/dev/urandom", "of=/big", "bs=1M", "count=200")
COMMIT = ("commit", "big", "big")
TEN_STEPS = """FROM busybox
ENV A=1
WORKDIR /w
COPY f .
RUN echo 1 > 1
RUN echo 2 > 2
RUN echo 3 > 3
RUN echo 4 > 4
LABEL a=b
CMD ["true"]
"""


def looped(rounds: int, act: Callable[[], object]) -> float:
    """Gives the median time after one round for nothing."""
    times = []
    for _ in range(rounds + 1):
        begin = time.perf_counter()
        act()
        times.append(time.perf_counter() - begin)
    return statistics.median(times[1:])


def warm(engine: Engine) -> Callable[[], object]:
    """Gives the shortest life of a container, with a network namespace in which there is nothing, as a bare runtime makes it."""
    options = RunOptions(rm=True, network="none" if engine.capabilities.namespaces else "")
    return lambda: engine.containers.run("busybox", ["true"], options)


def through_the_shell(folder: Path, rounds: int) -> dict[str, float]:
    """What a person types, each command a process."""
    shim = folder / "docker"
    write_shim(shim)
    context = folder / "context"
    context.mkdir()
    (context / "Dockerfile").write_text(TEN_STEPS)
    (context / "f").write_text("f\n")

    def do(*words: str) -> None:
        done = subprocess.run([shim, *words], cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{words}: {done.stdout.decode()[-500:]}{done.stderr.decode()[-500:]}")

    do(*BIG)
    build = ("build", "-t", "ten", "context")
    return {
        "run": looped(rounds, lambda: do(*RUN)),
        "commit": looped(3, lambda: do(*COMMIT)),
        "cold": looped(3, lambda: do(*build, "--no-cache")),
        "cached": looped(rounds, lambda: do(*build)),
    }


def through_the_api(folder: Path, rounds: int) -> dict[str, float]:
    """The engine of this process; `copy` is the same where overlayfs is refused."""
    times = {}
    for key, name, without in (("api", "home", ()), ("copy", "copies", TIERS["copy"])):
        engine = Engine(folder / name, without=without)
        try:
            times[key] = looped(rounds, warm(engine))
        finally:
            engine.world.stop()
    return times


INSTALL = """apt-get -qq -d -y --no-install-recommends install git >/dev/null 2>&1 || exit 1
begin=$(date +%s%N); apt-get -qq -y --no-install-recommends install git >/dev/null 2>&1 || exit 2
echo $(( $(date +%s%N) - begin ))"""


def with_debian(folder: Path) -> dict[str, float]:
    """A whole distribution: its first container, later ones, and the installation of a program that is downloaded already; {} without a mirror."""
    engine, times = Engine(folder / "debian", without=TIERS["copy"] if os.environ.get("DOCKERLAB_SHAPE") == "single" else ()), []
    try:
        engine.images.resolve("debian")
        time.sleep(2)  # the copy that is made ahead
        for _ in range(4):
            begin = time.perf_counter()
            engine.containers.run("debian", ["true"], RunOptions(rm=True))
            times.append(time.perf_counter() - begin)
            time.sleep(1.5)
        said: list[bytes] = []
        engine.containers.run("debian", ["sh", "-c", INSTALL], RunOptions(rm=True), stdout=said.append)
    except DockerlabError:
        return {}
    finally:
        engine.world.stop()
    return {"first": times[0], "later": statistics.median(times[1:]), "install": int(b"".join(said) or b"0") / 1e9}


def main() -> None:
    """Measures in a folder that is thrown away."""
    rounds = int(sys.argv[1])
    folder = Path(tempfile.mkdtemp(prefix="dlb-"))
    (folder / "run").mkdir(mode=0o700)
    os.environ |= {"DOCKERLAB_HOME": str(folder / "home"), "XDG_RUNTIME_DIR": str(folder / "run"), "DOCKERLAB_SERVER": "1"}
    try:
        times = through_the_shell(folder, rounds) | through_the_api(folder, rounds * 2) | with_debian(folder)
    finally:
        for server in (folder / "run").glob("dockerlab-*/*-*-*"):
            end_server(server)
        shutil.rmtree(folder, ignore_errors=True)  # what belongs to other ids goes with the host shape's own folder
    sys.stdout.write(json.dumps([os.environ.get("DOCKERLAB_SHAPE", ""), times]) + "\n")


if __name__ == "__main__":
    main()
