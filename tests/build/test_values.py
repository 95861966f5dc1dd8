from __future__ import annotations

import pytest

from dockerlab.build.values import checked_signal, ports
from dockerlab.errors import BuildFailed


@pytest.mark.parametrize(
    ("word", "found"),
    [("80", ["80/tcp"]), ("53/udp", ["53/udp"]), ("53/UDP", ["53/udp"]), ("90-91", ["90/tcp", "91/tcp"])],
)
def test_ports(word: str, found: list[str]) -> None:
    assert list(ports(word)) == found


@pytest.mark.parametrize("word", ["abc", "", "70000", "9-8", "80/foo", "8 0"])
def test_what_is_no_port(word: str) -> None:
    with pytest.raises(BuildFailed, match=r"Invalid (containerPort|proto)"):
        list(ports(word))


def test_signals() -> None:
    assert [checked_signal(word) for word in ("SIGTERM", "int", "9", "RTMIN+3")] == ["SIGTERM", "int", "9", "RTMIN+3"]
    for word in ("SIGFOO", "0", "65", ""):
        with pytest.raises(BuildFailed, match=f"Invalid signal: {word}"):
            checked_signal(word)
