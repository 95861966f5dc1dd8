from __future__ import annotations

import pytest

from dockerlab.runtime.refusals import why

ONE = 0xFFFFFFFF


@pytest.mark.parametrize(
    ("name", "args", "own", "said"),
    [
        ("chown", (1, 0, 0), (0, 0), ""),
        ("chown", (1, ONE, ONE), (0, 0), ""),
        ("chown", (1, 2**64 - 1, 0), (0, 0), ""),
        ("chown", (1, 33, 33), (0, 0), "chown to 33:33 was refused"),
        ("fchown", (1, ONE, 42), (0, 0), "chown to :42 was refused"),
        ("fchownat", (3, 1, 7, ONE, 0), (0, 0), "chown to 7: was refused"),
        ("lchown", (1, 1000, 100), (1000, 100), ""),
        ("lchown", (1, 0, 100), (1000, 100), ""),
        ("setuid", (0,), (0, 0), ""),
        ("setuid", (1000,), (0, 0), "setuid to user 1000 was refused"),
        ("setresuid", (ONE, 42, ONE), (0, 0), "setresuid to user 42 was refused"),
        ("setresgid", (5, 5, 5), (0, 5), ""),
        ("setregid", (5, 6), (0, 5), "setregid to group 5 was refused"),
    ],
)
def test_why(name: str, args: tuple[int, ...], own: tuple[int, int], said: str) -> None:
    text = why(name, args, own)
    assert text.startswith(said) and bool(text) == bool(said)
    assert "subuid" in text or not said
