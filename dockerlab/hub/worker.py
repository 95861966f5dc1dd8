"""One automated build, from its Git commit to the pushed image. It runs in whatever an Executor gives (a process of this machine, or one far away) and speaks to its hub by HTTP alone.

A build's steps run in a container of the engine, whose store belongs to the namespace that is built for: no cache is shared between two of them.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import urllib3

from dockerlab.errors import BuildFailed
from dockerlab.linux import dialling, loopback, syscalls

__all__ = ["SOURCES", "Job", "Limits", "execute"]

SOURCES = ".sources"  # beside the stores: what is cloned for a build, with its key, for as long as it takes

_KEPT = ("PATH", "HOME", "LANG", "TMPDIR", "XDG_RUNTIME_DIR", "PYTHONPATH", "DOCKERLAB_NETWORK", "DOCKERLAB_TIER", loopback.VARIABLE)
_LOG = 1 << 20  # bytes of a log that are kept
_README = 64 << 10  # bytes
_FLUSH = 0.3  # seconds
_LOOK = 2.0  # seconds between two looks at the disk
_TOO_LARGE = "the build takes too much of the disk"
_MOUNTED = re.compile(r"^([0-9a-f]{12}: Mounted from ).*")
_DIGEST = re.compile(r"digest: (sha256:[0-9a-f]{64}) size: \d+$")


@dataclass(frozen=True, slots=True)
class Limits:
    """What a build may use: seconds altogether, bytes on disk, memory of a step in docker's words, and whether its steps have a network (docker's --network)."""

    seconds: int = 900
    disk: int = 4 << 30
    memory: str = "1g"
    network: str = "default"


@dataclass(frozen=True, slots=True)
class Job:
    """All that a worker has to know. `hub` is http://HOST:PORT; `source` "" means the hub's own Git; `commit` is a commit, or a reference; `key` lets it in."""

    hub: str
    build: int
    user: str
    key: str
    name: str  # owner/name:tag
    source: str
    commit: str
    dockerfile: str
    folder: str
    store: str
    private: bool = False  # whether a source may be in this network
    limits: Limits = Limits()
    registry: str = ""  # where images are, http://HOST:PORT, unless it is the hub itself
    front: str = ""  # where the hub grants that registry's tokens


class _Told:
    """What the hub is told: the log as it grows, and the state."""

    def __init__(self, job: Job) -> None:
        self._lock = threading.RLock()
        self._timer: threading.Timer | None = None
        self._trouble: Exception | None = None
        self._job, self._pool = job, dialling.guarded(private=True, timeout=urllib3.Timeout(connect=5, read=30), retries=urllib3.Retry(3, backoff_factor=0.2))
        self._waiting, self._sent, self._flushed = bytearray(), 0, 0.0
        self.hidden = ""  # where the worker keeps the source is nobody's business

    def _post(self, what: str, body: bytes) -> None:
        reply = self._pool.request("POST", f"{self._job.hub}/builds/{self._job.build}/{what}", body=body, headers={"Authorization": f"Bearer {self._job.key}"})
        if reply.status >= 300:
            raise BuildFailed(f"the hub does not want this build any more ({reply.status})")

    def line(self, text: str) -> None:
        """Adds a line to the log, which is sent soon, whether another one follows or not; raises what the last sending has met."""
        if self._trouble:
            raise self._trouble
        shown = (text.replace(self.hidden, "") if self.hidden else text).replace(self._job.key, "…").replace(_login(self._job), "…")
        with self._lock:
            self._waiting += f"{shown}\n".encode(errors="replace")
            if self._timer is None:
                self._timer = threading.Timer(max(_FLUSH - (time.monotonic() - self._flushed), 0), self._flush_later)
                self._timer.daemon = True
                self._timer.start()

    def _flush_later(self) -> None:
        try:
            self.flush()
        except Exception as error:  # for who writes the next line
            self._trouble = error

    def flush(self) -> None:
        """Sends what waits."""
        with self._lock:
            block, self._flushed, self._timer = bytes(self._waiting), time.monotonic(), None
            self._waiting.clear()
            if self._sent < _LOG and len(block) + self._sent >= _LOG:
                block = block[: _LOG - self._sent] + b"\n(the rest of the log is cut)\n"
            if block and self._sent < _LOG:
                self._sent += len(block)
                self._post("log", block)

    def state(self, state: str, digest: str = "", readme: str = "") -> None:
        """Says how far the build is, and what the source says about itself."""
        self.flush()
        self._post("state", json.dumps({"state": state, "digest": digest, "readme": readme}).encode())


def _login(job: Job) -> str:
    return b64encode(f"{job.user}:{job.key}".encode()).decode()


def execute(job: Job) -> str:
    """Does a build and gives its last state: success or failed. Nothing is raised but for a hub that cannot be reached."""
    told, until = _Told(job), time.monotonic() + job.limits.seconds
    told.state("running")
    digest, readme = "", ""
    sources = Path(job.store).parent / SOURCES
    sources.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"{job.build}-", dir=sources) as scratch:
        try:
            digest = _built(job, Path(scratch), told, until)
            readme = _readme(Path(scratch) / "source")
        except BuildFailed as error:
            told.line(f"error: {error.message}")
    told.state("success" if digest else "failed", digest, readme)
    return "success" if digest else "failed"


def _readme(source: Path) -> str:
    """Gives the source's README.md, "" where there is none; never what a link leads to."""
    try:
        descriptor = os.open(source / "README.md", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return ""
    with open(descriptor, "rb") as file:
        return file.read(_README).decode(errors="replace").replace("\0", "") if stat.S_ISREG(os.fstat(descriptor).st_mode) else ""


def _built(job: Job, scratch: Path, told: _Told, until: float) -> str:
    context = _checkout(job, scratch, told, until)
    dockerfile = _dockerfile(context, scratch / "source", job.dockerfile)
    told.hidden = f"{context}/"
    store = Path(job.store)
    store.mkdir(mode=0o700, parents=True, exist_ok=True)
    variables = _environment(job, scratch)
    words = ["build", "--force-rm", "--tag", job.name, "--file", str(dockerfile), "--network", job.limits.network]
    limits = ["--memory", job.limits.memory] if job.limits.memory else []
    try:
        _run([*words, *limits, str(context)], variables, told, until, store, job.limits.disk)
        if int(_quietly(["dockerlab.hub.tending", "size", job.name], variables) or 0) > job.limits.disk:
            raise BuildFailed(_TOO_LARGE)
        lines = _run(["push", job.name], variables, told, until, store, job.limits.disk)
    finally:
        _swept(store, variables, job)
    digest = next((found[1] for line in reversed(lines) if (found := _DIGEST.search(line))), "")
    if not digest:
        raise BuildFailed("the push told no digest")
    return digest


def _swept(store: Path, variables: dict[str, str], job: Job) -> None:
    """Has the next build ask for pushed and pulled images again, but keeps what they hold, and begins anew where too much has gathered."""
    _quietly(["dockerlab.hub.tending", "sweep"], variables)
    if _size(store) > job.limits.disk // 2:
        _quietly(["dockerlab.cli", "system", "prune", "--all", "--force"], variables)


def _quietly(words: list[str], variables: dict[str, str]) -> str:
    with contextlib.suppress(subprocess.SubprocessError, OSError):
        return subprocess.run([sys.executable, "-m", *words], env=variables, capture_output=True, text=True, timeout=120, check=False).stdout
    return ""


def _environment(job: Job, scratch: Path) -> dict[str, str]:
    """Gives what the commands see: the hub in Docker Hub's place, a login for this build, nothing of the hub's own environment that they need not have."""
    place = job.registry or job.hub
    host = urlsplit(place).netloc
    config = scratch / "config"
    config.mkdir(mode=0o700)
    entry = {"auth": _login(job)}
    (config / "config.json").write_text(json.dumps({"auths": {host: entry}}))
    kept = {name: value for name, value in os.environ.items() if name in _KEPT}
    if not job.private:
        kept["DOCKERLAB_PUBLIC_ONLY"] = ",".join(_dialled(each) for each in (job.hub, job.registry, job.front) if each)  # ADD and FROM name addresses as well
    return {**kept, "DOCKERLAB_HOME": job.store, "DOCKER_CONFIG": str(config), "DOCKERLAB_HUB": place, "DOCKERLAB_SERVER": "0", "PYTHONUNBUFFERED": "1"}


def _dialled(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.hostname}:{dialling.port_of(parts)}"


def _checkout(job: Job, scratch: Path, told: _Told, until: float) -> Path:
    """Clones the source at its commit, within the build's bounds; gives the folder that is built."""
    own, target = not job.source, scratch / "source"
    url = f"{job.hub}/git/{job.name.partition(':')[0]}.git" if own else job.source
    told.line(f"Cloning {url} at {job.commit}")
    words = {"url": url, "target": str(target), "commit": job.commit, "user": job.user * own, "key": job.key * own, "private": job.private or own, "disk": job.limits.disk}
    process = subprocess.Popen(
        [sys.executable, "-m", "dockerlab.hub.cloning"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True, preexec_fn=_end_with_the_worker,
    )  # fmt: skip
    trouble: list[str] = []
    with _watched(process, until, lambda: _size(scratch) > job.limits.disk, trouble):
        said, _ = process.communicate(json.dumps(words).encode())
    if trouble or process.returncode:
        raise BuildFailed(trouble[0] if trouble else f"unable to clone {url}: {said.decode(errors='replace') or f'it ended with {process.returncode}'}")
    shutil.rmtree(target / ".git", ignore_errors=True)
    inner = Path(os.path.realpath(target / job.folder))
    if not inner.is_relative_to(os.path.realpath(target)) or not inner.is_dir():
        raise BuildFailed(f"{job.folder}: no such folder in the repository")
    return inner


def _dockerfile(context: Path, source: Path, name: str) -> Path:
    """Gives the Dockerfile: a plain file of the source, whatever links lead to it. What it says is shown, and this machine's files are not to be."""
    place = Path(os.path.realpath(context / name))
    if not place.is_relative_to(os.path.realpath(source)) or not place.is_file():
        raise BuildFailed(f"{name}: no such file in the repository")
    return place


def _run(words: list[str], variables: dict[str, str], told: _Told, until: float, store: Path, disk: int) -> list[str]:
    """Runs one of our commands, line by line into the log; raises BuildFailed where it fails, takes too long or fills the disk."""
    lines: list[str] = []
    process = subprocess.Popen(
        [sys.executable, "-m", "dockerlab.cli", *words], env=variables, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        preexec_fn=_end_with_the_worker,
    )  # fmt: skip
    trouble: list[str] = []
    with _watched(process, until, lambda: _size(store) > disk, trouble):
        assert process.stdout is not None
        for raw in process.stdout:
            line = raw.decode(errors="replace").rstrip("\r\n")
            lines = [*lines[-200:], line]
            told.line(_MOUNTED.sub(r"\1another repository", line))  # whose name is perhaps nobody's business
        code = process.wait()
    if trouble:
        raise BuildFailed(trouble[0])
    if code:
        raise BuildFailed(f"{words[0]} ended with {code}")
    if _size(store) > disk:
        raise BuildFailed(_TOO_LARGE)
    return lines


def _end_with_the_worker() -> None:
    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGTERM)


@contextlib.contextmanager
def _watched(process: subprocess.Popen[bytes], until: float, too_large: Callable[[], bool], trouble: list[str]) -> Iterator[None]:
    """Ends a command that takes too long or too much; `trouble` says why. It is asked first, so that it ends its containers."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(min(_LOOK, max(until - time.monotonic(), 0.05))):
            late = time.monotonic() > until
            if late or too_large():
                trouble.append("the build took too long" if late else _TOO_LARGE)
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGINT)
                if not over.wait(10):
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(process.pid, signal.SIGKILL)
                return

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        thread.join()


def _size(folder: Path) -> int:
    """Gives the bytes that a folder takes on disk; what goes away meanwhile does not count."""
    total, folders = 0, [str(folder)]
    while folders:
        with contextlib.suppress(OSError), os.scandir(folders.pop()) as listing:
            for entry in listing:
                with contextlib.suppress(OSError):
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    else:
                        status = entry.stat(follow_symlinks=False)
                        total += status.st_blocks * 512 // max(status.st_nlink, 1)
    return total
