"""COPY and ADD: what their words name, in the order in which it is laid down.

    words -> Picked (of the context, a stage, an image, the text itself, a URL, a Git repository) -> Transfer

Follows the Dockerfile reference, "COPY" and "ADD"; the line in the history is the classic builder's.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from dockerlab.build import fetching
from dockerlab.build import instructions as ins
from dockerlab.build.context import Picked, Source
from dockerlab.build.ignore import IgnoreRules
from dockerlab.build.parser import Heredoc
from dockerlab.build.steps import Step, Transfer
from dockerlab.build.words import expand
from dockerlab.errors import BuildFailed
from dockerlab.layers.index import Entry

if TYPE_CHECKING:
    from dockerlab.build.preparing import Preparer

__all__ = ["prepared"]


def prepared(scope: Preparer, step: ins.Copy | ins.Add) -> Step:
    """Gives the step; raises BuildFailed in docker's words."""
    keyword = step.keyword.upper()
    destination = scope.expand(step.destination)
    picked = list(_picked(scope, step, keyword))
    if not picked:
        hints = [_source(scope, step).unmatched(scope.expand(word)) for word in step.sources]
        raise BuildFailed(f"{keyword} failed: no source files were specified", hint=next(filter(None, hints), "look at the pattern: nothing matches it"))
    if len(picked) > 1 and not destination.endswith("/"):
        raise BuildFailed(f"When using {keyword} with more than one source file, the destination must be a directory and end with a /", hint=f"write {destination}/")
    digests = [one.first for one in picked]
    kind = "multi" if len(picked) > 1 else "dir" if picked[0].is_dir else "file"
    name = digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
    run = scope.stage.run
    where = destination if destination.startswith("/") else f"{run.working_dir.rstrip('/')}/{destination}"
    owner, mode = scope.expand(step.chown), _mode(scope.expand(step.chmod))
    transfer = Transfer(tuple(picked), where, owner, mode, step.link)
    # Docker writes no blank behind the owner.
    line = f"/bin/sh -c #(nop) {keyword} {'--chown=' + owner if owner else ''}{kind}:{name} in {destination} "
    apart = [*(["link"] if step.link else []), *([f"unpack={step.unpack}"] if isinstance(step, ins.Add) and step.unpack is not None else [])]
    return Step(run, line, (*digests, *(f"{one.under}{one.name}" for one in picked), where, owner, str(mode), *apart), transfer=transfer)


def _picked(scope: Preparer, step: ins.Copy | ins.Add, keyword: str) -> Iterator[Picked]:
    excluded = IgnoreRules.from_patterns(scope.expand(pattern) for pattern in step.excludes)
    local = isinstance(step, ins.Add) and step.unpack is not False
    source = _source(scope, step)
    if isinstance(step, ins.Add) and step.checksum and not all(fetching.is_remote(scope.expand(word)) for word in step.sources):
        raise BuildFailed("checksum requires HTTP(S) or Git sources", hint="leave it out: a file of the context is known by its content already")
    for word in map(scope.expand, step.sources):
        if isinstance(step, ins.Add) and fetching.is_remote(word):
            yield from _without(_fetched(scope, step, word), excluded)
            continue
        try:
            found = source.pick(word)
        except BuildFailed as error:
            raise BuildFailed(error.message.replace("COPY", keyword, 1), hint=error.hint) from None
        for one in found:
            under = _parents(word, one) if isinstance(step, ins.Copy) and step.parents else ""
            yield from _without(replace(one, under=under, unpack=local), excluded)
    for heredoc in step.heredocs:
        yield _written(scope, heredoc)


def _source(scope: Preparer, step: ins.Copy | ins.Add) -> Source:
    return scope.source(step.from_) if isinstance(step, ins.Copy) and step.from_ else scope.context


def _parents(word: str, one: Picked) -> str:
    """Gives the folders that `--parents` keeps of a source, each with its slash: all of them, or those behind the point in `a/./b/c`."""
    before, point, _ = word.partition("/./")
    parts = posixpath.normpath(one.name).split("/")
    if point and before.strip("/."):
        parts = parts[len(posixpath.normpath(before.lstrip("/")).split("/")) :]  # as many as stand before the point, patterns among them
    clean = "/".join(parts)
    kept = clean if one.is_dir else clean.rpartition("/")[0]
    return f"{kept}/" if kept not in ("", ".") else ""


def _without(one: Picked, excluded: IgnoreRules) -> Iterator[Picked]:
    """Yields the source less what `--exclude` names: by the path inside it, or the name of a file."""
    if not excluded.rules:
        yield one
    elif one.is_dir:
        yield replace(one, inside=tuple(item for item in one.inside if not excluded.ignores(item[0].path)))
    elif not (excluded.ignores(posixpath.basename(one.name)) or excluded.ignores(one.name)):
        yield one


def _fetched(scope: Preparer, step: ins.Add, word: str) -> Picked:
    folder = Path(scope.held.enter_context(tempfile.TemporaryDirectory(prefix="dockerlab-add-")))
    if fetching.is_git(word):
        return fetching.cloned(word, folder, keep_git=step.keep_git_dir, checksum=scope.expand(step.checksum))
    if scope.expand(step.destination).endswith("/") and not fetching.file_name(word):
        raise BuildFailed(f"cannot determine filename from url: {word}", hint="write the file's name behind the last slash of the destination")
    return replace(fetching.fetched(word, folder, checksum=scope.expand(step.checksum)), unpack=step.unpack is True)


def _written(scope: Preparer, heredoc: Heredoc) -> Picked:
    """Gives a file whose text stands in the Dockerfile."""
    text = expand(heredoc.text, scope.variables(), scope.escape, quotes=False) if heredoc.expand else heredoc.text
    data = text.encode("utf-8", "surrogateescape")
    descriptor, place = tempfile.mkstemp(prefix="dockerlab-heredoc-")
    scope.held.callback(os.unlink, place)
    with open(descriptor, "wb") as file:
        file.write(data)
    return Picked(heredoc.name, (Entry("", "file", 0o644, size=len(data)), place))


def _mode(text: str) -> int | None:
    if not text:
        return None
    if not all(c in "01234567" for c in text) or int(text, 8) > 0o7777:
        raise BuildFailed(f"invalid chmod parameter: '{text}'. it should be octal string and between 0 and 07777", hint="write --chmod=755")
    return int(text, 8)
