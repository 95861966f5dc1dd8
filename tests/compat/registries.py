"""Real registries, and ours, each on a port of its own."""

from __future__ import annotations

import contextlib
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import bcrypt
import pytest

from dockerlab.hub.app import Hub
from dockerlab.hub.granting import ISSUER, SERVICE
from dockerlab.registry.access import Htpasswd
from dockerlab.registry.server import RegistryApp
from dockerlab.registry.serving import Listening, Running
from dockerlab.registry.storage import Storage

__all__ = ["certificate", "cncf", "fronted", "htpasswd", "hub", "ours"]

_CONFIG = """version: 0.1
storage:
  filesystem: {{rootdirectory: {folder}}}
  delete: {{enabled: true}}
http: {{addr: "127.0.0.1:{port}"}}
log: {{level: error}}
"""


def htpasswd(folder: Path) -> Path:
    """Gives a file that lets `me` in with the password `hush`."""
    path = folder / "htpasswd"
    path.write_text(f"me:{bcrypt.hashpw(b'hush', bcrypt.gensalt(5)).decode()}\n")
    return path


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def cncf(folder: Path, *, users: Path | None = None, extra: str = "", port: int = 0) -> Iterator[str]:
    """Starts CNCF distribution's registry (Debian's docker-registry) on a folder and gives its address; skips where it is not installed."""
    program = shutil.which("docker-registry")
    if not program:
        pytest.skip("docker-registry is not installed")
    port = port or _free_port()
    folder.mkdir(parents=True, exist_ok=True)
    auth = f"auth: {{htpasswd: {{realm: here, path: {users}}}}}\n" if users else ""
    config = folder.with_name(f"{folder.name}-{port}.yml")
    config.write_text(_CONFIG.format(folder=folder, port=port) + auth + extra)
    with open(folder.with_name(f"{folder.name}-{port}.log"), "wb") as log:
        process = subprocess.Popen([program, "serve", str(config)], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with contextlib.suppress(urllib.error.HTTPError), contextlib.suppress(ConnectionError, urllib.error.URLError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/", timeout=5).close()
                break
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.05)
        yield f"localhost:{port}"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(10)


@contextlib.contextmanager
def ours(folder: Path, *, users: Path | None = None, pair: tuple[Path, Path] | None = None) -> Iterator[str]:
    """Starts our own registry on a folder, with TLS where a certificate and its key are given, and gives its address."""
    listening = Listening(port=0, certificate=pair[0] if pair else None, key=pair[1] if pair else None)
    with Running(RegistryApp(Storage(folder), access=Htpasswd(users) if users else None), listening) as running:
        yield f"localhost:{running.port}"


def certificate(folder: Path) -> tuple[Path, Path]:
    """Makes a certificate for localhost that signs itself; gives it and its key, named as docker and skopeo look for them."""
    folder.mkdir()
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "secret", "-out", "ca.crt", "-days", "2", "-subj", "/CN=localhost"]
    subprocess.run([*words, "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"], cwd=folder, check=True, capture_output=True)
    return folder / "ca.crt", folder / "secret"


def _people(hub: Hub) -> None:
    for name in ("me", "you"):
        hub.people.add(name, f"{name} and a long password")


@contextlib.contextmanager
def hub(folder: Path) -> Iterator[tuple[Hub, str]]:
    """Starts a hub with the accounts `me` and `you` and gives it with its address."""
    made = Hub(folder, cost=4)
    _people(made)
    with Running(made, Listening(port=0)) as running:
        yield made, f"localhost:{running.port}"
    made.close()


_TOKEN = """auth:
  token: {{realm: "http://{hub}/token", service: {service}, issuer: {issuer}, rootcertbundle: {certificate}}}
notifications:
  endpoints:
    - {{name: hub, url: "http://{hub}/events", timeout: 2s, threshold: 3, backoff: 1s, headers: {{Authorization: ["Bearer {secret}"]}}}}
"""


@contextlib.contextmanager
def fronted(folder: Path) -> Iterator[tuple[Hub, str]]:
    """Starts CNCF distribution's registry behind a hub that grants its tokens; gives the hub and the registry's address."""
    port, behind = _free_port(), _free_port()  # each has to know the other's address before it begins
    made = Hub(folder / "hub", url=f"http://localhost:{port}", registry=f"http://localhost:{behind}", cost=4)
    _people(made)
    extra = _TOKEN.format(hub=f"localhost:{port}", service=SERVICE, issuer=ISSUER, certificate=made.key.certificate, secret=made.events_secret)
    with Running(made, Listening(port=port)), cncf(folder / "shelf", extra=extra, port=behind) as address:
        yield made, address
    made.close()
