"""Lessons that follow one another in one notebook."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from dockerlab.course import lessons
from dockerlab.engine import current
from dockerlab.linux import loopback
from tests.conftest import end, strongest

pytest.importorskip("dulwich")


@pytest.fixture(autouse=True)
def own(tmp_path: Path, runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    strongest()
    monkeypatch.setenv("DOCKERLAB_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))


def test_a_lesson_that_is_left_gives_its_ports_and_its_hub_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loopback, "refusal", lambda ports: "permission denied")
    first = lessons.lesson(3, part=2)
    assert "port 8088 cannot be had here (permission denied)" in str(first) and "8088" in first._repr_mimebundle_()["text/html"]
    hub = first.hub()
    assert "a socket" in str(hub) and "<a href" not in hub._repr_mimebundle_()["text/html"]
    assert os.environ["DOCKERLAB_HUB"] == "http://localhost:8088"
    assert hub.web.request("GET", f"{hub.place}/").status == 200
    folder = Path(loopback.folder())
    second = lessons.lesson(1, part=3)
    assert not second.note and not loopback.folder() and "DOCKERLAB_HUB" not in os.environ and not folder.exists()
    assert not [thread.name for thread in threading.enumerate() if thread.name in ("ports", "registry")]
    for each in (first, second):
        end(each.engine)
    current.use(None)


def test_what_a_killed_kernel_left_is_taken_away(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = lessons.lesson(3, part=2)
    runtime = opened.engine.settings.runtime
    for name in (f"ports-{os.getpid()}", "ports-99999999"):
        (runtime / name).mkdir(exist_ok=True)
    again = lessons.lesson(3, part=2)
    assert [place.name for place in runtime.glob("ports-*")] == [f"ports-{os.getpid()}"]
    again.close()
    end(again.engine)
    current.use(None)
