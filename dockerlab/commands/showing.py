"""What every form of `inspect` does with what it finds: JSON, or a template's lines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dockerlab.commands.call import Call, Outcome
from dockerlab.commands.go_text import compact_json
from dockerlab.commands.rows import Text, indented
from dockerlab.commands.template import Template
from dockerlab.errors import DockerlabError, InvalidArgument

__all__ = ["shown"]


def shown(call: Call, look: Callable[[Call, str], dict[str, Any]]) -> Outcome:
    """Shows what `look` finds of each argument, and says at the end what it did not find."""
    whole = call.flag("format") == "json"
    template = None if whole else _template(call.flag("format"))
    found: list[dict[str, Any]] = []
    rendered: list[str] = []
    failed: list[str] = []
    for name in call.args:
        try:
            found.append(look(call, name))
            rendered += [template.render(found[-1])] if template else []
        except DockerlabError as error:
            failed.append(error.message)
    text = compact_json(found, html=True) if whole else indented(found)
    if not (template or failed):
        return Outcome(Text(text))
    # Docker ends its output with a line end, even if there is no output.
    call.out("\n".join(rendered) if template else text)
    if failed:
        call.surface.err("\n".join(failed) + "\n")
    return Outcome(exit_code=int(bool(failed)))


def _template(text: str) -> Template | None:
    try:
        return Template(text) if text else None
    except InvalidArgument as error:
        error.exit_code = 64
        raise
