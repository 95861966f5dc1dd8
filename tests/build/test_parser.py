"""The parser against BuildKit's own examples, against another parser, and against noise."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dockerlab.build.parser import Node, heredoc_word, parse
from dockerlab.errors import DockerfileError

VECTORS = Path(__file__).parents[2].parent / "shared" / "vectors" / "buildkit"
EXAMPLES = sorted(VECTORS.glob("parser/*/Dockerfile"))
needs_vectors = pytest.mark.skipif(not EXAMPLES, reason="the folder shared/vectors is not beside this checkout")


def quoted(text: str) -> str:
    """Go's %q, as far as the examples need it."""
    return json.dumps(text, ensure_ascii=False).replace("\\u0000", "\\x00")


def sexpr(node: Node) -> str:
    flags = [f"[{' '.join(map(quoted, node.flags))}]"] if node.flags else []
    child = [sexpr(node.child)] if node.child else []
    return f"({' '.join([node.keyword, *flags, *child, *map(quoted, node.args)])})"


@needs_vectors
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.parent.name)
def test_buildkit_example(example: Path) -> None:
    parsed = parse(example.read_bytes().decode())
    assert [sexpr(node) for node in parsed.nodes] == (example.parent / "result").read_text().splitlines()


@needs_vectors
@pytest.mark.parametrize("example", sorted(VECTORS.glob("parser-negative/*/Dockerfile")), ids=lambda path: path.parent.name)
def test_buildkit_refuses(example: Path) -> None:
    with pytest.raises(DockerfileError):
        parse(example.read_bytes().decode())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("FROM a", '(from "a")'),
        ("from a AS b", '(from "a" "AS" "b")'),
        ("\ufeffFROM a\r\n", '(from "a")'),
        ("RUN a \\\r\n  b\r\n", '(run "a   b")'),
        ("RUN a \\\n  # note\n\n  b", '(run "a   b")'),
        ("RUN a \\   \n b", '(run "a  b")'),
        ("RUN a # not a comment", '(run "a # not a comment")'),
        ("\\\nFROM a", '(from "a")'),
        ("# escape=`\nRUN dir c:\\`\n && x", '(run "dir c:\\\\ && x")'),
        ('CMD ["a", "b"]', '(cmd "a" "b")'),
        ('CMD ["a", b]', '(cmd "[\\"a\\", b]")'),
        ('CMD ["a"] tail', '(cmd "a")'),
        ('CMD ["\\ud800"]', '(cmd "\ufffd")'),
        ("CMD [NaN]", '(cmd "[NaN]")'),
        ("COPY [x] /", '(copy "[x]" "/")'),
        ("ENV a b  c", '(env "a" "b  c" "")'),
        ("ENV a=b c=\"d e\" f='g h' i=j\\ k", '(env "a" "b" "=" "c" "\\"d e\\"" "=" "f" "\'g h\'" "=" "i" "j\\\\ k" "=")'),
        ("ENV a=b\\", '(env "a" "b" "=")'),
        ("ENV a=", '(env "a" "" "=")'),
        ("LABEL a='b", '(label "a" "\'b" "=")'),
        ("ARG a b=c", '(arg "a" "b=c")'),
        ("EXPOSE 80 \t 81/udp", '(expose "80" "81/udp")'),
        ("ONBUILD", "(onbuild)"),
        ("ONBUILD COPY --from=x a b", '(onbuild (copy ["--from=x"] "a" "b"))'),
        ("RUN --mount=\"a b\" --x'c'd -- --foo y", '(run ["--mount=a b" "--xcd"] "--foo y")'),
        ("RUN --a\\ b=é x", '(run ["--a b=é"] "x")'),
        ('RUN --a="x\\"y" z', '(run ["--a=x\\"y"] "z")'),
        ("RUN --network=none", '(run ["--network=none"])'),
        ("HEALTHCHECK NONE", '(healthcheck "NONE")'),
        ('VOLUME ["/a b", "/c"]', '(volume "/a b" "/c")'),
        ("NOSUCH thing", "(nosuch)"),
    ],
)
def test_one_node(text: str, expected: str) -> None:
    nodes = parse(text).nodes
    assert [sexpr(node) for node in nodes] == [expected]


def test_lines_and_original() -> None:
    first, second = parse("# c\n\nFROM a\nRUN one \\\n# c\n  two\n# end").nodes
    assert (first.line, first.end_line) == (3, 3)
    assert (second.line, second.end_line, second.original, second.text) == (4, 6, "RUN one   two", "RUN one \\")


@pytest.mark.parametrize(
    ("text", "escape", "directives"),
    [
        (
            "# syntax=docker/dockerfile:1\n# escape=`\n# check=skip=all\nFROM a",
            "`",
            {"syntax": "docker/dockerfile:1", "escape": "`", "check": "skip=all"},
        ),
        ("#ESCAPE = \\\nFROM a", "\\", {"escape": "\\"}),
        ("# other=1\n# escape=`\nFROM a", "\\", {}),
        ("# words\n# escape=`\nFROM a", "\\", {}),
        ("\n# escape=`\nFROM a", "\\", {}),
        ("FROM a\n# escape=`\n", "\\", {}),
    ],
)
def test_directives_stand_only_at_the_top(text: str, escape: str, directives: dict[str, str]) -> None:
    parsed = parse(text)
    assert (parsed.escape, parsed.directives, parsed.source) == (escape, directives, text)


def test_heredocs_in_order() -> None:
    node, after = parse("RUN 3<<-'X Y' cat <<EOF\n\tq\n\tX Y\nz\nEOF\nCMD x").nodes
    one, two = node.heredocs
    assert (one.name, one.content, one.text, one.expand, one.chomp, one.file_descriptor) == ("X Y", "\tq\n", "q\n", False, True, 3)
    assert (two.name, two.content, two.text, two.expand, two.chomp, two.file_descriptor) == ("EOF", "z\n", "z\n", True, False, 0)
    assert (node.original, node.end_line, after.line) == ("RUN 3<<-'X Y' cat <<EOF", 5, 6)


def test_a_trigger_has_its_heredoc() -> None:
    (node,) = parse("ONBUILD RUN <<EOF\nhi\nEOF").nodes
    assert node.child is not None
    assert node.heredocs == node.child.heredocs
    assert node.heredocs[0].content == "hi\n"


@pytest.mark.parametrize(
    "line", ["CMD <<EOF", "RUN x<<EOF", "RUN 'x <<EOF", 'COPY ["<<EOF", "x"]', "RUN x <<", "RUN x << y", "RUN cat <<<EOF"]
)
def test_no_heredoc(line: str) -> None:
    (node,) = parse(line).nodes
    assert node.heredocs == ()


@pytest.mark.parametrize(
    ("word", "name", "expand"),
    [("<<EOF", "EOF", True), ('<<"EOF"', "EOF", False), ("<<\\EOF", "EOF", False), ("<<E'O'F", "EOF", False), ("<<$A", "$A", True)],
)
def test_quoting_any_part_of_the_name_stops_expansion(word: str, name: str, expand: bool) -> None:
    heredoc = heredoc_word(word)
    assert heredoc is not None
    assert (heredoc.name, heredoc.expand) == (name, expand)


@pytest.mark.parametrize(
    ("text", "line", "column", "message"),
    [
        ("", 0, 0, "the Dockerfile (Bad.df) cannot be empty"),
        ("# only\n\n", 0, 0, "failed to parse Bad.df: file with no instructions"),
        ("FROM a\nENV PATH", 2, 5, "ENV must have two arguments"),
        ("FROM a\nENV a=b c", 2, 9, 'Syntax error - can\'t find = in "c". Must be of the form: name=value'),
        ('FROM a\nCMD ["a", 1]', 2, 5, "when using JSON array syntax, arrays must be comprised of strings only"),
        ("# escape=x\nFROM a", 1, 10, "invalid escape token 'x' does not match ` or \\"),
        ("# escape=`\n# escape=`\nFROM a", 2, 1, "only one escape parser directive can be used"),
        ("FROM a\nRUN <<EOF\nx", 2, 5, "unterminated heredoc"),
        ("ONBUILD ONBUILD RUN x", 1, 1, "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed"),
        ("FROM a\n" + "x" * 65536, 2, 1, "dockerfile line greater than maximum allowed size of 65535"),
        ("FROM a\n\n  # YOUR CODE HERE\n  raise NotImplementedError()", 4, 3, "exercise not started"),
        ("raise NotImplementedError", 1, 1, "exercise not started"),
    ],
)
def test_errors(text: str, line: int, column: int, message: str) -> None:
    with pytest.raises(DockerfileError) as caught:
        parse(text, name="Bad.df")
    error = caught.value
    assert (error.message, error.line, error.column) == (message, line, column)
    assert error.hint


def test_the_longest_line() -> None:
    (node,) = parse("RUN " + "x" * 65531).nodes
    assert len(node.args[0]) == 65531


@pytest.mark.parametrize(
    "text",
    [
        "ONBUILD " * 8000 + "RUN x",
        "CMD " + "[" * 60000,
        "CMD [" + "9" * 60000 + "]",
        "# a" + " " * 60000 + "b\nFROM a",
        "\\\n" * 60000 + "FROM a",
        "RUN " + "--a=b " * 10000 + "\\\n" + ("--a=b " * 10000 + "\\\n") * 20,
        "ENV " + "a='" * 20000,
        'ENV a="' + "\\" * 60000,
        "RUN " + "<<a " * 15000 + "\na" * 15000,
        "RUN <<EOF${" + "a:-${" * 10000,
        "RUN " + "'" * 60001 + "<<EOF",
        "LABEL " + ("a=" + "b" * 100 + " \\\n") * 10000,
    ],
    ids=lambda text: text[:12],
)
def test_hostile_text_ends_soon(text: str) -> None:
    begin = time.monotonic()
    try:
        assert parse(text).nodes
    except DockerfileError as error:
        assert error.message
    assert time.monotonic() - begin < 5


KEYWORDS = [
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
    "ONBUILD RUN",
    "ONBUILD COPY",
]
KEYWORDS += ["RUN", "SHELL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR", "onbuild env", "run", "Nosuch", "onbuild", "HEALTHCHECK CMD"]
FRAGMENTS = [
    " ",
    " ",
    "\t",
    "\\",
    "`",
    "\\\n",
    "\\ \n",
    "`\n",
    "\\\n\n",
    "\\\n # c\n",
    "\r\n",
    "\n",
    '"',
    "'",
    "=",
    "a",
    "b=c",
    "é",
    "[",
    "]",
    '["a", "b"]',
]
FRAGMENTS += [
    "[1]",
    '["x",',
    "<<EOF",
    "<<-'E F'",
    " 3<<G",
    "\nEOF\n",
    "\n\tE F\n",
    "\nG\n",
    " --x=y ",
    " -- ",
    "--",
    "$a",
    "${a}",
    "#",
    "\x0b",
    "CMD",
]
HEADS = ["", "", "# escape=`\n", "#escape=\\\n", "# syntax=x\n#escape=`\n", "\ufeff", "# c\n# escape=`\n", "# escape=`\r\n"]
lines = st.tuples(st.sampled_from(KEYWORDS), st.lists(st.sampled_from(FRAGMENTS), max_size=10)).map(
    lambda pair: f"{pair[0]} {''.join(pair[1])}\n"
)
dockerfiles = st.tuples(st.sampled_from(HEADS), st.lists(lines, max_size=4)).map(lambda pair: pair[0] + "".join(pair[1]))


@given(dockerfiles)
@settings(max_examples=600, deadline=None)
def test_agrees_with_another_parser(text: str) -> None:
    oracle = pytest.importorskip("dockerfile", reason="the package `dockerfile` (BuildKit's parser) is not installed")
    try:
        theirs = oracle.parse_string(text)
    except oracle.GoParseError:
        with pytest.raises(DockerfileError):
            parse(text)
        return
    if any((command.sub_cmd or "").lower() == "onbuild" for command in theirs):
        return
    ours = parse(text)
    assert [_ours(node) for node in ours.nodes] == [_theirs(command) for command in theirs]


def _ours(node: Node) -> tuple[object, ...]:
    inner = node.child or node
    words = inner.args if inner.keyword not in {"env", "label"} else tuple(word for at, word in enumerate(inner.args) if at % 3 < 2)
    heredocs = [(heredoc.name, heredoc.file_descriptor, heredoc.content) for heredoc in node.heredocs]
    return (node.keyword, node.flags, words, inner.json, node.line, node.end_line, [] if node.child else heredocs, node.original)


def _theirs(command: Any) -> tuple[object, ...]:
    known = (command.sub_cmd or command.cmd or "").lower() in {word.lower() for word in " ".join(KEYWORDS).split()} - {"nosuch"}
    words = command.value if known else ()
    # That package reads flags byte by byte, so that what is not ASCII comes out as Latin-1; and it adds the heredocs to the line.
    flags = tuple(flag.encode("latin-1").decode() for flag in command.flags)
    heredocs = [(heredoc.name, heredoc.file_descriptor, heredoc.content) for heredoc in command.heredocs]
    original = (command.original or "").partition("\n")[0]
    return ((command.cmd or "").lower(), flags, words, command.json, command.start_line, command.end_line, heredocs, original)


@given(st.one_of(st.text(), dockerfiles, st.lists(st.sampled_from([*KEYWORDS, *FRAGMENTS, *HEADS, "\n"])).map("".join)))
@settings(max_examples=300, deadline=None)
def test_only_dockerfile_errors_escape(text: str) -> None:
    try:
        parsed = parse(text)
    except DockerfileError as error:
        assert str(error)
    else:
        assert all(1 <= node.line <= node.end_line for node in parsed.nodes)
