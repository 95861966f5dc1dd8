"""docker stats: what containers use, once or again and again."""

from __future__ import annotations

import time
from typing import Any

from dockerlab.commands.call import Call, Outcome
from dockerlab.commands.columns import human_size3, human_size_binary
from dockerlab.commands.rows import Rows
from dockerlab.engine.containers import Container
from dockerlab.engine.measuring import Sample, sample
from dockerlab.errors import NotFound

__all__ = ["stats"]

_HEADERS = {"Container": "CONTAINER", "ID": "CONTAINER ID", "Name": "NAME", "CPUPerc": "CPU %", "MemUsage": "MEM USAGE / LIMIT", "MemPerc": "MEM %", "NetIO": "NET I/O",
            "BlockIO": "BLOCK I/O", "PIDs": "PIDS"}  # fmt: skip
_DEFAULT = "table {{.ID}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.NetIO}}\t{{.BlockIO}}\t{{.PIDs}}"
_EVERY = 1.0  # seconds between two looks


def stats(call: Call) -> Outcome:
    """docker stats."""
    for name in call.args:
        call.engine.containers.get(name)
    before = _looked_at(call)
    if any(look.pids for _, _, look in before):
        time.sleep(_EVERY)
    while True:
        now = _looked_at(call)
        rows = _rows(call, before, now)
        if call.flag("no-stream"):
            return Outcome(rows)
        call.surface.again(f"{rows}\n")
        before = now
        time.sleep(_EVERY)


def _looked_at(call: Call) -> list[tuple[str, Container, Sample]]:
    named = call.args
    if not named:
        return [(c.short_id, c, sample(c)) for c in call.engine.containers.list(all=call.flag("all"))]
    found = []
    for name in named:
        try:
            container = call.engine.containers.get(name)
        except NotFound:
            continue  # it was removed meanwhile
        found.append((name, container, sample(container)))
    return found


def _rows(call: Call, before: list[tuple[str, Container, Sample]], now: list[tuple[str, Container, Sample]]) -> Rows:
    earlier = {container.id: look for _, container, look in before}
    rows = [_row(name, container, look, earlier.get(container.id, look), full=call.flag("no-trunc")) for name, container, look in now]
    return Rows(rows, _HEADERS, default=_DEFAULT, format=call.flag("format"), caption="what containers use")


def _row(name: str, container: Container, look: Sample, before: Sample, *, full: bool) -> dict[str, Any]:
    share = 100 * look.memory / look.limit if look.limit else 0.0
    return {
        "Container": name, "ID": container.id if full else container.short_id, "Name": container.name, "CPUPerc": f"{look.percent_since(before):.2f}%",
        "MemUsage": f"{human_size_binary(look.memory)} / {human_size_binary(look.limit)}", "MemPerc": f"{share:.2f}%", "NetIO": f"{human_size3(look.received)} / {human_size3(look.sent)}",
        "BlockIO": f"{human_size3(look.read)} / {human_size3(look.written)}", "PIDs": str(look.pids),
    }  # fmt: skip
