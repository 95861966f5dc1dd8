"""`docker rmi`: names first, then the image, then the unnamed images that it was built on; docker's order and docker's refusals."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from dockerlab.errors import InUse
from dockerlab.oci.digest import ImageId, short
from dockerlab.oci.reference import Reference

if TYPE_CHECKING:
    from dockerlab.engine import Engine
    from dockerlab.engine.images import Image

__all__ = ["Deletion", "Told"]

Told = tuple[str, str]


class Deletion:
    """One removal, in which no build takes hold of anything; yields ("Untagged" | "Deleted", what)."""

    def __init__(self, engine: Engine, *, force: bool, prune: bool, unused: bool = False, dangling: bool = False) -> None:
        self._engine, self._images, self._containers = engine, engine.image_store, engine.container_store
        self._force, self._prune, self._journal = force, prune, engine.journal
        self._unused, self._dangling, self._held = unused, dangling, set[str]()

    def run(self, image: Image, name: str) -> Iterator[Told]:
        """Removes what `name` means: a name of the image, or by an id all of it. Raises InUse."""
        with self._engine.holds.closed() as self._held:
            told = list(self._run(self._as_meant(image), name))
        yield from told
        self._engine.system.collect()

    def _as_meant(self, image: Image) -> Image:
        """Gives the image as it is by now: who prunes has looked at it before, and it may have got a name since."""
        image = self._engine.images.get(image.id)
        if self._dangling and image.record.names:
            raise InUse("the image has a name by now", by=image.record.names[0])
        return image

    def _run(self, image: Image, name: str) -> Iterator[Told]:
        if where := self._by_digest(image, name):
            last = not image.record.names and len(self._engine.places.digests(image.id)) == 1
            if last:
                self._refuse(image.id, named=True)
            self._engine.places.forget(str(where), f"image {image.id}")
            yield "Untagged", where.familiar
            if last:
                yield from self._delete(image.id, quiet=True)
            return
        reference = self._by_name(image, name)
        single = len(image.record.names) <= 1
        if reference:
            if single and not self._force:
                self._refuse_last_name(image, name)
            yield from self._untag(image.id, [reference])
            if not single:
                return
        elif single:
            self._refuse(image.id, named=True)
            yield from self._untag(image.id, image.record.names)
        yield from self._delete(image.id, quiet=bool(reference))

    @staticmethod
    def _by_name(image: Image, name: str) -> str:
        with contextlib.suppress(ValueError):
            reference = str(Reference.parse(name).tagged())
            return reference if reference in image.record.names else ""
        return ""

    def _by_digest(self, image: Image, name: str) -> Reference | None:
        with contextlib.suppress(ValueError):
            wanted = Reference.parse(name).untagged()
            return next((where for where in self._engine.places.digests(image.id) if where.digest and where == wanted), None)
        return None

    def _untag(self, ident: ImageId, names: list[str] | tuple[str, ...]) -> Iterator[Told]:
        for name in names:
            self._images.untag(name)
            self._journal.note("image", "untag", ident, {"name": ident})
            reference = Reference.parse(name)
            yield "Untagged", reference.familiar
            yield from self._undigest(ident, reference)

    def _undigest(self, ident: ImageId, gone: Reference) -> Iterator[Told]:
        """Forgets under which digest a repository has the image, with its last tag from there."""
        record = next((r for r in self._images.records() if r.id == ident), None)
        here = [Reference.parse(name) for name in record.names] if record else []
        if any((each.registry, each.repository) == (gone.registry, gone.repository) for each in here):
            return
        for reference in self._engine.places.digests(ident):
            if (reference.registry, reference.repository) == (gone.registry, gone.repository):
                self._engine.places.forget(str(reference), f"image {ident}")
                yield "Untagged", reference.familiar

    def _refuse_last_name(self, image: Image, name: str) -> None:
        for container in self._containers.records():
            if container.image_id == image.id:
                what = f'conflict: unable to remove repository reference "{name}" (must force)'
                raise _held(f"{what} - container {container.id[:12]} is using its referenced image {short(image.id)}", container.name)

    def _refuse(self, ident: ImageId, *, named: bool) -> None:
        """Raises InUse where something needs the image; what is not `hard` gives way to force."""
        record = next((r for r in self._images.records() if r.id == ident), None)
        users = [(c, self._containers.state(c.id).alive) for c in self._containers.records() if c.image_id == ident]
        if self._unused and users:
            raise InUse("a container uses the image by now")
        running, stopped = [c for c, runs in users if runs], [c for c, runs in users if not runs]
        hard, soft = f"conflict: unable to delete {short(ident)} (cannot be forced) -", f"conflict: unable to delete {short(ident)} (must be forced) -"
        if any(r.parent == ident for r in self._images.records()):
            raise InUse(f"{hard} image has dependent child images", hint="remove those first: docker images -a shows them")
        if ident in self._held:
            raise InUse(f"{hard} image is being used by a build", hint="let the build end first")
        if running:
            raise _held(f"{hard} image is being used by running container {running[0].id[:12]}", running[0].name)
        if self._force:
            return
        if record and record.names and not named:
            raise InUse(f"{soft} image is referenced in multiple repositories", by=record.names[0], hint="remove its names one by one, or use -f")
        if stopped:
            raise _held(f"{soft} image is being used by stopped container {stopped[0].id[:12]}", stopped[0].name)

    def _delete(self, ident: ImageId, *, quiet: bool) -> Iterator[Told]:
        """Deletes an image, and those below it that have no name and no use; `quiet` leaves one that is needed without a word."""
        while record := next((r for r in self._images.records() if r.id == ident), None):
            try:
                self._refuse(ident, named=False)
            except InUse:
                if quiet:
                    return
                raise
            yield from self._untag(ident, record.names)
            yield from self._forget(ident)
            if not (self._prune and record.parent):
                return
            ident, self._force, quiet = ImageId(record.parent), False, True

    def _forget(self, ident: ImageId) -> Iterator[Told]:
        chain = self._images.config(ident).chain
        self._images.forget(ident)
        self._journal.note("image", "delete", ident, {"name": ident})
        yield "Deleted", ident
        left = {str(c) for r in self._images.records() for c in self._images.config(r.id).chain}
        left |= {c for container in self._containers.records() for c in container.chain}
        for chain_id in reversed(chain):
            if chain_id not in left:
                yield "Deleted", chain_id


def _held(message: str, name: str) -> InUse:
    return InUse(message, by=name, hint=f"remove the container first: docker rm -f {name}")
