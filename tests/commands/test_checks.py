from __future__ import annotations

from collections.abc import Callable

import pytest

from dockerlab.commands import checks


@pytest.mark.parametrize(
    ("check", "good", "bad"),
    [(checks.image_name, "a/b:1", "Upper"), (checks.variable, "A", "=x"), (checks.label, "a=", "=x"), (checks.condition, "label=", "label")],
)
def test_checks(check: Callable[[str], None], good: str, bad: str) -> None:
    check(good)
    with pytest.raises(ValueError):
        check(bad)
