"""The builder's host: what an engine does for each step of a build."""

from __future__ import annotations

import contextlib
import os
import posixpath
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from dockerlab.build.context import Context, Picked, Source
from dockerlab.build.steps import Step, Transfer, Watched
from dockerlab.engine import buildmounts, scratch
from dockerlab.engine.containers import Attach, Container, RunOptions
from dockerlab.engine.imagefiles import ImageFiles
from dockerlab.engine.images import Image, now
from dockerlab.engine.settings import source_date
from dockerlab.errors import BuildFailed, ContainerError, CorruptContent, DockerlabError, InvalidRequest, NotFound, UnsafeArchive
from dockerlab.layers import archive, packing
from dockerlab.layers.index import Entry
from dockerlab.layers.union import UnionView
from dockerlab.oci.config import History, RunConfig
from dockerlab.oci.digest import Digest
from dockerlab.oci.platforms import architecture
from dockerlab.runtime.users import LARGEST
from dockerlab.store import opening, work
from dockerlab.store.files import locked
from dockerlab.store.holds import Hold
from dockerlab.store.trees import remove

if TYPE_CHECKING:
    from dockerlab.engine import Engine

__all__ = ["Around", "Executor"]

IMAGE_CONTEXT = "docker-image://"
_LOCK_DIGITS = 3


@dataclass(frozen=True, slots=True)
class Around:
    """What a build is given beside Dockerfile and context: options of every container that runs a step, secrets by their ids, contexts with names of their own
    (folders, or `docker-image://NAME`), which containers are kept to look into ("failed" ones, "all" or "none"), and what a Dockerfile may ask for beyond its container ("network.host").
    """

    run: RunOptions = field(default_factory=RunOptions)
    secrets: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    contexts: Mapping[str, str | Path] = field(default_factory=dict)
    keep: str = "failed"
    allow: Collection[str] = ()

    def lets_out(self, default: str) -> bool:
        """Tells whether steps may be in the host's network, as all are where that is the build's own, or the engine's `default`."""
        return "network.host" in self.allow or "host" in ({word.name for word in self.run.networks} or {default})


class Executor:
    """Does the steps of one build; `build.steps.Host`. What it comes to and makes is held, where a hold is given."""

    def __init__(self, engine: Engine, around: Around, hold: Hold | None = None) -> None:
        self._engine, self._around, self._hold = engine, around, hold

    @property
    def platform(self) -> str:
        """What containers run on here."""
        return f"linux/{architecture()}"

    def given(self, name: str) -> bool:
        """Tells whether a folder or an image was given this name."""
        return bool(self._given(name))

    def _given(self, name: str) -> str | Path:
        """Gives what stands for a name, "" for nothing; `:latest` may be said or not."""
        bare = name.lower().removesuffix(":latest")
        return self._around.contexts.get(bare) or self._around.contexts.get(f"{bare}:latest") or ""

    def named(self, name: str) -> Source | None:
        """Gives the folder that was given a name of its own."""
        given = self._given(name)
        return Context.open(given) if isinstance(given, Path) else None

    def secret(self, ident: str) -> bytes | None:
        """Gives a secret that the build was given."""
        return self._around.secrets.get(ident)

    def resolve(self, reference: str) -> str:
        """Gives an image's id; raises NotFound."""
        given = self._given(reference)
        if isinstance(given, Path):
            raise BuildFailed(f"{reference} is a folder, and no stage begins with one", hint=f"COPY --from={reference} … copies out of it")
        while True:
            image = self._engine.images.resolve(str(given or reference).removeprefix(IMAGE_CONTEXT)).id
            with self._holding() as hold, contextlib.suppress(NotFound):  # pruned since: it is fetched once more
                hold(self._engine.images.get(image).id)
                return str(image)

    def _holding(self) -> contextlib.AbstractContextManager[Callable[[str], object]]:
        """Gives what takes hold of an id that is looked up, or made, in the block."""
        return self._hold.taking() if self._hold else contextlib.nullcontext(lambda _: None)

    def settings(self, image: str) -> RunConfig:
        """Gives the settings of an image."""
        return self._engine.images.get(image).config.config

    def exists(self, image: str) -> bool:
        """Tells whether the image is still here, and was not lost with the power."""
        content = self._engine.content
        with self._holding() as hold:
            try:
                record = self._engine.images.get(image).record
                hold(image)
                return content.path(record.manifest.digest).stat().st_size == record.manifest.size and content.path(Digest(image)).stat().st_size > 0
            except (NotFound, FileNotFoundError):
                return False

    @contextlib.contextmanager
    def files(self, image: str) -> Iterator[Source]:
        """Opens an image as something to copy from."""
        with scratch.held(self._engine) as folder:
            yield ImageFiles(self._engine.images.layers, self._engine.images.get(image).record, folder) if image else Context(folder)

    def created(self, image: str) -> str:
        """Gives when an image was made."""
        return self._engine.images.get(image).config.created

    def added(self, image: str) -> Sequence[Entry]:
        """Gives the table of the layer that an image's last step added."""
        found = self._engine.images.get(image)
        if not found.config.history or found.config.history[-1].empty_layer or not found.manifest.layers:
            return ()
        return self._engine.images.layers.table(*self._engine.images.layers.named(found.record)[-1])

    @contextlib.contextmanager
    def alone(self, key: str) -> Iterator[None]:
        """Holds a step, by one of a fixed number of lock files: two builds that share one now and then wait for nothing."""
        folder = self._engine.home / "build-locks"
        folder.mkdir(exist_ok=True)
        with locked(folder / key[:_LOCK_DIGITS]):
            yield

    def execute(self, image: str, step: Step, watched: Watched) -> str:
        """Does a step on an image and gives the new image's id."""
        parent = self._engine.images.get(image) if image else None
        if step.command:
            layer = self._run(parent, step, watched)
        elif step.transfer:
            layer = self._lay(self._items(step.transfer, UnionView([]) if step.transfer.apart else self._union(parent), parent))
        elif step.folder:
            layer = self._lay(_folders(step.folder, self._union(parent)))
        else:
            layer = None
        entry = History(created=now(), created_by=step.created_by, author=step.author)
        with self._holding() as hold:
            made = self._engine.images.create(parent, [layer] if layer else [], step.run, entry, author=step.author, step=True).id
            hold(made)
        return str(made)

    def _union(self, parent: Image | None) -> UnionView:
        return self._engine.images.layers.union(parent.record) if parent else UnionView([])

    def _run(self, parent: Image | None, step: Step, watched: Watched) -> tuple[Path, dict[str, Any]] | None:
        if parent is None:
            raise BuildFailed("RUN needs a file system: FROM scratch has no program to run", hint="COPY a program in first, or start FROM busybox")
        if step.network == "host" and not self._around.lets_out(self._engine.settings.network):
            raise BuildFailed("network.host is not allowed", hint="who builds lets a Dockerfile into the host's network: docker build --allow network.host")
        env = dict(word.partition("=")[::2] for word in step.env)
        with buildmounts.laid(self._engine, step.mounts) as mounts:
            options = replace(self._around.run, entrypoint=step.command[0], env=env, mount=mounts)
            options = replace(options, network=step.network, networks=()) if step.network else options
            container = self._made(parent, step.command[1:], options)
            kept = self._around.keep == "all"
            try:
                watched.running(container.id)
                try:
                    code = self._carry(container, watched.output)
                finally:
                    if step.mounts:  # where nothing is mounted a copy of a secret lies there
                        buildmounts.clear(self._engine, container.id, self._union(parent), step.mounts)
                if code:
                    kept = self._around.keep != "none"
                    raise _failed(step, code, container.id if kept else "")
                watched.lost |= self._lost(container, parent)
                return container.pack()
            except (ContainerError, NotFound) as error:
                kept = self._around.keep != "none"
                raise BuildFailed(error.message, hint=error.hint, container=container.id if kept else "") from error
            finally:
                if not kept:
                    container.remove(force=True, volumes=True)

    def _lost(self, container: Container, parent: Image) -> dict[str, int]:
        """Gives the bytes that a step wrote to volumes of its image, which go with its container."""
        places = {str(self._engine.volume_store.place(name)) for name in container.record.volumes}
        volumes = {mount["target"]: mount["source"] for mount in container.record.host["mounts"] if mount["source"] in places}
        if not volumes:
            return {}
        union, found = self._union(parent), {}
        for target, source in volumes.items():
            below = union.follow(target) + "/"
            had = sum(seen.entry.size for path, seen in union.walk() if path.startswith(below))
            size, _ = self._engine.world.call("usage", path=source)
            found[target] = size - had
        return {target: size for target, size in found.items() if size > 0}

    def _made(self, image: Image, command: Sequence[str], options: RunOptions) -> Container:
        try:
            self._engine.images.layers.ensure_unpacked(image.record)  # may take long, and the image is held
            with self._holding() as hold:
                container = self._engine.containers.create(image.id, command, options)
                hold(container.id)
                return container
        except (NotFound, InvalidRequest) as error:
            raise BuildFailed(error.message, hint=error.hint) from error

    @staticmethod
    def _carry(container: Container, output: Callable[[int, bytes], object]) -> int:
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
            facts = target.close(packing.pack(packing.clamped(_checked(_whole(items)), source_date()), target.write))
        if facts["entries"]:
            return draft, facts
        draft.unlink()
        return None

    def _items(self, transfer: Transfer, union: UnionView, parent: Image | None) -> Iterator[packing.Item]:
        for source in transfer.sources:
            source.bring()
        place = union.follow(transfer.destination)
        seen = union.resolved(place)
        into = transfer.destination.endswith("/") or transfer.destination in (".", "/") or bool(seen and seen.entry.kind == "dir") or transfer.destination.endswith("/.")
        owner = self._owner(transfer.owner, parent)
        sources = [partial(self._one, source, f"{place}/{source.under}".strip("/"), into or bool(source.under), transfer, union, owner) for source in transfer.sources]
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
        elif source.unpack and itself.kind == "file" and _is_archive(disk):
            yield from _folders(place, union, owner or (0, 0))
            yield from _unpacked(disk, place)
        else:
            name = posixpath.basename(source.name)
            if into and name in ("", ".", ".."):
                raise BuildFailed(f"cannot determine the name of a file from {source.name or 'its address'}", hint="write the file's name behind the last slash of the destination")
            path = f"{place}/{name}".lstrip("/") if into else place
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
            if found:
                found.bring()
            text = Path(found.itself[1]).read_text(errors="surrogateescape") if found and found.itself[0].kind == "file" else ""
        rows = (line.split(":") for line in text.splitlines())
        known = next((row[2] for row in rows if row[0] == word and len(row) > 2 and row[2].isascii() and row[2].isdigit() and int(row[2]) <= LARGEST), None)
        if known is None:
            why = f"can't find {number} for {what} {word}: no such {what}: {word}"
            raise BuildFailed(f"unable to convert uid/gid chown string to host mapping: {why}", hint=f"use a number, or a name of the image's /etc/{file}")
        return int(known)


def _failed(step: Step, code: int, container: str) -> BuildFailed:
    """Gives docker's error for a command of RUN, and where to look."""
    shown = " ".join(step.command)
    look = f"its container is kept: docker diff {container[:12]}, docker commit {container[:12]} look" if container else "run the last image by its id and try the command there"
    return BuildFailed(f"The command '{shown}' returned a non-zero code: {code}", exit_code=code, hint=look, container=container)


def _checked(items: Iterator[packing.Item]) -> Iterator[packing.Item]:
    """Yields what may be in a layer; raises BuildFailed for a name that could never be laid out again."""
    for entry, disk in items:
        try:
            archive.safe(entry)
        except UnsafeArchive as error:
            raise BuildFailed(error.message, hint="give it a shorter name" if "255" in error.message else error.hint) from error
        yield entry, disk


def _whole(items: Iterator[packing.Item]) -> Iterator[packing.Item]:
    """Yields the items; of the names of one file the first that is left is the file itself, where the name that the others link to was left out."""
    files, moved = set[str](), dict[str, str]()
    for entry, disk in items:
        if entry.kind == "link":
            target = moved.get(entry.link, entry.link)
            if target in files:
                entry = msgspec.structs.replace(entry, link=target)
            else:
                moved[entry.link] = entry.path
                entry = msgspec.structs.replace(entry, kind="file", link="", size=os.stat(disk).st_size)
        if entry.kind == "file":
            files.add(entry.path)
        yield entry, disk


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
    folder = tempfile.mkdtemp(prefix="dockerlab-add-")
    try:
        with open(place, "rb") as file:
            try:
                table = {e.path: e for e in archive.apply(opening.open_layer(file), folder, archive.Style(owners=False, devices=False)) if not e.marker}
            except DockerlabError as error:
                raise BuildFailed(f"ADD failed: {error.message}", hint=error.hint) from error
        for entry, disk in packing.pack_tree((folder,)):
            told = work.as_archived(entry, table.get(entry.path))
            link = f"{prefix}/{told.link}".lstrip("/") if told.kind == "link" else told.link
            yield msgspec.structs.replace(told, path=f"{prefix}/{told.path}".lstrip("/"), link=link), disk
    finally:
        remove(folder)  # as deep as the archive made it
