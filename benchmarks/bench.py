"""Our times over theirs, on the same machine in one run: `python benchmarks/bench.py`. Needs root, docker, runc, crun, GNU tar, busybox-static."""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.containers import lives  # noqa: E402
from benchmarks.images import images  # noqa: E402
from benchmarks.images import warm as warm_images  # noqa: E402
from benchmarks.networks import networks  # noqa: E402
from benchmarks.own import BIG, COMMIT, RUN, TEN_STEPS, warm  # noqa: E402
from benchmarks.registries import registries  # noqa: E402
from dockerlab.commands.system import write_shim  # noqa: E402
from dockerlab.engine import Container, Engine  # noqa: E402
from dockerlab.store import work  # noqa: E402
from tests.compat.conftest import IMPORT, NoDocker, dockerd, rootfs  # noqa: E402
from tests.conftest import end_server  # noqa: E402

# Where containers can be run; see tests/hosts.
SHAPES = ("ranged", "single", "no-mount", "limited-root")
# Targets of the tiers of one id.
ELSEWHERE = {"run": 0.5}
ORDINARY = (sys.executable, "-m", "dockerlab.cli")
Act = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Row:
    """One comparison; `rate`: the target is a share of their speed, and not of their time; `key`: done in other host shapes too."""

    what: str
    ours: float
    theirs: float
    target: float | None
    rate: bool = False
    key: str = ""

    @property
    def ratio(self) -> float:
        """Our time over theirs, or our speed over theirs."""
        return self.theirs / self.ours if self.rate else self.ours / self.theirs

    @property
    def met(self) -> bool:
        """Whether the target is reached."""
        if self.target is None:
            return True
        return self.ratio >= self.target if self.rate else self.ratio <= self.target


@dataclass
class Bench:
    """The folder that everything happens in, the daemon's address, and what came out."""

    folder: Path
    rounds: int
    address: str = ""
    rows: list[Row] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    engines: list[Engine] = field(default_factory=list)

    @property
    def env(self) -> dict[str, str]:
        """What every client is given."""
        own = {"DOCKERLAB_HOME": str(self.folder / "home"), "XDG_RUNTIME_DIR": str(self.folder / "run")}
        # An installed package is compiled, and so is this one after the first round.
        own["PYTHONDONTWRITEBYTECODE"] = ""
        return {**os.environ, **own, "DOCKER_HOST": self.address, "DOCKER_BUILDKIT": "0", "DOCKER_CLI_HINTS": "false", "DOCKERLAB_SERVER": "1"}

    @property
    def cli(self) -> tuple[str, ...]:
        """Our command line as a person has it: the docker shim."""
        shim = self.folder / "docker"
        if not shim.exists():
            write_shim(shim)
        return (str(shim),)

    def do(self, *words: str, data: bytes | None = None) -> None:
        """Runs a command that has to succeed; its output goes into a file, as a shell would have it: pipes and whoever reads them take as long as some commands.

        No time is set for it: Python would then look for its end after 31, 63, 113 ms (subprocess.Popen.wait), and all times be one of these.
        """
        with open(self.folder / "said", "wb+") as said, open(os.devnull, "rb") as nothing:
            given = {"stdin": nothing} if data is None else {"input": data}
            done = subprocess.run(words, env=self.env, cwd=self.folder, stdout=said, stderr=said, check=False, **given)
            if done.returncode:
                said.seek(0)
                raise RuntimeError(f"{words}: {said.read().decode(errors='replace')[-1000:]}")

    def engine(self, name: str, *, without: tuple[str, ...] = ()) -> Engine:
        """Gives an engine of this process with its store in a folder of that name."""
        self.engines.append(Engine(self.folder / name, without=without))
        return self.engines[-1]

    def add(self, what: str, ours: float, theirs: float, target: float | None, *, rate: bool = False) -> None:
        """Keeps a row."""
        self.rows.append(Row(what, ours, theirs, target, rate))

    def compare(self, what: str, ours: Act, theirs: Act, target: float | None, *, rounds: int = 0, rate: bool = False, key: str = "") -> None:
        """Does both in turn, once for nothing and then for the clock, and keeps the medians."""
        times: tuple[list[float], list[float]] = ([], [])
        for number in range((rounds or self.rounds) + 1):
            for act, kept in zip((ours, theirs), times, strict=True):
                begin = time.perf_counter()
                act()
                if number:
                    kept.append(time.perf_counter() - begin)
        self.rows.append(Row(what, statistics.median(times[0]), statistics.median(times[1]), target, rate, key))


def imported(bench: Bench) -> None:
    """Gives both the same busybox."""
    tar = rootfs()
    for client in (("docker",), bench.cli):
        bench.do(*client, *IMPORT, data=tar)


def with_docker(bench: Bench) -> None:
    """What the real docker does as well, each through its command line."""
    imported(bench)
    bench.compare("run --rm busybox true, from a shell", lambda: bench.do(*bench.cli, *RUN), lambda: bench.do("docker", *RUN), 0.2, key="run")
    bench.compare("the same without the command server", lambda: bench.do(*ORDINARY, *RUN), lambda: bench.do("docker", *RUN), None)
    commit(bench)
    build(bench)
    lives(bench)
    networks(bench)
    images(bench)
    warm_images(bench, bench.engine("home"))


def only_lives(bench: Bench) -> None:
    """The rows of `lives` alone."""
    imported(bench)
    bench.engine("home")
    lives(bench)


def only_networks(bench: Bench) -> None:
    """The rows of `networks` alone."""
    imported(bench)
    bench.engine("home")
    networks(bench)


def only_images(bench: Bench) -> None:
    """The rows of `images` alone."""
    imported(bench)
    images(bench)
    warm_images(bench, bench.engine("home"))
    with_many_files(bench)


def only_registries(bench: Bench) -> None:
    """The rows of registries alone."""
    imported(bench)
    registries(bench)


def commit(bench: Bench) -> None:
    """200 MB that no compressor makes smaller."""
    for client in (("docker",), bench.cli):
        bench.do(*client, *BIG)
    bench.compare("commit of 200 MB", lambda: bench.do(*bench.cli, *COMMIT), lambda: bench.do("docker", *COMMIT), 1, rounds=3, key="commit")


def build(bench: Bench) -> None:
    """Ten steps, four of them RUN."""
    context = bench.folder / "context"
    context.mkdir()
    (context / "Dockerfile").write_text(TEN_STEPS)
    (context / "f").write_text("f\n")

    def ours(*options: str, client: Sequence[str] = bench.cli) -> Act:
        return lambda: bench.do(*client, "build", *options, "-t", "ten", "context")

    def theirs(*options: str) -> Act:
        return lambda: bench.do("docker", "build", "--network", "host", *options, "-t", "ten", "context")

    bench.compare("ten-step build, cold", ours("--no-cache"), theirs("--no-cache"), 0.2, rounds=3, key="cold")
    bench.compare("ten-step build, cached", ours(), theirs(), 0.4, key="cached")
    bench.compare("the same without the command server", ours(client=ORDINARY), theirs(), None)


def bundle(container: Container, engine: Engine, folder: Path) -> Path:
    """Gives our container's bundle with its files in place."""
    shutil.copytree(engine.container_store.folder(container.id) / "bundle", folder)
    (folder / "rootfs").mkdir(exist_ok=True)
    with open(folder / "all.tar", "w+b") as file:
        container.export(file.fileno())
        file.seek(0)
        subprocess.run(["tar", "-C", str(folder / "rootfs"), "-xpf", "-"], stdin=file, check=True)
    return folder


def with_runtimes(bench: Bench) -> None:
    """A warm engine in this process against a runtime that is started for every container."""
    engine = bench.engine("home")
    place = str(bundle(engine.containers.create("busybox", ["true"]), engine, bench.folder / "bundle"))
    for name, options in (("runc", ()), ("crun", ("--cgroup-manager=disabled",))):
        program = shutil.which(name)
        if program is None:
            bench.skipped.append(f"{name}: not installed")
            continue
        words = [program, "--root", str(bench.folder / f"state-{name}"), *options, "run", "-b", place]
        try:
            words = _runs(words)
        except subprocess.CalledProcessError as error:
            bench.skipped.append(f"{name}: {error.stderr.decode().strip().splitlines()[0]}")
            continue
        number = itertools.count()

        def theirs(words: Sequence[str] = words, number: Iterator[int] = number) -> None:
            subprocess.run([*words, f"bench-{next(number)}"], check=True, stdin=subprocess.DEVNULL)

        what = f"run of `true`, warm Python API, against {name} run"
        bench.compare(what, warm(engine), theirs, 1 if name == "runc" else None, rounds=bench.rounds * 2, key="api" if name == "runc" else "")


def with_shapes(bench: Bench) -> None:
    """The same acts in the host shapes of ordinary users, against the times of the tools that only root has."""
    words = [sys.executable, "-m", "tests.hosts", ",".join(("root", *SHAPES)), "python", "benchmarks/own.py", str(bench.rounds)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=1200, check=False)
    if done.returncode:
        bench.skipped.append(f"a host shape: {done.stderr.strip().splitlines()[-1]}")
    compared = [row for row in bench.rows if row.key]
    found = dict(json.loads(line) for line in done.stdout.splitlines() if line.startswith("["))
    native = found.pop("root", {})
    for shape, own in found.items():
        for row in compared:
            bench.rows.append(Row(f"{row.what}; {shape}", own[row.key], row.theirs, ELSEWHERE.get(row.key) if shape in ("single", "no-mount") else None))
            if row.key == "api" and shape == "single":
                bench.rows.append(Row(f"{row.what}; {shape}, whole copies", own["copy"], row.theirs, None))


    for shape, own in found.items():
        if "first" in own and native.get("install"):
            if shape != "ranged":
                bench.rows += [Row(f"first container of debian (s), whole copies; {shape}", own["first"], 1, 1), Row(f"later ones; {shape}", own["later"], 1, 0.3)]
            bench.rows.append(Row(f"apt-get install git, against the root tier; {shape}", own["install"], native["install"], 1.5 if shape in ("single", "no-mount") else None))


def _runs(words: Sequence[str]) -> Sequence[str]:
    """Gives the words with which a runtime runs here; raises CalledProcessError. Where crun refuses a hybrid cgroup layout, that is in a mount namespace without its unified half (some 2 ms)."""
    tried = subprocess.run([*words, "tried"], capture_output=True, check=False, stdin=subprocess.DEVNULL)
    if b"hybrid" in tried.stderr:
        words = ["unshare", "-m", "--propagation", "private", "sh", "-c", 'umount -l /sys/fs/cgroup/unified; exec "$@"', "sh", *words]
        tried = subprocess.run([*words, "once-more"], capture_output=True, check=False, stdin=subprocess.DEVNULL)
    tried.check_returncode()
    return words


def with_tar(bench: Bench) -> None:
    """200 files of 5 MB, read from the page cache, written into a pipe that `cat` empties."""
    tree = bench.folder / "tree"
    tree.mkdir()
    for number in range(200):
        (tree / f"{number:03}").write_bytes(os.urandom(5_000_000))
    # What the disk still has to take would slow down whoever comes first.
    os.sync()

    _against_tar(bench, tree, "200 files of 5 MB", 0.8, rounds=9)


def with_many_files(bench: Bench) -> None:
    """20,000 files of 2 kB, the same way."""
    tree = bench.folder / "many"
    for number in range(20_000):
        path = tree / f"{number // 200:03}" / f"{number:05}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(2000))
    os.sync()

    _against_tar(bench, tree, "20,000 files of 2 kB", 0.3, rounds=5)


def _against_tar(bench: Bench, tree: Path, what: str, target: float, *, rounds: int) -> None:
    def ours() -> None:
        with drained() as end:
            work.export(end, [str(tree)], on_disk=True)

    def theirs() -> None:
        with drained() as end:
            subprocess.run(["tar", "-C", str(tree), "-cf", "-", "."], stdout=end, check=True)

    bench.compare(f"packing {what}, against GNU tar (speed)", ours, theirs, target, rounds=rounds, rate=True)


@contextlib.contextmanager
def drained() -> Iterator[int]:
    """Gives the end of a pipe to write to, and waits until all has been read."""
    with open(os.devnull, "wb") as nowhere, subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=nowhere) as reader:
        assert reader.stdin is not None
        yield reader.stdin.fileno()
        reader.stdin.close()
        reader.wait()


def cleaned(bench: Bench) -> None:
    """Removes our containers and ends the launchers and the command server that worked for this folder."""
    for engine in bench.engines:
        for container in engine.containers.list(all=True):
            container.remove(force=True)
        engine.world.stop()
    for server in (bench.folder / "run").glob("dockerlab-*/*-*-*"):
        end_server(server)


def table(rows: Sequence[Row]) -> str:
    """Gives the rows as Markdown."""
    lines = ["| what | ours (s) | theirs (s) | ratio | target | met |", "|---|---|---|---|---|---|"]
    for row in rows:
        target = "" if row.target is None else f"{'≥' if row.rate else '≤'} {row.target:g}"
        met = "" if row.target is None else "yes" if row.met else "NO"
        lines.append(f"| {row.what} | {row.ours:.4f} | {row.theirs:.4f} | {row.ratio:.2f} | {target} | {met} |")
    return "\n".join(lines)


def main() -> None:
    """Prints the table; leaves nothing behind."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--lives", action="store_true", help="the rows of a container's life alone")
    options.add_argument("--networks", action="store_true", help="the rows of networks alone")
    options.add_argument("--images", action="store_true", help="the rows of images and builds alone")
    options.add_argument("--registries", action="store_true", help="the rows of registries alone")
    options.add_argument("--rounds", type=int, default=10, help="how often each short command is timed")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="dlb-", dir="/tmp", ignore_cleanup_errors=True) as name:
        bench = Bench(Path(name), chosen.rounds)
        (bench.folder / "run").mkdir(mode=0o700)
        os.environ["XDG_RUNTIME_DIR"] = str(bench.folder / "run")
        os.environ.pop("DOCKERLAB_NETWORK", None)  # the tests, whose docker this is, have one of their own
        try:
            try:
                with dockerd() as bench.address:
                    parts = {"lives": only_lives, "networks": only_networks, "images": only_images, "registries": only_registries}
                    chosen_part = next((part for name, part in parts.items() if getattr(chosen, name)), None)
                    (chosen_part or with_docker)(bench)
            except NoDocker as reason:
                bench.skipped.append(f"all rows of docker: {reason}")
            if not (chosen.lives or chosen.networks or chosen.images or chosen.registries):
                with_runtimes(bench)
                with_tar(bench)
                with_many_files(bench)
                with_shapes(bench)
        finally:
            cleaned(bench)
    print(table(bench.rows))
    for line in bench.skipped or ["nothing"]:
        print(f"\nskipped: {line}")


if __name__ == "__main__":
    main()
