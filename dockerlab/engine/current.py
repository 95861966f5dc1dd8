"""The engine that commands of this process speak to: a lesson's own, or the person's."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from dockerlab.oci.bundle import LAYOUT_FILE
from dockerlab.store.files import mark

if TYPE_CHECKING:
    from dockerlab.engine import Engine

__all__ = ["current", "use"]

_chosen: Engine | None = None
_own: tuple[int, ...] | None = None


def current() -> Engine:
    """Gives the engine in use. The person's own is made on first need, and anew where one of its folders was taken away since: what it knows of that is no more."""
    global _chosen, _own
    if _chosen is None or (_own and _own != _seen(_chosen)):
        from dockerlab.engine import Engine

        _chosen = Engine()
        _own = _seen(_chosen)
    return _chosen


def _seen(engine: Engine) -> tuple[int, ...] | None:
    try:
        return *mark(engine.home / LAYOUT_FILE), os.stat(engine.settings.runtime).st_ino
    except OSError:
        return None


def use(engine: Engine | None) -> None:
    """Makes `engine` the one in use here and in programs that are started from here; None returns to the person's own."""
    global _chosen, _own
    _chosen, _own = engine, None
    if engine is None:
        os.environ.pop("DOCKERLAB_HOME", None)
    else:
        os.environ["DOCKERLAB_HOME"] = str(engine.home)
