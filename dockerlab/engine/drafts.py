"""From what was done by hand in a container to the draft of a Dockerfile."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dockerlab.engine.containers import Container

__all__ = ["as_dockerfile"]


def as_dockerfile(container: Container) -> str:
    """Gives a draft that would make the container's changes again from its image; what only a person can decide is a comment."""
    changes = container.diff()
    parents = {change.path.rpartition("/")[0] for change in changes}
    gone = [f"/{c.path}" for c in changes if c.kind == "D"]
    new = [c for c in changes if c.kind == "A"]
    folders = [f"/{c.path}" for c in new if c.path in parents]
    files = [f"/{c.path}" for c in new if c.path not in parents]
    touched = [f"/{c.path}" for c in changes if c.kind == "C" and c.path not in parents]
    lines = [f"FROM {container.record.image}"]
    image, mine = container.image.config.config, container.config
    lines += [f"ENV {_pair(word)}" for word in mine.env if word not in image.env]
    lines += [f"WORKDIR {mine.working_dir}"] if mine.working_dir != image.working_dir else []
    lines += [f"RUN mkdir -p {shlex.join(folders)}"] if folders else []
    if gone:
        lines.append(f"RUN rm -rf {shlex.join(gone)}")
    for path in files + touched:
        word = "new" if path in files else "changed"
        lines.append(f"# {word}: bring the file with `docker export` and put it into the build context, or write the RUN that makes it")
        lines.append(f"COPY {_listed('.' + path, path)}")
    lines += [f"USER {mine.user}"] if mine.user != image.user else []
    return "\n".join(lines) + "\n"


def _pair(word: str) -> str:
    name, _, value = word.partition("=")
    return f"{name}={json.dumps(value, ensure_ascii=False)}" if not value.isalnum() else word


def _listed(*paths: str) -> str:
    return json.dumps(list(paths), ensure_ascii=False) if any(c.isspace() or c in '"\\' for p in paths for c in p) else " ".join(paths)
