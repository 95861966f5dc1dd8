"""`build`: docker's classic output from the builder's events."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from dockerlab.build.context import Context
from dockerlab.commands import checks, contexts
from dockerlab.commands.call import Call, Outcome, Surface
from dockerlab.commands.checked import Checked
from dockerlab.commands.options import limits, platform
from dockerlab.commands.outlook import Outlook
from dockerlab.commands.run import perform
from dockerlab.engine.builds import Around
from dockerlab.engine.images import Image
from dockerlab.engine.options import NetworkWord, RunOptions
from dockerlab.engine.resources import Resources
from dockerlab.errors import BuildFailed, DockerlabError, InvalidArgument
from dockerlab.events import Advised, ArgumentsUnused, CacheHit, CacheMiss, CheckOverridden, Event, ImageBuilt, StepEnded, StepFailed, StepOutput, StepRunning, StepStarted, TriggersStarted
from dockerlab.oci.config import env_map
from dockerlab.oci.digest import short
from dockerlab.oci.reference import Reference
from dockerlab.widgets.html import visible

__all__ = ["Kept", "build", "from_text", "told"]

_LARGEST_SECRET = 500 << 10
_PROGRESS = ("auto", "plain", "json", "rawjson", "quiet")


def build(call: Call) -> Outcome:
    """docker build."""
    with contexts.opened(call) as (text, context, name):
        return from_text(call, text, context, name=name)


def from_text(call: Call, text: str, context: Path | Context, *, name: str = "Dockerfile", cell: bool = False) -> Outcome:
    """Builds a Dockerfile's text; with --quiet what happened is told only if it went wrong. A `cell` has no file's name to be known by: its image's name serves."""
    if call.flag("progress") not in _PROGRESS:
        raise InvalidArgument(f"invalid progress type {call.flag('progress')}", hint=f"write one of {', '.join(_PROGRESS)}")
    if call.flag("check"):
        found = Checked(call.engine.builds.check(text, name), text, name)
        return Outcome(found, exit_code=int(bool(found.advice)))
    origin = "\0".join(("cell", str(context), *(Reference.parse(tag).familiar_name for tag in call.flag("tag")[:1]))) if cell else ""
    words = [word.partition("=") for word in call.flag("build-arg")]
    given = {key: value if equals else call.variables[key] for key, equals, value in words if equals or key in call.variables}
    with ExitStack() as stack:
        around = Around(_run(call), _secrets(call), contexts.named(call, stack), "none" if call.flag("force-rm") else "failed" if call.flag("rm") else "all", frozenset(call.flag("allow")))
        common: dict[str, Any] = {
            "name": name, "build_args": given, "no_cache": call.flag("no-cache"), "target": call.flag("target"), "origin": origin, "tags": tuple(call.flag("tag")), "around": around,
        }  # fmt: skip
        common |= {"no_cache_filter": call.flag("no-cache-filter"), "labels": env_map(tuple(call.flag("label"))), "reproducible": call.flag("reproducible")}
        if call.flag("explain") or call.flag("what-if"):
            seen = call.engine.builds.foresee(text, context, **common, what_if=_supposed(call.flag("what-if"), name))
            if call.flag("what-if") and not any(step.cause for step in seen):
                call.surface.note(f"nothing here reads {visible(call.flag('what-if'))}")
            return Outcome(Outlook(seen))
        return Outcome(_built(call, lambda emit: call.engine.builds.build(text, context, **common, emit=emit)))


def _built(call: Call, act: Callable[[Callable[[Event], None]], Image]) -> Image:
    quiet, kept = call.flag("quiet") or call.flag("progress") == "quiet", Kept()
    shown = replace(call, surface=kept) if quiet else call
    tell = _told_as_json if call.flag("progress") in ("json", "rawjson") else told
    noted = call.folder / call.flag("iidfile") if call.flag("iidfile") else None
    if noted:
        noted.unlink(missing_ok=True)
    try:
        image = _pictured(shown, act, tell)
    except DockerlabError as error:
        call.surface.err(kept.text)
        if tell is _told_as_json:
            call.out(json.dumps({"event": "BuildFailed", "message": error.message, "place": error.place, "hint": error.hint}))
        if call.flag("debug") and isinstance(error, BuildFailed) and error.container:
            _look(call, error)
        raise
    if quiet:
        call.out(image.id)
    if noted:
        _write(noted, call.flag("iidfile"), image.id)
    if call.flag("metadata-file"):
        facts = {"containerimage.config.digest": image.id, "containerimage.digest": image.record.manifest.digest}
        names = ",".join(str(Reference.parse(tag).tagged()) for tag in call.flag("tag"))
        text = json.dumps({**facts, **({"image.name": names} if names else {})}, indent=2) + "\n"
        _write(call.folder / call.flag("metadata-file"), call.flag("metadata-file"), text)
    return image if quiet else Image(call.engine, image.record)  # else its trace would be shown twice


def _pictured(call: Call, act: Callable[[Callable[[Event], None]], Image], tell: Callable[[Event, Call], None]) -> Image:
    """Lets a build happen, tells its events, and shows its trace meanwhile, and afterwards, where there is room for a view."""
    image: Image | None = None
    begun = False

    def drawn() -> object:
        assert call.engine.builds.last
        return call.engine.builds.last.folded(image)

    draw = call.surface.picture(drawn)

    def heard(event: Event) -> None:
        nonlocal begun
        if isinstance(event, CacheMiss) or not begun:  # what comes next may take its time
            draw(False)
        begun = True
        tell(event, call)

    try:
        image = act(heard)
        return image
    finally:
        if begun:
            draw(True)


def _look(call: Call, error: BuildFailed) -> None:
    """Opens a shell in what a failed RUN has left, with its settings, where somebody could type into it."""
    try:
        call.surface.check_terminal()
    except InvalidArgument as reason:
        call.surface.note(f"--debug: {reason.message}")
        return
    call.surface.note(f"{visible(error.message)}. This is where it failed; exit leaves it")
    image = call.engine.containers.get(error.container).commit()
    try:
        perform(["run", "--rm", "-it", "--entrypoint", "/bin/sh", image.id], lambda: call.engine, call.surface, folder=call.folder, program=call.program, variables=call.variables)
    finally:
        for _ in call.engine.images.remove(image.id, force=True):
            pass


def _write(path: Path, shown: str, text: str) -> None:
    try:
        path.write_text(text)
    except OSError as error:
        raise InvalidArgument(f"open {shown}: {(error.strerror or '').lower()}", hint="make the folder first, or choose another") from error


def _run(call: Call) -> RunOptions:
    """Gives what every container of the build is told."""
    if "," in call.flag("platform"):
        raise InvalidArgument(f"several platforms at once: {call.flag('platform')}", hint="an image is built for one: leave out the others")
    network = call.flag("network")
    return RunOptions(
        networks=(NetworkWord(network),) if network not in ("", "default") else (), add_host=tuple(checks.extra_host(word) for word in call.flag("add-host")),
        resources=Resources(**limits(call)), shm_size=call.flag("shm-size"), ulimit=tuple(checks.ulimit(word) for word in call.flag("ulimit")), platform=platform(call.flag("platform")),
    )  # fmt: skip


def _secrets(call: Call) -> dict[str, bytes]:
    """Gives the secrets of `--secret id=NAME[,src=FILE|,env=VARIABLE]`; raises InvalidArgument."""
    found = {}
    for word in call.flag("secret"):
        try:
            parts = dict(part.partition("=")[::2] for part in next(csv.reader([word]), []))
        except csv.Error as error:
            raise InvalidArgument(f"invalid secret {word!r}: {error}", hint="write --secret id=NAME,src=FILE") from error
        ident, source, variable = parts.pop("id", ""), parts.pop("src", parts.pop("source", "")), parts.pop("env", "")
        kind = parts.pop("type", "")
        if parts or kind not in ("", "file", "env"):
            wrong = next(iter(parts), f"type={kind}")
            raise InvalidArgument(f"unexpected key '{wrong}' in '{word}'", hint="write --secret id=NAME,src=FILE or id=NAME,env=VARIABLE")
        if not ident:
            raise InvalidArgument(f"invalid secret '{word}': missing id", hint="write --secret id=NAME,src=FILE")
        if variable or kind == "env" or (not source and ident in call.variables):
            found[ident] = os.fsencode(call.variables.get(variable or source or ident, ""))
            continue
        path = call.folder / (source or ident)
        try:
            found[ident] = path.read_bytes()
        except OSError as error:
            raise InvalidArgument(f"failed to stat {path}: {(error.strerror or '').lower()}", hint="name the secret's file: src=FILE") from error
        if len(found[ident]) > _LARGEST_SECRET:
            raise InvalidArgument(f"invalid secret size {len(found[ident])}", hint="a secret has 500 kB at most")
    return found


def _supposed(word: str, name: str) -> str:
    """Gives a path of the context, or `line:N` for `Dockerfile:N`."""
    file, colon, line = word.rpartition(":")
    return f"line:{int(line)}" if colon and file in (name, "Dockerfile") and line.isascii() and line.isdigit() else word


class Kept(Surface):
    """A place that keeps what it is told."""

    def __init__(self) -> None:
        self.text = ""

    def out(self, text: str) -> None:
        """Keeps text."""
        self.text += text

    err = out


def told(event: Event, call: Call) -> None:
    """Shows one event as docker's classic builder words it: it tells the image after FROM's triggers, not after each."""
    if isinstance(event, StepStarted) and not event.trigger:
        call.out(f"Step {event.number}/{event.total} : {event.text}")
    elif isinstance(event, TriggersStarted):
        call.out(f"# Executing {event.count} build trigger{'s' * (event.count > 1)}")
    elif isinstance(event, CacheMiss) and event.telling:
        call.surface.note(f"not from the cache: {visible(event.reason)}")
    elif isinstance(event, Advised):
        call.surface.note(f"{event.rule} (line {event.line}): {visible(event.message)}")
    elif isinstance(event, CacheHit):
        call.out(" ---> Using cache" + ("" if event.trigger else f"\n ---> {short(event.image)}"))
    elif isinstance(event, CheckOverridden):
        call.out(f"Note: overriding previous HEALTHCHECK: [{' '.join(event.test)}]")
    elif isinstance(event, StepRunning):
        call.out(f" ---> Running in {event.container[:12]}")
    elif isinstance(event, StepOutput):
        text = event.data.decode("utf-8", "surrogateescape")
        (call.surface.err if event.stream == 2 else call.surface.out)(text)
    elif isinstance(event, StepEnded):
        if event.container and call.flag("rm"):
            call.out(f"Removing intermediate container {event.container[:12]}")
        if not event.trigger:
            call.out(f" ---> {short(event.image)}" if event.image else " ---> ")
    elif isinstance(event, StepFailed) and event.container and not event.kept:
        call.out(f"Removing intermediate container {event.container[:12]}")
    elif isinstance(event, ArgumentsUnused):
        call.out(f"[Warning] One or more build-args [{' '.join(event.names)}] were not consumed")
    elif isinstance(event, ImageBuilt):
        call.out(f"Successfully built {short(event.image)}")
        for name in event.names:
            call.out(f"Successfully tagged {name}")


def _told_as_json(event: Event, call: Call) -> None:
    """Shows one event as a line of JSON, its kind by the record's name."""
    facts = {name: value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value for name, value in asdict(event).items()}
    call.out(json.dumps({"event": type(event).__name__, **facts}))
