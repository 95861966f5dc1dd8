"""Odd homes and poor hosts: no hard links and no locks, a deep path, a full or read-only disk, no folder where anything may run, memory that runs out."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dockerlab.linux import cgroups, syscalls
from tests.conftest import strongest

ROOT = Path(__file__).parents[2]
SCRIPT = """
docker run --name one busybox sh -c 'touch /f; rm /bin/vi' && docker diff one && docker commit one two >/dev/null && docker run --rm two ls /f &&
docker create --name one busybox 2>/dev/null || docker rm -f one && docker system check
"""
SAID = ["C /bin", "D /bin/vi", "A /f", "/f", "one", "the store is sound"]
# A filter in plain BPF: link(2) and linkat(2) say EPERM, flock(2) says ENOLCK, as a network file system may.
_CALLS = {"x86_64": {86: 1, 265: 1, 73: 37}, "aarch64": {37: 1, 32: 37}}.get(syscalls.MACHINE, {})
_FILTERED = """
import ctypes, os, struct, sys
libc = ctypes.CDLL(None)
program = bytes.fromhex(sys.argv[1])
buffer = ctypes.create_string_buffer(program, len(program))
libc.prctl(38, 1, 0, 0, 0)
assert libc.prctl(22, 2, ctypes.c_char_p(struct.pack("HP", len(program) // 8, ctypes.addressof(buffer)))) == 0
os.execvp(sys.argv[2], sys.argv[2:])
"""


def program() -> bytes:
    ops = [struct.pack("HBBI", 0x20, 0, 0, 0)]
    for number, error in _CALLS.items():
        ops += [struct.pack("HBBI", 0x15, 0, 1, number), struct.pack("HBBI", 0x06, 0, 0, 0x00050000 | error)]
    return b"".join([*ops, struct.pack("HBBI", 0x06, 0, 0, 0x7FFF0000)])


def script(home: Path, runtime: Path, text: str, *prefix: str, before: Callable[[], None] | None = None, **more: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "DOCKERLAB_HOME": str(home), "XDG_RUNTIME_DIR": str(runtime), "PYTHONPATH": str(ROOT), **more}
    words = [*prefix, "sh", "-c", f'docker() {{ {sys.executable} -m dockerlab.cli "$@"; }}\n{text}']
    done = subprocess.run(words, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=100, check=False, preexec_fn=before)  # noqa: PLW1509
    assert "Traceback" not in done.stderr, done.stderr
    return done


def play(home: Path, runtime: Path, *prefix: str, before: Callable[[], None] | None = None, **more: str) -> list[str]:
    done = script(home, runtime, SCRIPT, *prefix, before=before, **more)
    return done.stdout.splitlines() or done.stderr.splitlines()


def alone() -> None:
    syscalls.unshare(syscalls.CLONE_NEWNS)
    syscalls.mount(None, "/", None, syscalls.MS_REC | syscalls.MS_PRIVATE)


def disk(place: Path, flags: int = 0, size: str = "64m") -> Callable[[], None]:
    def before() -> None:
        alone()
        syscalls.mount("tmpfs", str(place), "tmpfs", flags, f"size={size},mode=700")

    place.mkdir()
    return before


def read_only(place: Path) -> Callable[[], None]:
    def before() -> None:
        alone()
        syscalls.mount(str(place), str(place), None, syscalls.MS_BIND)
        syscalls.mount_setattr_readonly(str(place))

    return before


def poor(folders: list[Path]) -> Callable[[], None]:
    def before() -> None:
        cgroups.enter(cgroups.doors(folders))
        alone()  # and without control groups of its own, as in a pod: the container stays in ours
        syscalls.mount("/sys/fs/cgroup", "/sys/fs/cgroup", None, syscalls.MS_BIND | syscalls.MS_REC)
        syscalls.mount_setattr_readonly("/sys/fs/cgroup")

    return before


@pytest.fixture
def mounts(tmp_path: Path) -> None:
    with open("/proc/self/status") as file:
        held = next(int(line.split()[1], 16) for line in file if line.startswith("CapEff:"))
    if os.geteuid() or not held >> 21 & 1:
        pytest.skip("only root with CAP_SYS_ADMIN makes disks")


@pytest.fixture
def two_gigabytes() -> Iterator[list[Path]]:
    name = f"dockerlab-test-{os.getpid()}"
    folders = [folder for folder in cgroups.create(name) if any((folder / file).exists() for file in ("memory.max", "memory.limit_in_bytes"))]
    if not folders:
        pytest.skip("no control group that limits memory")
    for folder in folders:
        for file in ("memory.max", "memory.limit_in_bytes"):
            if (folder / file).exists():
                (folder / file).write_text(str(2 << 30))
    yield folders
    cgroups.remove(name, patience=5)


@pytest.fixture(autouse=True)
def some_tier() -> None:
    strongest()


def test_a_home_without_hard_links_and_locks(tmp_path: Path, runtime: Path) -> None:
    if not _CALLS:
        pytest.skip(f"no call numbers for {syscalls.MACHINE}")
    assert play(tmp_path / "home", runtime, sys.executable, "-c", _FILTERED, program().hex()) == SAID


def test_a_deep_home(tmp_path: Path, runtime: Path) -> None:
    assert play(tmp_path / "/".join(["a folder of a name that is quite long"] * 12) / "home", runtime) == SAID


def test_a_deep_runtime_folder(tmp_path: Path) -> None:
    deep = tmp_path / "/".join(["runtime"] * 20)
    deep.mkdir(parents=True, mode=0o700)
    assert play(tmp_path / "home", deep) == SAID


def test_no_runtime_folder_and_a_home_with_odd_letters(tmp_path: Path, runtime: Path) -> None:
    assert play(tmp_path / "ho:me, with\u00fcmlaut\\ and 'quotes'", runtime) == SAID


@pytest.mark.usefixtures("mounts")
def test_folders_where_nothing_may_run(tmp_path: Path, runtime: Path) -> None:
    assert play(tmp_path / "disk" / "home", runtime, before=disk(tmp_path / "disk", syscalls.MS_NOEXEC), TMPDIR=str(tmp_path / "disk")) == SAID


@pytest.mark.usefixtures("mounts")
def test_a_full_disk_is_said_and_nothing_is_lost(tmp_path: Path, runtime: Path) -> None:
    (tmp_path / "context").mkdir()
    (tmp_path / "context/big").write_bytes(os.urandom(40 << 20))
    (tmp_path / "context/Dockerfile").write_text("FROM busybox\nCOPY big /\n")
    text = f"""
    docker run --name big busybox sh -c 'echo kept > /kept; head -c 60000000 /dev/zero > /big'; echo "run $?"
    docker inspect -f '{{{{.State.ExitCode}}}}' big; docker commit big two; docker build -q -t three {tmp_path}/context; echo "build $?"
    docker run --rm three true; docker rm big; docker system check && docker run --rm busybox echo still
    """
    done = script(tmp_path / "disk/home", runtime, text, before=disk(tmp_path / "disk", size="32m"))
    assert done.stdout.splitlines()[:2] == ["run 1", "1"] and done.stdout.splitlines()[-3:] == ["big", "the store is sound", "still"]
    assert "build 1" in done.stdout and "no space left" in done.stderr.lower()


@pytest.mark.usefixtures("mounts")
def test_a_read_only_home_is_said(tmp_path: Path, runtime: Path) -> None:
    home = tmp_path / "home"
    assert script(home, runtime, "docker run --rm busybox true", DOCKERLAB_SERVER="0").returncode == 0
    done = script(home, runtime, "docker images; docker run --rm busybox echo no; echo $?", before=read_only(home), DOCKERLAB_SERVER="0")
    assert done.stdout == "125\n" and done.stderr.count("the file system is read-only") == 2 and "DOCKERLAB_HOME" in done.stderr


@pytest.mark.usefixtures("mounts")
def test_memory_runs_out(tmp_path: Path, runtime: Path, two_gigabytes: list[Path]) -> None:
    text = "docker run --name hungry busybox tail /dev/zero; echo $?; docker ps -aq --filter status=running; docker rm hungry; docker system check; docker run --rm busybox echo still"
    assert script(tmp_path / "home", runtime, text, before=poor(two_gigabytes)).stdout.splitlines() == ["137", "hungry", "the store is sound", "still"]
