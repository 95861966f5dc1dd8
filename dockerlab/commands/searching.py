"""docker search."""

from __future__ import annotations

from functools import partial
from typing import Any

from dockerlab.commands.call import Call, Outcome
from dockerlab.commands.columns import ellipsis
from dockerlab.commands.filters import TRUTH, passes
from dockerlab.commands.rows import Rows
from dockerlab.engine.searching import Result
from dockerlab.errors import InvalidRequest

__all__ = ["search"]

_HEADERS = {"Name": "NAME", "Description": "DESCRIPTION", "StarCount": "STARS", "IsOfficial": "OFFICIAL"}
_TABLE = "table {{.Name}}\t{{.Description}}\t{{.StarCount}}\t{{.IsOfficial}}"
_OLD = 'WARNING: the "is-automated" filter is deprecated, and searching for "is-automated=true" will not yield any results in future.\n'
_WIDTH = 45
_MOST, _USUAL = 100, 25


def search(call: Call) -> Outcome:
    """docker search."""
    from dockerlab.engine.searching import search as found

    if any(word.startswith("is-automated=") for word in call.flag("filter")):
        call.surface.err(_OLD)
    tests = [_condition(word) for word in call.flag("filter")]
    limit = call.flag("limit") or _USUAL
    if not 1 <= limit <= _MOST:
        raise InvalidRequest(f"Limit {limit} is outside the range of [1, {_MOST}]")
    results = [each for each in found(call.engine.distribution, call.args[0], limit) if passes(tests, partial(_fits, each))]
    plain = call.flag("format").strip() in ("json", "{{json .}}")
    rows = [_row(each, whole=call.flag("no-trunc"), marks=("false", "true") if plain else ("", "[OK]")) for each in sorted(results, key=lambda each: -each.stars)]
    return Outcome(Rows(rows, _HEADERS, default=_TABLE, format=call.flag("format"), caption=f"repositories: {len(rows)}"))


def _row(result: Result, *, whole: bool, marks: tuple[str, str]) -> dict[str, Any]:
    text = result.description.replace("\n", " ").replace("\r", " ")
    return {"Name": result.name, "Description": text if whole else ellipsis(text, _WIDTH), "StarCount": str(result.stars), "IsOfficial": marks[result.official]}


def _condition(word: str) -> tuple[str, str]:
    name, _, value = word.partition("=")
    if name not in ("is-automated", "is-official", "stars"):
        raise InvalidRequest(f"Invalid filter '{name}'", hint="filter by is-automated, is-official, stars")
    if not (value.isdecimal() if name == "stars" else value.lower() in TRUTH):
        raise InvalidRequest(f"Invalid filter '{name}={value}'" if name == "stars" else f"Invalid filter '{name}=[{value}]'", hint="stars=NUMBER, is-official=true, is-automated=true")
    return name, value


def _fits(result: Result, name: str, value: str) -> bool:
    if name == "stars":
        return result.stars >= int(value)
    return (result.official if name == "is-official" else result.automated) == TRUTH[value.lower()]
