"""What a container may do to its host: every probe in every tier, and the table in docs/isolation.md that says the same."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from dockerlab.engine import Engine, RunOptions
from dockerlab.errors import NotSupportedHere
from tests.isolation import probes
from tests.isolation.closed import TOKEN, Outside, import_tools, outside, perl
from tests.isolation.probes import AS_HOST, COLUMNS, NO_NETWORK, PROBES, Probe

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


def test_the_table_in_the_documentation_is_this_one() -> None:
    text = DOCS.read_text()
    assert text == probes.rendered(text.partition("| what is tried")[0])
