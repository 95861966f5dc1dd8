"""An image between a store and a registry: what travels, what need not, several layers at a time.

Push and pull yield what happens as it happens; the threads that carry blobs say it to a queue, so that whoever listens hears one thing after another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dockerlab.errors import CorruptContent, RegistryError
from dockerlab.events import Event, LayerProgress, LayerStatus, TransferEnded, TransferStarted
from dockerlab.oci.digest import Digest, digest_of
from dockerlab.registry.client import Registry, about
from dockerlab.registry.crew import Crew, Through

__all__ = ["Cargo", "Parcel", "fetched_layers", "push"]

# How many layers travel at once: docker's own numbers.
_UPLOADS, _DOWNLOADS = 5, 3
_THERE = "Layer already exists"
_CLOSED = (401, 403, 429)  # it knows what is asked of it, and does not want to
_EACH = 1 << 19  # bytes between two words about progress


@dataclass(frozen=True, slots=True)
class Parcel:
    """A blob to be sent: `label` is what people call it, `sources` are other repositories of the same registry that are said to have it."""

    digest: Digest
    size: int
    path: Path
    label: str = ""
    sources: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Cargo:
    """An image to be sent: layers newest first, as docker tells them. `known` tells that the registry is said to have this very manifest in the repository."""

    manifest: bytes
    media_type: str
    config: Parcel
    layers: tuple[Parcel, ...]
    known: bool = False

    @property
    def digest(self) -> Digest:
        """The manifest's."""
        return digest_of(self.manifest)

    @property
    def blobs(self) -> tuple[Parcel, ...]:
        """What the manifest names, each once, the config at last."""
        return (*{parcel.digest: parcel for parcel in self.layers}.values(), self.config)


def _progress(crew: Crew, label: str, size: int) -> Callable[[int], None]:
    told = 0

    def tell(done: int) -> None:
        nonlocal told
        crew.check()
        if label and (done - told >= _EACH or done == size):
            told = done
            crew.say(LayerProgress(label, done, size))

    return tell


def push(registry: Registry, name: str, tag: str, cargo: Cargo) -> Iterator[Event]:
    """Sends an image; yields TransferStarted, LayerStatus, LayerProgress, TransferEnded. Raises RegistryError."""
    crew = Crew(_UPLOADS)
    registry.stopped = crew.stopped
    try:
        yield TransferStarted("push", registry.host, name, tag)
        for parcel in cargo.layers:
            yield LayerStatus(parcel.label, "Preparing", parcel.size)
        for parcel in cargo.blobs[_UPLOADS:-1]:
            yield LayerStatus(parcel.label, "Waiting", parcel.size)
        whole = cargo.known and _whole(registry, name, cargo.digest)
        if not whole:
            _greet(registry)
        about.set("manifest")
        yield from (LayerStatus(parcel.label, _THERE, parcel.size) for parcel in cargo.blobs) if whole else _brought_all(registry, name, cargo, crew)
        try:
            told = registry.put_manifest(name, tag, cargo.manifest, cargo.media_type)
        except RegistryError as error:
            if not whole or error.status in _CLOSED:
                raise
            _greet(registry)
            yield from _brought_all(registry, name, cargo, crew)  # it has lost some, or is somewhere else by now
            told = registry.put_manifest(name, tag, cargo.manifest, cargo.media_type)
        if told and told.startswith("sha256:") and told != cargo.digest:
            raise CorruptContent("the registry has kept another manifest than was sent", expected=cargo.digest, actual=told)
        yield TransferEnded(tag, cargo.digest, len(cargo.manifest))
    finally:
        crew.end()


def _greet(registry: Registry) -> None:
    about.set("")
    registry.greet()


def _whole(registry: Registry, name: str, digest: Digest) -> bool:
    """Tells whether the registry has a manifest, and so all that it names, unless it is one that takes manifests without (sparse ones).

    That is one question, not one for each blob, and no greeting before it.
    """
    registry.presume()
    about.set("manifest")
    try:
        return registry.manifest(name, digest, head=True, push=True) is not None
    except RegistryError as error:
        if error.status in _CLOSED and registry.greeted:
            raise
        return False  # who was not greeted may not have said how it wants to be asked


def _brought_all(registry: Registry, name: str, cargo: Cargo, crew: Crew) -> Iterator[Event]:
    """Has all blobs be there, the config once the layers are, and asks for each first."""
    for parcels in (cargo.blobs[:-1], cargo.blobs[-1:]):
        for parcel in parcels:
            if not registry.near:
                crew.begin(_brought, registry, name, parcel, crew)
            elif _there(registry, name, parcel):
                yield LayerStatus(parcel.label, _THERE, parcel.size)
            else:
                crew.begin(_sent, registry, name, parcel, crew)
        yield from (event for event in crew.heard() if not isinstance(event, Through))
    about.set("manifest")


def _there(registry: Registry, name: str, parcel: Parcel) -> bool:
    about.set(parcel.label or "config")
    return registry.has_blob(name, parcel.digest, push=True) is not None


def _brought(registry: Registry, name: str, parcel: Parcel, crew: Crew) -> None:
    """Has a blob be there: it is, or it is sent."""
    if _there(registry, name, parcel):
        crew.say(LayerStatus(parcel.label, _THERE, parcel.size))
    else:
        _sent(registry, name, parcel, crew)


def _sent(registry: Registry, name: str, parcel: Parcel, crew: Crew) -> None:
    """Brings a blob there: another repository gives it, or it is sent."""
    about.set(parcel.label or "config")
    place = ""
    for source in parcel.sources:
        place = registry.begin(name, mount=parcel.digest, source=source)
        if not place:
            crew.say(LayerStatus(parcel.label, "Mounted from", parcel.size, note=source))
            return
    registry.upload(name, parcel.digest, parcel.size, lambda: open(parcel.path, "rb", buffering=0), place=place, progress=_progress(crew, parcel.label, parcel.size))
    crew.say(LayerStatus(parcel.label, "Pushed", parcel.size, parcel.size))


def fetched_layers(
    registry: Registry, name: str, wanted: Sequence[tuple[Digest, int, Path | None]], taken: Callable[[int], None],
) -> Iterator[Event]:  # fmt: skip
    """Fetches layers, base first, each (digest, size, draft to write or None for one that is here); `taken(number)` is called in order when one has come whole.

    Yields LayerStatus and LayerProgress. Raises RegistryError, CorruptContent, and what `taken` raises.
    """
    crew, labels = Crew(_DOWNLOADS), [digest.partition(":")[2][:12] for digest, _, _ in wanted]
    registry.stopped = crew.stopped
    try:
        missing = [number for number, (_, _, draft) in enumerate(wanted) if draft is not None]
        for number, (_, size, draft) in enumerate(wanted):
            yield LayerStatus(labels[number], "Pulling fs layer" if draft else "Already exists", size)
        for number in missing[_DOWNLOADS:]:
            yield LayerStatus(labels[number], "Waiting", wanted[number][1])
        jobs = {crew.begin(_fetched, registry, name, wanted[number], labels[number], crew): number for number in missing}
        left, whole = list(missing), set[int]()
        for event in crew.heard():
            if not isinstance(event, Through):
                yield event
                continue
            whole.add(jobs[event.job])
            while left and left[0] in whole:
                number = left.pop(0)
                taken(number)
                yield LayerStatus(labels[number], "Pull complete", wanted[number][1], wanted[number][1])
    finally:
        crew.end()


def _fetched(registry: Registry, name: str, layer: tuple[Digest, int, Path | None], label: str, crew: Crew) -> None:
    digest, size, draft = layer
    if draft is None:
        raise RegistryError("nowhere to put a layer")
    about.set(label)
    registry.download(name, digest, size, draft, progress=_progress(crew, label, size))
    crew.say(LayerStatus(label, "Verifying Checksum", size))
    crew.say(LayerStatus(label, "Download complete", size, size))
