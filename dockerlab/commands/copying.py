"""docker cp: files and folders between a container and here, by docker's rules for what is called how where it arrives."""

from __future__ import annotations

import contextlib
import io
import os
import stat
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dockerlab.commands.call import Call, Outcome
from dockerlab.engine.exchange import Files
from dockerlab.engine.imagearchive import ImageArchive
from dockerlab.errors import InvalidArgument, InvalidReference, NotFound, UnsafeArchive
from dockerlab.layers import archive, exchange
from dockerlab.layers.owners import Owned
from dockerlab.store.opening import open_layer

__all__ = ["arrival", "cp"]

_STEPS = 40  # symlinks in a row, as the kernel follows them


@dataclass(frozen=True, slots=True)
class _End:
    """One end of a copy: a path, in a container or here."""

    container: str
    path: str

    @classmethod
    def parse(cls, word: str) -> _End:
        name, colon, path = word.partition(":")
        if not colon or word.startswith(("/", ".")):
            return cls("", word)
        return cls(name, path)


def cp(call: Call) -> Outcome:
    """docker cp."""
    for name, word in zip(("source", "destination"), call.args, strict=True):
        if not word:
            raise InvalidArgument(f"{name} can not be empty", hint="a variable that is not set, perhaps")
    source, target = _End.parse(call.args[0]), _End.parse(call.args[1])
    if source.container and target.container:
        raise InvalidArgument("copying between containers is not supported", hint="copy to this machine first")
    if not source.container and not target.container:
        raise InvalidArgument("must specify at least one container source", hint="docker cp CONTAINER:PATH PATH, or the other way round")
    try:
        files = call.engine.containers.get(source.container or target.container).files
    except NotFound:
        found = _image(call, call.args[0]) if source.container else None
        if found is None:
            raise
        _out(call, *found, target.path)
        return Outcome()
    if source.container:
        _out(call, files, source.path, target.path)
    else:
        _in(call, files, source.path, target)
    return Outcome()


def _image(call: Call, word: str) -> tuple[ImageArchive, str] | None:
    """Gives the files of the image that stands where a container's name is wanted, and the path; None where no image is called so. Its name may hold colons: a path begins behind the last `:/`."""
    name, slash, path = word.rpartition(":/")
    for image, inner in ((name, f"/{path}"), word.partition(":")[::2]) if slash else (word.partition(":")[::2],):
        with contextlib.suppress(NotFound, InvalidArgument, InvalidReference):
            return ImageArchive(call.engine.images.get(image)), inner
    return None


def arrival(source: str, target: str, *, folder: bool, there: bool, there_folder: bool) -> tuple[str, str]:
    """Gives (the folder that a copy goes into, what it is called there, "" for a folder's content alone); raises InvalidArgument in docker's words.

    `folder`: the source is one. `there`: something is at the target, and `there_folder`: a folder.
    """
    parent, name = os.path.split(target.rstrip("/").removesuffix("/.")) if target.strip("/.") else ("/", "")
    if there and there_folder:
        return target, "" if source.endswith("/.") or source == "." else os.path.basename(source.rstrip("/"))
    if there and folder:
        raise InvalidArgument("cannot copy directory", hint="a folder goes into a folder, or where nothing is yet")
    if not folder and target.endswith(("/", "/.")):
        raise InvalidArgument("no such directory", hint="make the folder first, or leave the / away")
    return parent or "/", name


# Out of the container

def _out(call: Call, files: Files | ImageArchive, path: str, target: str) -> None:
    path = f"/{path.lstrip('/')}" if path else ""
    seen = files.stat(path)
    if call.flag("follow-link") and seen.target:
        path = seen.target
        seen = files.stat(path)
    if target == "-":
        files.get_archive(path, call.surface.binary(), name="." if path.endswith("/.") else None)
        return
    place = _local(call.folder, target)
    there, there_folder = _local_facts(place)
    folder, name = arrival(path, place, folder=seen.is_folder, there=there, there_folder=there_folder)
    if not os.path.isdir(folder):
        raise InvalidArgument(f'invalid output path: directory "{folder}" does not exist', hint="make the folder first")
    if seen.is_folder and not (there and there_folder):
        os.mkdir(place.rstrip("/"), 0o755)
        folder, name = place, ""
    style = archive.Style(whiteout="", owners=call.flag("archive") and os.geteuid() == 0, devices=False)
    _piped(lambda sink: files.get_archive(path, sink, name=name), lambda source: _lay_here(source, folder, style))


def _lay_here(source: int, folder: str, style: archive.Style) -> None:
    with open(source, "rb", closefd=False) as file:
        try:
            archive.apply(open_layer(file), folder, style)
        except UnsafeArchive as error:
            raise InvalidArgument(error.message, hint=error.hint) from None


def _local(folder: Path, word: str) -> str:
    """Gives a path here, whole, with what is said at its end; what a symlink there leads to."""
    place = os.path.normpath(folder / word) + ("/" if word.endswith("/") else "/." if word.endswith("/.") else "")
    for _ in range(_STEPS):
        if not os.path.islink(place):
            return place
        place = os.path.normpath(os.path.join(os.path.dirname(place), os.readlink(place)))
    raise InvalidArgument(f"{place}: too many symlinks")


def _local_facts(place: str) -> tuple[bool, bool]:
    try:
        return True, stat.S_ISDIR(os.stat(place).st_mode)
    except FileNotFoundError:
        return False, False
    except NotADirectoryError:
        raise InvalidArgument(f"stat {place}: not a directory", hint="it is a file: leave the / away") from None


# Into the container

def _in(call: Call, files: Files, word: str, target: _End) -> None:
    place = f"/{target.path.lstrip('/')}" if target.path else "/."
    try:
        seen = files.stat(place)
        if seen.target:
            place = seen.target
            seen = files.stat(place)
        there, there_folder = True, seen.is_folder
    except NotFound:
        there, there_folder = False, False
    if word == "-":
        if not there_folder:
            raise InvalidArgument(f'destination "{target.container}:{target.path}" must be a directory', hint="a tar is laid down in a folder")
        _piped(lambda sink: _feed(call, sink), lambda source: files.put_archive(place, source))
        return
    source = os.path.normpath(call.folder / word) + ("/" if word.endswith("/") else "/." if word.endswith("/.") or word == "." else "")
    source = os.path.realpath(source) if call.flag("follow-link") and os.path.islink(source) else source
    try:
        folder = stat.S_ISDIR(os.lstat(source).st_mode)
    except NotADirectoryError:
        raise InvalidArgument("not a directory", hint="it is a file: leave the / away") from None
    except FileNotFoundError:
        raise InvalidArgument(f"lstat {source}: no such file or directory", hint="the path is one of this machine") from None
    if not target.path:
        raise InvalidArgument("no such directory", hint="name a path behind the colon")
    where, name = arrival(source, place, folder=folder, there=there, there_folder=there_folder)
    _piped(lambda sink: _take_here(source, sink, name), lambda reader: files.put_archive(where, reader))


def _take_here(source: str, sink: int, name: str) -> None:
    root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with open(sink, "wb", buffering=1 << 16, closefd=False) as file:
            exchange.take(root, source, file.write, name=name, owner=lambda path, place, status: Owned(status.st_uid, status.st_gid))
    finally:
        os.close(root)


def _feed(call: Call, sink: int) -> None:
    with open(sink, "wb", closefd=False) as file:
        file.write(io.BytesIO(call.surface.stdin()).getbuffer())


def _piped(produce: Callable[[int], object], consume: Callable[[int], object]) -> None:
    """Has one write what the other reads; raises the writer's error rather than what the reader makes of a stream that was cut."""
    reader, writer = os.pipe()
    failed: list[BaseException] = []

    def run() -> None:
        try:
            produce(writer)
        except BrokenPipeError:
            pass  # the reader says why it reads no more
        except BaseException as error:
            failed.append(error)
        finally:
            os.close(writer)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        consume(reader)
    except Exception as error:
        failed.append(error)
    finally:
        os.close(reader)
        thread.join()
    if failed:
        raise failed[0]
