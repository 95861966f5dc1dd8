"""Errors of a step say where in the Dockerfile they are, and what may have been meant."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dockerlab.cli.main import complaint
from dockerlab.engine import Engine, RunOptions
from dockerlab.engine.executing import Around
from dockerlab.errors import BuildFailed, DockerlabError, InvalidArgument
from dockerlab.events import Advised, CacheMiss, Event
from dockerlab.oci.platforms import architecture
from tests.conftest import strongest


@pytest.fixture
def engine(make_engine: Callable[[str], Engine]) -> Engine:
    return make_engine(strongest())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "context"
    (place / "src" / "deep").mkdir(parents=True)
    (place / "src" / "deep" / "config.yaml").write_text("c")
    (place / "package.json").write_text("p")
    (place / "app.tgz").write_text("t")
    return place


def failed(engine: Engine, text: str, folder: Path, **options: Any) -> DockerlabError:
    with pytest.raises(DockerlabError) as caught:
        engine.builds.build(text, folder, name="My.df", **options)
    if "exit" not in text and "false" not in text:  # what is executed cannot be foreseen
        with pytest.raises(DockerlabError) as foreseen:
            engine.builds.foresee(text, folder, name="My.df", **options)
        assert str(foreseen.value) == str(caught.value)
    return caught.value


@pytest.mark.parametrize(
    ("lines", "place"),
    [
        ("COPY src/deep/config.yml /c", ["  --> My.df:3:6", "    3 | COPY src/deep/config.yml /c", "      |      ^", "hint: is src/deep/config.yaml meant?"]),
        ("COPY --chmod=999 src /c", ["  --> My.df:3:14"]),
        ("WORKDIR /${x", ["  --> My.df:3:9"]),
        ("COPY a \\\n  nosuch \\\n  /c/", ["  --> My.df:3:6"]),
        ("COPY src \\\n  nosuch \\\n  /c/", ["  --> My.df:4:3", "    4 |   nosuch \\", "      |   ^"]),
        ("RUN --mount=type=tmpfs,target=/t exit 3", ["  --> My.df:3:34"]),
        ("RUN --mount=type=secret,id=missing,required=true true", ["  --> My.df:3:28"]),
        ("FROM busybox AS build\nFROM busybox\nCOPY --from=biuld /x /x", ["  --> My.df:5:13", "hint: is the stage build meant?"]),
        ("FROM busybox AS final\nCOPY --from=finaal /x /x", ["hint: name a stage with FROM … AS NAME, or an image that is here"]),
        ("RUN --mount=type=tmpfs,target=/t \\\n  false", ["  --> My.df:4:3"]),
        ("STOPSIGNAL SIGFOO", ["  --> My.df:3:12"]),
        ("COPY PACKAGE.JSON /p", ["hint: is package.json meant?"]),
        ("COPY config.yaml /p", ["hint: is src/deep/config.yaml meant?"]),
        ("COPY --from=busybox /bin/bussybox /b", ["hint: is bin/busybox meant?"]),
        ("ADD *.tgz /x/", ["hint: look at .dockerignore: it leaves out app.tgz"]),
        ("ADD *.none /x/", ["hint: look at the pattern: nothing matches it"]),
        ("ADD --checksum=sha256:00 package.json /x", ["checksum requires HTTP(S) or Git sources"]),
    ],
)
def test_where_a_step_is_wrong(engine: Engine, folder: Path, lines: str, place: list[str]) -> None:
    (folder / ".dockerignore").write_text("*.tgz\n")
    said = str(failed(engine, f"# a comment\nFROM busybox\n{lines}\n", folder)).splitlines()
    assert [line for line in place if line not in said] == [], said


def test_a_base_image_that_is_not_there(engine: Engine, folder: Path) -> None:
    assert "  --> My.df:2:6\n    2 | FROM localhost:1/no/such\n      |      ^" in str(failed(engine, "\nFROM localhost:1/no/such\n", folder))


def test_what_is_shown_has_no_control_characters(engine: Engine, folder: Path) -> None:
    (folder / "x\x1b-red").write_text("")
    (folder / ".dockerignore").write_text("x*\n")
    for line in ("COPY \x1b-red /x", "COPY x?* /x/"):
        error = failed(engine, f"FROM busybox\n{line}\n", folder)
        assert "\x1b" in str(error) and "\x1b" not in complaint(error, "build", "docker") and "\x1b" not in error.place


def test_sockets_are_told(engine: Engine, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)  # unix(7): a socket's path has 107 characters
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("sock")
    assert failed(engine, "FROM busybox\nCOPY so?k /c\n", folder).hint == failed(engine, "FROM busybox\nCOPY sock /c\n", folder).hint == "sock is a socket, which no image can hold"
    events: list[Event] = []
    engine.builds.build("FROM busybox\nCOPY . /c/\n", folder, emit=events.append)
    [told] = [event for event in events if isinstance(event, Advised)]
    assert (told.rule, told.message) == ("SocketLeftOut", "sock: a socket, which no image can hold, was left out")


def test_another_machine_s_platform_is_refused(engine: Engine, folder: Path) -> None:
    around = Around(run=RunOptions(platform="linux/s390x"))
    for verb in (engine.builds.build, engine.builds.foresee):
        with pytest.raises(BuildFailed, match="failed to build for platform linux/s390x: this machine is linux/"):
            verb("FROM busybox\n", folder, around=around)
    around = Around(run=RunOptions(platform=f"linux/{architecture()}"))
    engine.builds.build("FROM busybox\nCOPY package.json /\n", folder, around=around)


def test_a_date_for_all_that_is_made(engine: Engine, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "FROM busybox\nRUN echo x > /x\n"
    engine.builds.build(text, folder)
    made = [engine.builds.build(text, folder, build_args={"SOURCE_DATE_EPOCH": "1000000000"}, no_cache=no) for no in (False, True)]
    assert made[0].id == made[1].id and made[0].config.created.startswith("2001-09-09T01:46:40")
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "soon")
    with pytest.raises(InvalidArgument, match="invalid SOURCE_DATE_EPOCH: soon"):
        engine.builds.build(text, folder)


def test_a_named_context_stands_for_a_stage(engine: Engine, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "f").write_text("given")
    text = "FROM busybox AS st\nRUN false\nFROM busybox\nCOPY --from=st f /f\n"
    image = engine.builds.build(text, folder, around=Around(contexts={"st": tmp_path / "other"}))
    assert [entry.path for entry in engine.images.layers.tables(image.record)[-1]] == ["f"]
    engine.images.tag(image.id, "given")
    engine.builds.build("FROM busybox AS st\nRUN false\nFROM st\nRUN test -e /f\n", folder, around=Around(contexts={"st": "docker-image://given"}))
    engine.builds.build("FROM busybox:latest\nRUN test -e /f\n", folder, around=Around(contexts={"busybox": "docker-image://given"}))
    numbered = engine.builds.build(text.replace("--from=st", "--from=0"), folder, around=Around(contexts={"st": tmp_path / "other"}))
    assert numbered.id == image.id


def test_what_differs_of_a_long_instruction(engine: Engine, folder: Path) -> None:
    events: list[Event] = []
    long = "RUN true " + "abcdefgh " * 20
    engine.builds.build(f"FROM busybox\n{long}last1 end\n", folder)
    engine.builds.build(f"FROM busybox\n{long}last2 end\n", folder, emit=events.append)
    [reason] = [event.reason for event in events if isinstance(event, CacheMiss)]
    assert reason == "the instruction changed: it was …abcdefgh abcdefgh last1 end, and is …abcdefgh abcdefgh last2 end"


def test_a_stage_that_takes_nothing_from_the_cache_is_foreseen(engine: Engine, folder: Path) -> None:
    text = "FROM busybox AS st\nRUN echo 1\nRUN echo 2\n"
    engine.builds.build(text, folder)
    assert [step.cause for step in engine.builds.foresee(text, folder, no_cache_filter=["st"])] == ["", *["--no-cache-filter names its stage"] * 2]


def test_what_is_foreseen_of_a_hit(engine: Engine, folder: Path) -> None:
    made = engine.builds.build("FROM busybox\nRUN echo 1\n", folder, name="First")
    assert [step.remark for step in engine.builds.foresee("FROM busybox\nRUN echo 1\n", folder, name="Second")] == ["", f"{made.short_id}, made by First:2"]
