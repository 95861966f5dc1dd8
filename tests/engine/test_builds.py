from __future__ import annotations

import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from dockerlab.engine import Engine, RunOptions
from dockerlab.errors import BuildFailed, DockerfileError, NotFound
from dockerlab.events import CacheHit, CacheMiss, Event, StepOutput
from tests.conftest import strongest


def build(engine: Engine, text: str, folder: Path, **options: object) -> tuple[str, list[Event]]:
    events: list[Event] = []
    image = engine.builds.build(text, folder, emit=events.append, **options)  # type: ignore[arg-type]
    return str(image.id), events


def output(engine: Engine, image: str, *words: str) -> str:
    out: list[bytes] = []
    engine.containers.run(image, words, RunOptions(rm=True), stdout=out.append, stderr=out.append)
    return "".join(line for line in b"".join(out).decode().splitlines(keepends=True) if not line.startswith("note: "))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    context = tmp_path / "context"
    (context / "d").mkdir(parents=True)
    (context / "f").write_text("f\n")
    (context / "d" / "x").write_text("1")
    (context / "secret").write_text("no")
    (context / ".dockerignore").write_text("secret\n")
    with tarfile.open(context / "a.tgz", "w:gz") as tar:
        tar.add(context / "d", "inner")
    return context


WHOLE = """FROM busybox:latest
LABEL who="me and you"
ENV A=1
ARG V=3
RUN echo building $A $V > /x
COPY f /f
COPY d /opt/d/
COPY . /all/
ADD a.tgz /srv
WORKDIR work/deep
EXPOSE 80
VOLUME /data
USER 0
STOPSIGNAL SIGINT
HEALTHCHECK CMD true
ONBUILD RUN echo child > /child
SHELL ["/bin/sh", "-ec"]
ENTRYPOINT ["cat"]
CMD ["/x"]
"""


def test_a_whole_dockerfile(engine: Engine, folder: Path) -> None:
    image, _ = build(engine, WHOLE, folder, tags=("whole:1",))
    run = engine.images.get("whole:1").config.config
    assert (run.entrypoint, run.cmd, run.working_dir, run.stop_signal, run.on_build) == (("cat",), ("/x",), "/work/deep", "SIGINT", ("RUN echo child > /child",))
    assert set(run.exposed_ports) == {"80/tcp"} and set(run.volumes) == {"/data"} and run.labels["who"] == "me and you" and run.shell == ("/bin/sh", "-ec")
    assert output(engine, "whole:1") == "building 1 3\n"
    names = [path for path, _ in engine.images.layers.union(engine.images.get(image).record).walk()]
    assert {"f", "opt/d/x", "all/f", "all/d/x", "srv/inner/x", "work/deep"} <= set(names)
    assert "all/secret" not in names
    build(engine, "FROM whole:1\n", folder, tags=("child",))
    assert engine.images.get("child").config.config.on_build == ()
    assert "child" in [p for p, _ in engine.images.layers.union(engine.images.get("child").record).walk()]


def test_the_cache_hits_misses_and_says_why(make_engine: Callable[[str], Engine], folder: Path) -> None:
    engine = make_engine(strongest())
    text = "FROM busybox\nCOPY f /f\nRUN cat /f > /g\n"
    first, events = build(engine, text, folder)
    assert [e.reason for e in events if isinstance(e, CacheMiss)] == ["never built here", "step 2 was done again"]
    second, events = build(engine, text, folder)
    assert first == second and len([e for e in events if isinstance(e, CacheHit)]) == 2 and not [e for e in events if isinstance(e, StepOutput)]
    os.utime(folder / "f", (1, 1))
    assert build(engine, text, folder)[0] == first
    (folder / "f").write_text("changed")
    third, events = build(engine, text, folder)
    assert third != first and next(e.reason for e in events if isinstance(e, CacheMiss)) == "f has another content"
    _, events = build(engine, text, folder, no_cache=True)
    assert not [e for e in events if isinstance(e, CacheHit)]


def test_a_failed_build_names_nothing_and_resumes(make_engine: Callable[[str], Engine], folder: Path) -> None:
    engine = make_engine(strongest())
    with pytest.raises(BuildFailed, match="returned a non-zero code: 3") as caught:
        build(engine, "FROM busybox\nRUN echo one > /one\nRUN exit 3\n", folder, tags=("bad",))
    assert caught.value.exit_code == 3
    with pytest.raises(NotFound):
        engine.images.get("bad")
    (kept,) = engine.containers.list(all=True)
    assert kept.id == caught.value.container and kept.state.exit_code == 3
    kept.remove()
    _, events = build(engine, "FROM busybox\nRUN echo one > /one\nRUN exit 0\n", folder)
    assert [type(e) for e in events if isinstance(e, CacheHit | CacheMiss)] == [CacheHit, CacheMiss]


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        ("FROM busybox\nFOO bar\n", DockerfileError, "dockerfile parse error line 2: unknown instruction: FOO"),
        ("FROM busybox\nCOPY nosuch /x\n", BuildFailed, "COPY failed: file not found in build context or excluded by .dockerignore: stat nosuch"),
        ("FROM busybox\nCOPY secret /x\n", BuildFailed, "leaves it out"),
        ("FROM busybox\nCOPY ../etc /x\n", BuildFailed, "COPY failed: forbidden path outside the build context: ../etc ()"),
        ("FROM busybox\nCOPY f d /x\n", BuildFailed, "more than one source file"),
        ("FROM busybox\nCOPY --from=other /a /b\n", BuildFailed, "invalid from flag value other: Unable to find image 'other:latest' locally"),
        ("FROM busybox\nCOPY --from=0 /a /b\n", BuildFailed, "invalid from flag value 0: refers to current build stage"),
        ("FROM busybox\nCOPY --from=7 /a /b\n", BuildFailed, "invalid from flag value 7: index out of bounds"),
        ("FROM busybox\nCOPY --from=busybox /nosuch /b\n", BuildFailed, "COPY failed: stat nosuch: file does not exist"),
        ("FROM busybox\nCOPY no* /x/\n", BuildFailed, "COPY failed: no source files were specified"),
        ("FROM busybox\nENV A=${B\n", BuildFailed, "failed to process"),
        ("FROM busybox\nRUN --mount=type=ssh true\n", DockerfileError, "RUN --mount=type=ssh is not executed by dockerlab"),
        ("FROM busybox\nRUN --security=insecure true\n", DockerfileError, "RUN --security=insecure is not executed by dockerlab"),
        ("FROM busybox\nRUN --mount=type=secret,id=x,env=X true\n", DockerfileError, "RUN --mount=type=secret,env is not executed by dockerlab"),
        ("FROM busybox\nRUN --mount=type=secret,id=x,required true\n", BuildFailed, "secret x: not found"),
        ("FROM busybox\nRUN --mount=source=nosuch,target=/m true\n", BuildFailed, 'failed to calculate checksum of "/nosuch": not found'),
        ("FROM busybox\nRUN --mount=source=secret,target=/m true\n", BuildFailed, "leaves it out"),
        ("FROM busybox\nRUN --mount=type=tmpfs,target=/m,size=x true\n", BuildFailed, "invalid size: 'x'"),
        ("FROM --platform=plan9/amd64 busybox\n", BuildFailed, "failed to build for platform plan9/amd64: this machine is linux/"),
        ("FROM busybox\nADD http://127.0.0.1:1/x /x\n", BuildFailed, "ADD failed: Get http://127.0.0.1:1/x"),
        ("RUN true\n", DockerfileError, "no build stage in current context"),
        ("", DockerfileError, "the Dockerfile (Dockerfile) cannot be empty"),
        ("FROM scratch\nRUN true\n", BuildFailed, "FROM scratch has no program"),
        ("FROM nosuch:1\n", NotFound, "Unable to find image 'nosuch:1' locally"),
    ],
)
def test_malformed_dockerfiles(make_engine: Callable[[str], Engine], folder: Path, text: str, kind: type[Exception], words: str) -> None:
    engine = make_engine(strongest())
    with pytest.raises(kind) as caught:
        build(engine, text, folder, tags=("bad",))
    assert words in str(caught.value)
    with pytest.raises(NotFound):
        engine.images.get("bad")


def test_a_symlink_does_not_lead_out_of_the_context(make_engine: Callable[[str], Engine], folder: Path) -> None:
    engine = make_engine(strongest())
    (folder / "out").symlink_to("/etc")
    with pytest.raises(BuildFailed, match="forbidden path"):
        build(engine, "FROM busybox\nCOPY out/passwd /x\n", folder)


def test_the_same_steps_give_the_same_ids_in_every_tier(tier: str, make_engine: Callable[[str], Engine], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    for path in (*folder.rglob("*"), folder):
        os.utime(path, (0, 0), follow_symlinks=False)
        path.chmod(0o755 if path.is_dir() else 0o644)
    text = "FROM scratch\nCOPY f d/x /a/\nCOPY d /d\nENV A=1\nUSER 1000\nCMD [\"/a/f\"]\n"
    image = make_engine(tier).builds.build(text, folder)
    assert image.config.rootfs.diff_ids == (
        "sha256:5b3850a8f83988354c52478da775826b67ab89bfc0d3be5357d2a5e5b8472d61",
        "sha256:e446cf7f0de06c10e810de6d73916f498bcf140669c508bbbf2184b0574fbb81",
    )
    assert image.id == "sha256:c7ef53b5fd0ec80318224233d4781fb401152c77a7ccfd5549bff6612ad19cbe"


def test_a_fifo_is_added_as_it_is(make_engine: Callable[[str], Engine], folder: Path) -> None:
    engine = make_engine("root")
    os.mkfifo(folder / "fifo")
    image, _ = build(engine, "FROM busybox\nADD fifo /fifo\n", folder)
    assert output(engine, image, "sh", "-c", "test -p /fifo && echo pipe").strip() == "pipe"


def test_a_dockerfile_with_a_nul_is_refused(make_engine: Callable[[str], Engine], folder: Path) -> None:
    with pytest.raises(DockerfileError, match="NUL") as caught:
        build(make_engine("root"), "FROM busybox\nCOPY a\0b /\n", folder)
    assert caught.value.line == 2
