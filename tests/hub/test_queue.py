"""Builds from a push to the pushed image, by real workers; and what happens when one does not end as it should."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from dockerlab.errors import RegistryError
from dockerlab.hub.app import Hub
from dockerlab.hub.queue import local
from dockerlab.hub.tables import Build
from dockerlab.hub.worker import Limits
from dockerlab.registry.serving import Listening, Running
from tests.conftest import gone
from tests.hub.conftest import SQLITE, committed, opened, peopled
from tests.hub.test_automation import rule
from tests.hub.test_gitserver import push
from tests.hub.test_repositories import who

pytestmark = [pytest.mark.timeout(300)]
FROM = "FROM busybox\n"


@pytest.fixture(autouse=True)
def out_of_the_way(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The engines of builds have sockets of their own."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))


Opening = Callable[..., tuple[Hub, str]]


@pytest.fixture
def building(tmp_path: Path, runtime: Path) -> Iterator[Opening]:
    """Opens a hub that builds; gives it and its address."""
    import contextlib

    with contextlib.ExitStack() as stack:

        def begin(folder: str = "hub", **settings: Any) -> tuple[Hub, str]:
            made = not (tmp_path / folder).exists()
            hub = stack.enter_context(opened(tmp_path / folder, private=True, **settings))
            if made:
                peopled(hub)
            running = stack.enter_context(Running(hub, Listening(port=0, threads=8)))
            hub.open(f"http://127.0.0.1:{running.port}")
            return hub, f"localhost:{running.port}"

        yield begin


def last(hub: Hub, path: str = "olga/app", *, count: int = 1, states: tuple[str, ...] = ("success", "failed")) -> Build:
    """Waits for a build to come to one of these states."""
    found = hub.repositories.get(who(hub, path.partition("/")[0]), path)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        builds = hub.queue.of(found.id)
        if len(builds) >= count and builds[0].state in states:
            return builds[0]
        time.sleep(0.05)
    raise AssertionError([(build.id, build.state, log_of(hub, build, path)) for build in builds])


def log_of(hub: Hub, build: Build, path: str = "olga/app") -> str:
    return hub.queue.get(who(hub, path.partition("/")[0]), path, build.id)[1]


def test_a_push_becomes_an_image(building: Opening, repository: Path, tmp_path: Path) -> None:
    hub, address = building()
    push(repository, address, "olga/app", "olga")
    build = last(hub)
    log = log_of(hub, build)
    assert build.state == "success", log
    assert "Step 1/2 : FROM busybox" in log and "Successfully tagged olga/app:latest" in log and f"digest: {build.digest}" in log
    assert [tag.name for tag in hub.shelf.tags("olga/app")[1]] == ["latest"] and hub.shelf.tags("olga/app")[1][0].digest == build.digest
    assert [layer.instruction for layer in hub.shelf.layers("olga/app", "latest")[1]][-1].endswith("echo built > /built")  # type: ignore[index]
    # The second one takes its steps from the cache; a failure says why, and the image stays.
    committed(repository, {"README.md": "# App\n\nIt greets.\n"})
    push(repository, address, "olga/app", "olga")
    assert "Using cache" in log_of(hub, last(hub, count=2))
    found = hub.repositories.get(who(hub, "olga"), "olga/app")
    assert (found.readme, found.description) == ("# App\n\nIt greets.\n", "It greets.")
    committed(repository, {"Dockerfile": FROM + "RUN echo before; exit 3\n"})
    push(repository, address, "olga/app", "olga")
    failed = last(hub, count=3)
    assert failed.state == "failed" and "returned a non-zero code: 3" in log_of(hub, failed) and failed.digest == ""
    assert hub.shelf.tags("olga/app")[1][0].digest == build.digest


def test_a_step_that_is_silent_is_seen_to_run(building: Opening, tmp_path: Path) -> None:
    hub, address = building()
    push(committed(tmp_path / "slow", {"Dockerfile": FROM + "RUN echo begun; sleep 20\n"}), address, "olga/app", "olga")
    deadline, build = time.monotonic() + 40, last(hub, states=("running",))
    while "\nbegun\n" not in log_of(hub, build) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert "\nbegun\n" in log_of(hub, build) and last(hub, states=("running",)).state == "running"
    sources = list((hub.folder / "builders" / ".sources").iterdir())
    assert [(each / "source" / "Dockerfile").exists() for each in sources] == [True]
    hub.close()  # in the midst of it: neither the source nor the key stays
    assert not (hub.folder / "builders" / ".sources").exists() or gone(*sources)


def test_a_build_says_nothing_of_what_is_private(building: Opening, tmp_path: Path) -> None:
    hub, address = building()
    push(committed(tmp_path / "hush", {"Dockerfile": FROM + "RUN echo a > /a\n"}), address, "olga/hush", "olga")
    last(hub, "olga/hush")
    hub.repositories.describe(who(hub, "olga"), "olga/hush", description="", readme="", private=True)
    push(committed(tmp_path / "open", {"Dockerfile": FROM + "RUN echo a > /a\n"}), address, "olga/open", "olga")
    log = log_of(hub, last(hub, "olga/open"), "olga/open")
    assert "Mounted from another repository" in log and "hush" not in log


def test_a_build_is_not_let_out(building: Opening, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DOCKERLAB_NETWORK", raising=False)  # a hub whose builds are all in the host's network keeps none out of it
    hub, address = building()
    push(committed(tmp_path / "host", {"Dockerfile": FROM + "RUN --network=host wget -qO- http://127.0.0.1:1/\n"}), address, "olga/host", "olga")
    failed = last(hub, "olga/host")
    assert failed.state == "failed" and "network.host is not allowed" in log_of(hub, failed, "olga/host")


def test_what_stands_on_a_base_is_built_again(building: Opening, tmp_path: Path) -> None:
    hub, address = building()
    base = committed(tmp_path / "base", {"Dockerfile": FROM + "RUN echo one > /base\n"})
    push(base, address, "olga/base", "olga")
    assert last(hub, "olga/base").state == "success"
    child = committed(tmp_path / "child", {"Dockerfile": "FROM olga/base\nRUN cat /base\n"})
    push(child, address, "olga/app", "olga")
    first = last(hub)
    assert first.state == "success", log_of(hub, first)
    hub.automations.configure(who(hub, "olga"), "olga/app", bases=["olga/base"])
    committed(base, {"Dockerfile": FROM + "RUN echo two > /base\n"})
    push(base, address, "olga/base", "olga")
    second = last(hub, count=2)
    assert second.cause == "push of olga/base" and "\ntwo\n" in log_of(hub, second)


def test_a_private_base_is_read_by_its_owners_builds_alone(building: Opening, tmp_path: Path) -> None:
    hub, address = building()
    hub.repositories.create(who(hub, "olga"), "olga/base", private=True)
    push(committed(tmp_path / "base", {"Dockerfile": FROM + "RUN echo secret > /base\n"}), address, "olga/base", "olga")
    assert last(hub, "olga/base").state == "success"
    for name, state in (("olga", "success"), ("sam", "failed")):
        push(committed(tmp_path / name, {"Dockerfile": "FROM olga/base\nRUN echo mine > /x\n"}), address, f"{name}/app", name)
        build = last(hub, f"{name}/app")
        assert build.state == state, log_of(hub, build, f"{name}/app")


def test_rules_with_folders_and_names(building: Opening, tmp_path: Path) -> None:
    hub, address = building()
    source = committed(tmp_path / "work", {"web/web.df": FROM + "COPY page /page\n", "web/page": "hello", "README": "x"})
    hub.repositories.create(who(hub, "olga"), "olga/app")
    hub.automations.configure(who(hub, "olga"), "olga/app", rules=[rule("branch", "release/*", "{1}", dockerfile="web.df", folder="web")])
    push(source, address, "olga/app", "olga", ref="main:refs/heads/release/2")
    build = last(hub)
    assert (build.state, build.tag) == ("success", "2"), log_of(hub, build)


@pytest.mark.parametrize(("dockerfile", "limits", "words"), [
    ("RUN sleep 60\n", Limits(seconds=6), "the build took too long"),
    ("RUN dd if=/dev/zero of=/large bs=1M count=200\n", Limits(disk=100 << 20), "the build takes too much of the disk"),
])  # fmt: skip
def test_bounds(building: Opening, tmp_path: Path, dockerfile: str, limits: Limits, words: str) -> None:
    hub, address = building(limits=limits)
    push(committed(tmp_path / "work", {"Dockerfile": FROM + dockerfile}), address, "olga/app", "olga")
    build = last(hub)
    assert build.state == "failed" and f"error: {words}" in log_of(hub, build), log_of(hub, build)
    assert build.ended and build.began and (build.ended - build.began).total_seconds() < 30


def test_a_source_in_this_network_is_refused_unless_allowed(tmp_path: Path, building: Opening) -> None:
    _, other = building("other")
    with opened(tmp_path / "strict") as hub, Running(peopled(hub), Listening(port=0, threads=4)) as running:
        hub.open(f"http://127.0.0.1:{running.port}")
        hub.repositories.create(who(hub, "olga"), "olga/app")
        hub.automations.configure(who(hub, "olga"), "olga/app", source=f"http://{other}/git/olga/app.git")
        hub.automations.again(who(hub, "olga"), "olga/app", "refs/heads/main")
        hub.queue.hand_out()
        build = last(hub)
        assert build.state == "failed" and "unable to clone" in log_of(hub, build) and "private network" in log_of(hub, build)


def test_a_worker_that_is_killed_is_replaced(building: Opening, tmp_path: Path) -> None:
    hub, address = building()
    push(committed(tmp_path / "work", {"Dockerfile": FROM + "RUN sleep 30\n"}), address, "olga/app", "olga")
    last(hub, states=("running",))
    (worker,) = [pid for pid in children(os.getpid()) if "spawn_main" in command(pid)]
    os.kill(worker, signal.SIGKILL)
    failed = last(hub)
    assert failed.state == "failed" and "the worker ended without a word" in log_of(hub, failed)
    committed(tmp_path / "work", {"Dockerfile": FROM + "RUN echo again\n"})
    push(tmp_path / "work", address, "olga/app", "olga")
    assert last(hub, count=2).state == "success"


def children(pid: int) -> list[int]:
    return [int(each) for each in subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True).stdout.split()]


def command(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()


@pytest.mark.soak
def test_a_hub_that_was_killed_goes_on(tmp_path: Path, building: Opening, repository: Path) -> None:
    """What was queued or running when the hub died is built by the next one."""
    script = tmp_path / "serve.py"
    script.write_text(
        "import sys, time\nfrom pathlib import Path\nfrom dockerlab.hub.app import Hub\nfrom dockerlab.registry.serving import Listening, Running\n"
        "if __name__ == '__main__':\n    hub = Hub(Path(sys.argv[1]), cost=4, private=True)\n    running = Running(hub, Listening(port=0, threads=4))\n"
        "    hub.open(f'http://127.0.0.1:{running.port}')\n    print(running.port, flush=True)\n    time.sleep(100)\n"
    )
    with opened(tmp_path / "hub") as hub:
        peopled(hub)
    with subprocess.Popen([sys.executable, str(script), str(tmp_path / "hub")], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        port = process.stdout.readline().strip()
        push(committed(tmp_path / "slow", {"Dockerfile": FROM + "RUN sleep 4; echo done > /x\n"}), f"localhost:{port}", "olga/app", "olga")
        time.sleep(1)
        workers = [pid for pid in children(process.pid) if "spawn_main" in command(pid)]
        process.kill()
    assert workers and all(gone(pid, within=10) for pid in workers)
    hub, _ = building("hub")
    build = last(hub)
    assert build.state == "success", log_of(hub, build)


def test_a_read_me_that_is_a_link_leads_nowhere(building: Opening, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("not for readers")
    (tmp_path / "work").mkdir()
    os.symlink(tmp_path / "secret", tmp_path / "work" / "README.md")
    from dockerlab.hub.worker import _readme

    assert _readme(tmp_path / "work") == "" and _readme(tmp_path) == ""
    os.mkfifo(tmp_path / "README.md")
    assert _readme(tmp_path) == ""


class Far(ThreadPoolExecutor):
    """An executor of another kind, which knows as little as that of dask.distributed does."""

    def shutdown(self, wait: bool = True) -> None:  # type: ignore[override]
        super().shutdown(wait)

    def submit(self, function: Any, /, *words: Any, **named: Any) -> Future[Any]:
        return super().submit(function, *words, **named)


def test_builds_go_to_any_executor(building: Opening, repository: Path) -> None:
    hub, address = building(executor=lambda: Far(1))
    push(repository, address, "olga/app", "olga")
    assert last(hub).state == "success"


def test_local_workers_are_processes() -> None:
    with local(1) as executor:
        assert executor.submit(os.getpid).result(60) != os.getpid()


@SQLITE
def test_only_its_worker_speaks_for_a_build(town: Hub) -> None:
    olga = who(town, "olga")
    town.repositories.create(olga, "olga/app")
    town.automations.configure(olga, "olga/app")
    (build,) = town.automations.again(olga, "olga/app", "refs/heads/main")
    for key in ("", "guess"):
        with pytest.raises(RegistryError):
            town.queue.report(build.id, key, "success")
        with pytest.raises(RegistryError):
            town.queue.log(build.id, key, b"x")
    town.queue._hub = "http://h"
    job = town.queue._next()
    assert job
    assert not town.passes.builder(job.user, job.key)
    town.queue.report(job.build, job.key, "running")
    assert town.passes.builder(job.user, job.key) and not town.passes.builder(job.user, "guess") and not town.passes.builder("builder.99", job.key)
    town.queue.log(job.build, job.key, b"<script>\x1b[31m\n")
    town.queue.report(job.build, job.key, "failed")
    assert not town.passes.builder(job.user, job.key)
    with pytest.raises(RegistryError):
        town.queue.report(job.build, job.key, "success")
