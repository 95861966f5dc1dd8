"""A verb with many arguments: each is tried, and what failed is told at the end, as docker's client does."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dockerlab.commands.call import Call
from dockerlab.errors import DockerlabError, NotFound

__all__ = ["attempts", "told"]


def attempts(action: Callable[[str], object], names: Sequence[str]) -> dict[str, DockerlabError]:
    """Does something to every name and gives the errors of those where it failed."""
    failed: dict[str, DockerlabError] = {}
    for name in names:
        try:
            action(name)
        except DockerlabError as error:
            failed[name] = error
    return failed


def told(call: Call, failed: dict[str, DockerlabError], *, forgive: bool = False) -> int:
    """Says what failed and gives the exit code; with `forgive` what is not there is no failure."""
    for error in failed.values():
        call.surface.err(f"Error response from daemon: {error.message}\n")
    return int(any(not (forgive and isinstance(error, NotFound)) for error in failed.values()))
