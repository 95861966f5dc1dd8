"""A registry in this process: called directly where a test is about the protocol, behind a socket where it is about the wire."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from dockerlab.oci.manifest import CONFIG, LAYER_GZIP, MANIFEST
from dockerlab.registry.server import RegistryApp
from dockerlab.registry.storage import Storage
from dockerlab.registry.transport import Direct


@dataclass(frozen=True)
class Said:
    """An answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def code(self) -> str:
        """The code of its first error."""
        return str(json.loads(self.body)["errors"][0]["code"])

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def sha(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


class Client:
    """Says one request after another to an application."""

    def __init__(self, app: RegistryApp) -> None:
        self.app = app
        self._transport = Direct({"r": app})

    def __call__(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Said:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if body is not None:
            sent.setdefault("Content-Length", str(len(body)))
        reply = self._transport.send(method, path if path.startswith("http://r") else f"http://r{path}", sent, body)
        try:
            return Said(reply.status, reply.headers, b"".join(reply.blocks()))
        finally:
            reply.close()

    def place(self, said: Said) -> str:
        """Gives the path of a Location."""
        parts = urlsplit(said.headers["Location"])
        return parts.path + (f"?{parts.query}" if parts.query else "")

    def blob(self, name: str, data: bytes) -> str:
        """Pushes a blob and gives its digest."""
        digest = sha(data)
        begun = self("POST", f"/v2/{name}/blobs/uploads/", b"")
        assert self("PUT", f"{self.place(begun)}?digest={digest}", data).status == 201
        return digest

    def image(self, name: str, tag: str, *layers: bytes, **facts: Any) -> str:
        """Pushes an image and gives its digest."""
        config = b'{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}'
        document = {
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": {"mediaType": CONFIG, "digest": self.blob(name, config), "size": len(config)},
            "layers": [{"mediaType": LAYER_GZIP, "digest": self.blob(name, each), "size": len(each)} for each in layers], **facts,
        }  # fmt: skip
        raw = json.dumps(document).encode()
        said = self("PUT", f"/v2/{name}/manifests/{tag or sha(raw)}", raw, Content_Type=MANIFEST)
        assert said.status == 201, said
        return sha(raw)


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(tmp_path / "registry")


@pytest.fixture
def ask(storage: Storage) -> Iterator[Client]:
    """The registry, called directly."""
    yield Client(RegistryApp(storage))
