from __future__ import annotations

import time

import pytest

from dockerlab.commands.logs import _lines, instant
from dockerlab.errors import InvalidArgument


def test_a_line_of_a_log_that_came_in_pieces_is_one() -> None:
    chunks = [(1, 1, b"a\rb\x0bc\xc3"), (2, 2, b"err\n"), (3, 1, b"\xa4\nnext\n"), (4, 1, b"open")]
    assert list(_lines(chunks)) == [(2, 2, b"err\n"), (1, 1, b"a\rb\x0bc\xc3\xa4\n"), (3, 1, b"next\n"), (4, 1, b"open")]


def test_moments_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    assert instant("since", "") is None
    assert instant("since", "1700000000.5") == 1_700_000_000_500_000_000
    assert instant("since", "2023-11-14T22:13:20Z") == instant("since", "2023-11-14T22:13:20") == instant("since", "2023-11-14T23:13:20+01:00") == 1_700_000_000 * 10**9
    assert instant("since", "2023-11-14") == instant("since", "2023-11-14T00") == instant("since", "2023-11-14T00:00")
    assert abs((instant("since", "1h30m") or 0) - (time.time_ns() - 5400 * 10**9)) < 10**9


@pytest.mark.parametrize("text", ["foo", "10:11", "2023-13-01", "1.5.5", "-"])
def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match='invalid value for "until": failed to parse value as time or duration'):
        instant("until", text)
