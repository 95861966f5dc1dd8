"""The command server's own files, watched."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from dockerlab.cli.sources import Sources
from dockerlab.linux import syscalls


@pytest.fixture(params=["told", "looked at"])
def sources(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sources]:
    """One module; the kernel tells of it, or cannot."""
    module = ModuleType("dockerlabs_own")
    module.__file__ = str(tmp_path / "own.py")
    (tmp_path / "own.py").write_text("1")
    for name in [name for name in sys.modules if name.startswith("dockerlab")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    if request.param == "looked at":
        monkeypatch.setattr(syscalls, "inotify", _refused)
    made = Sources()
    yield made
    if made.watch >= 0:
        os.close(made.watch)


def _refused(*_: object) -> int:
    raise OSError("too many of them")


def test_what_changes_is_seen(sources: Sources, tmp_path: Path) -> None:
    assert sources.same()
    (tmp_path / "another.py").write_text("1")
    assert sources.same(), "it is none of its own"
    os.utime(tmp_path / "own.py", (1, 1))
    assert not sources.same()
    assert not sources.same(), "once told is told"


@pytest.mark.parametrize("change", ["replaced", "removed"])
def test_what_comes_and_goes_is_seen(sources: Sources, tmp_path: Path, change: str) -> None:
    own = tmp_path / "own.py"
    if change == "removed":
        own.unlink()
    else:
        (tmp_path / "new").write_text("2")
        os.replace(tmp_path / "new", own)
    assert not sources.same()
    assert not sources.same(every=True)


def test_what_the_kernel_does_not_tell_is_looked_at(sources: Sources, tmp_path: Path) -> None:
    os.utime(tmp_path / "own.py", (1, 1))
    if sources.watch >= 0:
        os.read(sources.watch, 1 << 16)  # as if another machine had done it
        assert sources.same()
    assert not sources.same(every=True)
