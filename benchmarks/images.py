"""Images and builds beside the real docker's: contexts, `save` and `load`, the audit, and what a warm engine does without a command line."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable

from benchmarks.containers import Client, Place
from dockerlab.engine import Engine
from dockerlab.engine.views import union
from dockerlab.errors import DockerlabError

__all__ = ["images", "warm"]

TWELVE = "FROM busybox\nENV A=1\nWORKDIR /w\nCOPY f .\n" + "".join(f"RUN echo {n} > {n}\n" for n in range(5)) + 'LABEL a=b\nEXPOSE 80\nCMD ["true"]\n'
FIND = ("find", "/", "-xdev", "-type", "f", "-perm", "/6000")


def images(place: Place) -> None:
    """Adds all rows that docker has as well; busybox is in both stores."""
    _twelve(place)
    _context(place)
    _archives(place)


def _timed(rounds: int, act: Callable[[], object]) -> float:
    times = []
    for number in range(rounds + 1):
        begin = time.perf_counter()
        act()
        if number:
            times.append(time.perf_counter() - begin)
    return statistics.median(times)


def _twelve(place: Place) -> None:
    folder = place.folder / "twelve"
    folder.mkdir()
    (folder / "Dockerfile").write_text(TWELVE)
    (folder / "f").write_text("f\n")

    def cold(client: Client) -> float:
        return _timed(3, lambda: place.do(*client, "build", "--network", "host", "--no-cache", "-t", "twelve", str(folder)))

    def cached(client: Client) -> float:
        return _timed(place.rounds, lambda: place.do(*client, "build", "--network", "host", "-t", "twelve", str(folder)))

    for what, act, target in (("twelve-step build, cold", cold, 0.15), ("twelve-step build, cached", cached, 0.3)):
        place.add(what, act(place.cli), act(("docker",)), target)


def _context(place: Place) -> None:
    """1 GB in 20,000 files, copied whole; then once more, unchanged."""
    folder = place.folder / "large"
    for number in range(20_000):
        path = folder / "d" / f"{number // 200:03}" / f"{number:05}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(50_000))
    (folder / "Dockerfile").write_text("FROM busybox\nCOPY d /d\n")
    os.sync()
    times: dict[str, list[float]] = {}
    for client in (place.cli, ("docker",)):
        for _ in range(2):
            begin = time.perf_counter()
            place.do(*client, "build", "-t", "large", str(folder))
            times.setdefault(client[0], []).append(time.perf_counter() - begin)
    (ours, again), (theirs, unchanged) = times[place.cli[0]], times["docker"]
    place.add("a context of 1 GB in 20,000 files", ours, theirs, 0.5)
    place.add("the same, unchanged", again, unchanged, 0.5)


def _archives(place: Place) -> None:
    archive = place.folder / "saved.tar"

    def saved(client: Client) -> float:
        return _timed(3, lambda: place.do(*client, "save", "-o", str(archive), "large"))

    def loaded(client: Client) -> float:
        times = []
        for _ in range(2):
            place.do(*client, "save", "-o", str(archive), "large")
            place.do(*client, "rmi", "large")
            begin = time.perf_counter()
            place.do(*client, "load", "-i", str(archive))
            times.append(time.perf_counter() - begin)
        return min(times)

    place.add("save of 1 GB", saved(place.cli), saved(("docker",)), 0.5)
    place.add("load of 1 GB", loaded(place.cli), loaded(("docker",)), 0.5)


def warm(place: Place, engine: Engine) -> None:
    """Adds what a kernel that has imported everything does: a cached build, the audit of a distribution, the union view of ten layers."""
    folder = place.folder / "kernel"
    folder.mkdir()
    (folder / "f").write_text("f\n")
    place.add("twelve-step build, cached, warm kernel (s)", _timed(10, lambda: engine.builds.build(TWELVE, folder, tags=("twelve",))), 1, 0.025)
    try:
        engine.images.resolve("debian")
    except DockerlabError:
        return
    archive = folder / "debian.tar"
    with open(archive, "wb") as file:
        engine.images.save(["debian"], file.write)
    place.do("docker", "load", "-i", str(archive))
    theirs = _timed(5, lambda: place.do("docker", "run", "--rm", "debian", *FIND))
    place.add("set-id scan of debian, against find in a container of docker's", _timed(10, lambda: engine.images.scan("debian").facts()), theirs, 0.02)
    engine.builds.build("FROM debian\n" + "".join(f"RUN touch /etc/{n}\n" for n in range(9)), folder, tags=("ten",))
    place.add("union view of a ten-layer debian (s)", _timed(10, lambda: str(union("ten", engine=engine))), 1, 0.1)

