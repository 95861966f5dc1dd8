"""docker events: what happened in the store, and what happens."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from dockerlab.commands.call import Call, Outcome
from dockerlab.commands.columns import escape
from dockerlab.commands.filters import labelled
from dockerlab.commands.go_text import Struct, compact_json
from dockerlab.commands.logs import stamp, when
from dockerlab.commands.template import Template
from dockerlab.store.journal import Event

__all__ = ["events"]

_EVERY = 0.05  # seconds from one look to the next
_KINDS = ("container", "image", "volume", "network", "daemon", "plugin", "service", "node", "secret", "config")


def events(call: Call) -> Outcome:
    """docker events."""
    since, until = (when(call.flag(name)) for name in ("since", "until"))
    begun = time.time_ns() if since is None and until is None else since or 0
    wanted, shown = _wanted(call.flag("filter")), _shown(call.flag("format"))

    def more() -> bool:
        if until is not None and time.time_ns() > until:
            return False
        time.sleep(_EVERY)
        return True

    for event in call.engine.journal.read(more):
        if begun <= event.time and (until is None or event.time <= until) and wanted(event):
            call.out(shown(event))
    return Outcome()


def _shown(format: str) -> Callable[[Event], str]:
    if not format:
        return _line
    if format in ("json", "{{json .}}"):
        return lambda event: compact_json(_message(event), html=True)
    template = Template.typed(format)
    return lambda event: template.render(_fields(event))


def _line(event: Event) -> str:
    more = ", ".join(f"{name}={value}" for name, value in sorted(event.attributes.items()))
    said = escape(f"{event.type} {event.action} {event.id}" + (f" ({more})" if more else ""))
    return f"{stamp(event.time)} {said}"


def _message(event: Event) -> dict[str, Any]:
    """Gives an event as docker's API does, which names a container in two ways."""
    old: dict[str, Any] = {"status": event.action, "id": event.id} if event.type in ("container", "image") else {}
    if event.type == "container":
        old["from"] = event.attributes["image"]
    attributes = dict(sorted(event.attributes.items()))
    actor = {"ID": event.id, "Attributes": attributes}
    return {**old, "Type": event.type, "Action": event.action, "Actor": actor, "scope": "local", "time": event.time // 10**9, "timeNano": event.time}


def _fields(event: Event) -> dict[str, Any]:
    known = event.type in ("container", "image")
    return Struct({
        "Status": event.action if known else "", "ID": event.id if known else "", "From": event.attributes["image"] if event.type == "container" else "",
        "Type": event.type, "Action": event.action, "Actor": Struct({"ID": event.id, "Attributes": event.attributes}), "Scope": "local", "Time": event.time // 10**9, "TimeNano": event.time,
    })  # fmt: skip


def _wanted(conditions: tuple[str, ...]) -> Callable[[Event], bool]:
    """Gives what tells whether an event is asked for: of several conditions of one name one has to hold, of each name."""
    named: dict[str, list[str]] = {}
    for word in conditions:
        name, _, value = word.partition("=")
        named.setdefault(name, []).append(value)
    return lambda event: all(any(_holds(event, name, value) for value in values) for name, values in named.items())


def _holds(event: Event, name: str, value: str) -> bool:
    if name == "event":
        return event.action == value or event.action.partition(":")[0] == value
    if name == "type":
        return event.type == value
    if name == "scope":
        return value == "local"
    if name == "label":
        return labelled(event.attributes, value)
    if name == "image":
        return value in (event.attributes.get("image" if event.type == "container" else "name", ""), event.id)
    if name in _KINDS:
        about = event.type == name and (event.id.startswith(value) or event.attributes.get("name") == value)
        return about or (name == "container" and event.attributes.get("container", "").startswith(value))
    return True
