"""A real dockerd of our own, and the same command lines given to docker and to dockerlab."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PATH_LINE = "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
IMPORT = ("import", "-c", 'CMD ["sh"]', "-c", PATH_LINE, "-", "busybox:latest")
_FOLDERS = "bin dev etc home proc root sys tmp var var/spool usr usr/bin usr/sbin".split()
_FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/usr/sbin:/bin/false\nnobody:x:65534:65534:nobody:/home:/bin/false\n",
    "etc/group": "root:x:0:\ndaemon:x:1:\nnobody:x:65534:\n",
}
_NEEDED = ("setpriv", "dockerd", "containerd", "runc", "docker", "busybox")


@dataclass(frozen=True, slots=True)
class Said:
    """One command line, what came of it on stdout and stderr together, and its exit code."""

    line: str
    output: str
    code: int


Transcript = list[Said]
# Root with no right but that to map itself has what an ordinary user with one id has.
TIERS = {"root": "", "single": "setpriv --bounding-set=-all,+setfcap --inh-caps=-all --no-new-privs "}
Both = Callable[[Sequence[str]], tuple[Transcript, Transcript]]


class NoDocker(Exception):
    """Why no real docker can be had here."""


def rootfs() -> bytes:
    """Gives a tar of a small system: busybox, every applet a hard link to it, as in the official image."""
    program = Path(shutil.which("busybox") or "").resolve()
    applets = subprocess.run([program, "--list"], capture_output=True, text=True, check=True, timeout=30).stdout.split()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name in _FOLDERS:
            _add(tar, name, tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755)
        _add(tar, "bin/busybox", tarfile.REGTYPE, 0o755, program.read_bytes())
        for applet in applets:
            if applet != "busybox":
                _add(tar, f"bin/{applet}", tarfile.LNKTYPE, 0o755)
        for name, text in _FILES.items():
            _add(tar, name, tarfile.REGTYPE, 0o644, text.encode())
    return buffer.getvalue()


def _add(tar: tarfile.TarFile, name: str, kind: bytes, mode: int, content: bytes = b"") -> None:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode, entry.size, entry.mtime = kind, mode, len(content), 1_577_836_800
    if kind == tarfile.LNKTYPE:
        entry.linkname = "bin/busybox"
    tar.addfile(entry, io.BytesIO(content))


@contextlib.contextmanager
def dockerd() -> Iterator[str]:
    """Starts a dockerd with a state of its own and gives its address; raises NoDocker with the reason where that cannot be done."""
    if os.geteuid():
        raise NoDocker("dockerd needs root")
    if missing := [name for name in _NEEDED if not shutil.which(name)]:
        raise NoDocker(f"not installed: {', '.join(missing)}")
    with tempfile.TemporaryDirectory(prefix="dld-", dir="/tmp", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        address = f"unix://{folder}/socket"
        words = ["setpriv", "--pdeathsig", "TERM", "dockerd", "--data-root", f"{folder}/data", "--exec-root", f"{folder}/exec", "--pidfile", f"{folder}/pid", "-H", address]
        # A test run that is killed takes its daemon along. A proxy that nobody serves: what is missing here is not looked for in the world.
        env = {**os.environ, "HTTPS_PROXY": "http://127.0.0.1:1", "HTTP_PROXY": "http://127.0.0.1:1"}
        with open(folder / "log", "wb") as log:
            process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env, start_new_session=True)
        try:
            _answering(process, address, folder / "log")
            yield address
        finally:
            _end(process, folder)


def _answering(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            if subprocess.run(["docker", "-H", address, "info"], capture_output=True, check=False, timeout=10).returncode == 0:
                client = subprocess.run(["docker", "-H", address, "ps"], capture_output=True, check=False, timeout=10)
                if client.returncode == 0:
                    return
        time.sleep(0.1)
    raise NoDocker(f"dockerd does not start: {log.read_text(errors='replace')[-500:]}")


def _end(process: subprocess.Popen[bytes], folder: Path) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        # Only our own daemon and what it started share this session.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)
    mounted = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for place in reversed([place for place in mounted if place.startswith(f"{folder}/")]):
        subprocess.run(["umount", "-l", place], check=False, timeout=10, capture_output=True)


@pytest.fixture(scope="session")
def daemon() -> Iterator[str]:
    """The address of a dockerd of this session's own."""
    with contextlib.ExitStack() as stack:
        try:
            address = stack.enter_context(dockerd())
        except NoDocker as reason:
            pytest.skip(str(reason))
        version = subprocess.run(["docker", "--version"], capture_output=True, text=True, check=True, timeout=10).stdout
        found = re.search(r"version (\d+)", version)
        if found is None or int(found[1]) < 28:
            pytest.skip(f"docker's words are compared as its client 28 has them; here: {version.strip()}")
        yield address


@pytest.fixture(scope="session")
def base() -> bytes:
    """The tar that both engines import as busybox:latest."""
    return rootfs()


def _clean(client: Callable[..., str]) -> None:
    if containers := client("ps", "-aq").split():
        client("rm", "-vf", *containers)
    if networks := client("network", "ls", "-qf", "type=custom").split():
        client("network", "rm", *networks)
    if volumes := client("volume", "ls", "-q").split():
        client("volume", "rm", *volumes)
    for _ in range(3):
        if images := sorted(set(client("images", "-aq").split())):
            client("rmi", "-f", *images)


def _say(prelude: str, line: str, folder: Path, env: dict[str, str]) -> Said:
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", f"{prelude}\n{line}"],
        cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60, check=False,
    )  # fmt: skip
    return Said(line, done.stdout.decode(errors="replace").replace(str(folder), "/class"), done.returncode)


@pytest.fixture(params=list(TIERS))
def tier(request: pytest.FixtureRequest) -> str:
    """Each tier in which the words of the command line are compared."""
    return str(request.param)


@pytest.fixture
def both(tier: str, daemon: str, base: bytes, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, runtime: Path) -> Iterator[Both]:
    """Gives a function that runs the same lines with docker and with dockerlab, each in a state that holds busybox:latest alone."""
    plain = {**os.environ, "LC_ALL": "C", "TZ": "UTC", "DOCKER_BUILDKIT": "0", "DOCKER_CLI_HINTS": "false", "DOCKER_HOST": daemon}
    lab = {**plain, "DOCKERLAB_HOME": str(tmp_path / "home"), "XDG_RUNTIME_DIR": str(runtime), "DOCKERLAB_NETWORK": "bridge", "PYTHONPATH": str(ROOT)}
    lab |= {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(tmp_path_factory.getbasetemp() / "pyc")}
    program = f"{TIERS[tier]}{shlex.quote(sys.executable)} -m dockerlab.cli"

    def docker(*words: str) -> str:
        return subprocess.run(["docker", *words], env=plain, capture_output=True, text=True, check=False, timeout=60).stdout

    _clean(docker)
    subprocess.run(["docker", *IMPORT], env=plain, input=base, stdout=subprocess.DEVNULL, check=True, timeout=60)
    subprocess.run([*shlex.split(program), *IMPORT], env=lab, input=base, stdout=subprocess.DEVNULL, check=True, timeout=60)

    def run(lines: Sequence[str]) -> tuple[Transcript, Transcript]:
        sides = []
        # `kit` builds with BuildKit, which is in that engine; its client of the same age asks for it without a plugin.
        for name, prelude, env in (("theirs", 'kit() { DOCKER_BUILDKIT=1 /usr/bin/docker "$@"; }', plain), ("ours", f'docker() {{ {program} "$@"; }}; kit() {{ docker "$@"; }}', lab)):
            folder = tmp_path / name
            folder.mkdir(exist_ok=True)
            sides.append([_say(prelude, line, folder, env) for line in lines])
        return sides[0], sides[1]

    yield run
    subprocess.run(["bash", "-c", f"{program} ps -aq | xargs -r {program} rm -vf"], env=lab, check=False, timeout=60, capture_output=True)
    _clean(docker)
