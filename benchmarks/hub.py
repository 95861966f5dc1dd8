"""What a hub bears on this machine: one command prints the table that docs/hub.md quotes. `python benchmarks/hub.py [DATABASE-URL]`."""

from __future__ import annotations

import concurrent.futures
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from dockerlab.hub.app import Hub  # noqa: E402
from dockerlab.registry.authentication import basic  # noqa: E402
from dockerlab.registry.client import Registry  # noqa: E402
from dockerlab.registry.keychain import Login  # noqa: E402
from dockerlab.registry.transport import Sockets  # noqa: E402
from tests.hub.conftest import committed  # noqa: E402
from tests.hub.test_gitserver import push  # noqa: E402
from tests.registry.conftest import sha  # noqa: E402

CLASS, PASSWORD = 40, "a long password"


def _fetched(url: str, name: str = "") -> bytes:
    request = urllib.request.Request(url)
    if name:
        request.add_header("Authorization", f"Basic {basic(Login(name, PASSWORD))}")
    with urllib.request.urlopen(request, timeout=60) as reply:
        return bytes(reply.read())


def _together(act: Callable[[int], object]) -> float:
    """Gives the seconds until all of a class have done something at the same moment."""
    with concurrent.futures.ThreadPoolExecutor(CLASS) as pool:
        begun = time.perf_counter()
        list(pool.map(act, range(CLASS)))
        return time.perf_counter() - begun


def _rate(act: Callable[[], object], seconds: float = 2.0) -> float:
    """Gives how often something can be done in a second, one after another."""
    count, begun = 0, time.perf_counter()
    while time.perf_counter() - begun < seconds:
        act()
        count += 1
    return count / (time.perf_counter() - begun)


def _pushed(place: str, number: int) -> None:
    registry = Registry(place, Sockets(), login=Login(f"student{number}", PASSWORD), schemes=("http",))
    name, layer = f"student{number}/hello", os.urandom(100_000)
    config = b'{"architecture":"amd64","os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":["sha256:' + b"0" * 64 + b'"]}}'
    for blob in (config, layer):
        registry.upload(name, sha(blob), len(blob), lambda blob=blob: __import__("io").BytesIO(blob))
    manifest = {
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": sha(config), "size": len(config)},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": sha(layer), "size": len(layer)}],
    }  # fmt: skip
    registry.put_manifest(name, "latest", json.dumps(manifest).encode(), str(manifest["mediaType"]))


def _memory(pid: int, key: str) -> float:
    return int(re.findall(rf"{key}:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[0]) / 1024


def _built(address: str, folder: Path, hub: Hub) -> float:
    source = committed(folder / "source", {"Dockerfile": "FROM busybox\nRUN echo hello > /hello\n"})
    begun = time.perf_counter()
    push(source, address.partition("://")[2], "student0/app", "student0", secret=PASSWORD)
    me = hub.people.login("student0", PASSWORD)
    assert me
    while hub.queue.of(hub.repositories.get(me, "student0/app").id)[0].state not in ("success", "failed"):
        time.sleep(0.02)
    return time.perf_counter() - begun


def main() -> None:
    """Prints what was measured."""
    rows: list[tuple[str, str]] = []
    with tempfile.TemporaryDirectory(prefix="dockerlab-hub-") as name:
        folder, database = Path(name), sys.argv[1:2]
        hub = Hub(folder / "hub", database=database[0] if database else "")
        for number in range(CLASS):
            hub.people.add(f"student{number}", PASSWORD)
        environment = {**os.environ, "XDG_RUNTIME_DIR": name, "PYTHONPATH": str(ROOT), "DOCKERLAB_HOME": f"{name}/home"}
        words = [sys.executable, "-m", "dockerlab.cli", "hub", "serve", "-q", "--listen", "127.0.0.1:0", *(["--database", *database] if database else []), str(folder / "hub")]
        with subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout
            address = re.findall(r"http://localhost:\d+", server.stdout.readline())[0]
            _fetched(address)
            rows.append(("memory, idle", f"{_memory(server.pid, 'VmRSS'):.0f} MB"))
            rows.append((f"{CLASS} people log in at once (bcrypt)", f"{_together(lambda number: _fetched(f'{address}/token', f'student{number}')):.1f} s"))
            scope = "scope=repository:student0/hello:pull,push"
            rows.append(("tokens granted in a second, to who has logged in", f"{_rate(lambda: _fetched(f'{address}/token?{scope}', 'student0')):.0f}"))
            rows.append((f"{CLASS} people push an image of 100 kB at once", f"{_together(lambda number: _pushed(address.partition('://')[2], number)):.1f} s"))
            for what, path in (("the first page", "/"), ("a search", "/search?q=hello"), ("a repository's page", "/r/student0/hello")):
                rows.append((f"{what}, in a second", f"{_rate(lambda path=path: _fetched(address + path)):.0f}"))
            rows.append(("a Git push until its image is published (two steps)", f"{_built(address, folder, hub):.1f} s"))
            rows.append(("the same again", f"{_again(address, folder, hub):.1f} s"))
            rows.append(("memory, the most", f"{_memory(server.pid, 'VmHWM'):.0f} MB"))
            server.send_signal(signal.SIGTERM)
        hub.close()
    print("| what | measured |\n|---|---|")
    for row in rows:
        print(f"| {row[0]} | {row[1]} |")


def _again(address: str, folder: Path, hub: Hub) -> float:
    (folder / "source" / "note").write_text("changed")
    committed(folder / "source", {"note": "changed"})
    return _built(address, folder, hub)


if __name__ == "__main__":
    main()
