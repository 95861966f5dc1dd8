"""Why a step was done again, and which would be: each cause by what brings it about."""

from __future__ import annotations

import os
import re
import sqlite3
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from dockerlab.commands.outlook import Outlook
from dockerlab.engine import Engine
from dockerlab.engine.executing import Around
from dockerlab.errors import BuildFailed
from dockerlab.events import Advised, CacheHit, CacheMiss, Event, StepRunning
from tests.conftest import strongest

TEXT = "FROM busybox\nARG V=1\nCOPY d /d\nRUN echo $V > /v\nRUN echo end\n"


@pytest.fixture
def engine(make_engine: Callable[[str], Engine]) -> Engine:
    return make_engine(strongest())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "context"
    (place / "d").mkdir(parents=True)
    for name in "fg":
        (place / "d" / name).write_text(name)
        (place / "d" / name).chmod(0o644)
    return place


def causes(engine: Engine, text: str, folder: Path, **options: object) -> list[tuple[int, str]]:
    """Builds, and gives the first cause of every chain: what a person is told."""
    events: list[Event] = []
    engine.builds.build(text, folder, emit=events.append, **options)  # type: ignore[arg-type]
    return [(event.number, event.reason) for event in events if isinstance(event, CacheMiss) and event.telling]


def test_the_first_cause(engine: Engine, folder: Path) -> None:
    assert causes(engine, TEXT, folder) == [], "the first time there is nothing to tell"
    assert causes(engine, TEXT, folder) == []
    (folder / "d" / "f").write_text("other")
    assert causes(engine, TEXT, folder) == [(3, "d/f has another content")]
    (folder / "d" / "g").chmod(0o755)
    assert causes(engine, TEXT, folder) == [(3, "d/g has another mode (644 → 755)")]
    (folder / "d" / "h").write_text("new")
    (folder / "d" / "f").write_text("again")
    assert causes(engine, TEXT, folder) == [(3, "d/f has another content, and 1 more")]
    (folder / "d" / "h").unlink()
    assert causes(engine, TEXT, folder) == [(3, "d/h is gone")]
    assert causes(engine, TEXT, folder, build_args={"V": "unspoken"}) == [(4, "the build argument V changed")], "its value may be nobody else's business"
    remembered = sqlite3.connect(engine.home / "build-cache.db").execute("select steps from builds").fetchall()
    assert remembered and not any(b"unspoken" in zlib.decompress(row[0]) for row in remembered)
    changed = TEXT.replace("echo end", "echo the end")
    assert causes(engine, changed, folder) == [(5, "the instruction changed: it was RUN echo end")]
    assert causes(engine, changed.replace("COPY", "ENV A=1\nCOPY"), folder) == [(3, "the instruction is new here")]
    assert causes(engine, changed, folder) == [], "what was built once is there"
    ident = engine.builds.build(changed, folder).id
    engine.images.tag(engine.builds.build("FROM busybox\nRUN touch /moved\n", folder / "d").id, "busybox")
    [(number, reason)] = causes(engine, changed, folder)
    assert number == 2 and reason.startswith("the base image busybox moved: it was ")
    assert engine.builds.build(changed, folder).id != ident


def test_memory_of_more_than_the_last_build(engine: Engine, folder: Path) -> None:
    for text in ("FROM busybox\nENV a=1\n", "FROM busybox\nENV b=1\n"):
        engine.builds.build(text, folder)
    assert causes(engine, "FROM busybox\nENV b=1\nENV c=1\n", folder) == [(3, "the instruction is new here")], "of the build before last nothing is known"
    file = folder / "d" / "f"
    for content in ("A", "B", "A"):
        file.write_text(content)
        engine.builds.build(TEXT, folder)
    file.write_text("C")
    assert causes(engine, TEXT, folder) == [(3, "d/f has another content")], "also behind a build that found all of it in the cache"
    (folder / os.fsdecode(b"d/\xff")).write_text("x")
    assert causes(engine, TEXT, folder) == [(3, "d/\\xff is new")]
    assert causes(engine, TEXT, folder) == []
    file.write_text("D")
    assert causes(engine, TEXT, folder) == [(3, "d/f has another content")]


def test_an_image_that_is_gone(engine: Engine, folder: Path) -> None:
    image = engine.builds.build(TEXT, folder)
    list(engine.images.remove(image.id, force=True))
    assert causes(engine, TEXT, folder)[0][1] == "the image that it made was removed since"


def test_the_memory_of_a_build_that_failed(engine: Engine, folder: Path) -> None:
    causes(engine, TEXT, folder)
    with pytest.raises(BuildFailed):
        engine.builds.build(TEXT.replace("echo end", "exit 3"), folder)
    with pytest.raises(BuildFailed):
        engine.builds.build(TEXT.replace("echo end", "exit 3"), folder)
    assert causes(engine, TEXT.replace("echo end", "exit 0"), folder) == [(5, "the instruction changed: it was RUN exit 3")]
    assert causes(engine, TEXT, folder) == []
    (folder / "d" / "f").write_text("other")
    assert causes(engine, TEXT, folder) == [(3, "d/f has another content")]


def test_what_would_be_done(engine: Engine, folder: Path) -> None:
    before = {image.id for image in engine.images.list(intermediate=True)}
    assert [step.cause for step in engine.builds.foresee(TEXT, folder)][1] == "never built here"
    assert {image.id for image in engine.images.list(intermediate=True)} - before <= {engine.images.resolve("busybox").id}, "nothing is built"
    events: list[Event] = []
    engine.builds.build(TEXT.replace("echo end", "sleep 0.2"), folder, emit=events.append)
    text = TEXT.replace("echo end", "sleep 0.2")
    assert [step.cause for step in engine.builds.foresee(text, folder)] == [""] * 5
    steps = engine.builds.foresee(text, folder, what_if="./d/g")
    assert [step.cause for step in steps] == ["", "", "./d/g would have another content", *["step 3 would be done again"] * 2]
    assert steps[4].seconds is not None and 0.2 <= steps[4].seconds < 5 and steps[0].seconds is None
    assert [bool(step.cause) for step in engine.builds.foresee(text, folder, what_if="line:5")] == [False] * 4 + [True]
    assert [bool(step.cause) for step in engine.builds.foresee(text, folder, what_if="nosuch/x")] == [False] * 5
    (folder / "d" / "g").write_text("other")
    foreseen = engine.builds.foresee(text, folder)
    assert foreseen[2].cause == "d/g has another content"
    told = str(Outlook(foreseen))
    assert re.match(r"3 of 5 steps would be done, which took \d", told.splitlines()[-1]) and "<code>COPY d /d</code>" in Outlook(foreseen)._repr_mimebundle_()["text/html"]
    assert causes(engine, text, folder) == [(3, "d/g has another content")], "foresight forgets nothing"


def test_stages(engine: Engine, folder: Path) -> None:
    text = "FROM busybox AS one\nCOPY d/f /f\nFROM busybox AS two\nCOPY --from=one /f /g\nRUN true\nFROM one\nRUN --mount=from=two,target=/m true\n"
    engine.builds.build(text, folder)
    assert [step.cause for step in engine.builds.foresee(text, folder, what_if="d/f")] == [
        "", "d/f would have another content", "", "the stage one would be made again", "step 4 would be done again", "the stage one would be made again", "step 6 would be done again",
    ]  # fmt: skip
    assert len(engine.builds.foresee(text, folder, what_if="d/f", target="one")) == 2
    unnamed = "ARG B=one\nFROM busybox AS one\nCOPY d/f /f\nFROM busybox\nCOPY d/g /g\nFROM $B\nRUN true\nFROM busybox\nCOPY d/g /h\nCOPY --from=1 /g /i\nCOPY --from=2 /f /i\n"
    engine.builds.build(unnamed, folder)
    seen = {step.number: step.cause for step in engine.builds.foresee(unnamed, folder, what_if="d/f") if step.cause}
    assert seen == {3: "d/f would have another content", 6: "the stage one would be made again", 7: "step 6 would be done again", 11: "the stage 2 would be made again"}
    assert {step.cause for step in engine.builds.foresee(unnamed, folder, no_cache=True) if step.cause} == {"--no-cache was given", "the stage one would be made again"}


def test_a_hostile_name_in_a_cause(engine: Engine, folder: Path) -> None:
    text = "FROM busybox\nCOPY . /d\n"
    engine.builds.build(text, folder)
    (folder / "<img src=x>\x1b[31m").write_text("x")
    outlook = Outlook(engine.builds.foresee(text, folder))
    html = outlook._repr_mimebundle_()["text/html"]
    assert "<img" not in html and "\x1b" not in html + str(outlook) and "&lt;img" in html


def test_nothing_runs_in_foresight(engine: Engine, folder: Path) -> None:
    events: list[Event] = []
    engine.builds.build("FROM busybox\nRUN touch /x\n", folder, emit=events.append)
    assert any(isinstance(event, StepRunning) for event in events)
    before, journal = {image.id for image in engine.images.list(intermediate=True)}, len(list(engine.journal.read()))
    assert engine.builds.foresee("FROM busybox\nRUN touch /y\nRUN touch /z\n", folder)[1].cause
    assert {image.id for image in engine.images.list(intermediate=True)} == before and len(list(engine.journal.read())) == journal


def test_what_had_better_stand_further_down(engine: Engine, folder: Path) -> None:
    text = "FROM busybox\nCOPY d/f /f\nRUN sleep 0.6\nRUN touch /x\n"
    for content in ("1", "2", "2", "3"):
        (folder / "d" / "f").write_text(content)
        engine.builds.build(text, folder)
    outlook = Outlook(engine.builds.foresee(text, folder))
    assert [step.caused for step in outlook.steps] == [0, 2, 0, 0]
    assert outlook.order.startswith("order: a change of what step 2 reads was why 2 builds were not from the cache") and "step 3 (0." in outlook.order
    assert outlook.order in str(outlook) and "order: a change" in outlook._repr_mimebundle_()["text/html"]
    better = "FROM busybox\nRUN sleep 0.6\nCOPY d/f /f\nRUN touch /x\n"
    engine.builds.build(better, folder)
    assert Outlook(engine.builds.foresee(better, folder)).order == ""


SECRET = "FROM busybox\nRUN --mount=type=secret,id=token,required=false --mount=type=secret,id=key wc -c < /run/secrets/key > /size\n"


def said(engine: Engine, folder: Path, text: str = SECRET, *, no_cache: bool = False, **secrets: bytes) -> list[str]:
    """Builds with secrets, and gives what is said of them."""
    events: list[Event] = []
    engine.builds.build(text, folder, around=Around(secrets=secrets), no_cache=no_cache, emit=events.append)
    return [event.message for event in events if isinstance(event, Advised) and event.rule == "SecretChanged"]


def test_another_secret_is_no_cause_and_is_told(engine: Engine, folder: Path) -> None:
    tail = "than when this step was done, and its image is taken all the same: --no-cache does it again"
    assert said(engine, folder, key=b"first", token=b"t") == []
    assert said(engine, folder, key=b"first", token=b"t") == []
    for _ in "ab":
        assert said(engine, folder, key=b"other", token=b"t") == [f"the secret key is another one {tail}"]
    assert said(engine, folder, key=b"other", token=b"u") == [f"the secrets key, token are others {tail}"]
    assert said(engine, folder, key=b"first", token=b"t") == [], "as it was when the step was done"
    assert said(engine, folder, f"# check=skip=SecretChanged\n{SECRET}", key=b"other", token=b"t") == []
    assert said(engine, folder, no_cache=True, key=b"other", token=b"t") == []
    assert said(engine, folder, key=b"other", token=b"t") == []
    [told] = said(engine, folder, SECRET.replace("FROM busybox", "FROM busybox AS another"), key=b"first", token=b"t")
    assert told == f"the secret key is another one {tail}", "whichever Dockerfile the step was done for"
    [_, foreseen] = engine.builds.foresee(SECRET, folder, around=Around(secrets={"key": b"first", "token": b"t"}))
    assert foreseen.cause == "" and foreseen.remark.endswith(f"; the secret key is another one {tail}")
    shown = Outlook([foreseen])._repr_mimebundle_()
    assert tail in shown["text/plain"] and "the secret key is another one" in shown["text/html"]


def test_a_secret_that_comes_or_goes_is_a_cause(engine: Engine, folder: Path) -> None:
    assert causes(engine, SECRET, folder, around=Around(secrets={"key": b"k"})) == []
    assert causes(engine, SECRET, folder, around=Around(secrets={"key": b"k", "token": b"t"})) == [(2, "the secret token is given, which it was not the last time")]
    assert said(engine, folder, key=b"k") == [], "done before, with this secret"
    other = SECRET.replace("/size", "/other")
    engine.builds.build(other, folder, around=Around(secrets={"key": b"k", "token": b"t"}))
    assert causes(engine, other, folder, around=Around(secrets={"key": b"k"})) == [(2, "the secret token is not given, which it was the last time")]


def test_a_hit_says_who_made_it(engine: Engine, folder: Path) -> None:
    events: list[Event] = []
    made = engine.builds.build("FROM busybox\nRUN touch /one\n", folder, name="First")
    engine.builds.build("FROM busybox\n\nRUN touch /one\n", folder, name="Second", emit=events.append)
    [hit] = [event for event in events if isinstance(event, CacheHit)]
    assert (hit.image, hit.place) == (made.id, "First:2")
    assert f"{made.short_id}, made by First:2" in str(engine.builds.last)
