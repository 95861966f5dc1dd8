"""`--change`: Dockerfile instructions that only set settings, for commit and import."""

from __future__ import annotations

from collections.abc import Sequence

from dockerlab.build import parser
from dockerlab.build.preparing import settings_after
from dockerlab.errors import InvalidRequest
from dockerlab.oci.config import RunConfig

__all__ = ["changed"]

_ALLOWED = {"cmd", "entrypoint", "env", "expose", "label", "onbuild", "stopsignal", "user", "volume", "workdir", "healthcheck"}


def changed(config: RunConfig, lines: Sequence[str]) -> RunConfig:
    """Gives the settings after these instructions; raises DockerfileError, InvalidRequest for one that does more than set something."""
    for line in lines:
        for node in parser.parse(line).nodes:
            if node.keyword not in _ALLOWED:
                raise InvalidRequest(f"{node.keyword} is not a valid change command", hint=f"use one of {', '.join(sorted(_ALLOWED)).upper()}")
            config = settings_after(config, node)
    return config
