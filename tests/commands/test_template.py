from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dockerlab.commands.template import Template
from dockerlab.errors import InvalidArgument

CLIENT = shutil.which("docker", path="/usr/local/bin:/usr/bin")

VALUE: dict[str, Any] = {
    "Id": "abc",
    "M": {"a": "x", "e": [], "l": ["1", "2", None, True], "m": {}, "n": None},
    "S": "str",
    "N": None,
    "T": True,
    "L": ["x", "y"],
    "D": [{"K": "1", "V": "2"}, {"K": "2"}],
    "H": '<&>é\u2028\x01"',
    "E": "",
}
START = "template parsing error: template: "


def rendered(text: str, value: Any = VALUE) -> str:
    """What the template gives, or the words of its error."""
    try:
        return Template(text).render(value)
    except InvalidArgument as error:
        return str(error)


CASES = [
    (
        "{{.}}{{.N}}",
        (
            'map[D:[map[K:1 V:2] map[K:2]] E: H:<&>é\u2028\x01" Id:abc L:[x y] M:map[a:x e:[] l:[1 2 <nil> true] m:map[] n:<nil>] '
            "N:<nil> S:str T:true]<no value>"
        ),
    ),
    ("{{json .M}}", '{"a":"x","e":[],"l":["1","2",null,true],"m":{},"n":null}'),
    ("{{.H | json}}", '"<&>é\\u2028\\u0001\\""'),
    ('{{index .M "a"}}{{index .M "nope"}}{{index .D 0 "K"}}{{index .L 1}}', "x<no value>1y"),
    ("{{.M.a}} {{(.M).a}} {{(index .D 1).K}} {{$.S}}", "x x 2 str"),
    ("{{range $k, $v := .M}}{{$k}}={{$v}};{{end}}", "a=x;e=[];l=[1 2 <nil> true];m=map[];n=<no value>;"),
    ("{{range $i, $e := .L}}{{$i}}{{$e}}{{.}} {{end}}{{range $x := .L}}{{$x}}{{end}}", "0xx 1yy xy"),
    ("{{range .E | json | len}}x{{end}}{{range .M.e}}x{{else}}none{{end}}{{range .N}}x{{else}}none{{end}}", "xxnonenone"),
    ("{{range -1}}x{{else}}none{{end}}{{range 3}}{{.}}{{end}}", "none012"),
    ('{{range .L}}{{if eq . "y"}}{{break}}{{end}}{{.}}{{continue}}z{{end}}', "x"),
    ("{{if .N}}a{{else if .E}}b{{else if .M.m}}c{{else}}d{{end}}{{if .T}}e{{end}}", "de"),
    ("{{with .S}}{{.}}{{end}}{{with .E}}x{{else}}{{.S}}{{end}}", "strstr"),
    ("{{with $x := .L}}{{len $x}}{{end}}{{with .N}}{{else with .S}}{{.}}{{end}}", "2str"),
    ("{{$x := 3}}{{$x}}{{if true}}{{$x = 4}}{{$x := 5}}{{end}}{{$x}}{{$y := $x | print}}{{$y}}", "344"),
    ("a {{- 1 -}} b {{/* c */}}{{- /* d */ -}} e{{3 -}} f{{-3}}{{- 1}}", "a1b e3f-31"),
    ('{{eq 1 1}} {{eq 1 2 1}} {{ne 1 2}} {{lt "a" "b"}}', "true true true true"),
    ('{{le 1 1}} {{gt 1 2}} {{ge 1.5 1.5}} {{eq nil nil}} {{eq .N "a"}} {{eq "é" .E}}', "true false true true false false"),
    ("{{and 1 0}} {{or 0 .S}} {{not 0}} {{and .S .N .Nope}} {{or true .Nope}} {{and .N .Nope}}", "0 str true <no value> true <no value>"),
    ('{{len .L}} {{len "é"}} {{slice "abcdef" 1 3}} {{slice .L 1}} {{index "abc" 1}} {{len (slice .L)}}', "2 2 bc [y] 98 2"),
    ('{{split "a,b" ","}} {{join (split "éa" "") "-"}} {{len (split "" ",")}} {{split "" ""}}', "[a b] é-a 1 []"),
    ('{{upper "a"}}{{lower "B"}}|{{title "hello wORLD éa ßb d_e.f 1a"}}', "Ab|Hello WORLD Éa ßb D_e.F 1a"),
    ('|{{pad "a" 2 3}}|{{pad "" 2 3}}|{{truncate "ébcdef" 3}}|{{truncate "ab" 5}}', "|  a   ||éb|ab"),
    ('{{print 1 2 "a" "b" 3 nil nil}} {{println 1 "a"}}|', "1 2ab3 <nil> <nil> 1 a\n|"),
    ('{{print nil .N}} {{1 | print 2}} {{printf "%s-%v" .S .L}}{{"a" | printf "%s"}}', "<nil> <nil> 2 1 str-[x y]a"),
    ("{{1.5}} {{0x10}} {{1e3}} {{1_000}} {{010}} {{0b11}} {{0o17}} {{'a'}}", "1.5 16 1000 1000 8 3 15 97"),
    ("{{'\\n'}} {{'\\x41'}} {{.5}} {{-0x1F}} {{+1}}", "10 65 0.5 -31 1"),
    ('{{"\\u00e9\\x41\\101\\xc3\\xa9\\"\\U0001F600"}}{{`raw\\n`}}{{"}}"}}', 'éAAé"😀raw\\n}}'),
    ("a\\tb {{.}}}}{ }}".replace("{{.}}", "{{.S}}"), "a\\tb str}}{ }}"),
    ("{{ (((1))) }}{{1|}}{{print (1) (2)}}{{true | print | len}}", "111 24"),
]


@pytest.mark.parametrize(("text", "wanted"), CASES)
def test_renders_as_go_does(text: str, wanted: str) -> None:
    assert rendered(text) == wanted


FAULTS = [
    ("{{.Nope}}", ':1:2: executing "" at <.Nope>: map has no entry for key "Nope"'),
    ("ab\né{{.M.nope}}", ':2:6: executing "" at <.M.nope>: map has no entry for key "nope"'),
    ("{{.M.a.x}}", ':1:4: executing "" at <.M.a.x>: can\'t evaluate field x in type interface {}'),
    ("{{.N.x.y}}", ':1:4: executing "" at <.N.x.y>: nil pointer evaluating interface {}.x'),
    ("{{range .D}}{{.V}},{{end}}", ':1:14: executing "" at <.V>: map has no entry for key "V"'),
    ("{{index .L 5}}", ':1:2: executing "" at <index .L 5>: error calling index: index out of range: 5'),
    ('{{index .L "a"}}', ':1:2: executing "" at <index .L "a">: error calling index: cannot index slice/array with type string'),
    ("{{index .M 1}}", ':1:2: executing "" at <index .M 1>: error calling index: value has type int; should be string'),
    ("{{index .N 0}}", ':1:2: executing "" at <index .N 0>: error calling index: index of untyped nil'),
    ("{{range .S}}{{.}}{{end}}", ':1:8: executing "" at <.S>: range can\'t iterate over str'),
    ("{{len}}", ':1:2: executing "" at <len>: wrong number of args for len: want 1 got 0'),
    ("{{eq}}", ':1:2: executing "" at <eq>: wrong number of args for eq: want at least 1 got 0'),
    ("{{eq 1}}", ':1:2: executing "" at <eq 1>: error calling eq: missing argument for comparison'),
    ('{{eq 1 "a"}}', ':1:2: executing "" at <eq 1 "a">: error calling eq: incompatible types for comparison'),
    ("{{eq .L .L}}", ':1:2: executing "" at <eq .L .L>: error calling eq: non-comparable type [x y]: []interface {}'),
    ("{{lt true false}}", ':1:2: executing "" at <lt true false>: error calling lt: invalid type for comparison'),
    ("{{upper 1}}", ':1:8: executing "" at <1>: expected string; found 1'),
    ("{{upper .L}}", ':1:8: executing "" at <.L>: wrong type for value; expected string; got []interface {}'),
    ("{{upper nil}}", ':1:8: executing "" at <nil>: cannot assign nil to string'),
    ('{{"aa" | len | upper}}', ':1:15: executing "" at <upper>: wrong type for value; expected string; got int'),
    ('{{truncate .S "a"}}', ':1:14: executing "" at <"a">: expected integer; found "a"'),
    ('{{join "a" ","}}', ':1:7: executing "" at <"a">: can\'t handle "a" for arg of type []string'),
    ('{{slice "abc" 2 1}}', ':1:2: executing "" at <slice "abc" 2 1>: error calling slice: invalid slice index: 2 > 1'),
    ('{{pad "a" -1 1}}', ':1:2: executing "" at <pad "a" -1 1>: error calling pad: strings: negative Repeat count'),
    ("{{1 2}}", ':1:2: executing "" at <1>: can\'t give argument to non-function 1'),
    ("{{.S 1}}", ':1:2: executing "" at <.S>: S is not a method but has arguments'),
    ("{{1 | .S}}", ':1:6: executing "" at <.S>: S is not a method but has arguments'),
    ("{{nil}}", ':1:2: executing "" at <nil>: nil is not a command'),
    ("{{(1).x}}", ':1:3: executing "" at <1>: can\'t evaluate field x in type int'),
    ("{{$x = 2}}", ':1:7: executing "" at <2>: undefined variable: $x'),
    ("{{range $i, $x := 3}}{{end}}", ':1:18: executing "" at <3>: can\'t use 3 to iterate over more than one variable'),
    ("{{", ":1: unclosed action"),
    ("\n\n{{.A", ":3: unclosed action"),
    ("{{/* a }}", ":1: unclosed comment"),
    ("{{/* a */ 1}}", ":1: comment ends before closing delimiter"),
    ("{{end}}", ":1: unexpected {{end}}"),
    ("{{else}}", ":1: unexpected {{else}}"),
    ("{{if 1}}", ":1: unexpected EOF"),
    ("{{if}}x{{end}}", ":1: missing value for if"),
    ("{{}}", ":1: missing value for command"),
    ("{{()}}", ":1: missing value for parenthesized pipeline"),
    ("{{#}}", ':1: unexpected "#" in command'),
    ("{{|}}", ':1: unexpected "|" in command'),
    ("{{1||2}}", ':1: unexpected "|" in command'),
    ("{{1 ; 2}}", ':1: unexpected ";" in operand'),
    ('{{"a""b"}}', ':1: unexpected "\\"b\\"" in operand'),
    ("{{.S.}}", ":1: unexpected <.> in operand"),
    ("{{.a-b}}", ":1: bad character U+002D '-'"),
    ("{{$x=1}}", ":1: bad character U+003D '='"),
    ('{{"abc}}', ":1: unterminated quoted string"),
    ("{{`abc}}", ":1: unterminated raw quoted string"),
    ("{{'a}}", ":1: unterminated character constant"),
    ("{{'ab'}}", ":1: malformed character constant: 'ab'"),
    ('{{"\\q"}}', ":1: invalid syntax"),
    ("{{1a}}", ':1: bad number syntax: "1a"'),
    ("{{1-1}}", ':1: bad number syntax: "1-1"'),
    ("{{0x}}", ':1: illegal number syntax: "0x"'),
    ("{{1e}}", ':1: illegal number syntax: "1e"'),
    ("{{ - }}", ':1: illegal number syntax: "-"'),
    ("{{1e400}}", ':1: illegal number syntax: "1e400"'),
    ("{{99999999999999999999}}", ':1: integer overflow: "99999999999999999999"'),
    ("{{(1}}", ":1: unclosed left paren"),
    ("{{1)}}", ":1: unexpected right paren"),
    ("{{nosuch}}{{#}}", ':1: function "nosuch" not defined'),
    ("{{$y}}", ':1: undefined variable "$y"'),
    ("{{if $x := 1}}{{end}}{{$x}}", ':1: undefined variable "$x"'),
    ("{{$x, $y := 1}}", ":1: too many declarations in command"),
    ("{{range $i,$x,$z := 1}}{{end}}", ":1: too many declarations in range"),
    ("{{range $x, 1 := .L}}{{end}}", ":1: range can only initialize variables"),
    ("{{1 | 2}}", ":1: non executable command in pipeline stage 2"),
    ('{{"a".x}}', ':1: unexpected . after term "\\"a\\""'),
    ("{{break}}", ":1: {{break}} outside {{range}}"),
    ("{{if 1}}{{else}}{{else}}{{end}}", ":1: expected end; found {{else}}"),
    ("{{if 1}}{{else with 1}}{{end}}", ":1: unexpected <with> in input"),
    ("{{if 1}}{{else range}}{{end}}", ":1: unexpected <range> in else"),
    ("{{if 1}}{{end 1}}", ':1: unexpected "1" in end'),
]


@pytest.mark.parametrize(("text", "message"), FAULTS)
def test_faults_have_gos_words(text: str, message: str) -> None:
    assert rendered(text) == START + message


def test_what_is_left_out_says_so() -> None:
    for word in ("define", "template", "block"):
        with pytest.raises(InvalidArgument, match=f"{word}}}}} cannot be used here"):
            Template(f'{{{{{word} "x"}}}}')


def test_a_function_stands_for_a_method() -> None:
    value = {"Label": lambda name: f"<{name}>", "N": "a"}
    assert rendered('{{.Label "k"}} {{.Label .N}} {{.N | .Label}}', value) == "<k> <a> <a>"


def test_headings_give_back_the_first_argument_and_stop_at_a_fault() -> None:
    names = {"Names": "NAMES", "ID": "CONTAINER ID"}
    assert Template("{{upper .Names}} {{truncate .ID 3}} {{pad .ID 1 0}}").headings(names) == "NAMES CONTAINER ID  CONTAINER ID"
    assert Template("{{.ID}} {{.Nope}} {{.Names}}").headings(names) == "CONTAINER ID "


@pytest.fixture(scope="module")
def inspect() -> Iterator[Any]:
    """The real client's `inspect --format`, which reads VALUE from a daemon of ours."""
    if CLIENT is None:
        pytest.skip("docker's client is not installed")

    class Daemon(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b"OK" if self.path.endswith("_ping") else json.dumps(VALUE).encode()
            self.send_response(200)
            self.send_header("Api-Version", "1.50")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, format: str, *args: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Daemon) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        env = {**os.environ, "DOCKER_HOST": f"tcp://127.0.0.1:{server.server_port}"}

        def ask(text: str) -> str:
            argv = [str(CLIENT), "inspect", "--type", "container", "--format", text, "x"]
            done = subprocess.run(argv, env=env, capture_output=True, text=True, errors="surrogateescape", timeout=30, check=False)
            return (done.stdout.removesuffix("\n") if done.returncode == 0 else done.stderr).strip("\n")

        yield ask
        server.shutdown()


@pytest.mark.parametrize("text", [text for text, _ in (*CASES, *FAULTS)])
def test_agrees_with_the_client(text: str, inspect: Any) -> None:
    assert rendered(text).strip("\n") == inspect(text)


PIECES = st.sampled_from(
    ["{{", "}}", "{{- ", " -}}", "{{.}}", "{{.M.a}}", "{{.L}}", "{{range .L}}", "{{range $i, $e := .M}}", "{{if .N}}", "{{else}}"]
    + ["{{else if .T}}", "{{end}}", "{{with .M}}", "{{$x := 1}}", "{{$x}}", "{{/* */}}", '{{printf "%d %q %v" .S .L}}', "{{index .L 0}}"]
    + ["{{json .}}", "{{len .S | print}}", "{{break}}", "{{slice .S 1 2}}", "{{(.M).a}}", ".", "|", "(", ")", ",", ":=", "=", '"a"', "'b'"]
    + ["`c`", "1", "0x", ".M", "$", "$x", "and", "or", "not", "eq", "lt", "join", "split", "title", "nil", "true", "-1", "\\", "\n", " "]
)


@given(st.lists(PIECES | st.text(max_size=3), max_size=14).map("".join))
@settings(max_examples=300)
def test_any_text_is_rendered_or_refused(text: str) -> None:
    assert isinstance(rendered(text), str)


@given(
    st.lists(PIECES | st.text(max_size=3), max_size=8).map(lambda parts: "{{" + " ".join(parts).replace("{{", "").replace("}}", "") + "}}")
)
@settings(max_examples=300)
def test_any_action_is_rendered_or_refused(text: str) -> None:
    assert isinstance(rendered(text), str)


@settings(deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_any_value_is_rendered_or_refused(value: Any) -> None:
    assert isinstance(rendered('{{.}}{{json .}}{{printf "%d %s %x %q %f" . . . . .}}{{range .}}{{.}}{{end}}{{len .}}', value), str)


@pytest.mark.parametrize(
    "text",
    [
        "{{" + "(" * 5000 + "1" + ")" * 5000 + "}}",
        "{{if 1}}" * 5000 + "{{end}}" * 5000,
        "{{if 1}}" + "{{else if 1}}" * 5000 + "{{end}}",
        "{{range 1000000000}}{{end}}",
        "{{range 1000000000}}x{{end}}",
        "{{range 100000}}{{range 100000}}{{end}}{{end}}",
        '{{$x := "aaaaaaaaaa"}}{{range 100}}{{$x = print $x $x}}{{end}}',
        '{{$x := "a"}}{{range 100}}{{$x = json (print $x $x "<")}}{{end}}{{$x}}',
        '{{range 1000}}{{printf "%1000000d" 1}}{{end}}',
        '{{pad "a" 999999999 999999999}}',
        "{{" + "9" * 100_000 + "}}",
    ],
)
def test_hostile_templates_are_stopped(text: str) -> None:
    with pytest.raises(InvalidArgument):
        Template(text).render(VALUE)


def test_hostile_values_are_stopped() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    for text in ("{{.}}", "{{json .}}", '{{printf "%d" .}}', "{{index . 0 0}}{{eq . 1}}"):
        with pytest.raises(InvalidArgument):
            Template(text).render(deep)
    while deep:
        deep = deep.pop()


def test_long_texts_stay_quick() -> None:
    assert Template("x" * 1_000_000 + "{{.S}}" * 10_000).render(VALUE).endswith("strstr")
    assert Template("{{.S" + " " * 200_000 + "}}").render(VALUE) == "str"
    assert rendered("{{" + "{" * 200_000).startswith(START)
    assert rendered('{{"' + "\\a" * 200_000).startswith(START)
    assert rendered("{{print" + " 1" * 100_000 + "}}").count("1") == 100_000
