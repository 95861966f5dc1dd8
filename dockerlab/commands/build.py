"""`build`: docker's classic output from the builder's events."""

from __future__ import annotations

from dataclasses import replace
from os.path import normpath
from pathlib import Path

from dockerlab.build import piped
from dockerlab.build.context import Context
from dockerlab.commands.call import Call, Outcome, Surface
from dockerlab.commands.outlook import Outlook
from dockerlab.errors import BuildFailed, InvalidArgument, InvalidRequest, NotFound
from dockerlab.events import ArgumentsUnused, CacheHit, CacheMiss, Event, ImageBuilt, StepEnded, StepOutput, StepRunning, StepStarted, TriggersStarted
from dockerlab.oci.digest import short
from dockerlab.oci.reference import Reference
from dockerlab.widgets.html import visible

__all__ = ["build", "from_text", "told"]

_REMOTE = ("http://", "https://", "git@", "git://", "github.com/")


def build(call: Call) -> Outcome:
    """docker build."""
    where, name = call.args[0], call.flag("file")
    if where.startswith(_REMOTE):
        raise InvalidArgument(f"a context from {where} is not done by dockerlab yet", hint="fetch it first, then give its folder: docker build .")
    if where == "-":
        return _from_pipe(call, name)
    folder = call.folder / where
    if not folder.is_dir():
        said = f"context must be a directory: {folder}" if folder.exists() else f'path "{where}" not found'
        raise InvalidArgument(f"unable to prepare context: {said}", hint="give the folder that holds the Dockerfile; often a single dot")
    if name == "-":
        return from_text(call, _text(call.surface.stdin(), "standard input"), folder)
    path = call.folder / name if name else _dockerfile(folder)
    if not path.exists():
        raise InvalidArgument(f"unable to prepare context: unable to evaluate symlinks in Dockerfile path: lstat {normpath(path)}: no such file or directory")
    return from_text(call, _read(path), folder, name=Path(name).name or path.name)


def _from_pipe(call: Call, name: str) -> Outcome:
    if name == "-":
        raise InvalidArgument("invalid argument: can't use stdin for both build context and dockerfile", hint="give a folder: docker build -f - .")
    data = call.surface.stdin()
    if name and not piped.is_archive(data):
        raise InvalidArgument("unable to prepare context: ambiguous Dockerfile source: both stdin and flag correspond to Dockerfiles", hint="leave out -f")
    with piped.context(data, name or "Dockerfile") as (context, dockerfile):
        return from_text(call, _text(dockerfile, "the Dockerfile"), context, name=name or "Dockerfile")


def _dockerfile(folder: Path) -> Path:
    # Docker, to be nice, takes a small one as well.
    small = folder / "dockerfile"
    return small if small.exists() and not (folder / "Dockerfile").exists() else folder / "Dockerfile"


def _read(path: Path) -> str:
    try:
        return _text(path.read_bytes(), str(path))
    except OSError as error:
        raise InvalidRequest(f"unexpected error reading Dockerfile: read {path}: {(error.strerror or '').lower()}") from error


def _text(data: bytes, name: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise InvalidArgument(f"{name} is not text: {error.reason}", hint="save it as UTF-8") from error


def from_text(call: Call, text: str, context: Path | Context, *, name: str = "Dockerfile", cell: bool = False) -> Outcome:
    """Builds a Dockerfile's text; with --quiet what happened is told only if it went wrong. A `cell` has no file's name to be known by: its image's name serves."""
    origin = "\0".join(("cell", str(context), *(Reference.parse(tag).familiar_name for tag in call.flag("tag")[:1]))) if cell else ""
    given = {key: value if equals else call.variables.get(key, "") for key, equals, value in (word.partition("=") for word in call.flag("build-arg"))}
    if call.flag("explain") or call.flag("what-if"):
        return Outcome(Outlook(call.engine.builds.foresee(
            text, context, name=name, build_args=given, no_cache=call.flag("no-cache"), target=call.flag("target"), origin=origin,
            tags=tuple(call.flag("tag")), what_if=_supposed(call.flag("what-if"), name),
        )))  # fmt: skip
    quiet, kept = call.flag("quiet"), Kept()
    shown = replace(call, surface=kept) if quiet else call
    try:
        image = call.engine.builds.build(
            text, context, tags=tuple(call.flag("tag")), name=name, build_args=given, no_cache=call.flag("no-cache"), target=call.flag("target"),
            origin=origin, emit=lambda event: told(event, shown),
        )  # fmt: skip
    except (BuildFailed, NotFound):
        call.surface.err(kept.text)
        raise
    if quiet:
        call.out(image.id)
    return Outcome(image)


def _supposed(word: str, name: str) -> str:
    """Gives a path of the context, or `line:N` for `Dockerfile:N`."""
    file, colon, line = word.rpartition(":")
    return f"line:{int(line)}" if colon and file == name and line.isascii() and line.isdigit() else word


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
    elif isinstance(event, CacheHit):
        call.out(" ---> Using cache" + ("" if event.trigger else f"\n ---> {short(event.image)}"))
    elif isinstance(event, StepRunning):
        call.out(f" ---> Running in {event.container[:12]}")
    elif isinstance(event, StepOutput):
        text = event.data.decode("utf-8", "surrogateescape")
        (call.surface.err if event.stream == 2 else call.surface.out)(text)
    elif isinstance(event, StepEnded):
        if event.container:
            call.out(f"Removing intermediate container {event.container[:12]}")
        if not event.trigger:
            call.out(f" ---> {short(event.image)}" if event.image else " ---> ")
    elif isinstance(event, ArgumentsUnused):
        call.out(f"[Warning] One or more build-args [{' '.join(event.names)}] were not consumed")
    elif isinstance(event, ImageBuilt):
        call.out(f"Successfully built {short(event.image)}")
        for name in event.names:
            call.out(f"Successfully tagged {name}")
