"""Where an error is, whatever the Dockerfile and the message hold."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockerlab.build import instructions as ins
from dockerlab.build import parser
from dockerlab.build.pointing import place
from dockerlab.errors import DockerlabError


@pytest.mark.parametrize(
    ("text", "message", "spot"),
    [
        ("FROM a\nCOPY one two /x\n", "stat two: no such file", "2:10"),
        ("FROM a\nCOPY twofold two /x\n", "stat two: no such file", "2:14"),
        ("FROM a\n\tCOPY --from=b /x \\\n # a comment\n /y\n", "/y is wrong", "4:2"),
        ("FROM a\nRUN --network=none sh -c 'exit 3'\n", "The command 'exit' returned", "2:20"),
        ("FROM a\n  USER x\n", "nothing of it", "2:3"),
    ],
)
def test_the_word_that_the_message_speaks_of(text: str, message: str, spot: str) -> None:
    step = ins.instructions(parser.parse(text))[1]
    assert place(text, "My.df", step, message).startswith(f"  --> My.df:{spot}\n")


def test_an_instruction_that_stands_in_no_file() -> None:
    step = ins.instructions(parser.parse("FROM a\nUSER x\n"))[1]
    assert place("FROM a", "Dockerfile", step, "x") == ""


LINES = st.lists(st.sampled_from(["RUN a \\", " b", "COPY <<E /x", "E", "USER x", "RUN [\"a\"]", "ENV a=$b \\", "# c", "", "\tWORKDIR /\x1b[1m", "RUN --mount=type=tmpfs,target=/é x"]), max_size=6)


@given(LINES, st.text(max_size=30))
def test_nothing_breaks_it(lines: list[str], message: str) -> None:
    text = "\n".join(["FROM a", *lines])
    with contextlib.suppress(DockerlabError):
        for step in ins.instructions(parser.parse(text)):
            told = place(text, "D\x1b", step, message)
            first, shown, mark = told.split("\n")
            assert first.startswith("  --> D\\x1b:") and "\x1b" not in told and mark.rindex("^") <= len(shown)
