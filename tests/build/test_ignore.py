"""Which paths are left out, by example and against a plain reading of the same rules."""

from __future__ import annotations

import posixpath
import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dockerlab.build.ignore import IgnoreRules
from dockerlab.errors import DockerfileError


@pytest.mark.parametrize(
    ("text", "ignored", "kept"),
    [
        ("", [], ["a", "a/b"]),
        ("foo", ["foo", "foo/a", "foo/a/b"], ["a/foo", "foobar", "Foo"]),
        ("*.log", ["a.log", ".log"], ["a/b.log", "a.logs"]),
        ("**/*.log", ["a.log", "a/b.log", "a/b/c.log", "a.log/x"], ["a.txt"]),
        ("**.log", ["a.log", "a/b.log"], ["a.txt"]),
        ("foo/", ["foo", "foo/a"], ["food"]),
        ("/foo", ["foo", "foo/a"], ["a/foo"]),
        ("./foo", ["foo"], ["a/foo"]),
        ("a/../b", ["b", "b/c"], ["a", "a/b"]),
        ("//a//b/", ["a/b"], ["a", "b"]),
        ("*/temp*", ["a/temp", "a/temporary.txt", "a/temp/x"], ["temp", "a/b/temp"]),
        ("*/*/temp*", ["a/b/temp.txt"], ["a/temp"]),
        ("temp?", ["tempa", "tempb/x"], ["temp", "tempab", "temp/a"]),
        ("*", ["a", ".hidden", "a/b"], []),
        ("**", ["a", "a/b"], []),
        ("a/**", ["a/b", "a/b/c"], ["a", "ab"]),
        ("a/**/b", ["a/b", "a/x/b", "a/x/y/b"], ["a", "a/xb", "b"]),
        ("**/b/**", ["b/c", "a/b/c"], ["b", "a/b", "ab/c"]),
        ("a**", ["a", "ab", "ab/c"], ["b", "ba"]),
        (".", [], ["a", "."]),
        ("/", [], ["a"]),
        ("# a\na # b", ["a # b"], ["a"]),
        ("  a  \r\n\r\nb\r\n", ["a", "b"], ["c"]),
        ("\ufeffa", ["a"], []),
        ("\\#a", ["#a"], ["a"]),
        ("a\\*b", ["a*b"], ["axb"]),
        ("[a-c]x", ["ax", "cx"], ["dx", "[a-c]x"]),
        ("[^a-c]x", ["dx"], ["ax", "/x"]),
        ("[!a]x", ["!x", "ax"], ["bx"]),
        ("a.b+(c)|$", ["a.b+(c)|$"], ["axb+(c)|$"]),
        ("é?", ["éü"], ["é"]),
        ("*.md\n!README.md", ["a.md"], ["README.md"]),
        ("!README.md\n*.md", ["a.md", "README.md"], []),
        ("*.md\n!README*.md\nREADME-secret.md", ["a.md", "README-secret.md"], ["README.md", "README-2.md"]),
        ("*\n!keep", ["a", "a/keep"], ["keep", "keep/a"]),
        ("*\n! keep", ["a"], ["keep"]),
        ("*\n!/keep/", ["a"], ["keep"]),
        ("a\n!a/b", ["a", "a/c"], ["a/b", "a/b/c"]),
        ("a\n!a/b\na/b/c", ["a/c", "a/b/c"], ["a/b/d"]),
        ("**\n!**/*.py", ["a", "a/b.txt"], ["x.py", "a/b.py"]),
        (".git\n__pycache__", [".git/config", "__pycache__/x"], [".gitignore", "a/__pycache__/x"]),
    ],
)
def test_examples(text: str, ignored: list[str], kept: list[str]) -> None:
    rules = IgnoreRules.from_text(text)
    assert [path for path in ignored if not rules.ignores(path)] == []
    assert [path for path in kept if rules.ignores(path)] == []


def test_paths_may_be_written_in_other_ways() -> None:
    rules = IgnoreRules.from_text("a/b")
    assert all(rules.ignores(path) for path in ["a/b", "./a/b", "a/b/", "a//b", "/a/b", "a/x/../b"])


@pytest.mark.parametrize(
    ("text", "folder", "expected"),
    [
        ("a", "a", False),
        ("a\n!a/b", "a", True),
        ("a\n!a/b", "a/b", True),
        ("a\n!a/b/c/d", "a/b", True),
        ("a\n!a/b", "a/c", False),
        ("*\n!keep", "other", False),
        ("*\n!keep", "keep", True),
        ("*\n!*.md", "node_modules", False),
        ("*\n!*/x", "any", True),
        ("*\n!**/x", "any/where", True),
        ("*\n!src/[a-c]", "src/d", False),
        ("*\n!\\*/b", "src", False),
    ],
)
def test_may_hold_exceptions(text: str, folder: str, expected: bool) -> None:
    assert IgnoreRules.from_text(text).may_hold_exceptions(folder) is expected


def test_patterns_that_stand_alone() -> None:
    rules = IgnoreRules.from_patterns(["*.txt", "!a.txt", "#b"])
    assert [path for path in ["a.txt", "b.txt", "#b", "b"] if rules.ignores(path)] == ["b.txt", "#b"]


@pytest.mark.parametrize("pattern", ["[", "a[", "[]", "[]a]", "[a-]", "[-a]", "[^]", "[z-a]", "a\\", "[a\\]", "a**b**c**d"])
def test_bad_patterns(pattern: str) -> None:
    with pytest.raises(DockerfileError, match=r"line 2.*pattern") as caught:
        IgnoreRules.from_text(f"fine\n{pattern}")
    assert caught.value.hint


@pytest.mark.parametrize("line", ["!", " ! ", "!\r"])
def test_an_exception_to_nothing(line: str) -> None:
    with pytest.raises(DockerfileError, match='illegal exclusion pattern: "!"'):
        IgnoreRules.from_text(line)


@pytest.mark.parametrize(
    "pattern", ["*a" * 200, "**/a/" * 100 + "b", "**/*a*a*a*a*b/" * 20 + "c", "a**a**b", "*" * 500, "?" * 5000 + "*", "[a]" * 3000]
)
@pytest.mark.parametrize("path", ["a" * 4000, "a/" * 500 + "a"])
def test_hostile_patterns_end_soon(pattern: str, path: str) -> None:
    begin = time.monotonic()
    rules = IgnoreRules.from_text(pattern)
    assert rules.ignores(path) in {True, False}
    assert time.monotonic() - begin < 5


def plain_match(pattern: str, path: str) -> bool:
    """One pattern against one path: the rules read aloud, with no thought of speed."""
    if pattern.startswith("**") and not re.search(r"[*?]", pattern[2:]):
        suffix = pattern[2:]
        return path.endswith(suffix) or (suffix[:1] == "/" and path == suffix[1:])
    text = re.sub(r"\*\*/?$", "\0", pattern)
    text = re.sub(r"\*\*/?", "\1", text).replace("*", "[^/]*").replace("?", "[^/]")
    return re.fullmatch(text.replace(".", "\\.").replace("\0", ".*").replace("\1", "(.*/)?"), path, re.DOTALL) is not None


def plainly_ignored(patterns: list[str], path: str) -> bool:
    matched = False
    for written in patterns:
        keeps = written.startswith("!")
        pattern = posixpath.normpath(written.removeprefix("!"))
        names = path.split("/")
        if keeps == matched and any(plain_match(pattern, "/".join(names[: at + 1])) for at in range(len(names))):
            matched = not keeps
    return matched


names = st.text("ab.", min_size=1, max_size=3).filter(lambda name: name not in {".", ".."})
paths = st.lists(names, min_size=1, max_size=4).map("/".join)
parts = (
    st.lists(st.sampled_from(["a", "b", ".", "*", "?", "**"]), min_size=1, max_size=4)
    .map("".join)
    .filter(lambda part: part not in {".", ".."})
)
patterns = st.tuples(st.sampled_from(["", "", "!"]), st.lists(st.one_of(parts, st.just("**")), min_size=1, max_size=4).map("/".join)).map(
    "".join
)


@given(st.lists(patterns, min_size=1, max_size=4), st.lists(paths, min_size=1, max_size=6))
@settings(max_examples=600, deadline=None)
def test_agrees_with_the_plain_reading(written: list[str], some: list[str]) -> None:
    try:
        rules = IgnoreRules.from_text("\n".join(written))
    except DockerfileError as error:
        assert "too many **" in str(error)
        return
    assert [rules.ignores(path) for path in some] == [plainly_ignored(written, path) for path in some]


@given(st.lists(patterns, min_size=1, max_size=4), paths, paths)
@settings(max_examples=400, deadline=None)
def test_a_folder_without_exceptions_can_be_skipped(written: list[str], folder: str, below: str) -> None:
    try:
        rules = IgnoreRules.from_text("\n".join(written))
    except DockerfileError:
        return
    if rules.ignores(folder) and not rules.may_hold_exceptions(folder):
        assert rules.ignores(f"{folder}/{below}")


@given(st.one_of(st.text(), st.text("ab/.*?[]^-!\\#\n ")), st.text())
@settings(max_examples=400, deadline=None)
def test_only_dockerfile_errors_escape(text: str, path: str) -> None:
    try:
        rules = IgnoreRules.from_text(text)
    except DockerfileError as error:
        assert error.message
    else:
        assert rules.ignores(path) in {True, False}
        assert rules.may_hold_exceptions(path) in {True, False}
