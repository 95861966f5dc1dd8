"""Image names, read as docker's own client reads them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockerlab.errors import DockerlabError, InvalidReference
from dockerlab.oci.reference import Reference

HEX = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("text", "whole", "familiar"),
    [
        ("a", "docker.io/library/a", "a"),
        ("library/a", "docker.io/library/a", "a"),
        ("docker.io/a", "docker.io/library/a", "a"),
        ("index.docker.io/a", "docker.io/library/a", "a"),
        ("docker.io/library/a", "docker.io/library/a", "a"),
        ("docker.io/x/y/z", "docker.io/x/y/z", "x/y/z"),
        ("a/b", "docker.io/a/b", "a/b"),
        ("a/b/c", "docker.io/a/b/c", "a/b/c"),
        ("localhost/a", "localhost/a", "localhost/a"),
        ("localhost", "docker.io/library/localhost", "localhost"),
        ("localhost:5000", "docker.io/library/localhost:5000", "localhost:5000"),
        ("localhost:5000/a:t", "localhost:5000/a:t", "localhost:5000/a:t"),
        ("a.b/c", "a.b/c", "a.b/c"),
        ("Foo/bar", "Foo/bar", "Foo/bar"),
        ("FOO.com/bar", "FOO.com/bar", "FOO.com/bar"),
        ("[::1]:80/a", "[::1]:80/a", "[::1]:80/a"),
        ("a__b--c.d", "docker.io/library/a__b--c.d", "a__b--c.d"),
        ("a:" + "x" * 128, "docker.io/library/a:" + "x" * 128, "a:" + "x" * 128),
        ("a:T.1-_", "docker.io/library/a:T.1-_", "a:T.1-_"),
        (f"a@{HEX}", f"docker.io/library/a@{HEX}", f"a@{HEX}"),
        (f"a:t@{HEX}", f"docker.io/library/a:t@{HEX}", f"a:t@{HEX}"),
        (HEX, f"docker.io/library/{HEX}", HEX),
    ],
)
def test_names(text: str, whole: str, familiar: str) -> None:
    reference = Reference.parse(text)
    assert (str(reference), reference.familiar) == (whole, familiar)
    assert Reference.parse(whole) == reference


BAD = [
    "",
    " ",
    "a b",
    "é",
    "a:é",
    "-a",
    "a-",
    "/a",
    "a/",
    "a//b",
    "a:",
    ":tag",
    "a:t:t",
    "a@",
    "a@sha256:abc",
    "a@sha512:aaaa",
    "a..b",
    "a___b",
    "a_/b",
    "x/_b",
    "docker.io/",
    "foo.com:port/x",
    "a:" + "x" * 129,
    "a\n",
    "a:t\n",
    f"a@{HEX}\n",
    "a\0",
    "a:-t",
    "[::1/a",
    f"a@{HEX}@{HEX}",
    "../a",
    "a/../b",
]


@pytest.mark.parametrize("text", BAD)
def test_no_names(text: str) -> None:
    with pytest.raises(InvalidReference) as caught:
        Reference.parse(text)
    assert caught.value.message == "invalid reference format"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("A", "invalid reference format: repository name (library/A) must be lowercase"),
        ("A:tag", "invalid reference format: repository name (library/A) must be lowercase"),
        ("a/B", "invalid reference format: repository name (a/B) must be lowercase"),
        ("foo.com/Bar", "invalid reference format: repository name (Bar) must be lowercase"),
        ("test:5000/Uppercase/lowercase:tag", "invalid reference format: repository name (Uppercase/lowercase) must be lowercase"),
        ("a" * 64, f"invalid repository name ({'a' * 64}), cannot specify 64-byte hexadecimal strings"),
        ("a" * 256, "repository name must not be more than 255 characters"),
        ("foo.com/" + "z" * 256, "repository name must not be more than 255 characters"),
    ],
)
def test_docker_s_words(text: str, words: str) -> None:
    with pytest.raises(InvalidReference) as caught:
        Reference.parse(text)
    assert caught.value.message == words


def test_latest_only_where_nothing_is_said() -> None:
    assert [str(Reference.parse(t).tagged()) for t in ("a", "a:1", f"a@{HEX}")] == [
        "docker.io/library/a:latest",
        "docker.io/library/a:1",
        f"docker.io/library/a@{HEX}",
    ]


@given(st.one_of(st.text(max_size=60), st.text("abAB0.:/@-_[]", max_size=40)))
def test_any_text_is_a_name_or_is_refused(text: str) -> None:
    try:
        reference = Reference.parse(text)
    except DockerlabError:
        return
    assert Reference.parse(str(reference)) == reference


@pytest.mark.timeout(10)
@pytest.mark.parametrize(
    "text",
    [
        "a" * 200_000 + "!",
        "a-" * 100_000,
        "a." * 100_000 + "/",
        "a/" * 100_000,
        "_" * 200_000,
        "a_" * 100_000 + "!",
        "A." * 50_000 + "/b!",
        "[" * 99_999,
    ],
)
def test_long_names_take_no_time(text: str) -> None:
    with pytest.raises(InvalidReference):
        Reference.parse(text)
