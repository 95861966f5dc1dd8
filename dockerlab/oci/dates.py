"""Dates of documents: RFC 3339, as the image-spec has them."""

from __future__ import annotations

import re
from datetime import UTC, datetime

__all__ = ["moment"]

_FRACTION = re.compile(r"\.(\d{1,6})\d*")


def moment(text: str) -> datetime:
    """Gives the date that a document names; the year 1, which docker takes for none, where it names none. Without an offset UTC is meant."""
    try:
        found = datetime.fromisoformat(_FRACTION.sub(r".\1", text))
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        return datetime.min.replace(tzinfo=UTC)
