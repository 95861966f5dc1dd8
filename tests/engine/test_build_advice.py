"""What a build says that a Dockerfile could do better: each remark by what was seen in this build."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from dockerlab.commands.checked import Checked
from dockerlab.engine import Engine
from dockerlab.errors import BuildFailed, DockerfileError
from dockerlab.events import Advised, Event
from tests.conftest import strongest
from tests.engine.test_builds import build


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "context").mkdir()
    (tmp_path / "context" / "f").write_text("12345")
    return tmp_path / "context"


def told(engine: Engine, folder: Path, text: str, **options: object) -> list[tuple[str, int, str]]:
    return [(e.rule, e.line, e.message) for e in build(engine, text, folder, **options)[1] if isinstance(e, Advised) and e.rule != "LatestTag"]


@pytest.mark.parametrize(
    ("lines", "rule", "line", "words"),
    [
        ("MAINTAINER me", "MaintainerDeprecated", 2, 'the image has the Author me, and no label that says so: LABEL org.opencontainers.image.authors="me"'),
        ("CMD ['echo', 'x']", "BrokenJSON", 2, """a container runs ["/bin/sh", "-c", "['echo', 'x']"]: this is no JSON"""),
        ("ENTRYPOINT echo\nCMD [\"x\"]", "EntrypointIgnoresCmd", 3, 'a container runs ["/bin/sh", "-c", "echo", "x"]: the shell takes the one line'),
        ("WORKDIR a/b", "WorkdirRelativePath", 2, "a/b is relative, and became /a/b on this image"),
        ("ADD f /f", "AddInsteadOfCopy", 2, "ADD copied 1 file, laid out no archive"),
        ("ENV A b", "LegacyKeyValueFormat", 2, "A became all that follows, 1 character to the end of the line: write ENV A=value"),
        ("LABEL A b  c", "LegacyKeyValueFormat", 2, "A became all that follows, 4 characters to the end"),
        ("ENV DB_PASSWORD=hunter2", "SecretsUsedInArgOrEnv", 2, "docker inspect shows all 7 characters of DB_PASSWORD"),
        ("ARG api_token=abc", "SecretsUsedInArgOrEnv", 2, "docker history, once a RUN uses it, shows all 3 characters of api_token"),
        ("RUN mkdir -p /var/lib/apt/lists && echo 123456789 > /var/lib/apt/lists/x", "DownloadsLeft", 2, "10 bytes of package lists and downloads stay"),
        ("RUN for i in $(find / -perm +wrong -type f); do chmod u-s $i; done", "EmptyFindLoop", 2, "this step changed no file, and succeeded all the same: find:"),
        ("RUN for i in $(find /bin -name nosuchfile); do chmod u-s $i; done", "EmptyFindLoop", 2, "find found nothing"),
        ("RUN cp /bin/busybox /bin/id2 && chmod u+s /bin/id2", "SetIdLeft", 2, "bytes) will run with the rights of their owner"),
        ("COPY --chmod=2755 f /f", "SetIdLeft", 2, "/f (rwxr-sr-x, 0:0, 5 bytes) will run"),
        ("VOLUME /data\nRUN echo 1234 > /data/x", "VolumeThenWrites", 3, "5 bytes that this step wrote to /data are gone"),
        ("env A=1\nENV B=1\nENV C=1", "ConsistentInstructionCasing", 2, "env is not written as most"),
        ("FROM busybox AS a\nFROM busybox AS a", "DuplicateStageName", 3, "the name a is taken by line 2"),
    ],
)  # fmt: skip
def test_each_rule(make_engine: Callable[[str], Engine], folder: Path, lines: str, rule: str, line: int, words: str) -> None:
    engine = make_engine(strongest())
    text = f"FROM busybox\n{lines}\n"
    first = told(engine, folder, text)
    if rule != "DuplicateStageName":  # the stage is left out
        assert [(r, n) for r, n, _ in first] == [(rule, line)] and words in first[0][2]
        assert told(engine, folder, text) == first, "a step from the cache is told what was measured then"
        assert told(engine, folder, f"# check=skip={rule}\n{text}") == []
        assert told(engine, folder, f"# check=skip=all\n{text}") == []
    found = [each for each in engine.builds.check(text) if each.rule == rule]
    if rule not in ("DownloadsLeft", "EmptyFindLoop", "SetIdLeft", "VolumeThenWrites"):
        assert [(each.rule, each.line) for each in found] == [(rule, line)]


def test_a_list_that_is_no_json_is_told_where_the_shell_looked_for_it(make_engine: Callable[[str], Engine], folder: Path) -> None:
    events: list[Event] = []
    with pytest.raises(BuildFailed):
        make_engine(strongest()).builds.build('FROM busybox\nRUN ["echo", x]\n', folder, emit=events.append)
    assert [(e.rule, e.line, e.message) for e in events if isinstance(e, Advised)] == [
        ("BrokenJSON", 2, 'the shell looked for a program called ["echo", as this is no JSON: a list needs double quotes')
    ]


def test_an_error_says_file_line_and_column(make_engine: Callable[[str], Engine], folder: Path) -> None:
    engine = make_engine(strongest())
    for act in (engine.builds.build, engine.builds.foresee):
        with pytest.raises(DockerfileError) as caught:
            act("FROM busybox\nHEALTHCHECK --intervall=3s CMD true\n", folder, name="my.df")
        assert str(caught.value).splitlines()[1:] == [
            "  --> my.df:2:13", "    2 | HEALTHCHECK --intervall=3s CMD true", "      |             ^", "hint: write --interval instead of --intervall",
        ]  # fmt: skip
    with pytest.raises(DockerfileError, match=r"(?m)^  --> Dockerfile:1:1$"):
        engine.builds.check("FORM busybox\n")


def test_nothing_to_say(make_engine: Callable[[str], Engine], folder: Path) -> None:
    engine = make_engine(strongest())
    text = (
        'FROM busybox:latest AS one\nWORKDIR /w\nWORKDIR deeper\nVOLUME /v\nCOPY f /v/f\nRUN echo x > x; for i in $(find / -name x -maxdepth 3); do touch $i; done\n'
        'ENV PUBLIC_KEY=a\nENTRYPOINT ["echo"]\nCMD ["x"]\nFROM one\nRUN cat /v/f\n'
    )
    assert [each for each in told(engine, folder, text) if each[0] != "WorkdirRelativePath"] == []
    assert [each.rule for each in engine.builds.check(text)] == ["LatestTag"]


def test_a_base_image_without_a_tag_is_told_when_it_has_moved(make_engine: Callable[[str], Engine], folder: Path) -> None:
    engine = make_engine(strongest())
    text = "FROM busybox\nRUN true\n"

    def latest() -> list[str]:
        return [e.message for e in build(engine, text, folder)[1] if isinstance(e, Advised) and e.rule == "LatestTag"]

    assert latest() == [] == latest()
    engine.images.tag(build(engine, "FROM busybox\nRUN touch /moved\n", folder, name="other")[0], "busybox")
    assert latest()[0].startswith(f"busybox is {engine.images.get('busybox').short_id} of ") and latest() == []
    assert [e for e in build(engine, "FROM scratch\nCOPY f /\n", folder, name="third")[1] if isinstance(e, Advised)] == []


def test_checks_that_are_errors(make_engine: Callable[[str], Engine], folder: Path) -> None:
    with pytest.raises(DockerfileError, match="lint violation found for rules: LatestTag, MaintainerDeprecated"):
        build(make_engine(strongest()), "# check=error=true\nFROM busybox\nMAINTAINER me\n", folder)


def test_how_they_are_shown(make_engine: Callable[[str], Engine]) -> None:
    text = "FROM busybox:1\nMAINTAINER <b>\x1b[1m\nRUN true\nRUN true\nRUN true\n"
    shown = Checked(make_engine(strongest()).builds.check(text), text, "Dockerfile")
    assert str(shown).splitlines()[:9] == [
        "Check complete, 1 warning has been found!", "", "WARNING: MaintainerDeprecated", str(shown).splitlines()[3], "Dockerfile:2", "-" * 20,
        "   1 |     FROM busybox:1", "   2 | >>> MAINTAINER <b>\\x1b[1m", "   3 |     RUN true",
    ]  # fmt: skip
    page = shown._repr_mimebundle_()["text/html"]
    assert "<b>" not in page and "\x1b" not in page + str(shown)
    assert str(Checked([], text, "x")) == "Check complete, no warnings found."


def test_a_value_that_was_given_is_told_nowhere(make_engine: Callable[[str], Engine], folder: Path) -> None:
    engine = make_engine(strongest())
    said: list[Event] = []
    for _ in "ab":
        engine.builds.build("FROM busybox\nARG TOKEN\nENV MY_NAME $TOKEN\n", folder, build_args={"TOKEN": "hunter2value"}, emit=said.append)
    assert any(isinstance(event, Advised) for event in said) and "hunter2value" not in str(said)
    [(steps,)] = sqlite3.connect(engine.home / "build-cache.db").execute("select steps from builds").fetchall()
    assert b"hunter2value" not in zlib.decompress(steps)


@pytest.mark.parametrize("entrypoint", ['["python3", "-c", "print(1)"]', '["sh", "-c", "echo $0"]', '["cat"]'])
def test_an_entrypoint_that_takes_words(make_engine: Callable[[str], Engine], folder: Path, entrypoint: str) -> None:
    assert told(make_engine(strongest()), folder, f'FROM busybox\nENTRYPOINT {entrypoint}\nCMD ["a"]\n') == []
