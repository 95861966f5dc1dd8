"""Images and registries: `push`, `pull`, `login`. What to send is decided here; how it travels is `registry.transfer`'s."""

from __future__ import annotations

import contextlib
import os
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from dockerlab.engine.images import now
from dockerlab.engine.settings import RegistrySettings
from dockerlab.engine.transferring import Transfer
from dockerlab.errors import CorruptContent, InvalidRequest, NotFound, RegistryError
from dockerlab.events import Event, TransferEnded, TransferStarted
from dockerlab.oci import platforms
from dockerlab.oci.config import ImageConfig
from dockerlab.oci.digest import DiffId, Digest, digest_of, short
from dockerlab.oci.manifest import INDEX, MANIFEST, SCHEMA_2, SCHEMA_2_LIST, Descriptor, Index, Manifest
from dockerlab.oci.reference import DEFAULT_REGISTRY, Reference
from dockerlab.oci.visible import visible
from dockerlab.registry.client import Fetched, Registry, Tell, about
from dockerlab.registry.keychain import Keychain, Login
from dockerlab.registry.replies import is_local
from dockerlab.registry.transfer import Cargo, Parcel, fetched_layers, push
from dockerlab.registry.transport import Sockets, Transport
from dockerlab.store.work import read_index
from dockerlab.version import __version__

if TYPE_CHECKING:
    from dockerlab.engine import Engine
    from dockerlab.engine.images import Image

__all__ = ["Distribution"]

_NESTED = 8  # indexes within an index
_DOCUMENT = 8 << 20  # bytes of an image's config at most
_TOUCHED = 10.0  # seconds between two signs that a draft is still needed


class Distribution:
    """An engine's way to registries. `transport` is sockets unless another is put in its place."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.transport: Transport | None = None
        # What was pushed and pulled here, the newest last, to be looked at again.
        self.transfers: deque[Transfer] = deque(maxlen=20)

    @property
    def settings(self) -> RegistrySettings:
        """What this person and this store say about registries."""
        return RegistrySettings.find(self._engine.home)

    @property
    def keychain(self) -> Keychain:
        """Where logins are kept: docker's own file."""
        return Keychain(self.settings.config)

    def host(self, registry: str) -> str:
        """Gives who answers for a registry: for Docker Hub that may be a hub of one's own."""
        hub = self.settings.hub if registry == DEFAULT_REGISTRY else ""
        return hub.partition("://")[2] or hub or registry

    def registry(self, host: str, tell: Tell | None = None, login: Login | None = None, *, insecure: bool = False) -> Registry:
        """Gives a registry, logged in where this person is."""
        settings, known = self.settings, self.host(host) != host
        host = self.host(host)
        carrier = self.transport or Sockets(authorities=lambda: settings.authorities(host), agent=f"dockerlab/{__version__}")
        schemes: tuple[str, ...] = (settings.hub.partition("://")[0],) if known else ()
        if not schemes and is_local(host) and (last := self._engine.places.of(f"registry {host}")[:1]):
            schemes = ("http", "https") if last == ("http",) else ("https", "http")  # as it answered last time; elsewhere whoever once stood in the way of TLS would keep it away
        return Registry(host, carrier, login=login or Keychain(settings.config).get(host), insecure=insecure or settings.insecure(host), tell=tell, schemes=schemes)

    def remember(self, registry: Registry) -> None:
        """Keeps by which scheme a registry of this machine has answered."""
        if is_local(registry.host):
            self._engine.places.note(registry.base.partition("://")[0], [f"registry {registry.host}"])

    # Push.

    def push(self, name: str, *, all_tags: bool = False, tell: Tell | None = None) -> Iterator[Event]:
        """Sends an image, or all tags of a repository; yields what happens. Raises NotFound, RegistryError."""
        reference = Reference.parse(name)
        registry = self.registry(reference.registry, tell)
        for tag, image in self._chosen(reference, all_tags):
            for event in push(registry, reference.repository, tag, self.cargo(image, reference)):
                yield event
                if isinstance(event, TransferEnded):
                    self.remember(registry)
                    repository = f"{reference.registry}/{reference.repository}"
                    self._engine.places.note(repository, [event.digest, image.manifest.config.digest, *(layer.digest for layer in image.manifest.layers)])
                    self._engine.places.note(f"{repository}@{event.digest}", [f"image {image.id}"])
                    self._engine.journal.note("image", "push", image.id, {"name": f"{reference.familiar_name}:{tag}"})

    def _chosen(self, reference: Reference, all_tags: bool) -> list[tuple[str, Image]]:
        images = self._engine.images
        if not all_tags:
            try:
                return [(reference.tagged().tag, images.get(str(reference.tagged())))]
            except NotFound:
                raise NotFound(
                    f"An image does not exist locally with the tag: {reference.familiar_name}", kind="image to push", name=reference.familiar, hint="give an image that name: docker tag IMAGE NAME",
                ) from None  # fmt: skip
        start = f"{reference.registry}/{reference.repository}:"
        found = [(name.removeprefix(start), images.get(name)) for record in self._engine.image_store.records() for name in record.names if name.startswith(start)]
        if not found:
            raise NotFound(f"An image does not exist locally with the tag: {reference.familiar_name}", kind="image to push", name=reference.familiar, hint="docker images shows what is here")
        return sorted(found, key=lambda pair: pair[0])

    def cargo(self, image: Image, reference: Reference | None = None) -> Cargo:
        """Gives all that a push of an image sends; for a registry that is known, with where its blobs are already. Raises NotFound."""
        content, manifest = self._engine.content, image.manifest
        own = f"{reference.registry}/{reference.repository}" if reference else ""

        def parcel(descriptor: Descriptor, label: str) -> Parcel:
            path = content.path(descriptor.digest)
            if not path.exists():
                raise NotFound(f"blob {short(descriptor.digest)} is missing", kind="blob", name=descriptor.digest, hint="run `docker system check`")
            known = [place.partition("/") for place in self._engine.places.of(descriptor.digest) if place != own]
            sources = tuple(name for host, _, name in known if reference and host == reference.registry)
            return Parcel(descriptor.digest, descriptor.size, path, label, sources)

        pairs = zip(manifest.layers, image.config.rootfs.diff_ids, strict=True)
        layers = tuple(parcel(layer, short(diff_id)) for layer, diff_id in pairs)
        known = f"{own}@{image.record.manifest.digest}" in self._engine.places.of(f"image {image.id}")
        return Cargo(image.document, image.record.manifest.media_type, parcel(manifest.config, ""), layers[::-1], known)

    # Pull.

    def pull(self, name: str, *, platform: str = "", all_tags: bool = False, tell: Tell | None = None) -> Iterator[Event]:
        """Fetches an image, or all tags of a repository; yields what happens. Raises NotFound, RegistryError, CorruptContent."""
        reference = Reference.parse(name)
        wanted = platforms.parsed(platform, platforms.architecture())
        for near in self._mirrors(reference, tell):
            try:
                yield from self._pulled(near, reference, wanted, all_tags)
                return
            except (RegistryError, CorruptContent, NotFound):
                continue  # it has not all of it: whom it mirrors is asked
        yield from self._pulled(self.registry(reference.registry, tell), reference, wanted, all_tags)

    def _pulled(self, registry: Registry, reference: Reference, wanted: dict[str, str], all_tags: bool) -> Iterator[Event]:
        found = [Reference(reference.registry, reference.repository, tag) for tag in registry.tags(reference.repository)] if all_tags else [reference.tagged()]
        for each in found:
            yield from _Pull(self._engine, registry, each, wanted).run()

    def _mirrors(self, reference: Reference, tell: Tell | None) -> Iterator[Registry]:
        """Gives, for Docker Hub's images, the mirrors that have this one (docker's registry-mirrors)."""
        for mirror in self.settings.mirrors if reference.registry == DEFAULT_REGISTRY else ():
            near, there = self.registry(mirror, tell), None
            with contextlib.suppress(RegistryError):
                there = near.manifest(reference.repository, str(reference.tagged().digest or reference.tagged().tag), head=True)
            if there:
                yield near

    # Login.

    def login(self, host: str, login: Login, tell: Tell | None = None) -> None:
        """Finds out whether the registry lets this person in, and remembers it; raises RegistryError."""
        registry = self.registry(host, tell, login)
        registry.ping()
        self.keychain.put(registry.host, login)


@dataclass
class _Pull:
    """One tag, or one digest."""

    engine: Engine
    registry: Registry
    reference: Reference
    wanted: dict[str, str]
    touched: float = field(default_factory=time.monotonic)

    @cached_property
    def _held(self) -> set[Digest]:
        """The layers of the images that are here."""
        store = self.engine.image_store
        return {layer.digest for record in store.records() for layer in store.manifest(record).layers}

    def run(self) -> Iterator[Event]:
        name, tag = self.reference.repository, str(self.reference.digest or self.reference.tag)
        self.registry.greet()
        about.set("manifest")
        fetched = self._manifest(name, tag)
        yield TransferStarted("pull", self.registry.host, name, tag)
        chosen = self._for_this_machine(name, fetched)
        manifest, raw_config = self._documents(name, chosen)
        config = ImageConfig.decode(raw_config)
        if len(config.rootfs.diff_ids) != len(manifest.layers):
            raise CorruptContent(f"invalid manifest, layers length mismatch: expected {len(manifest.layers)}, got {len(config.rootfs.diff_ids)}", hint="the image is damaged in the registry")
        if not self._complete(manifest):
            yield from self._layers(name, manifest, config.rootfs.diff_ids)
        yield self._named(fetched, chosen, manifest, raw_config)

    def _manifest(self, name: str, tag: str) -> Fetched:
        try:
            fetched = self.registry.manifest(name, tag, strict=True)
            assert fetched
            return fetched
        except RegistryError as error:
            if error.code == "UNAUTHORIZED" and error.message.startswith("no basic auth"):
                raise RegistryError(f'Head "{self.registry.base}/v2/{name}/manifests/{tag}": {error.message}', code=error.code, status=401, hint=error.hint) from error
            if error.status in (401, 403):
                why = f"pull access denied for {self.reference.familiar_name}, repository does not exist or may require 'docker login': {error.message}"
                raise RegistryError(why, code=error.code, status=error.status, hint=error.hint) from error
            if error.status != 404:
                raise
            whole = error.code == "NAME_UNKNOWN"
            what = f"repository {self.reference.familiar_name}" if whole else f"manifest for {self.reference.familiar}"
            raise RegistryError(f"{what} not found: {error.message}", code=error.code, status=404, hint="look at the name and the tag") from error

    def _for_this_machine(self, name: str, fetched: Fetched) -> Fetched:
        for _ in range(_NESTED):
            if fetched.media_type not in (INDEX, SCHEMA_2_LIST):
                break
            descriptor = platforms.pick(Index.decode(fetched.raw), self.wanted)
            found = self.registry.manifest(name, descriptor.digest)
            if found is None:
                raise NotFound(f"manifest {short(descriptor.digest)} of the index is not in the registry", kind="manifest", name=descriptor.digest)
            if len(found.raw) != descriptor.size:
                raise CorruptContent(f"manifest {short(descriptor.digest)} is not as long as the index says", expected=str(descriptor.size), actual=str(len(found.raw)))
            fetched = found
        if fetched.media_type not in (MANIFEST, SCHEMA_2):
            raise InvalidRequest(
                f"media type {visible(fetched.media_type[:80])!r} is no image's", hint="images of schema 1 have to be pushed again by a newer docker; other artifacts are not images",
            )  # fmt: skip
        return fetched

    def _documents(self, name: str, chosen: Fetched) -> tuple[Manifest, bytes]:
        manifest, content = Manifest.decode(chosen.raw), self.engine.content
        if manifest.media_type and manifest.media_type != chosen.media_type:
            raise CorruptContent(f"the manifest says that it is {visible(manifest.media_type[:80])}, the registry that it is {visible(chosen.media_type[:80])}")
        about.set("config")
        if manifest.config.digest in content:
            return manifest, content.read(manifest.config.digest)
        if manifest.config.size > _DOCUMENT:
            raise CorruptContent(f"a config of {manifest.config.size} bytes is none of an image's", hint="the image is damaged in the registry, or meant to do harm")
        draft = content.draft()
        with content.unless_failed(draft):
            self.registry.download(name, manifest.config.digest, manifest.config.size, draft)
        raw = draft.read_bytes()
        draft.unlink()
        return manifest, raw

    def _layers(self, name: str, manifest: Manifest, diff_ids: tuple[DiffId, ...]) -> Iterator[Event]:
        content, drafts = self.engine.content, dict[int, Path]()
        with contextlib.ExitStack() as stack:
            wanted: list[tuple[Digest, int, Path | None]] = []
            seen: dict[Digest, DiffId] = {}
            for number, layer in enumerate(manifest.layers):
                # A layer that stands in it twice, as the empty one often does, travels once.
                if seen.setdefault(layer.digest, diff_ids[number]) != diff_ids[number]:
                    raise CorruptContent(f"layer {short(layer.digest)} cannot be two layers", hint="the image is damaged in the registry")
                if layer.digest in (before.digest for before in manifest.layers[:number]) or self._here(layer, diff_ids[number]):
                    wanted.append((layer.digest, layer.size, None))
                    continue
                drafts[number] = content.draft()
                stack.callback(drafts[number].unlink, missing_ok=True)
                wanted.append((layer.digest, layer.size, drafts[number]))

            def taken(number: int) -> None:
                layer, draft = manifest.layers[number], drafts[number]
                with content.unless_failed(draft):
                    facts = read_index(str(draft))
                    if facts["diff_id"] != diff_ids[number]:
                        why, hint = f"layer {short(layer.digest)} is not what the image's config says", "the image is damaged in the registry"
                        raise CorruptContent(why, expected=diff_ids[number], actual=facts["diff_id"], hint=hint)
                    self.engine.images.layers.adopt(draft, {**facts, "digest": layer.digest, "size": layer.size})

            for event in fetched_layers(self.registry, name, wanted, taken):
                self._stay_fresh(drafts.values())
                yield event

    def _complete(self, manifest: Manifest) -> bool:
        """Tells whether the image is here with all its layers: docker has no line for any of them then."""
        known = any(str(record.id) == manifest.config.digest for record in self.engine.image_store.records())
        return known and all(layer.digest in self.engine.content for layer in manifest.layers)

    def _here(self, layer: Descriptor, diff_id: DiffId) -> bool:
        """Tells whether a layer is in the store, and is the one that the config means: only its own bytes say that, not the registry."""
        path = self.engine.content.path(layer.digest)
        if layer.digest not in self._held:
            return False  # of an image that was removed: it may be swept at any time
        try:
            if path.stat().st_size != layer.size:
                return False
            os.utime(path)
        except FileNotFoundError:
            return False
        return bool(read_index(str(path))["diff_id"] == diff_id)

    def _stay_fresh(self, drafts: Iterable[Path]) -> None:
        if time.monotonic() - self.touched < _TOUCHED:
            return
        self.touched = time.monotonic()
        self.engine.content.keep_fresh()
        for draft in drafts:
            with contextlib.suppress(FileNotFoundError):
                os.utime(draft)

    def _named(self, fetched: Fetched, chosen: Fetched, manifest: Manifest, raw_config: bytes) -> Event:
        engine, reference = self.engine, self.reference
        before = next((record.id for record in engine.image_store.records() if str(reference) in record.names), "") if not reference.digest else ""
        known = any(record.manifest.digest == chosen.digest for record in engine.image_store.records())
        name = None if reference.digest else reference
        image = engine.image_store.add(raw_config, chosen.raw, name=name, when=now())
        repository = f"{reference.registry}/{reference.repository}"
        digest = digest_of(fetched.raw)  # the registry may have named it by another algorithm
        engine.distribution.remember(self.registry)
        engine.places.note(repository, [digest, chosen.digest, manifest.config.digest, *(layer.digest for layer in manifest.layers)])
        engine.places.note(f"{repository}@{digest}", [f"image {image}"])
        engine.journal.note("image", "pull", image, {"name": reference.familiar_name})
        fresh = before != image if name else not known
        return TransferEnded(reference.tag, fetched.digest, len(fetched.raw), fresh)
