"""What lies in the registry behind a hub, for pages: tags, layers. Our own registry is called in this process, another one through a socket."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from dockerlab.errors import CorruptContent, DockerlabError, RegistryError
from dockerlab.oci.config import ImageConfig
from dockerlab.oci.digest import Digest
from dockerlab.oci.manifest import INDEX, MANIFEST, SCHEMA_2, SCHEMA_2_LIST, Index, Manifest
from dockerlab.registry.client import Fetched, Registry
from dockerlab.registry.transport import Reply, Transport

__all__ = ["SHOWN", "Layer", "Shelf", "Tag", "Vouched"]

SHOWN = 50  # tags on a page
_MANIFEST, _CONFIG, _STEPS, _PLATFORMS = 256 << 10, 256 << 10, 200, 20  # bytes that are read for a page, steps and platforms that it shows


@dataclass(frozen=True, slots=True)
class Tag:
    """A tag: its digest, the bytes that a pull takes (of its largest platform), when the image was made; and of an image for several machines these."""

    name: str
    digest: str
    size: int
    created: str = ""
    platforms: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Layer:
    """A step of an image: the instruction, and the bytes and digest of its layer ("" for a step that changed no file)."""

    instruction: str
    size: int = 0
    digest: str = ""


class Vouched:
    """A transport that says who it is without being asked: `token` gives a bearer token for a repository."""

    def __init__(self, inner: Transport, token: Callable[[str], str]) -> None:
        self._inner, self._token = inner, token

    def send(self, method: str, url: str, headers: Mapping[str, str], body: Any, *, verify: bool = True, timeout: float = 0) -> Reply:
        """See Transport."""
        name = url.partition("/v2/")[2]
        for door in ("/manifests/", "/blobs/", "/tags/", "/referrers/"):
            name = name.partition(door)[0]
        return self._inner.send(method, url, {**headers, "Authorization": f"Bearer {self._token(name)}"}, body, verify=verify, timeout=timeout)


class Shelf:
    """The images of a registry."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def tags(self, path: str, page: int = 1) -> tuple[int, list[Tag]]:
        """Gives how many tags a repository has, and those of a page (50), by name; (0, []) where nothing was pushed."""
        with contextlib.suppress(DockerlabError):
            names = self._registry.tags(path)
            return len(names), [found for name in names[(page - 1) * SHOWN : page * SHOWN] if (found := self._tag(path, name))]
        return 0, []

    def _tag(self, path: str, name: str) -> Tag | None:
        with contextlib.suppress(DockerlabError):
            fetched = self._registry.manifest(path, name)
            if fetched is None:
                return None
            if len(fetched.raw) > _MANIFEST:
                return Tag(name, fetched.digest, len(fetched.raw))
            if fetched.media_type in (INDEX, SCHEMA_2_LIST):
                inside = _inside(fetched)
                sizes = [_size(manifest) for each in inside.values() if (manifest := self._manifest(path, each))]
                return Tag(name, fetched.digest, max(sizes, default=len(fetched.raw)), platforms=tuple(inside))
            if fetched.media_type not in (MANIFEST, SCHEMA_2):
                return Tag(name, fetched.digest, len(fetched.raw))
            manifest = Manifest.decode(fetched.raw)
            created = ""
            with contextlib.suppress(DockerlabError):
                created = (self._config(path, manifest).created or "")[:19].removeprefix("0001-01-01T00:00:00")  # which is to say: never
            return Tag(name, fetched.digest, _size(manifest), created)
        return None

    def _manifest(self, path: str, reference: str) -> Manifest | None:
        with contextlib.suppress(DockerlabError):
            fetched = self._registry.manifest(path, reference)
            if fetched and fetched.media_type in (MANIFEST, SCHEMA_2) and len(fetched.raw) <= _MANIFEST:
                return Manifest.decode(fetched.raw)
        return None

    def _config(self, path: str, manifest: Manifest) -> ImageConfig:
        if manifest.config.size > _CONFIG:
            raise CorruptContent("a config that long is none of an image's")
        return ImageConfig.decode(self._registry.blob(path, manifest.config.digest, _CONFIG))

    def layers(self, path: str, tag: str, platform: str = "") -> tuple[Tag, list[Layer]] | None:
        """Gives a tag and its steps from the base upwards, None where it is not there. Of an image for several machines that one, or the first."""
        found, fetched = self._tag(path, tag), self._registry.manifest(path, tag)
        if found is None or fetched is None:
            return None
        reference = tag
        if fetched.media_type in (INDEX, SCHEMA_2_LIST):
            inside = _inside(fetched)
            reference = inside.get(platform) or next(iter(inside.values()), "")
        manifest = self._manifest(path, reference) if reference else None
        if manifest is None:
            return found, []
        found = replace(found, size=_size(manifest))
        try:
            return found, list(_steps(self._config(path, manifest), manifest))[:_STEPS]
        except DockerlabError:
            return found, [Layer("", layer.size, layer.digest) for layer in manifest.layers][:_STEPS]

    def forget(self, path: str, tag: str) -> None:
        """Takes a tag away; raises RegistryError. CNCF distribution removes by digest alone, which takes all the tags of one image: then none may share it."""
        try:
            self._registry.delete_manifest(path, tag)
        except RegistryError as error:
            if error.code not in ("DIGEST_INVALID", "UNSUPPORTED") or not (found := self._registry.manifest(path, tag, head=True)):
                raise
            others = [name for name in self._registry.tags(path) if name != tag and (other := self._registry.manifest(path, name, head=True)) and other.digest == found.digest]
            if others:
                raise RegistryError(f"the registry behind this hub takes images away, not tags, and {', '.join(others[:5])} is the same image as {tag}", hint="remove or move these first") from error
            self._registry.delete_manifest(path, found.digest)

    def clear(self, path: str) -> None:
        """Takes all of a repository's manifests away."""
        with contextlib.suppress(DockerlabError):
            digests = {fetched.digest for name in self._registry.tags(path) if (fetched := self._registry.manifest(path, name))}
            for digest in digests:
                with contextlib.suppress(DockerlabError):
                    self._registry.delete_manifest(path, Digest(digest))


def _inside(fetched: Fetched) -> dict[str, Digest]:
    """Gives an index' images by their platforms, `linux/arm/v7`; what buildx attests about them is none."""
    found: dict[str, Digest] = {}
    for each in Index.decode(fetched.raw).manifests:
        name = "/".join(filter(None, (str((each.platform or {}).get(key, "")) for key in ("os", "architecture", "variant"))))
        if not name.startswith("unknown/") and len(found) < _PLATFORMS:
            found.setdefault(name, each.digest)
    return found


def _size(manifest: Manifest) -> int:
    return manifest.config.size + sum(layer.size for layer in manifest.layers)


def _steps(config: ImageConfig, manifest: Manifest) -> Iterator[Layer]:
    left = list(manifest.layers)
    for entry in config.history:
        if entry.empty_layer or not left:
            yield Layer(entry.created_by or entry.comment or "")
        else:
            layer = left.pop(0)
            yield Layer(entry.created_by or entry.comment or "", layer.size, layer.digest)
    for layer in left:
        yield Layer("", layer.size, layer.digest)
