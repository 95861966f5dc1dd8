"""What Tab offers: verbs, flags, images, containers."""

from __future__ import annotations

import re
from typing import Any

from IPython.core.completer import SimpleCompletion, context_matcher

from dockerlab.commands.specs import COMMANDS
from dockerlab.engine.current import current
from dockerlab.errors import DockerlabError

__all__ = ["candidates", "matcher"]

_INSTRUCTIONS = "ADD ARG CMD COPY ENTRYPOINT ENV EXPOSE FROM HEALTHCHECK LABEL ONBUILD RUN SHELL STOPSIGNAL USER VOLUME WORKDIR".split()
_TAKES_CONTAINER = {"start", "rm", "logs", "commit", "diff", "export", "inspect"}
_TAKES_IMAGE = {"run", "create", "rmi", "tag", "history", "layers", "inspect"}


def candidates(line: str, cell: str = "") -> list[str]:
    """Gives the words that may stand at the end of `line`; `cell` is the whole cell that it is in."""
    words = line.split(" ")
    last = words[-1]
    docker = re.match(r"\s*(%{0,2}container|docker|!docker)\s", line)
    if not docker and cell.startswith("%%dockerfile") and not line.startswith("%%"):
        return [word for word in _INSTRUCTIONS if word.startswith(last.upper())] if len(words) == 1 else _images(last) if words[0].upper() == "FROM" else []
    if not docker:
        return []
    given = line[docker.end() :].split(" ")
    if len(given) == 1:
        return [name for name in sorted({c.name.split(" ")[0] for c in COMMANDS}) if name.startswith(last)]
    command = next((c for c in COMMANDS if c.name == given[0]), None)
    if command is None:
        return [c.name.split(" ")[1] for c in COMMANDS if c.name.startswith(given[0] + " ") and c.name.split(" ")[1].startswith(last)]
    if last.startswith("-"):
        flags = [f"--{flag.name}" for flag in command.flags if not flag.hidden] + [f"-{flag.short}" for flag in command.flags if flag.short]
        return [flag for flag in flags if flag.startswith(last)]
    return (_containers(last) if command.name in _TAKES_CONTAINER else []) + (_images(last) if command.name in _TAKES_IMAGE else [])


def _images(start: str) -> list[str]:
    try:
        return [tag for image in current().images.list() for tag in image.tags if tag.startswith(start)]
    except DockerlabError:
        return []


def _containers(start: str) -> list[str]:
    try:
        return [container.name for container in current().containers.list(all=True) if container.name.startswith(start)]
    except DockerlabError:
        return []


@context_matcher()
def matcher(context: Any) -> dict[str, Any]:
    """IPython's matcher (API version 2)."""
    line = context.text_until_cursor.rpartition("\n")[2]
    found = candidates(line, context.full_text)
    return {
        "completions": [SimpleCompletion(text=text, type="docker") for text in found],
        "matched_fragment": line.split(" ")[-1],
        "suppress": bool(found),
    }
