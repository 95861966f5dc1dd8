"""What results of checks make of a container's health."""

from __future__ import annotations

from dockerlab.runtime.health import Verdict


def heard(verdict: Verdict, *codes: int, since: float = 99.0) -> list[tuple[str, int, bool]]:
    found = []
    for code in codes:
        changed = verdict.hear({"ExitCode": code}, since)
        found.append((verdict.status, verdict.streak, changed))
    return found


def test_three_failures_make_it_unhealthy_and_one_success_healthy() -> None:
    verdict = Verdict(0, 0)
    assert heard(verdict, 1, -1, 2, 0, 1) == [("starting", 1, False), ("starting", 2, False), ("unhealthy", 3, True), ("healthy", 0, True), ("healthy", 1, False)]
    assert [result["ExitCode"] for result in verdict.results] == [1, -1, 2, 0, 1]
    heard(verdict, 7)
    assert [result["ExitCode"] for result in verdict.facts()["Log"]] == [-1, 2, 0, 1, 7]


def test_failures_do_not_count_while_it_starts() -> None:
    verdict = Verdict(1, 5.0)
    assert heard(verdict, 1, 1, since=4.9) == [("starting", 0, False)] * 2
    assert heard(verdict, 0, 1, since=4.9) == [("healthy", 0, True), ("unhealthy", 1, True)]  # it has started once it was healthy
