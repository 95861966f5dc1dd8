"""Manifest lists that are put together here and pushed: `docker manifest`. They lie where docker keeps them, as docker writes them, so that either goes on with what the other began.

Format: docker's cli/manifest/store (`$DOCKER_CONFIG/manifests/LIST/IMAGE`, a JSON document each).
"""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dockerlab.errors import AlreadyExists, CorruptContent, InvalidRequest, NotFound, RegistryError
from dockerlab.oci.config import ImageConfig
from dockerlab.oci.digest import digest_of
from dockerlab.oci.manifest import INDEX, MANIFEST, SCHEMA_2, SCHEMA_2_LIST, Manifest
from dockerlab.oci.reference import Reference
from dockerlab.registry.client import Fetched, Registry
from dockerlab.store.files import publish

if TYPE_CHECKING:
    from dockerlab.engine.distribution import Distribution

__all__ = ["Lists"]

# Go's pairs that docker lets a list name (cli/command/manifest/util.go).
_PAIRS = {
    "darwin": "386 amd64 arm arm64", "dragonfly": "amd64", "freebsd": "386 amd64 arm", "linux": "386 amd64 arm arm64 ppc64le mips64 mips64le riscv64 s390x", "netbsd": "386 amd64 arm",
    "openbsd": "386 amd64 arm", "plan9": "386 amd64", "solaris": "amd64", "windows": "386 amd64 arm arm64",
}  # fmt: skip
_CONFIG = 8 << 20
Entry = dict[str, Any]


class Lists:
    """The manifest lists of this person, and the manifests of registries."""

    def __init__(self, distribution: Distribution) -> None:
        self._distribution = distribution
        self._folder = distribution.settings.config / "manifests"

    def _place(self, name: Reference, image: Reference | None = None) -> Path:
        parts = [str(each).replace(":", "-").replace("/", "_") for each in (name, image) if each]
        return self._folder.joinpath(*parts)

    def _registry(self, reference: Reference, insecure: bool) -> Registry:
        return self._distribution.registry(reference.registry, insecure=insecure)

    def entries(self, name: Reference) -> list[Entry]:
        """Gives a list's entries, by the name of their files; [] where there is no list. Raises CorruptContent."""
        found = []
        for path in sorted(self._place(name).glob("*")) if self._place(name).is_dir() else []:
            try:
                entry = json.loads(path.read_bytes())
                base64.b64decode(entry["Raw"], validate=True)
                found.append({**entry, "Descriptor": dict(entry["Descriptor"]), "Ref": str(entry["Ref"])})
            except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
                raise CorruptContent(f"{path} cannot be read as docker writes it", hint="remove it with `docker manifest rm`") from error
        return found

    def create(self, name: Reference, images: Sequence[Reference], *, amend: bool = False, insecure: bool = False) -> None:
        """Begins a list of images that are in registries; raises AlreadyExists, NotFound, InvalidRequest."""
        if self.entries(name) and not amend:
            raise AlreadyExists("refusing to amend an existing manifest list with no --amend flag", kind="manifest list", name=str(name), hint="--amend, or docker manifest rm")
        for image in images:
            fetched = self.fetched(image, insecure=insecure)
            if fetched.media_type in (INDEX, SCHEMA_2_LIST):
                raise InvalidRequest(f"{image} is a manifest list", hint="name the images in it, by digest")
            self._keep(name, image, self._entry(str(image), image, fetched, insecure))

    def _keep(self, name: Reference, image: Reference, entry: Entry) -> None:
        self._place(name).mkdir(parents=True, exist_ok=True)
        publish(self._place(name, image), json.dumps(entry, separators=(",", ":"), ensure_ascii=False).encode())

    def fetched(self, image: Reference, *, insecure: bool = False) -> Fetched:
        """Gives a manifest of a registry; raises NotFound, RegistryError."""
        try:
            found = self._registry(image, insecure).manifest(image.repository, str(image.digest or image.tag))
        except RegistryError as error:
            if error.status and error.code != "DENIED":
                raise
            raise NotFound(f"no such manifest: {image}", kind="manifest", name=str(image), hint=error.message) from error
        if found is None:
            raise NotFound(f"no such manifest: {image}", kind="manifest", name=str(image), hint="only what is in a registry has a manifest to look at")
        return found

    def _entry(self, ref: str, image: Reference, fetched: Fetched, insecure: bool, platform: Mapping[str, Any] | None = None) -> Entry:
        """An image's manifest as docker notes it, with the platform that its config tells."""
        if fetched.media_type not in (MANIFEST, SCHEMA_2):
            raise InvalidRequest(f"unsupported manifest format: {fetched.media_type[:80]}")
        if platform is None:
            config = ImageConfig.decode(self._registry(image, insecure).blob(image.repository, Manifest.decode(fetched.raw).config.digest, _CONFIG))
            platform = {"architecture": config.architecture, "os": config.os, **({"variant": config.variant} if config.variant else {})}
        descriptor = {"mediaType": fetched.media_type, "digest": fetched.digest, "size": len(fetched.raw), "platform": platform}
        kind = "OCIManifest" if fetched.media_type == MANIFEST else "SchemaV2Manifest"
        return {"Ref": ref, "Descriptor": descriptor, "Raw": base64.b64encode(fetched.raw).decode(), kind: json.loads(fetched.raw)}

    def annotate(self, name: Reference, image: Reference, said: tuple[str, str], facts: Mapping[str, Any]) -> None:
        """Says for which platform an image of a list is: os, architecture, variant, os.version, os.features. `said` is how the two were called. Raises NotFound, InvalidRequest."""
        entry = next((each for each in self.entries(name) if each["Ref"] == str(image)), None)
        if entry is None:
            raise NotFound(f"manifest for image {said[1]} does not exist in {said[0]}", kind="manifest", name=str(image), hint="docker manifest create --amend adds it")
        platform = {**entry["Descriptor"].get("platform", {}), **{key: value for key, value in facts.items() if value}}
        if platform.get("architecture", "") not in _PAIRS.get(platform.get("os", ""), "").split():
            raise InvalidRequest(f"manifest entry for image has unsupported os/arch combination: {facts.get('os') or ''}/{facts.get('architecture') or ''}")
        order = ("architecture", "os", "os.version", "os.features", "variant")
        entry["Descriptor"]["platform"] = {key: platform[key] for key in order if key in platform}
        self._keep(name, image, entry)

    def document(self, entries: Sequence[Entry]) -> bytes:
        """Gives the list as it is pushed: an OCI index where its images are OCI's, else docker's."""
        kind = INDEX if entries and entries[0]["Descriptor"]["mediaType"] == MANIFEST else SCHEMA_2_LIST
        rows = [{key: each["Descriptor"][key] for key in ("mediaType", "size", "digest", "platform")} for each in entries]
        return json.dumps({"schemaVersion": 2, "mediaType": kind, "manifests": rows}, indent=3, ensure_ascii=False).encode()

    def looked_into(self, image: Reference, *, insecure: bool = False) -> list[Entry]:
        """Gives what stands behind a name in a registry: one entry for each image of a list. Raises NotFound, RegistryError."""
        fetched = self.fetched(image, insecure=insecure)
        if fetched.media_type not in (INDEX, SCHEMA_2_LIST):
            return [self._entry(str(image), image, fetched, insecure)]
        found = []
        for row in json.loads(fetched.raw).get("manifests") or []:
            one = self.fetched(Reference(image.registry, image.repository, "", row["digest"]), insecure=insecure)
            found.append(self._entry(f"{image}@{row['digest']}", image, one, insecure, row.get("platform") or {}))
        return found

    def push(self, name: Reference, *, insecure: bool = False) -> Iterator[str]:
        """Pushes a list; yields a line for each image that had to be brought into its repository, then its digest. Raises NotFound, RegistryError, InvalidRequest."""
        entries, registry = self.known(name), self._registry(name, insecure)
        for entry in entries:
            image = Reference.parse(entry["Ref"])
            if image.registry != name.registry:
                raise InvalidRequest(f"cannot use source images from a different registry than the target image: {image.registry} != {name.registry}")
            if image.repository != name.repository:
                yield self._brought(registry, name, image, entry)
        raw = self.document(entries)
        registry.put_manifest(name.repository, name.tag, raw, json.loads(raw)["mediaType"])
        yield str(digest_of(raw))

    @staticmethod
    def _brought(registry: Registry, name: Reference, image: Reference, entry: Entry) -> str:
        """Mounts an image's blobs into the list's repository and puts its manifest there."""
        raw, descriptor = base64.b64decode(entry["Raw"]), entry["Descriptor"]
        manifest = Manifest.decode(raw)
        for digest in dict.fromkeys(each.digest for each in (manifest.config, *manifest.layers)):
            if registry.has_blob(name.repository, digest, push=True) is None and registry.begin(name.repository, mount=digest, source=image.repository):
                raise RegistryError(f"blob {digest[:19]} cannot be mounted from {image.repository}", hint=f"push the image to {name.registry}/{name.repository} first")
        registry.put_manifest(name.repository, descriptor["digest"], raw, descriptor["mediaType"])
        place = f"{name.registry}/{name.repository}@{descriptor['digest']}"
        return f"Pushed ref {place} with digest: {descriptor['digest']}"

    def known(self, name: Reference) -> list[Entry]:
        """Gives the entries of a list that is here; raises NotFound."""
        entries = self.entries(name)
        if not entries:
            raise NotFound(f"No such manifest: {name}", kind="manifest list", name=str(name), hint="docker manifest create begins one")
        return entries

    def remove(self, name: Reference) -> None:
        """Forgets a list; raises NotFound."""
        if not self._place(name).is_dir():
            raise NotFound(f"No such manifest: {name}", kind="manifest list", name=str(name))
        shutil.rmtree(self._place(name))
