"""What a container may do to its host: every probe in every tier, and the table in docs/isolation.md that says the same."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from dockerlab.engine import Container, Engine, RunOptions
from dockerlab.errors import NotSupportedHere
from dockerlab.oci.config import Healthcheck
from tests.conftest import until
from tests.isolation import probes
from tests.isolation.closed import TOKEN, Outside, import_tools, outside, perl, said, verdict
from tests.isolation.probes import AS_HOST, COLUMNS, NO_NETWORK, PROBES, Probe, program

pytestmark = pytest.mark.files

DOCS = Path(__file__).parents[2] / "docs" / "isolation.md"


@pytest.fixture
def beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Outside]:
    """What stands beside the containers; the engine's own environment has a secret as well."""
    monkeypatch.setenv("HOST_SECRET", TOKEN)
    with outside(tmp_path) as found:
        yield found


def column(tier: str) -> int:
    return COLUMNS.index({"ranged": "single", "copy": "single"}.get(tier, tier))


def tried(engine: Engine, probe: Probe, env: dict[str, str]) -> str:
    try:
        return perl(engine, probe.code, RunOptions(env=env, network=probe.net, cap_add=probe.caps))
    except NotSupportedHere as error:
        return NO_NETWORK if "network" in error.message else error.message


def host_reads_its_disk(folder: Path, disk: int) -> bool:
    """A host may itself be held off its disks, by a control group for devices."""
    place = folder / "disk"
    try:
        os.mknod(place, stat.S_IFBLK | 0o600, disk)
        with open(place, "rb", buffering=0) as file:
            return len(file.read(512)) == 512
    except OSError:
        return False


def test_every_probe_says_what_the_table_says(engine: Engine, tier: str, beside: Outside, tmp_path: Path) -> None:
    import_tools(engine, tmp_path)
    engine.containers.run("tools", ["true"])  # the launcher runs from now on
    env = {**beside.env, "MONITOR": str(os.getpid())}
    on_host = "open" if host_reads_its_disk(tmp_path, int(env["DISK"])) else "refused"
    expected = {probe.says: probe.words[column(tier)].replace(AS_HOST, on_host) for probe in PROBES}
    assert {probe.says: tried(engine, probe, env) for probe in PROBES} == expected


def by_exec(engine: Engine, probe: Probe, running: dict[tuple[object, ...], Container | str], env: dict[str, str]) -> str:
    """Tries a probe as one program more in a container that runs, below an init."""
    key = (probe.net, *probe.caps)
    if key not in running:
        try:
            container = engine.containers.create("tools", ["sleep", "600"], RunOptions(env=env, network=probe.net, cap_add=probe.caps, init=True))
            container.start(detach=True).close()
            running[key] = container
        except NotSupportedHere as error:
            running[key] = NO_NETWORK if "network" in error.message else error.message
    found = running[key]
    return found if isinstance(found, str) else verdict(found.exec_run(["perl", "-e", program(probe.code)]).output.decode(errors="replace"))


def test_one_program_more_can_do_no_more(engine: Engine, tier: str, beside: Outside, tmp_path: Path) -> None:
    import_tools(engine, tmp_path)
    env = {**beside.env, "MONITOR": str(os.getpid())}
    on_host = "open" if host_reads_its_disk(tmp_path, int(env["DISK"])) else "refused"
    expected = {probe.says: probe.words[column(tier)].replace(AS_HOST, on_host) for probe in PROBES}
    running: dict[tuple[object, ...], Container | str] = {}
    assert {probe.says: by_exec(engine, probe, running, env) for probe in PROBES} == expected


def test_a_check_of_health_can_do_no_more(engine: Engine, beside: Outside, tmp_path: Path) -> None:
    import_tools(engine, tmp_path)
    check = Healthcheck(test=("CMD", "sh", "-c", "cat $SECRET ../../../../../../../..$SECRET /proc/*/root$SECRET; kill -9 $OUTSIDE; mount -t proc proc /tmp; true"), interval=10**8, timeout=5 * 10**9)
    container = engine.containers.create("tools", ["sleep", "600"], RunOptions(env=beside.env, health=check))
    container.start(detach=True).close()
    until(lambda: bool(container.state.health and container.state.health["Log"]))
    facts = container.state.health
    assert facts and facts["Log"][0]["Output"] and TOKEN not in facts["Log"][0]["Output"]
    os.kill(beside.pid, 0)


def test_what_belongs_to_the_host_is_shared_by_wish_only(engine: Engine, beside: Outside, tmp_path: Path) -> None:
    import_tools(engine, tmp_path)
    shared = RunOptions(env=beside.env, pid="host", ipc="host", uts="host")
    text = said(engine, ["sh", "-c", "cat $SECRET /proc/$OUTSIDE/root$SECRET /proc/$OUTSIDE/cwd/secret /proc/$OUTSIDE/environ; mknod /d b 8 0; mount -t tmpfs t /tmp; echo done"], shared)
    assert "done\n" in text and TOKEN not in text


def test_the_table_in_the_documentation_is_this_one() -> None:
    text = DOCS.read_text()
    assert text == probes.rendered(text.partition("| what is tried")[0])
