"""Images: make, name, look at, remove."""

from __future__ import annotations

import builtins
import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import msgspec

from dockerlab import recipes
from dockerlab.engine import archives
from dockerlab.engine.deletion import Deletion, Told
from dockerlab.engine.layers import Layers
from dockerlab.engine.scan import Audit
from dockerlab.engine.settings import source_date
from dockerlab.errors import NotFound, NotSupportedHere, RegistryError
from dockerlab.events import Event
from dockerlab.oci.config import History, ImageConfig, RootFS, RunConfig
from dockerlab.oci.digest import DiffId, ImageId, short
from dockerlab.oci.manifest import CONFIG, Descriptor, Manifest
from dockerlab.oci.platforms import architecture
from dockerlab.oci.reference import DEFAULT_REGISTRY, Reference
from dockerlab.store.files import locked
from dockerlab.store.images import Record
from dockerlab.store.work import Compressor

if TYPE_CHECKING:
    from dockerlab.engine import Engine
    from dockerlab.engine.ways import Ways

__all__ = ["HistoryLine", "Image", "Images", "now"]

MAX_LAYERS = 127


def now() -> str:
    """Gives the time as image configs have it; $SOURCE_DATE_EPOCH stands in for it."""
    fixed = source_date()
    moment = datetime.fromtimestamp(fixed, UTC) if fixed is not None else datetime.now(UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%f") + "000Z"


@dataclass(frozen=True, slots=True)
class HistoryLine:
    """One line of `docker history`: the image that this step made, where it is still known, and the bytes that it added."""

    image: str
    created: str
    created_by: str
    size: int
    comment: str


class Image:
    """One image of an engine."""

    def __init__(self, engine: Engine, record: Record) -> None:
        self._engine, self.record = engine, record
        self.id: ImageId = record.id

    @cached_property
    def config(self) -> ImageConfig:
        """The image's config."""
        return self._engine.image_store.config(self.id)

    @cached_property
    def document(self) -> bytes:
        """The image's manifest as it is stored and sent."""
        return self._engine.content.read(self.record.manifest.digest)

    @cached_property
    def manifest(self) -> Manifest:
        """The image's manifest."""
        return Manifest.decode(self.document)

    @property
    def tags(self) -> list[str]:
        """The image's names as docker shows them."""
        return [Reference.parse(name).familiar for name in self.record.names]

    @property
    def short_id(self) -> str:
        """Twelve digits."""
        return short(self.id)

    @property
    def title(self) -> str:
        """What a person calls it: its first name, else twelve digits."""
        return self.tags[0] if self.tags else self.short_id

    @property
    def made(self) -> list[History]:
        """The entries of its history that made a layer, base first."""
        return [entry for entry in self.config.history if not entry.empty_layer]

    def made_by(self, layer: int) -> str:
        """What made a layer, by its number from the base: the instruction, or the comment; "" where the history is too short to tell."""
        return next((entry.created_by or entry.comment for entry in self.made[layer : layer + 1]), "")

    @cached_property
    def layer_sizes(self) -> list[int]:
        """The bytes of each layer's files, the lowest first."""
        return list(self._engine.images.layers.sizes(self.record))

    @property
    def size(self) -> int:
        """The bytes of all layers' files."""
        return sum(self.layer_sizes)

    def history(self) -> list[HistoryLine]:
        """Gives the image's history, newest first."""
        sizes = iter(self.layer_sizes)
        steps = [(entry, 0 if entry.empty_layer else next(sizes, 0)) for entry in self.config.history]
        ids = self._engine.images.ancestry(self)
        missing = ["<missing>"] * max(len(steps) - len(ids), 0)
        names = [*ids[: len(steps)], *missing]
        return [HistoryLine(name, e.created, e.created_by, size, e.comment) for name, (e, size) in zip(names, reversed(steps), strict=False)]

    def __repr__(self) -> str:
        return f"<Image {', '.join(self.tags) or '<none>'} {self.short_id}>"


class Images:
    """`engine.images`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.layers = Layers(engine)

    def list(self, *, intermediate: bool = False) -> list[Image]:
        """Gives the images, newest first; with `intermediate` those that only are steps of others as well."""
        records = self._engine.image_store.records()
        parents = {record.parent for record in records if record.parent}
        shown = [r for r in records if intermediate or r.names or r.id not in parents]
        return sorted((Image(self._engine, r) for r in shown), key=lambda image: image.config.created, reverse=True)

    def get(self, name: str) -> Image:
        """Gives a local image by name, id or start of an id; raises NotFound, InvalidReference."""
        try:
            return Image(self._engine, self._engine.image_store.find(name))
        except NotFound:
            if record := self._under(name):
                return Image(self._engine, record)
            raise

    def _under(self, name: str) -> Record | None:
        """Gives the image that a repository is known to have under a digest: that of an index, say, or of a manifest that says the same in other bytes."""
        if "@" not in name:
            return None
        wanted = str(Reference.parse(name).untagged())
        return next((record for record in self._engine.image_store.records() if wanted in self._engine.places.of(f"image {record.id}")), None)

    def resolve(self, name: str) -> Image:
        """Gives a local image, or makes it by a recipe, or pulls it; raises NotFound with what can be had, RegistryError."""
        with contextlib.suppress(NotFound):
            return self.get(name)
        reference = Reference.parse(name).tagged()
        if not (reference.registry == DEFAULT_REGISTRY and self._engine.distribution.settings.mirrors) and (recipe := recipes.find(str(reference))):
            return self._made(str(reference), recipe)
        return self._pulled(name, reference)

    def _pulled(self, name: str, reference: Reference) -> Image:
        missing = f"Unable to find image '{reference.familiar}' locally"
        try:
            self._engine.follow(missing, reference, self.pull(name))
        except RegistryError as error:
            if error.status and error.status != 429:
                raise
            why = f"no registry could be asked ({error.message.rpartition(': ')[2]})"
            hint = f"{why}; without one `busybox`, `debian` and `ubuntu` are made on this machine, and `docker import` takes any root file system"
            raise NotFound(missing, kind="image to pull", name=name, hint=hint) from error
        return self.get(name)

    def _made(self, name: str, recipe: recipes.Recipe) -> Image:
        with locked(self._engine.settings.runtime / "recipe.lock"):
            with contextlib.suppress(NotFound):
                return self.get(name)
            if recipe.wait:
                self._engine.say(f"Unable to find image '{Reference.parse(name).familiar}' locally: {recipe.wait}")
            path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
            run = RunConfig(
                env=(path, *recipe.environment), cmd=recipe.cmd or None, entrypoint=recipe.entrypoint, labels=dict(recipe.labels),
                volumes={place: {} for place in recipe.volumes}, exposed_ports={port: {} for port in recipe.ports},
            )  # fmt: skip
            image: Image | None = None
            for number, layer in enumerate(recipe.layers, 1):
                draft = self._engine.content.draft()
                with self._engine.content.unless_failed(draft):
                    target = Compressor(str(draft))
                    table, when = layer(target.write)
                    facts = target.close(table)
                created = datetime.fromtimestamp(when, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
                entry = History(created=created, created_by=f"dockerlab recipe: {recipe.name}", comment=recipe.comment)
                image = self.create(image, [(draft, facts)], run, entry, name=Reference.parse(name) if number == len(recipe.layers) else None)
            made = self.get(name)
            if recipe.wait:
                self.layers.make_ready(made.record)
            return made

    def create(
        self, parent: Image | None, layers: Sequence[tuple[Path, dict[str, Any]]], run: RunConfig, entry: History, *,
        name: Reference | None = None, author: str = "", child: bool = True, step: bool = False,
    ) -> Image:  # fmt: skip
        """Makes an image from a parent, the layers to add (drafts of `store.work.pack`), its settings and a line of history."""
        below = parent.manifest.layers if parent else ()
        diff_ids: tuple[DiffId, ...] = parent.config.rootfs.diff_ids if parent else ()
        if len(below) + len(layers) > MAX_LAYERS:
            raise NotSupportedHere("max depth exceeded", reason="127 layers", hint="flatten the image with `docker export` and `docker import`")
        added = [self.layers.adopt(draft, facts) for draft, facts in layers]
        history = (*(parent.config.history if parent else ()), msgspec.structs.replace(entry, empty_layer=not added))
        config = ImageConfig(
            created=entry.created, author=author or (parent.config.author if parent else ""), architecture=architecture(), config=run,
            rootfs=RootFS(diff_ids=(*diff_ids, *(diff_id for _, diff_id in added))), history=history,
        )  # fmt: skip
        raw = config.encode()
        descriptor = Descriptor(media_type=CONFIG, digest=self._engine.content.put(raw), size=len(raw))
        manifest = Manifest(config=descriptor, layers=(*below, *(layer for layer, _ in added)))
        image = self._engine.image_store.add(raw, manifest, name=name, parent=str(parent.id) if parent and child else "", when=now(), step=step)
        if name:
            self._engine.journal.note("image", "tag", image, {"name": name.tagged().familiar})
        return self.get(image)

    def tag(self, name: str, target: str, *, anew: bool = True) -> None:
        """Gives an image one more name; unless `anew`, one that it has already keeps its time. Raises NotFound, InvalidReference."""
        ident, reference = self.get(name).id, Reference.parse(target)
        self._engine.image_store.tag(ident, reference, now(), anew=anew)
        self._engine.journal.note("image", "tag", ident, {"name": reference.tagged().familiar})

    def ancestry(self, image: Image) -> Sequence[ImageId]:
        """Gives the image and those that its steps were made from, newest first, as far as they are still here."""
        known = {record.id: record for record in self._engine.image_store.records()}
        chain: builtins.list[ImageId] = []
        current = known.get(image.id)
        while current is not None and current.id not in chain:
            chain.append(current.id)
            current = known.get(ImageId(current.parent))
        return chain

    def remove(self, name: str, *, force: bool = False, prune: bool = True, unused: bool = False, dangling: bool = False) -> Iterator[Told]:
        """Takes a name away, and the image with it if that was the last; yields ("Untagged" | "Deleted", what) in docker's order.

        `unused` and `dangling` are a prune's conditions, held against how things are at that moment: no container uses it; it has no name.
        Raises NotFound, InUse (a container, an image built on it, or another name where an id was given).
        """
        return Deletion(self._engine, force=force, prune=prune, unused=unused, dangling=dangling).run(self.get(name), name)

    def save(self, names: Sequence[str], write: Callable[[bytes], object]) -> None:
        """Writes images as one tar; raises NotFound, CorruptContent."""
        archives.save(self._engine, names, write)

    def load(self, file: BinaryIO) -> Iterator[str]:
        """Takes in the images of a tar that docker, skopeo or `save` has written; yields docker's line for each. Raises CorruptContent, UnsafeArchive, NotFound, InvalidReference."""
        return archives.load(self._engine, file)

    def push(self, name: str, *, all_tags: bool = False, tell: Callable[[Event], object] | None = None) -> Iterator[Event]:
        """Sends an image to the registry that its name says, or all tags of it; yields what happens, and `tell` hears every HTTP exchange. Raises NotFound, RegistryError."""
        return self._engine.distribution.push(name, all_tags=all_tags, tell=tell)

    def pull(self, name: str, *, platform: str = "", all_tags: bool = False, tell: Callable[[Event], object] | None = None) -> Iterator[Event]:
        """Fetches an image from the registry that its name says; yields what happens, and `tell` hears every HTTP exchange. Raises NotFound, RegistryError, CorruptContent."""
        return self._engine.distribution.pull(name, platform=platform, all_tags=all_tags, tell=tell)

    def ways(self, name: str, /, **weights: int) -> Ways:
        """Gives the ways to distribute an image, weighed, with what it would send each way; raises NotFound, InvalidArgument. See `Ways`."""
        from dockerlab.engine.ways import Ways, measured

        Ways("", {}, **weights)  # what is wrong with a weight is said before anything is measured
        return Ways(name, measured(self._engine, self.get(name)), **weights)

    def scan(self, name: str, *, known: Iterable[str] | None = None, perm: str = "") -> Audit:
        """Gives the files of an image that give rights to whoever runs or writes them; `known` are paths that are accepted, `perm` is find(1)'s word for a mode.

        Raises NotFound, InvalidReference, InvalidArgument.
        """
        return Audit(self.resolve(name), known, perm)

    def import_(self, source: Path | None, *, name: str = "", changes: RunConfig | None = None, message: str = "") -> Image:
        """Makes an image of one layer from a tar of a root file system. Raises UnsafeArchive, CorruptContent."""
        reference = Reference.parse(name) if name else None
        draft = self._engine.content.draft()
        with self._engine.content.unless_failed(draft):
            facts = self._engine.world.call("repack", source=str(source), draft=str(draft))
        entry = History(created=now(), comment=message or "Imported from -")
        image = self.create(None, [(draft, facts)], changes or RunConfig(), entry, name=reference)
        self._engine.journal.note("image", "import", image.id, {"name": image.id})
        return image
