"""What the builder asks of an engine: images, and the doing of steps."""

from __future__ import annotations

import contextlib
import os
import posixpath
import tempfile
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from dockerlab.build import parser
from dockerlab.build.builder import Builder, Emit, Step, Transfer
from dockerlab.build.cache import Cache
from dockerlab.build.context import Context, Picked, Source
from dockerlab.build.foresight import Foreseen, Foresight
from dockerlab.engine.containers import Attach, RunOptions
from dockerlab.engine.imagefiles import ImageFiles
from dockerlab.engine.images import Image, now
from dockerlab.engine.settings import source_date
from dockerlab.errors import BuildFailed, ContainerError, CorruptContent, DockerfileError, DockerlabError, NotFound
from dockerlab.events import ImageBuilt
from dockerlab.layers import archive, index, packing
from dockerlab.layers.index import Entry
from dockerlab.layers.union import UnionView
from dockerlab.oci.config import History, RunConfig
from dockerlab.oci.reference import Reference
from dockerlab.runtime.users import LARGEST
from dockerlab.store import opening, work

if TYPE_CHECKING:
    from dockerlab.engine import Engine

__all__ = ["Builds"]


class Builds:
    """`engine.images.build`'s other half."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def build(
        self, dockerfile: str, context: Path | Context, *, tags: tuple[str, ...] = (), name: str = "Dockerfile", build_args: Mapping[str, str] | None = None,
        no_cache: bool = False, target: str = "", origin: str = "", emit: Emit = lambda _: None,
    ) -> Image:  # fmt: skip
        """Builds a Dockerfile's text in a context, or a folder that is one; raises DockerfileError, BuildFailed, NotFound. No name moves before the end.

        `origin` is what the Dockerfile is known by from one build to the next, when a step says why it is done again; by default the folder and the file's name.
        """
        references = [Reference.parse(tag) for tag in tags]
        parsed = _parsed(dockerfile, name)
        source = Context.open(context, name) if isinstance(context, Path) else context
        with Cache(self._engine.home / "build-cache.db") as cache:
            builder = Builder(self, cache, source, build_args=build_args or {}, no_cache=no_cache, origin=origin or _origin(context, name, tags), emit=emit)
            image = builder.build(parsed, target=target)
        if not image:
            raise BuildFailed("No image was generated. Is your Dockerfile empty?", hint="add an instruction behind FROM scratch")
        for reference in references:
            self._engine.images.tag(image, str(reference))
        emit(ImageBuilt(image, tuple(r.tagged().familiar for r in references)))
        return self._engine.images.get(image)

    def foresee(
        self, dockerfile: str, context: Path | Context, *, name: str = "Dockerfile", build_args: Mapping[str, str] | None = None, no_cache: bool = False, target: str = "",
        tags: tuple[str, ...] = (), origin: str = "", what_if: str = "",
    ) -> list[Foreseen]:  # fmt: skip
        """Gives what `build` would do, step by step, and does nothing; `what_if` is a path of the context or `line:N` that is taken for changed. Raises as `build` does."""
        parsed, source = _parsed(dockerfile, name), Context.open(context, name) if isinstance(context, Path) else context
        with Cache(self._engine.home / "build-cache.db") as cache:
            foresight = Foresight(self, cache, source, build_args=build_args or {}, no_cache=no_cache, origin=origin or _origin(context, name, tags), emit=lambda _: None)
            foresight.what_if = what_if
            return foresight.foresee(parsed, target=target)

    def resolve(self, reference: str) -> str:
        """Gives an image's id; raises NotFound."""
        return str(self._engine.images.resolve(reference).id)

    def settings(self, image: str) -> RunConfig:
        """Gives the settings of an image."""
        return self._engine.images.get(image).config.config

    def exists(self, image: str) -> bool:
        """Tells whether the image is still here."""
        try:
            self._engine.images.get(image)
        except NotFound:
            return False
        return True

    @contextlib.contextmanager
    def files(self, image: str) -> Iterator[Source]:
        """Opens an image as something to copy from."""
        with tempfile.TemporaryDirectory(dir=self._engine.content.ingest, prefix="from-") as scratch:
            if image:
                yield ImageFiles(self._engine.images.layers, self._engine.images.get(image).record, Path(scratch))
            else:
                yield Context(Path(scratch))

    def execute(self, image: str, step: Step, running: Callable[[str], object], output: Callable[[int, bytes], object]) -> str:
        """Does a step on an image and gives the new image's id."""
        parent = self._engine.images.get(image) if image else None
        if step.command:
            layer = self._run(parent, step, running, output)
        elif step.transfer:
            layer = self._lay(self._items(step.transfer, self._union(parent), parent))
        elif step.folder:
            layer = self._lay(_folders(step.folder, self._union(parent)))
        else:
            layer = None
        entry = History(created=now(), created_by=step.created_by, author=step.author)
        made = self._engine.images.create(parent, [layer] if layer else [], step.run, entry, author=step.author)
        return str(made.id)

    def _union(self, parent: Image | None) -> UnionView:
        return self._engine.images.layers.union(parent.record) if parent else UnionView([])

    def _run(self, parent: Image | None, step: Step, running: Callable[[str], object], output: Callable[[int, bytes], object]) -> tuple[Path, dict[str, Any]] | None:
        if parent is None:
            raise BuildFailed("RUN needs a file system: FROM scratch has no program to run", hint="COPY a program in first, or start FROM busybox")
        env = dict(word.partition("=")[::2] for word in step.env)
        container = self._engine.containers.create(parent.id, step.command[1:], RunOptions(entrypoint=step.command[0], env=env))
        try:
            running(container.id)
            code = self._carry(container, output)
            if code:
                shown = " ".join(step.command)
                raise BuildFailed(f"The command '{shown}' returned a non-zero code: {code}", exit_code=code, hint="run the last image by its id and try the command there")
            return container.pack()
        except ContainerError as error:
            raise BuildFailed(error.message, exit_code=1, hint=error.hint) from error
        finally:
            container.remove(force=True, volumes=True)

    @staticmethod
    def _carry(container: Any, output: Callable[[int, bytes], object]) -> int:
        out_in, out = os.pipe()
        err_in, err = os.pipe()
        try:
            session = container.start(Attach(None, out, err))
        finally:
            os.close(out)
            os.close(err)
        try:
            code: int = container.watch(session, {out_in: lambda data: output(1, data), err_in: lambda data: output(2, data)}, note=lambda text: output(2, f"note: {text}\n".encode()))
            return code
        finally:
            os.close(out_in)
            os.close(err_in)

    def _lay(self, items: Iterator[packing.Item]) -> tuple[Path, dict[str, Any]] | None:
        draft = self._engine.content.draft()
        with self._engine.content.unless_failed(draft):
            target = work.Compressor(str(draft))
            table = packing.pack(packing.clamped(items, source_date()), target.write)
            facts = {**target.close(), "index": index.encode(table).decode()}
        if table:
            return draft, facts
        draft.unlink()
        return None

    def _items(self, transfer: Transfer, union: UnionView, parent: Image | None) -> Iterator[packing.Item]:
        place = union.follow(transfer.destination)
        seen = union.resolved(place)
        into = transfer.destination.endswith("/") or transfer.destination in (".", "/") or bool(seen and seen.entry.kind == "dir") or transfer.destination.endswith("/.")
        owner = self._owner(transfer.owner, parent)
        sources = [partial(self._one, source, place, into, transfer, union, owner) for source in transfer.sources]
        # A layer names each path once: a folder where it first comes, of two files with one name the later.
        last = {entry.path: number for number, items in enumerate(sources) for entry, _ in items() if entry.kind != "dir"} if len(sources) > 1 else {}
        folders: set[str] = set()
        for number, items in enumerate(sources):
            for entry, disk in items():
                if last.get(entry.path, number) == number and entry.path not in folders:
                    folders |= {entry.path} if entry.kind == "dir" else set()
                    yield entry, disk

    def _one(self, source: Picked, place: str, into: bool, transfer: Transfer, union: UnionView, owner: tuple[int, int] | None) -> Iterator[packing.Item]:
        itself, disk = source.itself
        if source.is_dir:
            yield from _folders(place, union, owner or (0, 0))
            for entry, file in source.inside:
                link = f"{place}/{entry.link}".lstrip("/") if entry.kind == "link" else entry.link
                yield _placed(msgspec.structs.replace(entry, path=f"{place}/{entry.path}".lstrip("/"), link=link), owner, transfer.mode), file
        elif transfer.unpack and itself.kind == "file" and _is_archive(disk):
            yield from _folders(place, union, owner or (0, 0))
            yield from _unpacked(disk, place)
        else:
            path = f"{place}/{posixpath.basename(source.name)}".lstrip("/") if into else place
            yield from _folders(posixpath.dirname(path), union, owner or (0, 0))
            yield _placed(msgspec.structs.replace(itself, path=path), owner, transfer.mode), disk

    def _owner(self, text: str, parent: Image | None) -> tuple[int, int] | None:
        """Gives what --chown names: numbers, or names that the image knows; a user alone is the group's name as well."""
        if not text:
            return None
        user, colon, group = text.partition(":")
        return self._number(parent, "passwd", user, "uid", "user"), self._number(parent, "group", group if colon else user, "gid", "group")

    def _number(self, parent: Image | None, file: str, word: str, number: str, what: str) -> int:
        if word.isascii() and word.isdigit():
            if int(word) > LARGEST:
                raise BuildFailed(f"{what} {word} is out of range", hint=f"write a number up to {LARGEST}")
            return int(word)
        with self.files(str(parent.id) if parent else "") as source:
            found = source.look(f"etc/{file}")
            text = Path(found.itself[1]).read_text(errors="surrogateescape") if found and found.itself[0].kind == "file" else ""
        rows = (line.split(":") for line in text.splitlines())
        known = next((row[2] for row in rows if row[0] == word and len(row) > 2 and row[2].isdigit()), None)
        if known is None:
            why = f"can't find {number} for {what} {word}: no such {what}: {word}"
            raise BuildFailed(f"unable to convert uid/gid chown string to host mapping: {why}", hint=f"use a number, or a name of the image's /etc/{file}")
        return int(known)


def _parsed(dockerfile: str, name: str) -> parser.Dockerfile:
    parsed = parser.parse(dockerfile, name)
    if "\0" in dockerfile:
        line = dockerfile.count("\n", 0, dockerfile.index("\0")) + 1
        raise DockerfileError("a NUL byte, which no name and no argument can hold", line=line, hint="save the file as text")
    return parsed


def _origin(context: Path | Context, name: str, tags: tuple[str, ...]) -> str:
    return f"{context.resolve()}\0{name}" if isinstance(context, Path) else f"\0{name}\0{tags[0]}" if tags else ""


def _placed(entry: Entry, owner: tuple[int, int] | None, mode: int | None) -> Entry:
    uid, gid = owner or (entry.uid, entry.gid)
    return msgspec.structs.replace(entry, uid=uid, gid=gid, mode=entry.mode if mode is None or entry.kind == "symlink" else mode)


def _folders(path: str, union: UnionView, owner: tuple[int, int] = (0, 0)) -> Iterator[packing.Item]:
    """Yields the folders that the image lacks on the way to `path`."""
    parts = union.follow(path).split("/")
    for depth in range(1, len(parts) + 1):
        here = "/".join(parts[:depth])
        seen = union.get(here)
        if seen and seen.entry.kind != "dir":
            raise BuildFailed(f"failed to copy files: /{here}: not a directory", hint="choose a destination that no file stands in the way of")
        if here and not seen:
            yield Entry(here, "dir", 0o755, *owner), ""


def _is_archive(place: str) -> bool:
    with open(place, "rb") as file:
        try:
            block = opening.open_layer(file).read(512)
        except (OSError, EOFError, ValueError, CorruptContent):
            return False
    return len(block) == 512 and block[257:262] == b"ustar"


def _unpacked(place: str, prefix: str) -> Iterator[packing.Item]:
    with tempfile.TemporaryDirectory(prefix="dockerlab-add-") as folder:
        with open(place, "rb") as file:
            try:
                table = {e.path: e for e in archive.apply(opening.open_layer(file), folder, archive.Style(owners=False, devices=False)) if not e.marker}
            except DockerlabError as error:
                raise BuildFailed(f"ADD failed: {error.message}", hint=error.hint) from error
        for entry, disk in packing.pack_tree((folder,)):
            told = work.as_archived(entry, table.get(entry.path))
            link = f"{prefix}/{told.link}".lstrip("/") if told.kind == "link" else told.link
            yield msgspec.structs.replace(told, path=f"{prefix}/{told.path}".lstrip("/"), link=link), disk


