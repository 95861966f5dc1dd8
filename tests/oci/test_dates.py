from __future__ import annotations

import pytest

from dockerlab.oci.dates import moment


@pytest.mark.parametrize(
    ("text", "iso"),
    [
        ("2026-11-29T10:00:00Z", "2026-11-29T10:00:00+00:00"), ("2026-11-29T10:00:00.123456789Z", "2026-11-29T10:00:00.123456+00:00"),
        ("2026-11-29T10:00:00+02:00", "2026-11-29T08:00:00+00:00"), ("2026-11-29T10:00:00", "2026-11-29T10:00:00+00:00"), ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00+00:00"),
        ("rubbish", "0001-01-01T00:00:00+00:00"), ("", "0001-01-01T00:00:00+00:00"), ("0001-01-01T00:00:00+23:00", "0001-01-01T00:00:00+00:00"),
    ],
)  # fmt: skip
def test_dates_of_documents(text: str, iso: str) -> None:
    assert moment(text).isoformat() == iso and moment(text).timestamp() > -1e12
