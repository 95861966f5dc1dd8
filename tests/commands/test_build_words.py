"""What `docker build` writes beside its output, and words that are none."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from dockerlab.commands.build import Kept
from dockerlab.commands.call import Outcome
from dockerlab.commands.run import perform
from dockerlab.engine import Engine
from dockerlab.errors import BuildFailed, DockerlabError, InvalidArgument
from tests.conftest import strongest


class Nobody(Kept):
    """Nobody could type here."""

    def check_terminal(self) -> None:
        raise InvalidArgument("the input device is not a TTY")


Build = Callable[..., tuple[Outcome, str]]


@pytest.fixture
def build(make_engine: Callable[[str], Engine], tmp_path: Path) -> Build:
    engine = make_engine(strongest())
    folder = tmp_path / "class"
    folder.mkdir()

    def do(text: str, *options: str, variables: dict[str, str] | None = None, surface: Nobody | None = None) -> tuple[Outcome, str]:
        (folder / "Dockerfile").write_text(text)
        surface = surface or Nobody()
        return perform(["build", *options, "."], lambda: engine, surface, folder=folder, variables=variables), surface.text

    return do


def test_events_as_json(build: Build) -> None:
    outcome, text = build("FROM busybox\nRUN echo hi\n", "--progress", "json", "-t", "x")
    events = [json.loads(line) for line in text.splitlines()]
    assert [event["event"] for event in events] == ["StepStarted", "StepEnded", "StepStarted", "CacheMiss", "StepRunning", "StepOutput", "StepEnded", "ImageBuilt"]
    assert events[5]["data"] == "hi\n" and events[-1] == {"event": "ImageBuilt", "image": outcome.value.id, "names": ["x:latest"]}
    assert build("FROM busybox\nRUN echo hi\n", "--progress", "quiet")[1] == f"{outcome.value.id}\n"


def test_files_that_tell_of_the_image(build: Build, tmp_path: Path) -> None:
    outcome, _ = build("FROM busybox\nENV A=1\n", "--iidfile", "id", "--metadata-file", "facts.json", "-t", "x:1", "-t", "y")
    facts = json.loads((tmp_path / "class" / "facts.json").read_text())
    assert (tmp_path / "class" / "id").read_text() == outcome.value.id == facts["containerimage.config.digest"]
    assert facts["image.name"] == "docker.io/library/x:1,docker.io/library/y:latest" and facts["containerimage.digest"].startswith("sha256:")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--secret", "src=x"), "invalid secret 'src=x': missing id"), (("--secret", "id=a,src=/nosuch"), "failed to stat /nosuch"), (("--secret", "id=a,foo=b"), "unexpected key 'foo'"),
        (("--secret", ""), "missing id"), (("--secret", 'id="a'), "secret"), (("--build-context", "x"), "invalid context value"), (("--build-context", "x=nosuch"), "failed to get build context x"),
        (("--build-context", "x=oci-layout://y"), "not done by dockerlab yet"), (("--progress", "fancy"), "invalid progress type"), (("--metadata-file", "/nosuch/x"), "open /nosuch/x: no such file"),
        (("--platform", "plan9/x"), "platform"),
    ],
)  # fmt: skip
def test_words_that_are_none(build: Build, options: tuple[str, ...], words: str) -> None:
    with pytest.raises(DockerlabError) as caught:
        build("FROM busybox\nRUN true\n", *options)
    assert words in str(caught.value)


def test_a_secret_from_a_variable(build: Build) -> None:
    _, text = build("FROM busybox\nRUN --mount=type=secret,id=key cat /run/secrets/key\n", "--secret", "id=key,env=KEY", variables={"KEY": "from outside\n"})
    assert "from outside" in text


def test_debug_where_nobody_can_type(build: Build) -> None:
    with pytest.raises(BuildFailed, match="non-zero code: 3"):
        build("FROM busybox\nRUN exit 3\n", "--debug")


def test_a_failure_as_json(build: Build) -> None:
    surface = Nobody()
    with pytest.raises(BuildFailed):
        build("FROM busybox\nRUN exit 3\n", "--progress", "json", surface=surface)
    told = json.loads(surface.text.splitlines()[-1])
    assert told == {
        "event": "BuildFailed", "message": "The command '/bin/sh -c exit 3' returned a non-zero code: 3",
        "place": "  --> Dockerfile:2:5\n    2 | RUN exit 3\n      |     ^", "hint": told["hint"],
    }  # fmt: skip
