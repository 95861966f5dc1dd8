"""Pushes and pulls beside docker's and skopeo's, and our server beside CNCF distribution's, all on loopback and the same cores."""

from __future__ import annotations

import concurrent.futures
import contextlib
import hashlib
import http.client
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.containers import Client, Place
from dockerlab.engine import Engine
from dockerlab.registry.client import Registry
from dockerlab.registry.transport import Sockets
from tests.compat.registries import cncf

__all__ = ["registries"]

ROOT = Path(__file__).parents[1]
LARGE = 200 << 20
_SERVE = "import sys; sys.path.insert(0, sys.argv[2]); from dockerlab.registry.__main__ import program; from dockerlab.registry.serving import serve; app, where = program(['serve', sys.argv[1]], {'REGISTRY_HTTP_ADDR': '127.0.0.1:0'}); app._log = None; serve(app, where, lambda host, port: print(port, flush=True))"  # noqa: E501

# What loopback and this disk can do: a thread for each connection, and sendfile.
_BARE = """
import os, socket, sys, threading
file = open(sys.argv[1], 'rb'); size = os.fstat(file.fileno()).st_size
def answer(line):
    while line.recv(65536):
        line.sendall(b'HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n' % size)
        place = 0
        while place < size: place += os.sendfile(line.fileno(), file.fileno(), place, size - place)
server = socket.create_server(('127.0.0.1', 0), backlog=256); print(server.getsockname()[1], flush=True)
while True: threading.Thread(target=answer, args=(server.accept()[0],), daemon=True).start()
"""
CLASS, SHARED = 40, 100 << 20


@contextlib.contextmanager
def _bare(file: Path) -> Iterator[str]:
    process = subprocess.Popen([sys.executable, "-c", _BARE, str(file)], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    try:
        yield f"localhost:{process.stdout.readline().strip()}"
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def _ours(folder: Path) -> Iterator[tuple[str, int]]:
    process = subprocess.Popen([sys.executable, "-c", _SERVE, str(folder), str(ROOT)], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    try:
        yield f"localhost:{process.stdout.readline().strip()}", process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(40)


def _timed(rounds: int, act: Callable[[], object], before: Callable[[], object] = lambda: None) -> float:
    return statistics.median(_times(rounds, act, before))


def _times(rounds: int, act: Callable[[], object], before: Callable[[], object] = lambda: None) -> list[float]:
    """Gives the seconds of each round, after one for nothing."""
    times = []
    for number in range(rounds + 1):
        before()
        begin = time.perf_counter()
        act()
        if number:
            times.append(time.perf_counter() - begin)
    return times


def registries(place: Place) -> None:
    """Adds all rows; busybox is in both stores."""
    folder = place.folder / "large"
    folder.mkdir()
    (folder / "Dockerfile").write_text("FROM busybox\nCOPY f /f\n")
    (folder / "f").write_bytes(os.urandom(LARGE))
    for client in (("docker",), place.cli):
        place.do(*client, "build", "-t", "large", str(folder))
    with cncf(place.folder / "shelf") as address:
        _told(place, address, again=_transfers(place, address))
        with _ours(place.folder / "own") as (own, pid):
            _servers(place, own, address)
            memory = int(next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS")).split()[1]) / 1024
            place.add("memory of our server after all that (MB)", memory, 60, 1)
        _class(place)


def _class(place: Place) -> None:
    """Forty students pull one image of 100 MB at the same moment, each blob to its end."""
    blob = place.folder / "shared"
    blob.write_bytes(os.urandom(SHARED))
    digest = "sha256:" + hashlib.sha256(blob.read_bytes()).hexdigest()
    with _ours(place.folder / "class") as (own, pid), _bare(blob) as limit, concurrent.futures.ThreadPoolExecutor(CLASS) as pool:
        Registry(own, Sockets()).upload("one", digest, SHARED, lambda: open(blob, "rb", buffering=0))

        def all_of_them(address: str) -> None:
            list(pool.map(lambda _: _get(address, f"/v2/one/blobs/{digest}", 1), range(CLASS)))

        mine, least = _timed(3, lambda: all_of_them(own)), _timed(3, lambda: all_of_them(limit))
        place.add("a class of 40 pulls 100 MB at once, against bare sendfile", mine, least, 1.3)
        peak = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM"))
        place.add("the most memory that took (MB)", int(peak.split()[1]) / 1024, 60, 1)


class _Side:
    """One client, and the repositories that it has used: each push is to one that has nothing, in a registry that knows no other place for the layers."""

    def __init__(self, place: Place, client: Client, address: str) -> None:
        self._place, self._client, self._address, self._number = place, client, address, 0

    @property
    def name(self) -> str:
        """The repository of this round."""
        return f"{self._address}/{self._client[0].rpartition('/')[2]}{len(self._client)}x{self._number}/large"

    def do(self, *words: str) -> None:
        """Runs one of the client's commands."""
        self._place.do(*self._client, *words)

    def fresh(self) -> None:
        """Begins a round."""
        self._number += 1
        subprocess.run(["rm", "-rf", str(self._place.folder / "shelf" / "docker")], check=True)
        self.do("tag", "large", self.name)

    def forget(self) -> None:
        """Has nothing of the image here."""
        for each in ("large", *(self.name.replace(f"x{self._number}/", f"x{number}/") for number in range(self._number + 1))):
            with contextlib.suppress(RuntimeError):
                self.do("rmi", "-f", each)

    def times(self) -> tuple[float, float]:
        """Gives seconds for a push, and for a pull."""
        pushed = _timed(2, lambda: self.do("push", self.name), self.fresh)
        pulled = _timed(2, lambda: self.do("pull", self.name), self.forget)
        self.do("tag", self.name, "large")
        return pushed, pulled

    def again(self) -> list[float]:
        """Gives the seconds of pushes that have nothing to send, after one for nothing."""
        return _times(5, lambda: self.do("push", self.name))


def _transfers(place: Place, address: str) -> float:
    """Gives the seconds of docker's second push, beside the rows."""
    ours, theirs = sides = [_Side(place, client, address) for client in (place.cli, ("docker",))]
    found = ours.times(), theirs.times()
    target = place.folder / "copied"
    skopeo = _timed(2, lambda: place.do("skopeo", "copy", "--src-tls-verify=false", f"docker://{theirs.name}", f"dir:{target}"))
    for number, (what, wanted) in enumerate((("push of 200 MB to docker-registry", 0.2), ("pull of 200 MB", 0.7))):
        place.add(what, found[0][number], found[1][number], wanted)
    place.add("the same, against skopeo copy to a folder", found[0][1], skopeo, 1)
    for side in sides:  # the registry has had its folder taken away since one of them pushed
        side.do("push", side.name)
    # A few of each in turn: what else the machine does falls on both.
    again: tuple[list[float], list[float]] = ([], [])
    for _ in range(5):
        for side, times in zip(sides, again, strict=True):
            times.extend(side.again())
    mine, other = map(statistics.median, again)
    place.add("the same push once more, from a shell", mine, other, 0.3)
    return other


def _told(place: Place, address: str, *, again: float) -> None:
    engine = Engine(place.folder / "home")
    name = f"{address}/told/large"
    engine.images.tag("large", name)
    list(engine.images.push(name))
    told: list[object] = []
    times: list[float] = []
    cost: tuple[list[float], list[float]] = ([], [])
    for _ in range(200):
        for kept, tell in zip(cost, (None, told.append), strict=True):
            begin, worked = time.perf_counter(), time.process_time()
            list(engine.images.push(name, tell=tell))
            kept.append(time.process_time() - worked)
            if not tell:
                times.append(time.perf_counter() - begin)
    plain, (unheard, heard) = statistics.median(times), map(statistics.median, cost)
    place.add("the same push once more, warm kernel", plain, again, 0.3)
    # Hearing costs processor time, a hundredth of a push: what one push waits for the registry differs from the next by more.
    place.add("a push whose exchanges are heard, against one that nobody hears", plain + heard - unheard, plain, 1.03)


def _get(address: str, path: str, count: int) -> None:
    host, _, port = address.partition(":")
    line = http.client.HTTPConnection(host, int(port), timeout=60)
    for _ in range(count):
        line.request("GET", path, headers={"Accept": "*/*"})
        reply = line.getresponse()
        while reply.read(1 << 20):
            pass
    line.close()


def _servers(place: Place, own: str, theirs: str) -> None:
    blob, found = place.folder / "large" / "f", {}
    digest = "sha256:" + hashlib.sha256(blob.read_bytes()).hexdigest()
    for side, address in (("ours", own), ("theirs", theirs)):
        registry = Registry(address, Sockets())
        number = iter(range(100))
        put = _timed(3, lambda registry=registry, number=number: registry.upload(f"put{next(number)}", digest, LARGE, lambda: open(blob, "rb", buffering=0)))
        get = _timed(3, lambda address=address: _get(address, f"/v2/put0/blobs/{digest}", 1))
        with concurrent.futures.ThreadPoolExecutor(64) as pool:
            many = _timed(1, lambda address=address, pool=pool: list(pool.map(lambda _: _get(address, f"/v2/put0/blobs/{digest}", 1), range(64))))
        raw = b'{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}'
        registry.put_manifest("put0", "v1", raw, "application/vnd.oci.image.index.v1+json")
        asked = _timed(3, lambda address=address: _get(address, "/v2/put0/manifests/v1", 500))
        found[side] = (put, get, many, asked)
    words = ("PUT of a blob of 200 MB (speed)", "GET of the same (speed)", "64 GETs of it at once (speed)", "GETs of a manifest (speed)")
    for what, mine, other, target in zip(words, found["ours"], found["theirs"], (1, 1, 1, 0.4), strict=True):
        place.add(what, mine, other, target, rate=True)
