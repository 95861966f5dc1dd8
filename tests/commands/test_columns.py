from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockerlab.commands.columns import ellipsis, escape, formatted, human_duration, human_size, human_size3, table
from dockerlab.commands.go_text import compact_json, go_text, printf, quoted
from dockerlab.errors import InvalidArgument

TRANSCRIPTS = Path(__file__).parents[2] / "../shared/golden/docker-transcripts.md"

HEADERS = {"ID": "CONTAINER ID", "Names": "NAMES", "Ports": "PORTS", "Label": lambda name: name}
ROWS = [
    {"ID": "19a2c33772fe", "Names": "web", "Ports": "", "Label": lambda name: {"a": "b"}.get(name, "")},
    {"ID": "29a2c33772fe", "Names": "é", "Ports": "", "Label": lambda name: ""},
]
DEFAULT = "table {{.ID}}\t{{.Ports}}\t{{.Names}}"


def recorded_tables() -> list[tuple[list[str], list[str]]]:
    """Headings and lines of every table in the transcripts, found by the headings being all capitals."""
    found: list[tuple[list[str], list[str]]] = []
    if not TRANSCRIPTS.is_file():
        return found
    lines: list[str] = []
    for line in TRANSCRIPTS.read_text().splitlines():
        if line == "[0]" and lines:
            found.append((re.split(r" {3,}", lines[0]), lines))
        if line.startswith(("$", "[")):
            lines = []
        elif lines or re.fullmatch(r"(?:[A-Z]+(?: [A-Z]+)* {3,})+[A-Z]+", line):
            lines.append(line)
    return [pair for pair in found if pair[0][0] != "UID"]


@pytest.mark.skipif(not TRANSCRIPTS.is_file(), reason="the recorded transcripts are not beside this checkout")
def test_tables_come_out_as_recorded() -> None:
    tables = recorded_tables()
    assert len(tables) >= 6
    for headings, lines in tables:
        starts = [lines[0].index(heading) for heading in headings]
        cells = [[line[start:end].rstrip() for start, end in zip(starts, [*starts[1:], None], strict=True)] for line in lines[1:]]
        assert table(headings, cells) == "".join(f"{line}\n" for line in lines)


def test_columns_are_ten_wide_at_least_and_three_apart() -> None:
    assert table(["A", "IMAGE ID", "LAST"], [["1", "0123456789", ""], ["世界é", "", "x"]]) == (
        "A         IMAGE ID     LAST\n1         0123456789   \n世界é                    x\n"
    )
    assert table(["A", "B"], []) == "A         B\n"


def test_cells_cannot_steer_the_terminal() -> None:
    assert table(["A"], [["x\x1b[31m\ty\n"]]) == "A\nx\\x1b[31m\\ty\\n\n"


@pytest.mark.parametrize(
    ("format", "text"),
    [
        ("", "CONTAINER ID   PORTS     NAMES\n19a2c33772fe             web\n29a2c33772fe             é\n"),
        ("table", "CONTAINER ID   PORTS     NAMES\n19a2c33772fe             web\n29a2c33772fe             é\n"),
        (r"table {{.Names}}\t{{.Ports}}", "NAMES     PORTS\nweb       \né         \n"),
        (r"{{.ID}}\t{{.Names}}", "19a2c33772fe\tweb\n29a2c33772fe\té\n"),
        ("table{{.ID}}", "CONTAINER ID\n19a2c33772fe\n29a2c33772fe\n"),
        ("TABLE {{.ID}}", "TABLE 19a2c33772fe\nTABLE 29a2c33772fe\n"),
        ("table {{.ID}} - {{.Names}}", "CONTAINER ID - NAMES\n19a2c33772fe - web\n29a2c33772fe - é\n"),
        (r'table {{.Label "a"}}\t{{.ID}}', "a         CONTAINER ID\nb         19a2c33772fe\n          29a2c33772fe\n"),
        ("table {{upper .Names}}", "NAMES\nWEB\nÉ\n"),
        (r"table {{.ID}}\n{{.Names}}", "CONTAINER ID\nNAMES\n19a2c33772fe\nweb\n29a2c33772fe\né\n"),
        ("table abc", "abc\nabc\nabc\n"),
        ('table {{range split .ID "a"}}{{.}},{{end}}', "\n19,2c33772fe,\n29,2c33772fe,\n"),
        ("table {{.Ports}}", "PORTS\n\n\n"),
        (r"table {{truncate .ID 3}}\t{{pad .Names 1 1}}|", "CONTAINER ID    NAMES |\n19a             web |\n29a             é |\n"),
        ("jsonx", "jsonx\njsonx\n"),
    ],
)
def test_formats_as_the_client_printed_them(format: str, text: str) -> None:
    assert formatted(format, ROWS, HEADERS, DEFAULT) == text


def test_json_sorts_the_names_and_escapes_html() -> None:
    row = {"Names": "w<e>b&", "ID": 1, "Label": len}
    assert formatted("json", [row], HEADERS, DEFAULT) == '{"ID":1,"Names":"w\\u003ce\\u003eb\\u0026"}\n'
    assert formatted("{{json .Names}}", [row], HEADERS, DEFAULT) == '"w<e>b&"\n'


def test_no_rows_are_a_heading_or_nothing() -> None:
    assert formatted("table {{.ID}}", [], HEADERS, DEFAULT) == "CONTAINER ID\n"
    assert formatted("{{.ID}}", [], HEADERS, DEFAULT) == formatted("json", [], HEADERS, DEFAULT) == ""


def test_values_in_a_table_are_safe_and_bare_templates_are_not_touched() -> None:
    row = [{"ID": "a\x1b[2J\tb"}]
    assert formatted("table {{.ID}}", row, HEADERS, DEFAULT) == "CONTAINER ID\na\\x1b[2J\\tb\n"
    assert formatted("{{.ID}}", row, HEADERS, DEFAULT) == "a\x1b[2J\tb\n"


def test_a_format_that_cannot_be_used() -> None:
    with pytest.raises(InvalidArgument, match="template parsing error: template: :1: unclosed action"):
        formatted("table {{", ROWS, HEADERS, DEFAULT)
    with pytest.raises(InvalidArgument, match='map has no entry for key "Nope"'):
        formatted("table {{.Nope}}", ROWS, HEADERS, DEFAULT)


@pytest.mark.parametrize(
    ("size", "three", "four"),
    [
        (0, "0B", "0B"),
        (2, "2B", "2B"),
        (999, "999B", "999B"),
        (1000, "1kB", "1kB"),
        (3072, "3.07kB", "3.072kB"),
        (9995, "9.99kB", "9.995kB"),
        (12345, "12.3kB", "12.35kB"),
        (123456, "123kB", "123.5kB"),
        (999_499, "999kB", "999.5kB"),
        (999_999, "1e+03kB", "1000kB"),
        (1_982_414, "1.98MB", "1.982MB"),
        (105_400_000, "105MB", "105.4MB"),
        (1_230_000_000, "1.23GB", "1.23GB"),
        (10**15, "1PB", "1PB"),
        (5 * 10**18, "5EB", "5EB"),
        (10**30, "1e+06YB", "1e+06YB"),
    ],
)
def test_sizes(size: int, three: str, four: str) -> None:
    assert (human_size3(size), human_size(size)) == (three, four)


HOUR, DAY = 3600, 86400


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "Less than a second"),
        (0.99, "Less than a second"),
        (1.9, "1 second"),
        (2, "2 seconds"),
        (59.9, "59 seconds"),
        (60, "About a minute"),
        (119, "About a minute"),
        (120, "2 minutes"),
        (3599, "59 minutes"),
        (3600, "About an hour"),
        (5399, "About an hour"),
        (5400, "2 hours"),
        (47 * HOUR, "47 hours"),
        (48 * HOUR - 1801, "47 hours"),
        (48 * HOUR, "2 days"),
        (13 * DAY, "13 days"),
        (14 * DAY, "2 weeks"),
        (59 * DAY, "8 weeks"),
        (60 * DAY, "2 months"),
        (365 * DAY, "12 months"),
        (729 * DAY, "24 months"),
        (730 * DAY, "2 years"),
        (8 * 365 * DAY, "8 years"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert human_duration(seconds) == text


@pytest.mark.parametrize(
    ("text", "width", "short"),
    [
        ("a" * 45, 45, "a" * 45),
        ("a" * 46, 45, "a" * 44 + "…"),
        ("世" * 45, 45, "世" * 22 + "…"),
        ("世" * 22 + "a", 45, "世" * 22 + "a"),
        ("世" * 23 + "a", 45, "世" * 22 + "…"),
        ("é" * 3, 2, "é…"),
        ("abc", 1, "a"),
        ("", 1, ""),
        ("abc", 0, ""),
        ("世界", 2, "…"),
    ],
)
def test_ellipsis(text: str, width: int, short: str) -> None:
    assert ellipsis(text, width) == short


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("plain é 世界 👋", "plain é 世界 👋"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("a\u202eb\u2066c\u200f", "a\\u202eb\\u2066c\\u200f"),
        ("\x9b31m", "\\x9b31m"),
        ("a\nb\tc\rd\0", "a\\nb\\tc\\rd\\x00"),
        ("\udcff\ud800\u2028", "\\xff\\ud800\\u2028"),
    ],
)
def test_escape(text: str, safe: str) -> None:
    assert escape(text) == safe


@given(st.text())
def test_escaped_text_has_nothing_that_steers_a_terminal(text: str) -> None:
    safe = escape(text)
    assert not re.search("[\0-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]", safe)
    assert escape(safe) == safe


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "<nil>"),
        (True, "true"),
        ([1, "a", None, [False]], "[1 a <nil> [false]]"),
        ({"b": 1, "a": {"x": []}}, "map[a:map[x:[]] b:1]"),
        (100000.0, "100000"),
        (1e6, "1e+06"),
        (1234567.0, "1.234567e+06"),
        (0.0001, "0.0001"),
        (0.00001, "1e-05"),
        (1.5e300, "1.5e+300"),
        (-0.0, "-0"),
        (math.inf, "+Inf"),
        (math.nan, "NaN"),
    ],
)
def test_values_print_as_in_go(value: object, text: str) -> None:
    assert go_text(value) == text


@pytest.mark.parametrize(
    ("template", "values", "text"),
    [
        (
            "%d %s %v %q %x|%5d|%-5s|%05d|%t|%6.2f|%T",
            (1, "a", 2, "q", 255, 3, "b", 4, True, 1.5, 1),
            '1 a 2 "q" ff|    3|b    |00004|true|  1.50|int',
        ),
        ("%d", ("a",), "%!d(string=a)"),
        ("%s", (), "%!s(MISSING)"),
        ("%s", (1, 2), "%!s(int=1)%!(EXTRA int=2)"),
        ("%", (), "%!(NOVERB)"),
        ("%5%|%%", (), "%|%"),
        ("%!d", (1,), "%!!(int=1)d"),
        ("%s %v %d", (None, None, None), "%!s(<nil>) <nil> %!d(<nil>)"),
        ("%d", (["x", "y"],), "[%!d(string=x) %!d(string=y)]"),
        ("%q %q", (65, ["x"]), "'A' [\"x\"]"),
        ("%+d % d %06d %-6d| %x", (3, 4, -5, 6, -255), "+3  4 -00005 6     | -ff"),
        ("%e %g %f %8.3f %+.1e %G", (1.5, 1.5, 1.5, 1.5, 12345.678, 1e-7), "1.500000e+00 1.5 1.500000    1.500 +1.2e+04 1E-07"),
        ("%c %c %U %#x %#o %b", (0x1F600, -1, 65, 10, 10, 5), "😀 \ufffd U+0041 0xa 012 101"),
        ("%x %X|%05s|%.2s|%10.3s", ("é", ["x"], "c", "abc", "abcdef"), "c3a9 [78]|0000c|ab|       abc"),
        ("a", ("b", None, 1.5), "a%!(EXTRA string=b, <nil>, float64=1.5)"),
    ],
)
def test_printf(template: str, values: tuple[object, ...], text: str) -> None:
    assert printf(template, values) == text


def test_quoted() -> None:
    assert quoted('<&>é\u2028\x01"\\\t\udc80\U000e0001') == '"<&>é\\u2028\\x01\\"\\\\\\t\\x80\\U000e0001"'
    assert quoted("\x80\x7f") == '"\\u0080\\x7f"'


def test_compact_json() -> None:
    assert compact_json({"b": [1.0, 1e30, None, True], "a": "é<\u2028\x01"}) == '{"b":[1,1e+30,null,true],"a":"é<\\u2028\\u0001"}'
    assert compact_json("\ud800") == '"\ufffd"'
    circle: list[object] = []
    circle.append(circle)
    for bad in (math.nan, circle):
        with pytest.raises(InvalidArgument):
            compact_json(bad)
    with pytest.raises(InvalidArgument):
        go_text(circle)


@given(
    st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))
)
def test_compact_json_reads_back(value: object) -> None:
    assert json.loads(compact_json(value, html=True)) == json.loads(compact_json(value))


@given(
    st.text(alphabet="%+-# 0123456789.svdxqtTfegcUob*[]aé", max_size=20),
    st.lists(st.none() | st.integers() | st.text() | st.floats() | st.booleans(), max_size=4),
)
def test_printf_takes_anything(template: str, values: list[object]) -> None:
    assert isinstance(printf(template, values), str)
