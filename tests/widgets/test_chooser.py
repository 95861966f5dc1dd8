"""The distribution chooser: what follows from the weights, and how it is shown."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockerlab.widgets.chooser import BEST, CRITERIA, MOST, WAYS, Measured, html, plain, ranked, text, widget

SENT = {"registry": Measured(1_148_773, 918, 0.031), "file": Measured(1_157_632, 1_157_632, 0.002), "source": Measured(189, 189)}
WEIGHTS = st.fixed_dictionaries({name: st.integers(0, MOST) for name in CRITERIA})


def test_every_way_has_every_mark_and_says_why() -> None:
    assert all(list(way.marks) == list(CRITERIA) for way in WAYS)
    assert all(1 <= mark.points <= BEST and mark.why for way in WAYS for mark in way.marks.values())
    assert {way.sends for way in WAYS} == set(SENT)


@given(WEIGHTS)
def test_the_best_stands_first(weights: Mapping[str, int]) -> None:
    shares = [share for share, _ in ranked(weights)]
    assert shares == sorted(shares, reverse=True) and all(0 <= share <= 1 for share in shares)
    assert len(shares) == len(WAYS)


@given(WEIGHTS, st.sampled_from(list(CRITERIA)))
def test_what_matters_more_helps_who_is_good_at_it(weights: dict[str, int], name: str) -> None:
    """With one thing alone that matters, the way with most marks in it is first."""
    only = dict.fromkeys(CRITERIA, 0) | {name: max(weights[name], 1)}
    first = ranked(only)[0][1]
    assert first.marks[name].points == max(way.marks[name].points for way in WAYS)


@pytest.mark.parametrize(("weights", "best"), [({"access": 5}, "infrastructure of your own"), ({"cost": 3, "visibility": 5}, "hosted registry, public"), ({"longevity": 5, "cost": 5}, "a file")])
def test_some_answers(weights: Mapping[str, int], best: str) -> None:
    assert ranked(weights)[0][1].name.startswith(best)


def test_text() -> None:
    shown = text("app", dict.fromkeys(CRITERIA, 1), SENT)
    assert "ways to distribute app" in shown and "1.15MB in 31 ms, again 918B" in shown and "189B, again 189B" in shown
    assert "–" in text("app", {}, {})


def test_html_says_why_and_escapes() -> None:
    shown = html("<b>app</b>", {"cost": 2}, SENT)
    assert "<b>app</b>" not in shown and "&lt;b&gt;app" in shown
    assert "★" in shown and "weight 2" in shown and "missing layers alone" in shown and "<script" not in shown
    assert "★" not in html("app", {}, SENT)


def test_plain_values() -> None:
    rows = plain({"cost": 1}, SENT)
    assert [row["fits"] for row in rows] == sorted((row["fits"] for row in rows), reverse=True)  # type: ignore[type-var]
    assert {row["bytes_again"] for row in rows} == {918, 1_157_632, 189}


def test_weights() -> None:
    pytest.importorskip("ipywidgets")
    heard: list[Mapping[str, int]] = []
    box = widget("app", {"cost": 1}, SENT, heard.append)
    *numbers, page = box.children
    before = page.value
    numbers[-1].value = 5
    assert page.value != before and heard[-1]["access"] == 5
