"""What each instruction means, and what is said of a wrong one."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dockerlab.build import instructions as i
from dockerlab.build.parser import parse
from dockerlab.errors import DockerfileError

PARSER_VECTORS = Path(__file__).parents[2].parent / "shared" / "vectors" / "buildkit" / "parser"
SECOND = 10**9


def one(line: str) -> i.Instruction:
    (node,) = parse(line).nodes
    return i.instruction(node)


def facts(made: i.Instruction) -> tuple[object, ...]:
    return (type(made), *(getattr(made, field.name) for field in dataclasses.fields(made) if field.name != "node"))


@pytest.mark.parametrize(
    ("line", "kind", "expected"),
    [
        ("FROM a", i.From, ("a", "", "")),
        ("from --platform=$P a:1 as Base", i.From, ("a:1", "base", "$P")),
        ("CMD", i.Cmd, (i.Command((), True),)),
        ("CMD []", i.Cmd, (i.Command((), False),)),
        ("CMD echo 'a  b'", i.Cmd, (i.Command(("echo 'a  b'",), True),)),
        ('ENTRYPOINT ["a", "b c"]', i.Entrypoint, (i.Command(("a", "b c"), False),)),
        ("ENV a b c", i.Env, ((("a", "b c"),),)),
        ('ENV a=b c="d e"', i.Env, ((("a", "b"), ("c", '"d e"')),)),
        ("LABEL a.b=c d=", i.Label, ((("a.b", "c"), ("d", "")),)),
        ("ARG a b=c d=", i.Arg, ((("a", None), ("b", "c"), ("d", "")),)),
        ("WORKDIR /a b", i.Workdir, ("/a b",)),
        ("USER me:us", i.User, ("me:us",)),
        ("EXPOSE 80 $p/udp", i.Expose, (("80", "$p/udp"),)),
        ("VOLUME /a /b", i.Volume, (("/a", "/b"),)),
        ('VOLUME ["/a b"]', i.Volume, (("/a b",),)),
        ('SHELL ["/bin/bash", "-c"]', i.Shell, (("/bin/bash", "-c"),)),
        ("STOPSIGNAL 9", i.StopSignal, ("9",)),
        ('MAINTAINER "me" <a@b>', i.Maintainer, ('"me" <a@b>',)),
        ("RUN a && b", i.Run, (i.Command(("a && b",), True), (), "default", "sandbox")),
        ('RUN --network=none --security=insecure ["a"]', i.Run, (i.Command(("a",), False), (), "none", "insecure")),
        ("HEALTHCHECK NONE", i.Healthcheck, (None, 0, 0, 0, 0, 0)),
        ("HEALTHCHECK --interval=5s none", i.Healthcheck, (None, 0, 0, 0, 0, 0)),
        ("HEALTHCHECK CMD a b", i.Healthcheck, (i.Command(("a b",), True), 0, 0, 0, 0, 0)),
        (
            'HEALTHCHECK --interval=1m --timeout=3s --start-period=2s --start-interval=100ms --retries=3 cmd ["a"]',
            i.Healthcheck,
            (i.Command(("a",), False), 60 * SECOND, 3 * SECOND, 2 * SECOND, SECOND // 10, 3),
        ),
    ],
)
def test_values(line: str, kind: type[i.Instruction], expected: tuple[object, ...]) -> None:
    assert facts(one(line)) == (kind, *expected)


def test_copy() -> None:
    made = one("COPY --from=b --chown=1:2 --chmod=755 --link --parents=true --exclude=*.a --exclude=b x y z/")
    assert isinstance(made, i.Copy)
    assert (made.sources, made.destination, made.from_, made.chown, made.chmod) == (("x", "y"), "z/", "b", "1:2", "755")
    assert (made.link, made.parents, made.excludes, made.heredocs) == (True, True, ("*.a", "b"), ())
    assert one('COPY --link=FALSE ["a b", "c"]') == i.Copy(parse('COPY --link=FALSE ["a b", "c"]').nodes[0], ("a b",), (), "c")


def test_add() -> None:
    made = one("ADD --checksum=sha256:1 --keep-git-dir --unpack=false --chown=u https://x/y /")
    assert isinstance(made, i.Add)
    assert (made.sources, made.destination, made.checksum, made.chown) == (("https://x/y",), "/", "sha256:1", "u")
    assert (made.keep_git_dir, made.unpack, made.link, made.excludes) == (True, False, False, ())
    plain = one("ADD a b")
    assert isinstance(plain, i.Add)
    assert plain.unpack is None


def test_files_written_inside_the_dockerfile() -> None:
    made = one("COPY <<-a.txt file <<'b.txt' /to/\n\tone $x\na.txt\ntwo\nb.txt")
    assert isinstance(made, i.Copy)
    assert (made.sources, made.destination) == (("file",), "/to/")
    assert [(file.name, file.text, file.expand) for file in made.heredocs] == [("a.txt", "one $x\n", True), ("b.txt", "two\n", False)]


@pytest.mark.parametrize(
    ("text", "script", "shell_text"),
    [
        ("RUN <<EOF\na\nb\nEOF", "a\nb\n", "<<EOF\na\nb\nEOF"),
        ("RUN <<-EOF\n\ta\n\tEOF", "a\n", "<<-EOF\n\ta\nEOF"),
        ("RUN cat <<EOF > /x\na\nEOF", None, "cat <<EOF > /x\na\nEOF"),
        ("RUN <<A cat <<B\n1\nA\n2\nB", None, "<<A cat <<B\n1\nA\n2\nB"),
        ("RUN a", None, "a"),
    ],
)
def test_run_with_heredocs(text: str, script: str | None, shell_text: str) -> None:
    made = one(text)
    assert isinstance(made, i.Run)
    assert (made.script.text if made.script else None) == script
    assert made.shell_text == shell_text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("type=cache,target=/c", i.Mount("cache", "/c")),
        ("type=cache,dst=/c,id=x,sharing=locked,rw", i.Mount("cache", "/c", read_only=False, options=(("id", "x"), ("sharing", "locked")))),
        ("target=/t,source=s,from=b", i.Mount("bind", "/t", "s", "b")),
        ("type=bind,destination=/t,src=s,ro=false", i.Mount("bind", "/t", "s", read_only=False)),
        ("type=bind,target=/t,readonly", i.Mount("bind", "/t", read_only=True)),
        ("type=secret,id=k,required", i.Mount("secret", options=(("id", "k"), ("required", "")))),
        ("type=ssh", i.Mount("ssh")),
        ("type=tmpfs,target=/t,size=1m", i.Mount("tmpfs", "/t", options=(("size", "1m"),))),
        ("type=$KIND,target=$T", i.Mount("$KIND", "$T")),
    ],
)
def test_mounts(text: str, expected: i.Mount) -> None:
    made = one(f"RUN --mount={text} --mount=type=ssh x")
    assert isinstance(made, i.Run)
    assert made.mounts == (expected, i.Mount("ssh"))


def test_quotes_in_a_mount() -> None:
    made = one("""RUN --mount='type=cache,"target=/a,b"' x""")
    assert isinstance(made, i.Run)
    assert made.mounts[0].target == "/a,b"


def test_onbuild() -> None:
    made = one("ONBUILD   RUN <<EOF\nhi\nEOF")
    assert isinstance(made, i.Onbuild)
    assert isinstance(made.trigger, i.Run)
    assert made.trigger.script is not None
    assert made.text == "RUN <<EOF\nhi\nEOF"
    assert facts(one(made.text)) == facts(made.trigger)


def test_every_instruction_knows_its_place() -> None:
    from_, run = i.instructions(parse("FROM a\n\nRUN x \\\n y"))
    assert (run.keyword, run.line, run.end_line, run.original) == ("run", 3, 4, "RUN x  y")
    assert from_.line == 1


def test_arguments_may_stand_before_from() -> None:
    made = i.instructions(parse("ARG V=1\nFROM a:$V\nRUN x\nFROM b\nCOPY --from=0 / /"))
    assert [each.keyword for each in made] == ["arg", "from", "run", "from", "copy"]


@pytest.mark.parametrize(
    ("text", "hint"),
    [("RUN true", "line 1: RUN true"), ("ARG a\nCOPY a b\nFROM c", "line 2: COPY a b"), ("ARG a", "add a FROM line")],
)
def test_nothing_else_may(text: str, hint: str) -> None:
    with pytest.raises(DockerfileError) as caught:
        i.instructions(parse(text))
    assert str(caught.value).splitlines()[0] == "no build stage in current context"
    assert hint in caught.value.hint


def test_an_unknown_instruction_in_full() -> None:
    with pytest.raises(DockerfileError) as caught:
        i.instructions(parse("FROM busybox\nCPOY bar"))
    assert str(caught.value).splitlines() == [
        "dockerfile parse error line 2: unknown instruction: CPOY",
        "    2 | CPOY bar",
        "      | ^",
        "hint: write COPY instead of CPOY",
    ]


TWO = "requires at least two arguments, but only one was provided. Destination could not be determined"


@pytest.mark.parametrize(
    ("line", "message", "hint"),
    [
        ("FOO bar", "unknown instruction: FOO", "begin the line with an instruction"),
        ("rnu x", "unknown instruction: RNU", "write RUN instead of RNU"),
        ("RUN\xa0ls", "unknown instruction: RUN\xa0LS", "non-breaking space"),
        ("\\", "unknown instruction: ", ""),
        ("COPY a", f"COPY {TWO}", "COPY a /path"),
        ("COPY", f"COPY {TWO}", "COPY file /path"),
        ('ADD ["a"]', f"ADD {TWO}", "ADD a /path"),
        ("COPY a <<b\nb", "COPY cannot accept a heredoc as a destination", "path"),
        ("COPY --form=x a b", "Unknown flag: form", "write --from instead of --form"),
        ("ADD --from=x a b", "Unknown flag: from", "remove it: ADD knows --chown"),
        ("ENV --x a=b", "Unknown flag: x", "ENV knows no flags"),
        ("COPY --from a b", "Missing a value on flag: from", "--from=value"),
        ("COPY --link= a b", "Missing a value on flag: link", ""),
        ("COPY --link=maybe a b", "Expecting boolean value for flag link, not: maybe", "true or false"),
        ("COPY --from=a --from=b c d", "Duplicate flag specified: from", "one of them"),
        ("FROM", "FROM requires either one or three arguments", "AS name"),
        ("FROM a b", "FROM requires either one or three arguments", ""),
        ("FROM a of b", "FROM requires either one or three arguments", ""),
        ("FROM a AS 1b", 'invalid name for build stage: "1b", name can\'t start with a number or contain symbols', "letter"),
        ("ENV", "ENV requires at least one argument", ""),
        ("ENV =b", "ENV names can not be blank", ""),
        ("LABEL", "LABEL requires at least one argument", ""),
        ("LABEL a=b =c", "LABEL names can not be blank", ""),
        ("ARG", "ARG requires at least one argument", ""),
        ("ARG =a", "ARG names can not be blank", ""),
        ("RUN", "RUN requires at least one argument", ""),
        ("EXPOSE", "EXPOSE requires at least one argument", ""),
        ("VOLUME", "VOLUME requires at least one argument", ""),
        ('VOLUME [" "]', "VOLUME specified can not be an empty string", ""),
        ("USER", "USER requires exactly one argument", ""),
        ("WORKDIR", "WORKDIR requires exactly one argument", ""),
        ("STOPSIGNAL", "STOPSIGNAL requires exactly one argument", ""),
        ("MAINTAINER", "MAINTAINER requires exactly one argument", ""),
        ("SHELL", "SHELL requires at least one argument", ""),
        ("SHELL []", "SHELL requires at least one argument", ""),
        ("SHELL /bin/sh -c", "SHELL requires the arguments to be in JSON form", '["/bin/sh", "-c"]'),
        ("HEALTHCHECK", "HEALTHCHECK requires at least one argument", ""),
        ("HEALTHCHECK NONE x", "HEALTHCHECK NONE takes no arguments", ""),
        ("HEALTHCHECK CMD", "Missing command after HEALTHCHECK CMD", ""),
        ("HEALTHCHECK curl x", 'Unknown type "CURL" in HEALTHCHECK (try CMD)', "CMD"),
        ("HEALTHCHECK --interval=5 CMD x", 'time: missing unit in duration "5"', "30s"),
        ("HEALTHCHECK --timeout=1us CMD x", 'Interval "timeout" cannot be less than 1ms', ""),
        ("HEALTHCHECK --timeout=-1s CMD x", 'Interval "timeout" cannot be less than 1ms', ""),
        ("HEALTHCHECK --retries=-1 CMD x", "--retries cannot be negative (-1)", ""),
        ("HEALTHCHECK --retries=x CMD x", 'strconv.ParseInt: parsing "x": invalid syntax', ""),
        ("ONBUILD", "ONBUILD requires at least one argument", ""),
        ("ONBUILD FROM a", "FROM isn't allowed as an ONBUILD trigger", ""),
        ("ONBUILD maintainer a", "MAINTAINER isn't allowed as an ONBUILD trigger", ""),
        ("ONBUILD FOO a", "unknown instruction: FOO", ""),
        ("ONBUILD COPY a", f"COPY {TWO}", ""),
        ("RUN --network=x y", 'invalid network mode: "x"', "default, none or host"),
        ("RUN --security=x y", 'security "x" is not valid', ""),
        ("RUN --mount=type=x,target=/ y", 'unsupported mount type "x"', "bind, cache"),
        ("RUN --mount=type=cache,target=/,sharing=x y", 'unsupported sharing "x"', "locked"),
        ("RUN --mount=type=cache y", 'invalid mount target ""', "target=/path"),
        ("RUN --mount=type y", "invalid field 'type' must be a key=value pair", ""),
        ("RUN --mount=taget=/a y", "unexpected key 'taget' in 'taget=/a'", "write target instead of taget"),
        ("RUN --mount=target=/a,ro=x y", "invalid value for readonly: x", ""),
    ],
)
def test_errors(line: str, message: str, hint: str) -> None:
    with pytest.raises(DockerfileError) as caught:
        i.instructions(parse(f"FROM a\n{line}"))
    error = caught.value
    assert (error.message, error.line, error.text) == (message, 2, line.partition("\n")[0])
    assert error.hint
    assert hint in error.hint


def test_the_caret_stands_below_the_fault() -> None:
    with pytest.raises(DockerfileError) as caught:
        i.instructions(parse("FROM a\nRUN --mount=type=cache,target=/c --netwrok=none x"))
    assert caught.value.column == len("RUN --mount=type=cache,target=/c ") + 1


@pytest.mark.skipif(not PARSER_VECTORS.is_dir(), reason="the folder shared/vectors is not beside this checkout")
def test_real_files_are_understood() -> None:
    understood = 0
    for path in sorted(PARSER_VECTORS.glob("*/Dockerfile")):
        nodes = parse(path.read_bytes().decode()).nodes
        if path.parent.name != "health":
            assert [i.instruction(node).keyword for node in nodes] == [node.keyword for node in nodes]
            understood += len(nodes)
    assert understood > 100


HEADS = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "USER",
]
HEADS += ["STOPSIGNAL", "VOLUME", "WORKDIR", "ONBUILD COPY", "HEALTHCHECK CMD", "Nosuch"]
TAILS = [
    " ",
    "--from=",
    "--mount=",
    "--link",
    "--interval=",
    "--retries=",
    "type=cache",
    ",",
    "target=/",
    "=",
    '"',
    "'",
    "a",
    "1",
    "s",
    "<<E",
    "\nE\n",
    "[",
    "]",
]
TAILS += ['["a"]', "\\", "NONE", "CMD", " AS ", "-", ".", "é", "\x00", "²"]
noise = st.tuples(st.sampled_from(HEADS), st.lists(st.one_of(st.sampled_from(TAILS), st.text(max_size=3)), max_size=8))


@given(st.lists(noise.map(lambda pair: f"{pair[0]} {''.join(pair[1])}"), max_size=4))
@settings(max_examples=800, deadline=None)
def test_only_dockerfile_errors_escape(lines: list[str]) -> None:
    text = "\n".join(["FROM a", *lines])
    try:
        made = i.instructions(parse(text))
    except DockerfileError as error:
        assert str(error)
    else:
        assert isinstance(made[0], i.From)
