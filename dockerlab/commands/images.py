"""Verbs on images."""

from __future__ import annotations

import fnmatch
import json
import tempfile
from pathlib import Path
from typing import Any

from dockerlab.build import fetching
from dockerlab.commands.call import Call, Outcome
from dockerlab.commands.changes import changed
from dockerlab.commands.columns import ellipsis, human_size, human_size3
from dockerlab.commands.each import attempts, told
from dockerlab.commands.filters import labelled
from dockerlab.commands.rows import Rows, ago, moment
from dockerlab.engine.graph import Flat, Graph, flat
from dockerlab.engine.graph import graph as planted
from dockerlab.engine.images import Image
from dockerlab.engine.scan import Audit, Beside, baseline
from dockerlab.engine.views import Changes, Union, text_changes, union
from dockerlab.errors import BuildFailed, InvalidArgument, InvalidReference, InvalidRequest
from dockerlab.oci.config import EMPTY_TIME, RunConfig
from dockerlab.oci.digest import short
from dockerlab.oci.reference import Reference

__all__ = ["IMAGE_HEADS", "graph", "history", "image_rows", "images", "import_", "layers", "rmi", "scan", "tag"]

IMAGE_HEADS = {"Repository": "REPOSITORY", "Tag": "TAG", "ID": "IMAGE ID", "CreatedSince": "CREATED", "Size": "SIZE", "Digest": "DIGEST", "CreatedAt": "CREATED AT", "Note": "NOTE",
           "Containers": "CONTAINERS", "SharedSize": "SHARED SIZE", "UniqueSize": "UNIQUE SIZE", "VirtualSize": "SIZE"}  # fmt: skip
_HISTORY = {"ID": "IMAGE", "CreatedSince": "CREATED", "CreatedBy": "CREATED BY", "Size": "SIZE", "Comment": "COMMENT", "CreatedAt": "CREATED AT"}


def image_rows(image: Image, full: bool, digests: list[Reference]) -> list[dict[str, Any]]:
    """Gives the lines of `images` for one image: one for each name, or one without a name."""
    size, note = human_size3(image.size), image.config.config.labels.get("dockerlab.provenance", "")
    names: list[Reference | None] = [Reference.parse(name) for name in image.record.names]
    names = names or [*digests] or [None]
    return [
        {
            "Repository": name.familiar_name if name else "<none>", "Tag": (name.tag if name else "") or "<none>", "ID": image.id if full else image.short_id,
            "CreatedSince": _since(image.config.created), "CreatedAt": moment(image.config.created), "Size": size,
            "Digest": next((str(where.digest) for where in digests if name and where.familiar_name == name.familiar_name), "<none>"),
            "Containers": "N/A", "SharedSize": "N/A", "UniqueSize": "N/A", "VirtualSize": human_size(image.size), "Note": note,
        }
        for name in names
    ]  # fmt: skip


def _since(created: str) -> str:
    return "N/A" if created == EMPTY_TIME else ago(created)


def images(call: Call) -> Outcome:
    """docker images."""
    found = call.engine.images.list(intermediate=call.flag("all"))
    tests = [_test(call, word) for word in call.flag("filter")]
    rows = [(i, row) for i in found if all(_passes(i, n, v) for n, v in tests if n != "reference") for row in image_rows(i, call.flag("no-trunc"), call.engine.places.digests(i.id))]
    patterns = [v for n, v in tests if n == "reference"] + list(call.args)
    kept = [row for _, row in rows if not patterns or any(_named(row, p) for p in patterns)]
    default = "table {{.Repository}}\t{{.Tag}}" + ("\t{{.Digest}}" if call.flag("digests") else "") + "\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}"
    if call.flag("quiet"):
        kept = list({row["ID"]: row for row in kept}.values())
    return Outcome(Rows(kept, IMAGE_HEADS, default=default, format="{{.ID}}" if call.flag("quiet") else call.flag("format"), caption=f"images: {len(kept)}"))


def _test(call: Call, word: str) -> tuple[str, str]:
    name, _, value = word.partition("=")
    return name, call.engine.images.get(value).config.created if name in ("before", "since") else value


def _named(row: dict[str, Any], pattern: str) -> bool:
    name, full = row["Repository"], f"{row['Repository']}:{row['Tag']}"
    if name == "<none>":
        return False
    return _matches(name, pattern) or _matches(full, pattern)


def _matches(text: str, pattern: str) -> bool:
    """Go's path.Match: no wildcard reaches over a slash."""
    parts, wanted = text.split("/"), pattern.split("/")
    return len(parts) == len(wanted) and all(map(fnmatch.fnmatchcase, parts, wanted))


def _passes(image: Image, name: str, value: str) -> bool:
    if name == "dangling":
        if value not in ("true", "false", "1", "0"):
            raise InvalidRequest(f"Invalid filter 'dangling=[{value}]'", hint="write true or false")
        return (not image.record.names) == (value in ("true", "1"))
    if name == "label":
        return labelled(image.config.config.labels, value)
    if name in ("before", "since"):
        return image.config.created < value if name == "before" else image.config.created > value
    raise InvalidRequest(f"Invalid filter '{name}'", hint="filter by before, dangling, label, reference or since")


def rmi(call: Call) -> Outcome:
    """docker rmi."""

    def remove(name: str) -> None:
        for word, what in call.engine.images.remove(name, force=call.flag("force"), prune=not call.flag("no-prune")):
            call.out(f"{word}: {what}")

    return Outcome(exit_code=told(call, attempts(remove, call.args), forgive=call.flag("force")))


def tag(call: Call) -> Outcome:
    """docker tag."""
    try:
        if Reference.parse(call.args[1]).digest:
            raise InvalidArgument("refusing to create a tag with a digest reference", hint="a digest is what the content says: give a tag")
    except InvalidReference as error:
        raise InvalidReference(f'Error parsing reference: "{call.args[1]}" is not a valid repository/tag: {error.message}', hint=error.hint) from None
    call.engine.images.tag(call.args[0], call.args[1])
    return Outcome()


def history(call: Call) -> Outcome:
    """docker history."""
    image = call.engine.images.get(call.args[0])
    full, rows = call.flag("no-trunc"), []
    for line in image.history():
        size = human_size3(line.size) if call.flag("human") else str(line.size)
        when = _since(line.created) if call.flag("human") else f"{line.created[:19]}Z"
        by = line.created_by.replace("\t", " ")
        rows.append(
            {"ID": line.image if full else short(line.image), "CreatedSince": when, "CreatedAt": line.created,
             "CreatedBy": by if full else ellipsis(by, 45), "Size": size, "Comment": line.comment}
        )  # fmt: skip
    default = "table {{.ID}}\t{{.CreatedSince}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}"
    shown = "{{.ID}}" if call.flag("quiet") else call.flag("format")
    headers = _HISTORY if call.flag("human") else {**_HISTORY, "CreatedSince": "CREATED AT"}
    return Outcome(Rows(rows, headers, default=default, format=shown, caption=f"history of {call.args[0]}, newest first"))


def layers(call: Call) -> Outcome:
    """dockerlab layers: which layer provides a path, and what it hides."""
    if call.flag("diff"):
        if len(call.args) != 2:
            raise InvalidArgument("--diff wants one image and one path", hint="docker layers --diff IMAGE /etc/passwd")
        return _told(call, text_changes(call.engine, *call.args))
    if call.flag("flat"):
        return _told(call, flat(call.engine, call.args[0]))
    return _told(call, union(call.args[0], *call.args[1:], engine=call.engine))


def graph(call: Call) -> Outcome:
    """dockerlab graph: images as a tree of layers."""
    found = planted(call.engine, call.args, intermediate=call.flag("all"))
    return _told(call, found)


def scan(call: Call) -> Outcome:
    """dockerlab scan: which files give rights to whoever runs or writes them."""
    if call.flag("baseline") and call.flag("before"):
        raise InvalidArgument("--baseline and --before both say what is accepted", hint="leave one of them out")
    known = baseline(call.folder / call.flag("baseline")) if call.flag("baseline") else None
    perm = call.flag("perm")
    if call.flag("before"):
        found: Audit | Beside = call.engine.images.scan(call.args[0]).beside(call.engine.images.scan(call.flag("before")), perm)
    else:
        found = call.engine.images.scan(call.args[0], known=known, perm=perm)
    code = int(call.flag("check") and bool(found.objected))
    return _told(call, found, exit_code=code)


def _told(call: Call, found: Union | Audit | Beside | Changes | Flat | Graph, *, exit_code: int = 0) -> Outcome:
    """Gives what shows itself, or with --json prints its plain values."""
    if not call.flag("json"):
        return Outcome(found, exit_code=exit_code)
    call.out(json.dumps(found.facts(), indent=1))
    return Outcome(exit_code=exit_code)


def import_(call: Call) -> Outcome:
    """docker import."""
    source, name = call.args[0], call.args[1] if len(call.args) > 1 else ""
    config = changed(RunConfig(), call.flag("change"))
    path = call.folder / source
    with tempfile.TemporaryDirectory(prefix="import-", dir=call.engine.content.ingest) as scratch:
        if source.startswith(("http://", "https://")):
            call.out(f"Downloading from {source}")
            try:
                path = Path(fetching.fetched(source, Path(scratch)).itself[1])
            except BuildFailed as error:
                raise InvalidArgument(error.message.removeprefix("ADD failed: "), hint=error.hint) from error
        elif source == "-" or not path.is_file():
            data = call.surface.stdin() if source == "-" else _bytes(path, source)
            path = Path(scratch) / "archive"
            path.write_bytes(data)
        image = call.engine.images.import_(path, name=name, changes=config, message=call.flag("message"))
    call.out(image.id)
    return Outcome(image)


def _bytes(path: Path, shown: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidArgument(f"open {shown}: {(error.strerror or '').lower()}", hint="look where you are: pwd") from error
