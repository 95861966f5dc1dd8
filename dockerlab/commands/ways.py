"""dockerlab ways: how an image could be distributed."""

from __future__ import annotations

import json

from dockerlab.commands.call import Call, Outcome
from dockerlab.errors import InvalidArgument

__all__ = ["ways"]


def ways(call: Call) -> Outcome:
    """dockerlab ways."""
    from dockerlab.engine.ways import Ways, measured

    weights = {}
    for word in call.flag("weight"):
        name, _, value = word.partition("=")
        if not value.isdecimal():
            raise InvalidArgument(f'invalid argument "{word}" for "-w, --weight" flag', hint="write NAME=NUMBER, as cost=3")
        weights[name] = int(value)
    Ways("", {}, **weights)  # what is wrong with a weight is said before anything is measured
    image = call.engine.images.get(call.args[0])
    found = Ways(call.args[0], measured(call.engine, image), **weights)
    if call.flag("json"):
        call.out(json.dumps(found.plain))
        return Outcome()
    return Outcome(found)
