"""A hub in this process, on SQLite and on a PostgreSQL of our own; asked directly, without a socket."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import pwd
import re
import shutil
import subprocess
import tempfile
import time
from base64 import b64encode
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

pytest.importorskip("sqlalchemy", reason="the extra `hub` is not installed")

from dockerlab.hub.app import Hub
from dockerlab.registry.transport import Direct
from tests.registry.conftest import Said, sha

COST = 4  # bcrypt's least: what is tested is not how slow it is
PASSWORDS = {"olga": "olga's long password", "sam": "sam's long password", "mia": "mia's long password", "boss": "boss's long password"}
SQLITE = pytest.mark.parametrize("database", ["sqlite"], indirect=True)  # for what has nothing to do with the database
_DATABASES = itertools.count()


def _programs() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    return found[-1].parent if found else None


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """Starts Debian's PostgreSQL with a folder of its own and gives its URL, without a database; skips where it is not installed."""
    programs = _programs()
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    if programs is None:
        pytest.skip("postgresql is not installed")
    become: list[str] = []
    with tempfile.TemporaryDirectory(prefix="dl-pg-") as name:
        folder = Path(name)
        if os.geteuid() == 0:  # it refuses to run as root
            user = pwd.getpwnam("postgres")
            os.chown(folder, user.pw_uid, user.pw_gid)
            become = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
        data, socket = folder / "data", folder
        done = subprocess.run([*become, programs / "initdb", "-D", data, "-U", "hub", "-A", "trust", "-E", "UTF8", "--no-sync"], capture_output=True, text=True, timeout=60)
        if done.returncode:
            pytest.skip(f"postgresql cannot be started here: {done.stderr.strip().splitlines()[-1]}")
        words = [*become, programs / "postgres", "-D", data, "-k", socket, "-c", "listen_addresses=", "-c", "fsync=off"]
        with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                for _ in range(200):
                    if subprocess.run([programs / "pg_isready", "-h", socket, "-q"], timeout=10).returncode == 0:
                        break
                    time.sleep(0.05)
                yield f"postgresql+psycopg://hub@/{{}}?host={socket}"
            finally:
                process.terminate()
                process.wait(20)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of an empty database; "" is SQLite in the hub's folder."""
    if request.param == "sqlite":
        yield ""
        return
    import psycopg

    url = request.getfixturevalue("postgresql")
    name = f"hub{next(_DATABASES)}"
    with psycopg.connect(url.format("postgres").replace("+psycopg", ""), autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}")
        yield url.format(name)
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


@contextlib.contextmanager
def opened(folder: Path, **settings: Any) -> Iterator[Hub]:
    """A hub that is closed at the end."""
    hub = Hub(folder, **{"cost": COST, **settings})
    try:
        yield hub
    finally:
        hub.close()


@pytest.fixture
def hub(tmp_path: Path, database: str) -> Iterator[Hub]:
    """An empty hub."""
    with opened(tmp_path / "hub", database=database) as hub:
        yield hub


@pytest.fixture
def town(hub: Hub) -> Hub:
    """A hub with people: olga, sam; boss and mia are admin and member of acme."""
    return peopled(hub)


def peopled(hub: Hub) -> Hub:
    """Adds the people of `town`."""
    people = {name: hub.people.add(name, password) for name, password in PASSWORDS.items()}
    hub.people.organise("acme", people["boss"])
    hub.people.appoint("acme", "mia", "member")
    return hub


class Person:
    """Somebody at a hub: `says` for programs (Basic), `browses` for pages (a session)."""

    def __init__(self, hub: Hub, name: str = "", password: str = "") -> None:
        self.hub, self.name, self.password = hub, name, password or PASSWORDS.get(name, "")
        self._transport = Direct({"h": hub})
        self.session = ""

    def __call__(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Said:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.session:
            sent["Cookie"] = f"hub_session={self.session}"
        reply = self._transport.send(method, f"http://h{path}", sent, body)
        try:
            return Said(reply.status, reply.headers, b"".join(reply.blocks()))
        finally:
            reply.close()

    @property
    def basic(self) -> dict[str, str]:
        """The Authorization header of programs."""
        return {"Authorization": "Basic " + b64encode(f"{self.name}:{self.password}".encode()).decode()} if self.name else {}

    def says(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Said:
        """Asks with name and password."""
        return self(method, path, body, **self.basic, **headers)

    def bearer(self, *scopes: str) -> dict[str, str]:
        """The Authorization header of the registry's clients, {} where no token is granted."""
        said = self.says("GET", "/token?" + urlencode([("service", "dockerlab-hub"), *(("scope", scope) for scope in scopes)]))
        return {"Authorization": f"Bearer {said.json['token']}"} if said.status == 200 else {}

    def registry(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Said:
        """Asks the registry, with the token that its path needs."""
        name = re.sub(r"^/v2/|/(manifests|blobs|tags|referrers)/.*", "", path)
        return self(method, path, body, **self.bearer(f"repository:{name}:pull,push,delete"), **headers)

    def push(self, name: str, tag: str = "latest", layer: bytes = b"layer") -> Said:
        """Pushes a small image and gives the answer to its manifest, or the first refusal."""
        token = self.bearer(f"repository:{name}:pull,push")
        config = b'{"architecture":"amd64","os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":["sha256:' + b"0" * 64 + b'"]},"history":[{"created_by":"RUN <b>x</b>"}]}'
        for blob in (config, layer):
            begun = self("POST", f"/v2/{name}/blobs/uploads/?digest={sha(blob)}", blob, **token)
            if begun.status != 201:
                return begun
        document = {
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": sha(config), "size": len(config)},
            "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": sha(layer), "size": len(layer)}],
        }  # fmt: skip
        return self("PUT", f"/v2/{name}/manifests/{tag}", json.dumps(document).encode(), Content_Type=str(document["mediaType"]), **token)

    # A browser.

    def enter(self) -> Person:
        """Logs in with a browser."""
        said = self("POST", "/login", urlencode({"name": self.name, "password": self.password}).encode(), Content_Type="application/x-www-form-urlencoded")
        assert said.status == 303, said
        self.session = re.findall("hub_session=([^;]+)", said.headers["Set-Cookie"])[0]
        return self

    @property
    def csrf(self) -> str:
        """What a form of this session carries, as a page of it shows."""
        found = re.search(rb'name="csrf" value="([0-9a-f]+)"', self("GET", "/settings").body)
        return found[1].decode() if found else ""

    def submits(self, path: str, fields: Mapping[str, Any] | None = None, **headers: str) -> Said:
        """Sends a form."""
        body = urlencode({"csrf": self.csrf, **(fields or {})}, doseq=True).encode()
        return self("POST", path, body, Content_Type="application/x-www-form-urlencoded", **headers)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A Git repository with a Dockerfile."""
    return committed(tmp_path / "work", {"Dockerfile": "FROM busybox\nRUN echo built > /built\n"})


def committed(folder: Path, files: Mapping[str, str], *, branch: str = "main") -> Path:
    """Commits files to a Git repository, made where there is none."""
    from dulwich import porcelain
    from dulwich.repo import Repo

    if not (folder / ".git").exists():
        folder.mkdir(parents=True)
        Repo.init(str(folder), default_branch=branch.encode()).close()
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    with contextlib.closing(Repo(str(folder))) as repo:
        porcelain.add(repo, [str(folder / name) for name in files])
        porcelain.commit(repo, message=b"a change", author=b"olga <olga@example.org>", committer=b"olga <olga@example.org>")
    return folder


def copied(template: Path, target: Path) -> Path:
    """Gives a copy of a hub's folder."""
    shutil.copytree(template, target)
    return target
