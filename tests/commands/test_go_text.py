from __future__ import annotations

import pytest

from dockerlab.commands.go_text import Time, compact_json, go_text
from dockerlab.commands.template import Template


@pytest.mark.parametrize(
    ("written", "printed"),
    [
        ("2026-11-23T17:44:18.295830257Z", "2026-11-23 17:44:18.295830257 +0000 UTC"),
        ("2026-11-23T17:44:18.100000000Z", "2026-11-23 17:44:18.1 +0000 UTC"),
        ("2026-11-23T17:44:18.000000000Z", "2026-11-23 17:44:18 +0000 UTC"),
        ("0001-01-01T00:00:00Z", "0001-01-01 00:00:00 +0000 UTC"),
    ],
)
def test_a_moment_is_printed_as_go_does_and_written_as_documents_do(written: str, printed: str) -> None:
    assert go_text(Time(written)) == printed and compact_json({"a": Time(written)}) == f'{{"a":"{written}"}}'
    assert Template("{{.T}} {{slice .T.String 0 4}}").render({"T": Time(written)}) == f"{printed} {printed[:4]}"
