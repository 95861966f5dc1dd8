from __future__ import annotations

from dockerlab.commands.containers import _lines


def test_a_line_of_a_log_that_came_in_pieces_is_one() -> None:
    chunks = [(1, 1, b"a\rb\x0bc\xc3"), (2, 2, b"err\n"), (3, 1, b"\xa4\nnext\n"), (4, 1, b"open")]
    assert _lines(chunks) == [(1, 1, b"a\rb\x0bc\xc3\xa4\n"), (2, 2, b"err\n"), (3, 1, b"next\n"), (4, 1, b"open")]
