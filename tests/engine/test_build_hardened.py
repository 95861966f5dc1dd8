"""What once went wrong in builds: stale or poisoned steps, things left behind, hangs, and input that nobody had thought of."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dockerlab.build import copying
from dockerlab.engine import Engine
from dockerlab.engine.executing import Around
from dockerlab.errors import BuildFailed, DockerfileError
from dockerlab.events import CacheHit, StepOutput
from tests.conftest import strongest
from tests.engine.test_build_sources import files, web  # noqa: F401
from tests.engine.test_builds import build, output

ROOT = Path(__file__).parents[2]


@pytest.fixture
def engine(make_engine: Callable[[str], Engine]) -> Engine:
    return make_engine(strongest())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "context" / "d").mkdir(parents=True)
    (tmp_path / "context" / "f").write_text("OLD\n")
    (tmp_path / "context" / "d" / "g").write_text("g\n")
    return tmp_path / "context"


def said(engine: Engine, folder: Path, text: str, **options: object) -> str:
    told = b"".join(e.data for e in build(engine, text, folder, **options)[1] if isinstance(e, StepOutput)).decode()
    return "".join(line for line in told.splitlines(keepends=True) if not line.startswith("note: "))


def test_who_removes_what_is_old_leaves_what_is_in_use(engine: Engine, folder: Path) -> None:
    def removing() -> None:
        time.sleep(1)
        for path in engine.content.ingest.iterdir():
            os.utime(path, (1, 1))
        Engine(engine.home, without=engine._without).system.collect()

    thread = threading.Thread(target=removing)
    thread.start()
    told = said(engine, folder, "FROM busybox\nRUN --mount=target=/ctx sleep 2.5; cat /ctx/f\n")
    thread.join()
    assert told.endswith("OLD\n") and list(engine.content.ingest.iterdir()) == []


def test_a_file_that_changes_while_it_is_read_names_nothing(engine: Engine, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = copying.prepared

    def changing(scope: object, step: object) -> object:
        made = real(scope, step)  # type: ignore[arg-type]
        (folder / "f").write_text("NEW!\n")
        return made

    monkeypatch.setattr("dockerlab.build.copying.prepared", changing)
    with pytest.raises(BuildFailed, match="f changed while it was read"):
        build(engine, "FROM busybox\nCOPY f /f\n", folder, tags=("bad",))
    monkeypatch.undo()
    (folder / "f").write_text("OLD\n")
    image, events = build(engine, "FROM busybox\nCOPY f /f\n", folder)
    assert output(engine, image, "cat", "/f") == "OLD\n" and not [e for e in events if isinstance(e, CacheHit)]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_build_that_is_ended_takes_its_secret_along(engine: Engine, folder: Path, number: int) -> None:
    engine.images.resolve("busybox")
    (folder / "Dockerfile").write_text("FROM busybox\nRUN --mount=type=secret,id=s sleep 30\n")
    (folder / "key").write_text("do-not-keep-me")
    env = {**os.environ, "DOCKERLAB_HOME": str(engine.home), "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-m", "dockerlab.cli", "build", "--secret", "id=s,src=key", "."]
    with subprocess.Popen(words, cwd=folder, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=lambda: signal.signal(number, signal.SIG_DFL)) as process:
        deadline = time.monotonic() + 20
        while not [c for c in engine.containers.list() if c.state.running] and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(number)
        assert process.wait(20) == 128 + number
    left = [path for path in engine.home.rglob("*") if path.is_file() and b"do-not-keep-me" in path.read_bytes()]
    assert left == [] and not [c for c in engine.containers.list() if c.state.running]


def test_no_symlink_leads_around_the_dockerignore(engine: Engine, folder: Path) -> None:
    (folder / ".dockerignore").write_text("d/g\n")
    (folder / "public").symlink_to("d/g")
    for line in ("COPY public /p", "RUN --mount=source=public,target=/p true"):
        with pytest.raises(BuildFailed):
            build(engine, f"FROM busybox\n{line}\n", folder)


def test_names_of_one_file_stay_whole_when_one_is_left_out(engine: Engine, folder: Path) -> None:
    stage = "FROM busybox AS s\nRUN mkdir /d1 /d2 && echo one > /d1/a && ln /d1/a /d1/b && ln /d1/a /d1/c && echo two > /d2/a\nFROM busybox\n"
    assert said(engine, folder, f"{stage}COPY --from=s --exclude=a /d1 /d\nRUN cat /d/b /d/c; stat -c %h /d/c; ls /d\n") == "one\none\n2\nb\nc\n"
    assert said(engine, folder, f"{stage}COPY --from=s /d1/ /d2/ /d/\nRUN cat /d/a /d/b /d/c\n") == "two\none\none\n"


def test_an_address_without_a_name(engine: Engine, folder: Path, web: tuple[str, dict[str, bytes]]) -> None:  # noqa: F811
    url, served = web
    served["/"] = served["/%2e%2e"] = served["/.."] = b"x"
    for word, place in ((f"{url}/", "/dst"), (f"{url}/%2e%2e", "/dst/")):
        with pytest.raises(BuildFailed):
            build(engine, f"FROM busybox\nRUN mkdir /dst\nADD {word} {place}\n", folder)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (f"COPY f /{'a' * 300}", "more than 255 bytes"),
        (f"WORKDIR /{'a' * 300}", "more than 255 bytes"),
        ("ADD http://[foo/x /", "invalid address http://[foo/x"),
        ("ENV $X=1", "ENV names can not be blank"),
        ("LABEL $X=1", "LABEL names can not be blank"),
        ("RUN printf 'app:x:99999999999999:1::/:\\nodd:x:²:²::/:\\n' > /etc/passwd\nCOPY --chown=app f /f", "no such user: app"),
        ("RUN printf 'odd:x:²:²::/:\\n' > /etc/passwd\nCOPY --chown=odd f /f", "no such user: odd"),
        ("ARG S=foo\nRUN --mount=type=cache,target=/c,sharing=$S true", 'unsupported sharing "foo"'),
        ("RUN --mount=source=pipe,target=/p true", "pipe cannot be mounted"),
    ],
)
def test_it_is_said_in_words(engine: Engine, folder: Path, lines: str, words: str) -> None:
    os.mkfifo(folder / "pipe")
    with pytest.raises(BuildFailed) as caught:
        build(engine, f"FROM busybox\n{lines}\n", folder)
    assert words in str(caught.value)


def test_types_of_mounts_are_not_variables(engine: Engine, folder: Path) -> None:
    with pytest.raises(DockerfileError, match="a variable as its type"):
        build(engine, "FROM busybox\nARG T=secret\nRUN --mount=type=$T,target=/x,id=foo true\n", folder)


def test_what_a_base_image_may_not_bring_along(engine: Engine, folder: Path) -> None:
    parent = engine.images.resolve("busybox")
    for text in ("FROM busybox", "MAINTAINER me"):
        from dockerlab.oci.config import History, RunConfig
        from dockerlab.oci.reference import Reference

        engine.images.create(parent, [], RunConfig(on_build=(text,), env=("PATH=/bin",)), History(created="2020-01-01T00:00:00Z"), name=Reference.parse("odd"))
        with pytest.raises(BuildFailed, match="isn't allowed as an ONBUILD trigger"):
            build(engine, "FROM odd\n", folder)


def test_devices_count_by_their_numbers(make_engine: Callable[[str], Engine], folder: Path) -> None:
    engine = make_engine("root")
    for number in (3, 5):
        build(engine, f"FROM busybox\nRUN mknod /x c 1 {number}\n", folder, tags=(f"dd:{number}",))
    built = [build(engine, f"FROM busybox\nCOPY --from=dd:{number} /x /x\n", folder)[0] for number in (3, 5)]
    entries = [seen.entry.device for image in built if (seen := engine.images.layers.union(engine.images.get(image).record).get("x"))]
    assert entries == [(1, 3), (1, 5)]


def test_caches_do_not_wait_for_each_other(engine: Engine, folder: Path) -> None:
    twice = "RUN --mount=type=cache,id=x,target=/a,sharing=locked --mount=type=cache,id=x,target=/b,sharing=locked touch /a/f\nRUN --mount=type=cache,id=x,target=/b ls /b\n"
    assert said(engine, folder, f"FROM busybox\n{twice}") == "f\n"
    one, two = ("--mount=type=cache,id=one,target=/1,sharing=locked", "--mount=type=cache,id=two,target=/2,sharing=locked")
    threads = [threading.Thread(target=build, args=(Engine(engine.home, without=engine._without), f"FROM busybox\nRUN {a} {b} sleep 0.5\n", folder)) for a, b in ((one, two), (two, one)) * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads)


def test_mounts_inside_mounts(engine: Engine, folder: Path) -> None:
    text = "FROM busybox\nRUN --mount=type=tmpfs,target=/m/new/b --mount=source=d,target=/m --mount=type=secret,id=s,target=/m/key sh -c 'ls /m; cat /m/key; touch /m/new/b/x'\n"
    if not engine.capabilities.mounts:
        pytest.skip("nothing is mounted here")
    assert said(engine, folder, text, around=Around(secrets={"s": b"hidden\n"})) == "g\nkey\nnew\nhidden\n"
    (folder / "d" / "out").symlink_to("/etc")
    with contextlib.suppress(BuildFailed):
        build(engine, "FROM busybox\nRUN --mount=source=d,target=/m --mount=type=tmpfs,target=/m/out/dockerlab-was-here true\n", folder)
    assert not Path("/etc/dockerlab-was-here").exists()


def test_scopes_of_arguments(engine: Engine, folder: Path) -> None:
    assert said(engine, folder, "FROM busybox AS a\nARG V=1\nFROM a\nRUN echo [$V]\n") == "[1]\n"
    assert said(engine, folder, "FROM busybox\nRUN echo [$HTTP_PROXY]\n", build_args={"HTTP_PROXY": "http://p"}) == "[http://p]\n"
    assert said(engine, folder, "FROM busybox\nRUN echo [$HTTP_PROXY]\n", build_args={"HTTP_PROXY": "http://other"}) == "", "and the cache does not ask"


def test_stages_and_contexts_by_name(engine: Engine, folder: Path, tmp_path: Path) -> None:
    text = "FROM busybox AS x\nONBUILD COPY --from=z /o /o\nFROM busybox AS z\nRUN echo hi > /o\nFROM x\nRUN cat /o\n"
    assert said(engine, folder, text) == "hi\n"
    (tmp_path / "z").mkdir()
    (tmp_path / "z" / "o").write_text("of the context\n")
    text = "FROM busybox AS z\nRUN echo hi > /o\nFROM busybox\nCOPY --from=z /o /o\nRUN cat /o\n"
    assert said(engine, folder, text, around=Around(contexts={"z": tmp_path / "z"})) == "of the context\n"


def test_parents_behind_a_pattern(engine: Engine, folder: Path) -> None:
    for name in ("p1/b/c", "p2/b/d"):
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text("x")
    image, _ = build(engine, "FROM scratch\nCOPY --parents */./b/* /dst/\n", folder)
    assert files(engine, image) == {"dst/b/c", "dst/b/d"}


def test_deep_folders(engine: Engine, folder: Path) -> None:
    with tarfile.open(folder / "deep.tar", "w") as tar:
        info = tarfile.TarInfo("/".join("d" * 1 for _ in range(1010)))
        info.type, info.mode = tarfile.DIRTYPE, 0o755
        tar.addfile(info)
    image, _ = build(engine, "FROM busybox AS s\nADD deep.tar /a\nFROM scratch\nCOPY --from=s /a /x\n", folder)
    assert len(list(engine.images.layers.union(engine.images.get(image).record).walk())) == 1011


def test_foresight_is_true(engine: Engine, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "f").write_text("x")
    around = Around(contexts={"other": tmp_path / "other"})
    text = "FROM busybox AS one\nRUN echo \\\n  two\nFROM one\nCOPY --from=other f /o\nCOPY d /d\n"
    build(engine, text, folder, around=around)

    def again(**options: object) -> list[int]:
        return [step.number for step in engine.builds.foresee(text, folder, around=around, **options) if step.cause]  # type: ignore[arg-type]

    assert again() == [] and again(no_cache_filter=("one",)) == [2, 3, 4, 5] and again(labels={"a": "b"}) == [6]
    assert again(what_if="f") == [] and again(what_if="d/new") == [5] == again(what_if="d") and again(what_if="line:3") == [2, 3, 4, 5]
    build(engine, "FROM busybox\nONBUILD COPY f /f\nONBUILD RUN cat /f\n", folder, tags=("brings",))
    child = "FROM brings\nRUN true\n"
    build(engine, child, folder)
    steps = engine.builds.foresee(child, folder, what_if="f")
    assert [bool(step.cause) for step in steps] == [False, True, True, True]
