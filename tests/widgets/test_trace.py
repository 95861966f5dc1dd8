from __future__ import annotations

from dockerlab.engine.tracing import Trace
from dockerlab.events import Advised, CacheHit, CacheMiss, LayerCommitted, StepEnded, StepFailed, StepStarted, TriggersStarted
from dockerlab.widgets import trace


def heard() -> Trace:
    now = iter(range(100))
    found = Trace(clock=lambda: float(next(now)))
    for event in (
        StepStarted(1, 4, "FROM base"), TriggersStarted(1, 1), StepStarted(1, 4, "RUN trig", trigger=True), CacheHit(1, "sha256:0123456789abcdef", True, "<Other>:3"), StepEnded(1, "i"),
        StepStarted(2, 4, "COPY <b> /x"), CacheMiss(2, "f has another content", True), LayerCommitted(2, 1500), StepEnded(2, "j"), Advised(2, "SetIdLeft", 2, "<i>\x1b"),
        StepStarted(3, 4, "RUN false"), CacheMiss(3, "step 2 was done again"), StepFailed(3, "c", True),
    ):  # fmt: skip
        found.hear(event)
    return found


def test_events_become_steps() -> None:
    found = heard()
    assert [(step.number, step.state, step.seconds, step.size, step.cause) for step in found.steps] == [
        (1, "base", 0.0, 0, ""), (1, "cached", 0.0, 0, ""), (2, "done", 1.0, 1500, "f has another content"), (3, "failed", 1.0, 0, "step 2 was done again"),
    ]  # fmt: skip
    assert trace.summary(found.steps) == "4 steps: 1 from the cache, 1 done in 2.0 s, 1 failed, 1.5kB added"
    assert str(found).startswith("3 of 4 steps: 1 from the cache")


def test_folded() -> None:
    going = heard().folded()._repr_mimebundle_()
    assert going["text/plain"].startswith("3 of 4 steps: ") and going["text/html"].startswith("<details open><summary>3 of 4 steps: ") and "<caption" not in going["text/html"]
    assert trace.folded(heard().steps, 3, "<a>").startswith("<details><summary>Image <b>&lt;a&gt;</b> · 4 steps: ")


def test_text() -> None:
    assert str(heard()).splitlines()[1:] == [
        "   1 ◆ base                              FROM base",
        "     ✓ from the cache                    ONBUILD RUN trig",
        "       0123456789ab, made by <Other>:3",
        "   2 ● done             1.00 s    1.5kB  COPY <b> /x",
        "       f has another content",
        "       SetIdLeft: <i>\\x1b",
        "   3 ✕ failed           1.00 s           RUN false",
        "       step 2 was done again",
    ]


def test_html_escapes() -> None:
    page = heard()._repr_mimebundle_()["text/html"]
    assert "<b>" in page and "<b> /x" not in page and "<i>" not in page and "\x1b" not in page and "● done" in page and "✕ failed" in page
