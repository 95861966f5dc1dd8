from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dockerlab.linux import probe

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the probe needs Linux")


def test_each_thing_is_tried_and_nothing_is_left_behind(tmp_path: Path) -> None:
    before = set(os.listdir("/tmp"))
    findings = probe.probe(str(tmp_path))
    names = [finding.name for finding in findings]
    assert len(names) == len(set(names)) >= 10
    for finding in findings:
        assert finding.how and (finding.ok or finding.detail or finding.errno), finding
    assert list(tmp_path.iterdir()) == []
    assert {name for name in set(os.listdir("/tmp")) - before if name.startswith("probe-")} == set()
    assert str(tmp_path) not in Path("/proc/mounts").read_text()


def test_a_probe_that_hangs_or_dies_counts_as_no() -> None:
    died = probe._tried("x", "y", lambda: os._exit(3))
    refused = probe._tried("x", "y", lambda: os.mkdir("/proc/nope"))
    assert not died.ok and died.detail and not refused.ok and refused.errno


def test_a_probe_leaves_nothing_behind(tmp_path: Path) -> None:
    for name in ("store", "scratch"):
        (tmp_path / name).mkdir()
    code = f"import sys; sys.path[:0] = [{str(Path(__file__).parents[2])!r}]; from dockerlab.linux.probe import main; main()"
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "store")], env={**os.environ, "TMPDIR": str(tmp_path / "scratch")}, check=True, capture_output=True)
    assert os.listdir(tmp_path / "scratch") == os.listdir(tmp_path / "store") == []
