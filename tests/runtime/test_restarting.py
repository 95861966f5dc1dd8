"""When a container begins again."""

from __future__ import annotations

import pytest

from dockerlab.runtime.restarting import Restarts, again


@pytest.mark.parametrize(
    ("policy", "code", "count", "stopped", "wanted"),
    [
        ("", 1, 0, False, False),
        ("no", 1, 0, False, False),
        ("always", 0, 99, True, True),
        ("unless-stopped", 0, 99, False, True),
        ("unless-stopped", 1, 0, True, False),
        ("on-failure", 0, 0, False, False),
        ("on-failure", 3, 99, True, True),
        ("on-failure:2", 3, 1, False, True),
        ("on-failure:2", 3, 2, False, False),
    ],
)
def test_policies(policy: str, code: int, count: int, stopped: bool, wanted: bool) -> None:
    assert again(policy, code, count=count, stopped=stopped) is wanted


def test_the_wait_doubles_up_to_a_minute_and_begins_anew_after_ten_seconds() -> None:
    restarts = Restarts()
    waits = [restarts.after("always", 1, 0.5) for _ in range(12)]
    assert waits == [pytest.approx(min(0.1 * 2**n, 60)) for n in range(12)]
    assert restarts.after("always", 1, 10.5) == 0.1
    restarts.cancelled = True
    assert restarts.after("always", 1, 0.5) is None
