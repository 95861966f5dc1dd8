"""`build`: docker's classic output from the builder's events."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from dockerlab.commands.call import Call, Outcome
from dockerlab.errors import InvalidArgument
from dockerlab.events import CacheHit, Event, ImageBuilt, StepEnded, StepOutput, StepRunning, StepStarted
from dockerlab.oci.digest import short
from dockerlab.oci.reference import Reference

__all__ = ["build", "told"]


def build(call: Call) -> Outcome:
    """docker build."""
    folder = call.folder / call.args[0]
    if call.args[0] == "-" or call.args[0].startswith(("http://", "https://", "git@")):
        raise InvalidArgument(f"a context from {call.args[0]} is not done by dockerlab yet", hint="give a folder: docker build .")
    if not folder.is_dir():
        raise InvalidArgument(f'unable to prepare context: path "{call.args[0]}" not found', hint="give the folder that holds the Dockerfile; often a single dot")
    name = call.flag("file") or "Dockerfile"
    path = call.folder / name if call.flag("file") else folder / name
    if not path.is_file():
        raise InvalidArgument(f"unable to prepare context: unable to evaluate symlinks in Dockerfile path: lstat {path}: no such file or directory")
    try:
        text = path.read_text()
    except UnicodeDecodeError as error:
        raise InvalidArgument(f"{path} is not text: {error.reason}") from error
    return from_text(call, text, folder, name=Path(name).name)


def from_text(call: Call, text: str, folder: Path, *, name: str = "Dockerfile") -> Outcome:
    """Builds a Dockerfile's text."""
    for word in call.flag("tag"):
        Reference.parse(word)
    given = {key: value if equals else call.variables.get(key, "") for key, equals, value in (word.partition("=") for word in call.flag("build-arg"))}
    quiet = call.flag("quiet")
    emit: Callable[[Event], object] = (lambda _: None) if quiet else lambda event: told(event, call)
    image = call.engine.builds.build(
        text, folder, tags=tuple(call.flag("tag")), name=name, build_args=given, no_cache=call.flag("no-cache"), target=call.flag("target"), emit=emit
    )
    if quiet:
        call.out(image.id)
    return Outcome(image)


def told(event: Event, call: Call) -> None:
    """Shows one event as docker's classic builder words it."""
    if isinstance(event, StepStarted):
        call.out("# Executing 1 build trigger" if event.trigger else f"Step {event.number}/{event.total} : {event.text}")
    elif isinstance(event, CacheHit):
        call.out(f" ---> Using cache\n ---> {short(event.image)}")
    elif isinstance(event, StepRunning):
        call.out(f" ---> Running in {event.container[:12]}")
    elif isinstance(event, StepOutput):
        text = event.data.decode("utf-8", "replace")
        (call.surface.err if event.stream == 2 else call.surface.out)(text)
    elif isinstance(event, StepEnded):
        if event.container:
            call.out(f"Removing intermediate container {event.container[:12]}")
        call.out(f" ---> {short(event.image)}" if event.image else " ---> ")
    elif isinstance(event, ImageBuilt):
        call.out(f"Successfully built {short(event.image)}")
        for name in event.names:
            call.out(f"Successfully tagged {name}")
