"""docker manifest: lists of images for several kinds of machine."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

from dockerlab.commands.call import Call, Outcome
from dockerlab.commands.rows import Text
from dockerlab.errors import DockerlabError, InvalidArgument, InvalidReference, NotFound
from dockerlab.oci.manifest import INDEX, SCHEMA_2_LIST
from dockerlab.oci.reference import Reference

if TYPE_CHECKING:
    from dockerlab.engine.manifests import Lists

__all__ = ["annotate", "create", "inspect", "push", "rm"]


def _lists(call: Call) -> Lists:
    from dockerlab.engine.manifests import Lists

    return Lists(call.engine.distribution)


def _named(word: str) -> Reference:
    return Reference.parse(word).tagged()


def _list(word: str) -> Reference:
    try:
        return _named(word)
    except InvalidReference as error:
        raise InvalidArgument(f"error parsing name for manifest list {word}: {error.message}", hint=error.hint) from error


def create(call: Call) -> Outcome:
    """docker manifest create."""
    name = _list(call.args[0])
    _lists(call).create(name, [_named(word) for word in call.args[1:]], amend=call.flag("amend"), insecure=call.flag("insecure"))
    call.out(f"Created manifest list {name}")
    return Outcome()


def annotate(call: Call) -> Outcome:
    """docker manifest annotate."""
    facts = {
        "architecture": call.flag("arch"), "os": call.flag("os"), "variant": call.flag("variant"), "os.version": call.flag("os-version"),
        "os.features": [each for word in call.flag("os-features") for each in word.split(",")],
    }  # fmt: skip
    _lists(call).annotate(_list(call.args[0]), _named(call.args[1]), (call.args[0], call.args[1]), facts)
    return Outcome()


def inspect(call: Call) -> Outcome:
    """docker manifest inspect."""
    lists, verbose = _lists(call), call.flag("verbose")
    if len(call.args) == 2:
        name, image = _list(call.args[0]), _named(call.args[1])
        found = next((entry for entry in lists.entries(name) if entry["Ref"] == str(image)), None)
        if found is None:
            raise NotFound(f"No such manifest: {image}", kind="manifest", name=str(image))
        return Outcome(Text(_json(found) if verbose else _json(json.loads(base64.b64decode(found["Raw"])))))
    name = _named(call.args[0])
    if entries := lists.entries(name):
        return Outcome(Text(_json(entries) if verbose else lists.document(entries).decode()))
    if verbose:
        entries = lists.looked_into(name, insecure=call.flag("insecure"))
        return Outcome(Text(_json(entries if len(entries) > 1 else entries[0])))
    fetched = lists.fetched(name, insecure=call.flag("insecure"))
    document = json.loads(fetched.raw)
    return Outcome(Text(json.dumps(document, indent=3, ensure_ascii=False) if fetched.media_type in (INDEX, SCHEMA_2_LIST) else _json(document)))


def _json(value: Any) -> str:
    return json.dumps(value, indent="\t", ensure_ascii=False)


def push(call: Call) -> Outcome:
    """docker manifest push."""
    lists, name = _lists(call), _list(call.args[0])
    for line in lists.push(name, insecure=call.flag("insecure")):
        call.out(line)
    if call.flag("purge"):
        lists.remove(name)
    return Outcome()


def rm(call: Call) -> Outcome:
    """docker manifest rm."""
    lists, failed = _lists(call), []
    for word in call.args:
        try:
            lists.remove(_list(word))
        except DockerlabError as error:
            failed.append(error.message)
    if failed:
        raise NotFound("\n".join(failed), kind="manifest list", name=call.args[0])
    return Outcome()
