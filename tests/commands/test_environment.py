from __future__ import annotations

from pathlib import Path

import pytest

from dockerlab.commands.environment import variables
from dockerlab.errors import InvalidArgument


def test_files_come_first_and_what_has_no_value_is_taken_from_the_host(tmp_path: Path) -> None:
    (tmp_path / "e").write_text("\ufeff# no\n\n  A=1 \nB=x=y\nC\nHOME\n")
    assert variables(tmp_path, ["e"], ["B=2", "NO", "HOME"], {"HOME": "/h"}) == {"A": "1 ", "B": "2", "HOME": "/h"}


@pytest.mark.parametrize(
    ("text", "said"),
    [(b"A B=1\n", "invalid env file (e): variable 'A B' contains whitespaces"), (b"=1\n", "invalid env file (e): no variable name on line '=1'"), (b"\xff=1\n", "invalid env file (e): ")],
)
def test_lines_that_are_none(tmp_path: Path, text: bytes, said: str) -> None:
    (tmp_path / "e").write_bytes(text)
    with pytest.raises(InvalidArgument) as caught:
        variables(tmp_path, ["e"], [], {})
    assert caught.value.message.startswith(said)


@pytest.mark.parametrize(("name", "said"), [("nosuch", "open nosuch: no such file or directory"), (".", "invalid env file (.): read .: is a directory")])
def test_files_that_are_none(tmp_path: Path, name: str, said: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        variables(tmp_path, [name], [], {})
    assert caught.value.message == said
