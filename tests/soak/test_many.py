"""A hundred containers at once, each with a network and a published port: none is lost, none waits for ever."""

from __future__ import annotations

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dockerlab.commands.system import write_shim
from dockerlab.engine import Engine

MANY = 100


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_a_hundred_at_once(tmp_path: Path, runtime: Path) -> None:
    engine = Engine(tmp_path / "home")
    if not engine.capabilities.namespaces:
        pytest.skip("this host gives containers no networks of their own")
    env = {**os.environ, "DOCKERLAB_HOME": str(engine.home), "XDG_RUNTIME_DIR": str(runtime), "DOCKERLAB_NETWORK": "bridge"}
    write_shim(tmp_path / "docker")

    def docker(*words: str) -> str:
        done = subprocess.run([str(tmp_path / "docker"), *words], env=env, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    docker("network", "create", "lab")
    with ThreadPoolExecutor(MANY) as several:
        list(several.map(lambda n: docker("run", "-d", "--name", f"c{n}", "--network", "lab", "-p", "127.0.0.1::80", "busybox", "httpd", "-f", "-p", "80"), range(MANY)))
    there = engine.containers.list()
    assert len(there) == len({c.state.networks["lab"]["ip"] for c in there}) == len({c.state.ports[0][1] for c in there}) == MANY
    script = f"ok=0; for n in $(seq 0 {MANY - 1}); do wget -qO- http://c$n/ 2>&1 | grep -q 404 && ok=$((ok+1)); done; echo $ok"
    assert docker("exec", "c0", "sh", "-c", script) == f"{MANY}\n"
    with ThreadPoolExecutor(MANY) as several:
        list(several.map(lambda n: docker("rm", "-f", f"c{n}"), range(MANY)))
    docker("network", "rm", "lab")
    assert docker("system", "check") == "the store is sound\n"
    engine.world.stop()
