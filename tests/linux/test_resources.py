"""Limits as both versions of control groups write them; on folders, since a machine has one version only."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dockerlab.linux import cgroups, resources

WANTED = {
    "memory": {"limit": 20 << 20, "swap": 40 << 20, "reservation": 10 << 20},
    "cpu": {"shares": 512, "quota": 50000, "period": 100000, "cpus": "0"},
    "pids": {"limit": 7},
}


def folder(place: Path, *names: str) -> Path:
    place.mkdir()
    for name in names:
        (place / name).touch()
    return place


def test_version_2(tmp_path: Path) -> None:
    one = folder(tmp_path / "group", "memory.max", "memory.swap.max", "memory.low", "cpu.weight", "cpu.max", "cpuset.cpus", "pids.max")
    assert resources.apply([one], WANTED) == []
    told = {file.name: file.read_text() for file in one.iterdir()}
    assert told == {"memory.max": "20971520", "memory.swap.max": "20971520", "memory.low": "10485760", "cpu.weight": "20", "cpu.max": "50000 100000", "cpuset.cpus": "0", "pids.max": "7"}
    assert resources.apply([one], {"memory": {"limit": 20 << 20, "swap": -1}, "cpu": {"period": 50000}}) == []
    assert (one / "memory.swap.max").read_text() == "max" and (one / "cpu.max").read_text() == "max 50000"


def test_version_1_without_an_account_of_swap(tmp_path: Path) -> None:
    memory = folder(tmp_path / "memory", "memory.limit_in_bytes", "memory.soft_limit_in_bytes")
    cpu = folder(tmp_path / "cpu", "cpu.shares", "cpu.cfs_quota_us", "cpu.cfs_period_us")
    assert resources.apply([memory, cpu], WANTED) == ["processors", "processes"]
    assert (memory / "memory.limit_in_bytes").read_text() == "20971520" and (cpu / "cpu.cfs_quota_us").read_text() == "50000"
    assert resources.apply([], WANTED) == ["memory", "memory reservation", "CPU shares", "CPU time", "processors", "processes"]


def test_what_version_2_counts(tmp_path: Path) -> None:
    one = folder(tmp_path / "group")
    for name, text in {
        "memory.current": "5000000\n", "memory.max": "max\n", "memory.stat": "anon 1\ninactive_file 1000000\n", "cpu.stat": "usage_usec 12\nuser_usec 5\n", "pids.current": "3\n",
        "io.stat": "8:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0 dios=0\n8:16 rbytes=1 wbytes=2\n", "memory.events": "low 0\noom 2\noom_kill 3\n",
    }.items():  # fmt: skip
        (one / name).write_text(text)
    assert resources.used([one]) == {"memory": 4000000, "cpu": 12000, "pids": 3, "read": 11, "written": 22}
    assert resources.oom_kills([one]) == 3


def test_this_machine() -> None:
    name = f"dockerlab-test-resources-{os.getpid()}"
    groups = cgroups.create(name)
    if not groups:
        pytest.skip("this host gives no control groups")
    try:
        assert not set(resources.apply(groups, WANTED)) & {"memory", "processes"}
        counted = resources.used(groups)
        assert counted["limit"] == 20 << 20 and counted["pids"] == 0 and resources.oom_kills(groups) == 0
    finally:
        cgroups.remove(name)


def test_groups_that_nobody_needs_are_swept() -> None:
    name = f"dockerlab-test-resources-{os.getpid()}"
    if not cgroups.create(f"{name}/left"):
        pytest.skip("this host gives no control groups")
    try:
        assert cgroups.sweep(name) == 0  # it may be about to be used
        assert cgroups.sweep(name, age=-1) == 1 and not cgroups.folders(f"{name}/left")
    finally:
        cgroups.remove(f"{name}/left")
        cgroups.remove(name)
