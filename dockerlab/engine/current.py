"""The engine that commands of this process speak to: a lesson's own, or the person's."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dockerlab.engine import Engine

__all__ = ["current", "use"]

_chosen: Engine | None = None


def current() -> Engine:
    """Gives the engine in use, made on first need."""
    global _chosen
    if _chosen is None:
        from dockerlab.engine import Engine

        _chosen = Engine()
    return _chosen


def use(engine: Engine | None) -> None:
    """Makes `engine` the one in use here and in programs that are started from here; None returns to the person's own."""
    global _chosen
    _chosen = engine
    if engine is None:
        os.environ.pop("DOCKERLAB_HOME", None)
    else:
        os.environ["DOCKERLAB_HOME"] = str(engine.home)
