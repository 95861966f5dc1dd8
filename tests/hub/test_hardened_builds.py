"""What a review by strangers found about builds, each proved by what they did."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from dockerlab.errors import DockerlabError
from dockerlab.hub.app import Hub
from dockerlab.hub.worker import Limits
from dockerlab.registry.serving import Listening, Running
from tests.conftest import gone
from tests.hub.conftest import SQLITE, committed, opened, peopled
from tests.hub.test_gitserver import push
from tests.hub.test_queue import FROM, Opening, building, children, command, last, log_of, out_of_the_way
from tests.hub.test_repositories import who

__all__ = ["building", "out_of_the_way"]


# Builds.


@pytest.mark.timeout(200)
@pytest.mark.parametrize("target", ["SECRET", "../config/config.json", "/dev/zero"])
def test_a_dockerfile_that_is_a_link_shows_nothing_of_the_worker(building: Opening, tmp_path: Path, target: str) -> None:
    hub, address = building()
    (tmp_path / "secret").write_text("TOPSECRET\n")
    source = committed(tmp_path / "work", {"README.md": "x"})
    os.symlink(target.replace("SECRET", str(tmp_path / "secret")), source / "Dockerfile")
    committed(source, {})
    from dulwich import porcelain

    porcelain.add(str(source), [str(source / "Dockerfile")])
    porcelain.commit(str(source), message=b"link", author=b"o <o@x>", committer=b"o <o@x>")
    push(source, address, "olga/app", "olga")
    build = last(hub)
    assert build.state == "failed" and "no such file in the repository" in log_of(hub, build) and "TOPSECRET" not in log_of(hub, build) and "auths" not in log_of(hub, build)


@pytest.mark.timeout(200)
def test_a_dockerfile_reaches_no_neighbour_of_the_worker(tmp_path: Path, runtime: Path) -> None:
    """ADD and FROM name addresses as well as sources do."""
    asked = []

    class Inner(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"INTERNAL")

        def log_message(self, *_: Any) -> None:
            pass

    inner = ThreadingHTTPServer(("127.0.0.1", 0), Inner)
    threading.Thread(target=inner.serve_forever, daemon=True).start()
    place = f"127.0.0.1:{inner.server_port}"
    with opened(tmp_path / "hub") as hub, Running(peopled(hub), Listening(port=0, threads=8)) as running:
        hub.open(f"http://127.0.0.1:{running.port}")
        for number, lines in enumerate((f"FROM busybox\nADD http://{place}/meta /m\n", f"FROM {place}/x/y\n", f"FROM busybox\nADD http://{place}/x.git /m\n"), 1):
            push(committed(tmp_path / "work", {"Dockerfile": lines}), f"localhost:{running.port}", "olga/app", "olga")
            build = last(hub, count=number)
            assert build.state == "failed" and "private network" in log_of(hub, build), log_of(hub, build)
        push(committed(tmp_path / "work", {"Dockerfile": FROM + "RUN echo fine\n"}), f"localhost:{running.port}", "olga/app", "olga")
        assert last(hub, count=4).state == "success"
    inner.shutdown()
    inner.server_close()
    assert asked == []


@pytest.mark.timeout(120)
def test_a_source_that_dribbles_is_given_up(building: Opening, tmp_path: Path) -> None:
    class Dribble(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/x-git-upload-pack-advertisement")
            self.end_headers()
            self.wfile.write(b"0ff0")
            while True:
                self.wfile.write(b"x")
                self.wfile.flush()
                time.sleep(0.2)

        def log_message(self, *_: Any) -> None:
            pass

        def handle_one_request(self) -> None:
            try:
                super().handle_one_request()
            except OSError:
                self.close_connection = True

    slow = ThreadingHTTPServer(("127.0.0.1", 0), Dribble)
    slow.daemon_threads = True
    threading.Thread(target=slow.serve_forever, daemon=True).start()
    hub, _ = building(limits=Limits(seconds=4))
    hub.repositories.create(who(hub, "olga"), "olga/app")
    hub.automations.configure(who(hub, "olga"), "olga/app", source=f"http://127.0.0.1:{slow.server_port}/x.git")
    hub.automations.again(who(hub, "olga"), "olga/app", "refs/heads/main")
    hub.queue.hand_out()
    build = last(hub)
    slow.shutdown()
    assert build.state == "failed" and "took too long" in log_of(hub, build)


@pytest.mark.timeout(200)
def test_a_dead_worker_takes_nobody_elses_builds_along(building: Opening, tmp_path: Path) -> None:
    hub, address = building()
    push(committed(tmp_path / "sam", {"Dockerfile": FROM + "RUN sleep 30\n"}), address, "sam/app", "sam")
    last(hub, "sam/app", states=("running",))
    push(committed(tmp_path / "olga", {"Dockerfile": FROM + "RUN echo mine\n"}), address, "olga/app", "olga")
    (worker,) = [pid for pid in children(os.getpid()) if "spawn_main" in command(pid)]
    os.kill(worker, signal.SIGKILL)
    assert last(hub, "sam/app").state == "failed"
    assert last(hub, "olga/app").state == "success"


@pytest.mark.timeout(200)
def test_a_hub_that_is_ended_ends_at_once_and_builds_again(tmp_path: Path, runtime: Path) -> None:
    with opened(tmp_path / "hub") as hub:
        peopled(hub)
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "DOCKERLAB_HOME": str(tmp_path / "home"), "XDG_RUNTIME_DIR": str(runtime)}
    words = [sys.executable, "-m", "dockerlab.cli", "hub", "serve", "-q", "--allow-private", "--listen", "127.0.0.1:0", str(tmp_path / "hub")]
    with subprocess.Popen(words, env=env, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        place = process.stdout.readline().rpartition("http://")[2].strip().rstrip("/")
        push(committed(tmp_path / "slow", {"Dockerfile": FROM + "RUN sleep 3; echo done > /x\n"}), place, "olga/app", "olga")
        with opened(tmp_path / "hub") as looking:
            last(looking, states=("running",))
        workers = [pid for pid in children(process.pid) if "spawn_main" in command(pid)]
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0 and time.monotonic() - began < 12
        assert workers and all(gone(pid, within=10) for pid in workers)
    with opened(tmp_path / "hub", private=True) as hub, Running(hub, Listening(port=0, threads=8)) as running:
        hub.open(f"http://127.0.0.1:{running.port}")
        assert last(hub).state == "success"


@SQLITE
def test_the_newer_build_of_a_tag_is_the_one_that_is_published(town: Hub) -> None:
    olga = who(town, "olga")
    town.repositories.create(olga, "olga/app")
    town.automations.configure(olga, "olga/app")
    town.queue._hub = "http://h"
    town.automations.again(olga, "olga/app", "refs/heads/main")
    first = town.queue._next()
    assert first
    town.automations.again(olga, "olga/app", "refs/heads/main")  # while the first waits for its worker
    assert [build.state for build in town.queue.of(1)] == ["queued", "superseded"]
    with pytest.raises(DockerlabError):
        town.queue.report(first.build, first.key, "running")
    second = town.queue._next()
    assert second and second.build != first.build
    town.queue.report(second.build, second.key, "running")
    town.automations.again(olga, "olga/app", "refs/heads/main")
    assert town.queue._next() is None  # not beside the one that runs
    town.queue.report(second.build, second.key, "success")
    assert town.queue._next() is not None
    with pytest.raises(DockerlabError):
        town.queue.report(second.build, second.key, "running")


@pytest.mark.timeout(200)
def test_workers_of_a_hub_with_tls_need_no_certificate(tmp_path: Path, runtime: Path) -> None:
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "key", "-out", "cert", "-days", "2", "-subj", "/CN=hub.example"]
    try:
        subprocess.run(words, cwd=tmp_path, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("there is no openssl to make a certificate with")
    with opened(tmp_path / "hub") as hub:
        olga = who(peopled(hub), "olga")
        hub.repositories.create(olga, "olga/app")
        hub.automations.configure(olga, "olga/app")
        from dulwich.repo import Repo

        place = hub.git.made("olga/app")
        source = committed(tmp_path / "work", {"Dockerfile": FROM + "RUN echo tls\n"})
        with Repo(str(source)) as work, Repo(str(place)) as bare:
            bare.refs.import_refs(b"refs/heads", work.refs.as_dict(b"refs/heads")), work.fetch(bare)
        hub.automations.again(olga, "olga/app", "refs/heads/main")
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "DOCKERLAB_HOME": str(tmp_path / "home"), "XDG_RUNTIME_DIR": str(runtime)}
    serve = [sys.executable, "-m", "dockerlab.cli", "hub", "serve", "-q", "--listen", "127.0.0.1:0", "--tls-cert", str(tmp_path / "cert"), "--tls-key", str(tmp_path / "key"), str(tmp_path / "hub")]
    with subprocess.Popen(serve, env=env, stdout=subprocess.PIPE, text=True) as process, opened(tmp_path / "hub") as looking:
        assert process.stdout and "https://" in process.stdout.readline()
        build = last(looking)
        process.send_signal(signal.SIGTERM)
    assert build.state == "success", log_of(looking, build)
