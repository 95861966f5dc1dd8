"""Variables, quotes and escapes: BuildKit's tables, our own, and noise."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dockerlab.build.words import bare_words, duration, expand, raw_words, split
from dockerlab.errors import DockerfileError

TABLES = Path(__file__).parents[2].parent / "shared" / "vectors" / "buildkit" / "shell"
ENV = {"PWD": "/home", "SHELL": "bash", "KOREAN": "한국어", "NULL": ""}


def table(name: str) -> list[str]:
    path = TABLES / name
    return path.read_text().splitlines() if path.exists() else []


needs_tables = pytest.mark.skipif(not TABLES.is_dir(), reason="the folder shared/vectors is not beside this checkout")


@needs_tables
@pytest.mark.parametrize("row", [row for row in table("envVarTest") if row.strip() and row[0] in "AU"])
def test_buildkit_words(row: str) -> None:
    _, word, expected = (cell.strip() for cell in row.split("|"))
    if expected == "error":
        with pytest.raises(DockerfileError):
            expand(word, ENV)
    else:
        assert expand(word, ENV) == expected


@needs_tables
def test_buildkit_splitting() -> None:
    env: dict[str, str] = {}
    seen = 0
    for row in table("wordsTest"):
        if row.startswith("ENV "):
            name, _, value = row[4:].partition("=")
            env[name] = value
        elif not row.startswith("#"):
            word, expected = row.split("|")
            assert split(word.strip(), env) == expected.lstrip(" ").split(","), row
            seen += 1
    assert seen > 5


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("", ""),
        ("plain", "plain"),
        ("$v$v-${v}", "valuevalue-value"),
        ("'$v'\"$v\"$v", "$vvaluevalue"),
        ("\\$v \\\\ \\a", "$v \\ a"),
        ('"\\a \\" \\$ \\\\"', '\\a " $ \\'),
        ("$unset-${unset}", "-"),
        ("$1 $10x $", " x $"),
        ("${unset:-a b}", "a b"),
        ("${unset-w} ${empty-w} ${v-w}", "w  value"),
        ("${unset:-w} ${empty:-w} ${v:-w}", "w w value"),
        ("${unset+w} ${empty+w} ${v+w}", " w w"),
        ("${unset:+w} ${empty:+w} ${v:+w}", "  w"),
        ("${v:?no} ${empty?no}", "value "),
        ("${unset:-${empty:-$v}}", "value"),
        ("${unset:-'}'}", "}"),
        ("${unset:-\\}}", "}"),
        ("${path#*/}", "usr/local/file.tar.gz"),
        ("${path##*/}", "file.tar.gz"),
        ("${path%.*}", "/usr/local/file.tar"),
        ("${path%%.*}", "/usr/local/file"),
        ("${path#/usr}", "/local/file.tar.gz"),
        ("${path%.gz}", "/usr/local/file.tar"),
        ("${path#nothing} ${path%nothing}", "/usr/local/file.tar.gz /usr/local/file.tar.gz"),
        ("${path#????}", "/local/file.tar.gz"),
        ("${path%??}", "/usr/local/file.tar."),
        ("${path##*}|${path#*}", "|/usr/local/file.tar.gz"),
        ("${path#}", "/usr/local/file.tar.gz"),
        ("${path##*l*l}", "e.tar.gz"),
        ("${path#*l*l}", "/file.tar.gz"),
        ("${path%%$tail}", "/usr/local/file"),
        ("${path/local/x}", "/usr/x/file.tar.gz"),
        ("${path/.*/}", "/usr/local/file"),
        ("${path//[/x}", "/usr/local/file.tar.gz"),
        ("${path/l*l/}", "/usr/e.tar.gz"),
        ("${path/a?*t/-}", "/usr/loc-ar.gz"),
        ("${path//l/L}", "/usr/LocaL/fiLe.tar.gz"),
        ("${path//\\//-}", "-usr-local-file.tar.gz"),
        ("${path//?/.}", "......................"),
        ("${path/nothing/x}", "/usr/local/file.tar.gz"),
        ("${v/$unset/x}", "xvalue"),
        ("${v//*/x}", "x"),
        ("${empty/*/x}", "x"),
        ("${v///x}", "xvxaxlxuxex"),
        ("${stars%%\\**}", "xx"),
        ("${stars#x\\?}", "xx**"),
        ("${unset#a}${unset/a/b}", ""),
        ("é$vé", "é"),
        ("${v}é", "valueé"),
    ],
)
def test_expand(word: str, expected: str) -> None:
    env = {"v": "value", "empty": "", "path": "/usr/local/file.tar.gz", "tail": ".*", "stars": "xx**"}
    assert expand(word, env) == expected


def test_the_other_escape() -> None:
    assert expand("c:\\x`$v", {"v": "1"}, escape="`") == "c:\\x$v"
    assert expand('"`"\\n"', {}, escape="`") == '"\\n'


def test_the_text_of_a_heredoc_keeps_its_quotes() -> None:
    assert expand("it's \"$v\" \\$v 'open", {"v": "1"}, quotes=False) == "it's \"1\" $v 'open"


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("'a", "looking for matching single-quote"),
        ('"a', "looking for matching double-quote"),
        ("${v", "syntax error: missing '}'"),
        ("${", "syntax error: missing '}'"),
        ("${v:", "syntax error: missing '}'"),
        ("${v:-a", "syntax error: missing '}'"),
        ("${v/a}", "syntax error: missing '/' in ${}"),
        ("${v/a/b", "syntax error: missing '}'"),
        ("${}", "syntax error: bad substitution"),
        ("${v:=a}", r"unsupported modifier \(:=\) in substitution"),
        ("${v:#a}", r"unsupported modifier \(:#\) in substitution"),
        ("${v@a}", r"unsupported modifier \(@\) in substitution"),
        ("${n?}", "n: is not allowed to be unset"),
        ("${n:?set $v}", "n: set 1"),
        ("${e:?}", "e: is not allowed to be empty"),
        ("${v#\\x}", r"invalid escape '\\x'"),
        ("${v/\\/x}", "syntax error: missing '/' in ${}"),
        ("${n:-" * 60 + "}" * 60, "nested more than 50 deep"),
    ],
)
def test_errors(word: str, message: str) -> None:
    with pytest.raises(DockerfileError, match='failed to process ".*": .*' + message.replace("${}", r"\$\{\}")):
        expand(word, {"v": "1", "e": ""})


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("", []),
        ("  ", []),
        ("a  b\tc", ["a", "b", "c"]),
        ("$two", ["1", "2"]),
        ('"$two"x y', ["1 2x", "y"]),
        ("''", []),
        ("a$two", ["a1", "2"]),
    ],
)
def test_split(word: str, expected: list[str]) -> None:
    assert split(word, {"two": "1 2"}) == expected


def test_words_as_they_were_written() -> None:
    line = "a 'b c' \"d $e\" ${f:-g h} \\i"
    assert raw_words(line) == ["a", "'b c'", '"d $e"', "${f:-g", "h}", "\\i"]
    assert bare_words(line) == ["a", "b c", "d $e", "${f:-g", "h}", "i"]


def test_values_that_grow_without_end_are_refused() -> None:
    with pytest.raises(DockerfileError, match="longer than"):
        expand("$a" * 100, {"a": "x" * 100_000})
    with pytest.raises(DockerfileError, match="too long"):
        expand("${a#$a}", {"a": "x" * 100_000})


@pytest.mark.parametrize(
    "word", ["${a##" + "*a" * 60 + "b}", "${a//*a*a?a*b/x}", "${a%%*a*a*a*c}", "${a//a?/xy}", "'" * 99_999, "$a" * 3, "${a:-" * 9999]
)
def test_hostile_words_end_soon(word: str) -> None:
    begin = time.monotonic()
    try:
        assert expand(word, {"a": "a" * 200_000})
    except DockerfileError as error:
        assert error.message
    assert time.monotonic() - begin < 5


@given(
    st.one_of(
        st.text(),
        st.text("ab$\"'\\{}:-+?#%/* \t"),
        st.lists(st.sampled_from(["${", "}", "a", ":-", "#", "//", "*", "'", '"', "\\", "$a", " "])).map("".join),
    )
)
@settings(max_examples=600, deadline=None)
def test_only_dockerfile_errors_escape(word: str) -> None:
    env = {"a": "a*b/c", "b": " x  y "}
    for read in (
        lambda: expand(word, env),
        lambda: split(word, env),
        lambda: expand(word, env, "`", quotes=False),
        lambda: raw_words(word),
    ):
        try:
            assert isinstance(read(), (str, list))
        except DockerfileError as error:
            assert error.message.startswith("failed to process ")


@given(st.text(st.characters(exclude_characters="'"), max_size=30), st.text(st.characters(exclude_characters='"\\$'), max_size=30))
def test_quotes_protect(single: str, double: str) -> None:
    assert expand(f"'{single}'\"{double}\"", {}) == single + double


shell_patterns = st.lists(st.sampled_from(["a", "b", "*", "?"]), max_size=5).map("".join)


@given(st.text("ab", max_size=8), shell_patterns)
def test_trimming_agrees_with_trying_every_length(value: str, pattern: str) -> None:
    whole = re.compile(pattern.replace("*", ".*").replace("?", "."))
    heads = [at for at in range(len(value) + 1) if whole.fullmatch(value[:at])]
    tails = [at for at in range(len(value) + 1) if whole.fullmatch(value[at:])]
    env = {"v": value, "p": pattern}
    assert expand("${v#$p}", env) == (value[heads[0] :] if heads else value)
    assert expand("${v##$p}", env) == (value[heads[-1] :] if heads else value)
    assert expand("${v%$p}", env) == (value[: tails[-1]] if tails else value)
    assert expand("${v%%$p}", env) == (value[: tails[0]] if tails else value)
    assert expand("${v/$p/-}", env) == re.sub(whole, "-", value, count=1)


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("0", 0),
        ("30s", 30 * 10**9),
        ("1m30s", 90 * 10**9),
        ("1.5h", 5400 * 10**9),
        (".5s", 5 * 10**8),
        ("1.s", 10**9),
        ("100ms", 10**8),
        ("3us2ns", 3002),
        ("3µs", 3000),
        ("-1s", -(10**9)),
        ("+1s", 10**9),
    ],
)
def test_durations(text: str, nanoseconds: int) -> None:
    assert duration(text) == nanoseconds


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", 'time: invalid duration ""'),
        ("x", 'time: invalid duration "x"'),
        (".s", 'time: invalid duration ".s"'),
        ("5", 'time: missing unit in duration "5"'),
        ("5y", 'time: unknown unit "y" in duration "5y"'),
        ("1h x", 'time: unknown unit "h x" in duration "1h x"'),
        ("9999999h", 'time: invalid duration "9999999h"'),
        ("9" * 5000 + "s", "time: invalid duration"),
    ],
)
def test_wrong_durations(text: str, message: str) -> None:
    with pytest.raises(DockerfileError) as caught:
        duration(text)
    assert caught.value.message.startswith(message)
