"""dockerlab ways: how an image could be distributed."""

from __future__ import annotations

import json

from dockerlab.commands.call import Call, Outcome
from dockerlab.errors import InvalidArgument

__all__ = ["ways"]


def ways(call: Call) -> Outcome:
    """dockerlab ways."""
    weights = {}
    for word in call.flag("weight"):
        name, _, value = word.partition("=")
        if not value.isdecimal():
            raise InvalidArgument(f'invalid argument "{word}" for "-w, --weight" flag', hint="write NAME=NUMBER, as cost=3")
        weights[name] = int(value)
    found = call.engine.images.ways(call.args[0], **weights)
    if call.flag("json"):
        call.out(json.dumps(found.plain))
        return Outcome()
    return Outcome(found)
