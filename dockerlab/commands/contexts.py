"""`docker build PATH | URL | -`: where the Dockerfile and its context come from."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from os.path import normpath
from pathlib import Path

from dockerlab.build import fetching, piped
from dockerlab.build.context import Context
from dockerlab.commands.call import Call
from dockerlab.engine.executing import IMAGE_CONTEXT
from dockerlab.errors import InvalidArgument, InvalidRequest

__all__ = ["named", "opened"]


@contextmanager
def opened(call: Call) -> Iterator[tuple[str, Path | Context, str]]:
    """Gives a Dockerfile's text, its context, and what the file is called; raises InvalidArgument, InvalidRequest, BuildFailed."""
    where, name = call.args[0], call.flag("file")
    if where == "-" or (fetching.is_remote(where) and not fetching.is_git(where)):
        with _streamed(call, where, name) as found:
            yield found
        return
    with tempfile.TemporaryDirectory(prefix="dockerlab-context-") as scratch:
        if fetching.is_git(where):
            folder = fetching.checkout(where, Path(scratch))
            base, path = folder, _inside(folder, name)
        else:
            base, folder = call.folder, call.folder / where
            if not folder.is_dir():
                said = f"context must be a directory: {folder}" if folder.exists() else f'path "{where}" not found'
                raise InvalidArgument(f"unable to prepare context: {said}", hint="give the folder that holds the Dockerfile; often a single dot")
            path = base / name if name else _dockerfile(folder)
        if name == "-":
            yield _text(call.surface.stdin(), "standard input"), folder, "Dockerfile"
            return
        if not path.exists():
            raise InvalidArgument(f"unable to prepare context: unable to evaluate symlinks in Dockerfile path: lstat {normpath(path)}: no such file or directory")
        called = Path(name).name or path.name
        yield _read(path), Context.open(folder, called, lasting=False) if fetching.is_git(where) else folder, called


@contextmanager
def _streamed(call: Call, where: str, name: str) -> Iterator[tuple[str, Context, str]]:
    """A Dockerfile alone, or an archive that is the whole context, from standard input or a URL."""
    if where == "-" and name == "-":
        raise InvalidArgument("invalid argument: can't use stdin for both build context and dockerfile", hint="give a folder: docker build -f - .")
    data = call.surface.stdin() if where == "-" else _fetched(call, where)
    if where == "-" and name and not piped.is_archive(data):
        raise InvalidArgument("unable to prepare context: ambiguous Dockerfile source: both stdin and flag correspond to Dockerfiles", hint="leave out -f")
    with piped.context(data, name or "Dockerfile") as (context, dockerfile):
        yield _text(dockerfile, "the Dockerfile"), context, name or "Dockerfile"


def _fetched(call: Call, url: str) -> bytes:
    with tempfile.TemporaryDirectory(prefix="dockerlab-context-") as scratch:
        _, place = fetching.fetched(url, Path(scratch)).itself
        data = Path(place).read_bytes()
    call.out(f"Downloading build context from remote url: {url} ({len(data)} bytes)")
    return data


def named(call: Call, stack: ExitStack) -> dict[str, str | Path]:
    """Gives the contexts of `--build-context NAME=WHERE` by their names, fetched for as long as `stack` lives; raises InvalidArgument, BuildFailed."""
    found: dict[str, str | Path] = {}
    for word in call.flag("build-context"):
        name, _, where = word.partition("=")
        if where.startswith("oci-layout://"):
            raise InvalidArgument(f"the context {where} is not done by dockerlab yet", hint="docker load takes an OCI layout as a tar; then name it docker-image://NAME")
        if fetching.is_remote(where):
            scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dockerlab-context-")))
            found[name.lower()] = fetching.checkout(where, scratch) if fetching.is_git(where) else stack.enter_context(piped.context(_fetched(call, where)))[0].folder
        elif where.startswith(IMAGE_CONTEXT):
            found[name.lower()] = where
        elif not (call.folder / where).is_dir():
            raise InvalidArgument(f"failed to get build context {name}: stat {where}: no such file or directory", hint="name a folder, a URL, or docker-image://NAME")
        else:
            found[name.lower()] = call.folder / where
    return found


def _inside(folder: Path, name: str) -> Path:
    path = Path(normpath(folder / (name or "Dockerfile")))
    if not path.resolve().is_relative_to(folder.resolve()):
        raise InvalidRequest(f"the Dockerfile ({name}) must be within the build context", hint="name a file of the repository")
    return path


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
