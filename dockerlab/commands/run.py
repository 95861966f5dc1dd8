"""From a command line to a verb."""

from __future__ import annotations

import contextlib
import errno
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from dockerlab.commands.call import Call, Outcome, Surface
from dockerlab.commands.following import followed
from dockerlab.commands.grammar import Command, find, parse
from dockerlab.commands.help import help_text, index_text
from dockerlab.commands.specs import COMMANDS
from dockerlab.errors import DockerlabError, InvalidArgument
from dockerlab.store.files import explained
from dockerlab.version import __version__

if TYPE_CHECKING:
    from dockerlab.engine import Engine

__all__ = ["perform", "told", "verb"]

_VERBS = {
    "build": "build:build", "run": "containers:run", "create": "containers:create", "start": "containers:start", "rm": "containers:rm", "ps": "containers:ps",
    "push": "distribution:push", "pull": "distribution:pull", "login": "distribution:login", "logout": "distribution:logout",
    "save": "archives:save", "load": "archives:load", "logs": "logs:logs", "stats": "stats:stats", "events": "events:events",
    "commit": "containers:commit", "cp": "copying:cp", "diff": "containers:diff", "export": "containers:export", "images": "images:images",
    "rmi": "images:rmi", "tag": "images:tag", "history": "images:history", "import": "images:import_", "layers": "images:layers", "graph": "images:graph",
    "scan": "images:scan", "inspect": "inspect:inspect",
    "image inspect": "inspect:image", "container inspect": "inspect:container",
    "info": "system:info", "doctor": "doctor:doctor", "version": "system:version", "system check": "system:check", "system df": "usage:df", "system prune": "pruning:system",
    "system resume": "system:resume",
    "container prune": "pruning:containers", "image prune": "pruning:images", "volume prune": "pruning:volumes", "builder prune": "pruning:builder",
    "exec": "lifecycle:exec_", **{name: f"lifecycle:{name}" for name in ("attach", "pause", "unpause", "stop", "kill", "wait", "restart", "rename", "top", "update")},
    "port": "ports:port", **{f"network {name}": f"networks:{name}" for name in ("connect", "create", "disconnect", "inspect", "ls", "prune", "rm")},
    **{f"volume {name}": f"volumes:{name}" for name in ("create", "inspect", "ls", "rm")},
    "manifest create": "manifest:create", "manifest annotate": "manifest:annotate", "manifest inspect": "manifest:inspect", "manifest push": "manifest:push", "manifest rm": "manifest:rm",
    "search": "searching:search", "ways": "ways:ways", "hub serve": "hub:serve", "hub adduser": "hub:adduser", "hub audit": "hub:audit",
    "registry serve": "registry:serve", "registry gc": "registry:gc",
    "shim install": "system:shim_install", "shim remove": "system:shim_remove",
}  # fmt: skip
_MANAGED = {"container ls": "ps", "image ls": "images", "image rm": "rmi", "image build": "build"}


def verb(command: Command) -> Callable[[Call], Outcome | None]:
    """Gives the function behind a command."""
    name = _MANAGED.get(command.name, command.name)
    for prefix in ("container ", "image ", "system "):
        name = name.removeprefix(prefix) if name not in _VERBS else name
    module, _, function = _VERBS[name].partition(":")
    found: Callable[[Call], Outcome | None] = getattr(import_module(f"dockerlab.commands.{module}"), function)
    return found


def perform(
    argv: Sequence[str], engine: Callable[[], Engine], surface: Surface, *, folder: Path, program: str = "docker", variables: Mapping[str, str] | None = None
) -> Outcome:
    """Does what a command line says; raises DockerlabError."""
    if argv[:1] in (["-v"], ["--version"]):
        surface.out(f"{program.capitalize() if program == 'docker' else program} version {__version__}, build dockerlab\n")
        return Outcome()
    command, rest = find(COMMANDS, argv, program=program)
    if command.group:
        surface.out(index_text(COMMANDS, program, command.name) + "\n")
        return Outcome()
    parsed = parse(command, rest, program=program)
    if parsed.help:
        surface.out(help_text(parsed.command, program).rstrip("\n") + "\n")
        return Outcome()
    with told():
        lab = engine()
        lab.say = surface.note
        lab.follow = functools.partial(followed, surface)
        call = Call(parsed, lab, surface, folder, program, variables or {})
        return verb(command)(call) or Outcome()


@contextlib.contextmanager
def told() -> Iterator[None]:
    """Puts what the system refused into words: a full disk, a file that cannot be read. A reader that went away is told as it is."""
    try:
        yield
    except BrokenPipeError:
        raise
    except UnicodeEncodeError as error:
        raise InvalidArgument(f"not UTF-8, which a container's documents are written in: {error.object!a}", hint="write it in UTF-8, or read it from a file") from error
    except OSError as error:
        place = error.filename or "a file of the store"
        if error.errno == errno.EACCES:
            raise InvalidArgument(f"open {place}: permission denied", hint="change the file's mode, or leave it out") from error
        raise explained(error, place) or DockerlabError(f"{place}: {(error.strerror or str(error)).lower()}") from error
