"""kill -9 at any moment of pushes and pulls: what a client was told is pushed can be pulled, whole; no store and no registry is left damaged."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dockerlab.engine import Engine
from dockerlab.registry.client import Registry
from dockerlab.registry.garbage import collect
from dockerlab.registry.storage import Storage
from dockerlab.registry.transport import Sockets
from tests.conftest import end

ROOT = Path(__file__).parents[2]
ROUNDS = int(os.environ.get("DOCKERLAB_KILLS", "500"))


class Server:
    """`registry serve` that is started again whenever it was killed."""

    def __init__(self, folder: Path, env: dict[str, str]) -> None:
        self._folder, self._env, self.port = folder, env, 0
        self.start()

    def start(self) -> None:
        words = [sys.executable, "-m", "dockerlab.cli", "registry", "serve", "-q", "--processes", "2", "--listen", f"127.0.0.1:{self.port}", str(self._folder)]
        self.process = subprocess.Popen(words, env=self._env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert self.process.stdout
        line = self.process.stdout.readline()
        self.port = int(line.rpartition(":")[2].partition("/")[0])

    def kill(self) -> None:
        for pid in [*Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split(), self.process.pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        self.process.communicate()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    env = {**os.environ, "DOCKERLAB_HOME": str(tmp_path / "serving"), "DOCKERLAB_SERVER": "0", "PYTHONPATH": str(ROOT)}
    running = Server(tmp_path / "shelf", env)
    yield running
    running.kill()


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_what_was_told_is_true(server: Server, tmp_path: Path) -> None:
    home, chance = tmp_path / "home", random.Random(7)
    env = {**os.environ, "DOCKERLAB_HOME": str(home), "DOCKERLAB_SERVER": "0", "PYTHONPATH": str(ROOT)}
    docker = [sys.executable, "-m", "dockerlab.cli"]
    engine, told, kills = Engine(home), dict[str, str](), {"client": 0, "server": 0, "nobody": 0}
    try:
        for number in range(ROUNDS):
            if number % 10 == 0:
                (tmp_path / "f").write_bytes(chance.randbytes(3 << 20))
                (tmp_path / "Dockerfile").write_text("FROM busybox\nCOPY f /f\n")
                engine.builds.build((tmp_path / "Dockerfile").read_text(), tmp_path, tags=("made",))
            name = f"localhost:{server.port}/r{number % 7}/made:{number}"
            engine.images.tag("made", name)
            verb = "push" if number % 3 else "pull"
            if verb == "pull" and told:
                name = chance.choice(list(told))
                with contextlib.suppress(Exception):
                    list(engine.images.remove(name, force=True))
            elif verb == "pull":
                verb = "push"
            client = subprocess.Popen([*docker, verb, name], env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
            whom = chance.choice(["client", "server", "nobody"])
            time.sleep(chance.uniform(0.15, 0.6))
            if whom == "client":
                client.kill()
            elif whom == "server":
                server.kill()
                time.sleep(chance.uniform(0, 0.1))
                server.start()
            kills[whom] += 1
            said, _ = client.communicate(timeout=120)
            if verb == "push" and "digest: sha256:" in said:
                told[name] = said.rpartition("digest: ")[2].split()[0]
            if number % 25 == 24:
                collect(Storage(tmp_path / "shelf"), young=2)
        registry = Registry(f"localhost:{server.port}", Sockets())
        for name, digest in told.items():
            repository, _, tag = name.partition("/")[2].rpartition(":")
            fetched = registry.manifest(repository, tag, strict=True)
            assert fetched is not None and fetched.digest == digest, name
            for event in Engine(tmp_path / "other").images.pull(name):
                assert event
        assert len(told) > ROUNDS // 10
        assert engine.system.check() == []
        print(f"{len(told)} pushes were told and are there; killed: {kills}")
    finally:
        end(engine)
