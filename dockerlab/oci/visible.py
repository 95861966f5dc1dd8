"""Text from elsewhere, made safe to look at: nothing moves the cursor, hides, or reads backwards."""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = ["some", "visible"]

_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")


def visible(text: str) -> str:
    """Gives `text` with control, bidi and undecodable characters spelled out, so that what is seen is what is there."""
    return _UNSAFE.sub(lambda m: f"\\x{ord(m[0]):02x}" if ord(m[0]) < 256 else f"\\u{ord(m[0]):04x}", text)


def some(names: Sequence[str], most: int = 3) -> str:
    """Gives the first few of some names, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
