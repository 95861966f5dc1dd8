"""Hosts on which no container can be started: what was refused is said, and what an administrator can do. Real refusals by the kernel."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_POWERLESS = "exec setpriv --bounding-set=-all --inh-caps=-all"
SHAPES = {
    "no user namespace": (["--user", "--map-root-user"], f"echo 0 > /proc/sys/user/max_user_namespaces && {_POWERLESS} --no-new-privs", "user.max_user_namespaces"),
    # unshare(2) succeeds and what has to follow is refused, as on Ubuntu 24.04.
    "unshare, and no more": (["--mount"], f"mount --bind /proc /proc && mount -o remount,ro,bind /proc && {_POWERLESS}", "apparmor_restrict_unprivileged_userns"),
}


@pytest.mark.parametrize("shape", list(SHAPES))
@pytest.mark.parametrize("words", [["run", "--rm", "busybox", "true"], ["info"]], ids=["run", "info"])
def test_the_refusal_and_the_cure_are_said(shape: str, words: list[str], tmp_path: Path, runtime: Path) -> None:
    if os.geteuid() or not (shutil.which("unshare") and shutil.which("setpriv")):
        pytest.skip("only root can build a host that refuses, with unshare(1) and setpriv(1)")
    flags, script, cure = SHAPES[shape]
    env = {**os.environ, "DOCKERLAB_HOME": str(tmp_path / "home"), "XDG_RUNTIME_DIR": str(runtime), "PYTHONPATH": str(ROOT)}
    command = ["unshare", *flags, "sh", "-c", f'{script} env PATH=/nowhere "$@"', "sh", sys.executable, "-m", "dockerlab.cli", *words]
    done = subprocess.run(command, env=env, capture_output=True, text=True, cwd=tmp_path, timeout=60, check=False)
    if "unshare failed" in done.stderr:
        pytest.skip(f"this host does not let even root build it: {done.stderr}")
    said = done.stdout + done.stderr
    assert "Traceback" not in said
    assert "user namespace" in said and cure in said and "proot" in said
    assert done.returncode == (125 if words[0] == "run" else 0)
