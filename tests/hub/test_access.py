"""docs/hub-access.md is the table of every door and every page, with what each kind of visitor gets. Here each cell is asked for."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from dockerlab.hub.app import Hub
from dockerlab.hub.passes import BUILDER, digest
from dockerlab.hub.tables import Build, Token, now
from dockerlab.hub.webhooks import headers
from tests.hub.conftest import Person, copied, opened, peopled
from tests.registry.conftest import Said, sha

TABLE = Path(__file__).parents[2] / "docs" / "hub-access.md"
VISITORS = ("anonymous", "stranger", "member", "admin", "owner", "public_read", "read", "write", "admin token", "expired", "a build")
_MANIFEST = {"Content_Type": "application/vnd.oci.image.manifest.v1+json"}
_GIT = {"Content_Type": "application/x-git-receive-pack-request"}


def rows() -> list[list[str]]:
    """The table's rows: what is asked, then a status for each visitor."""
    lines = [line for line in TABLE.read_text().splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def prepared(folder: Path) -> None:
    """Makes the hub on which each cell is asked: acme and olga have a public and a private repository each."""
    with opened(folder) as hub:
        peopled(hub)
        for owner, name in (("acme", "boss"), ("olga", "olga")):
            person = Person(hub, name)
            identity = hub.people.login(name, person.password)
            assert identity
            hub.repositories.create(identity, f"{owner}/closed", private=True)
            for path in (f"{owner}/open", f"{owner}/closed"):
                assert person.push(path).status == 201
                hub.automations.configure(identity, path)
                hub.git.made(path)
                hub.webhooks.add(identity, path, "http://example.org/")
        olga = hub.people.login("olga", Person(hub, "olga").password)
        assert olga
        for scope in ("public_read", "read", "write", "admin"):
            text = hub.passes.issue(olga, scope, f"repo:{scope}", days=30)
            (folder / f"token-{scope}").write_text(text)
        (folder / "token-expired").write_text(hub.passes.issue(olga, "expired", "repo:admin", days=1))
        with hub.state.writing() as db:
            db.execute(update(Token).where(Token.label == "expired").values(expires=now() - timedelta(minutes=1)))
            mine = hub.repositories.get(olga, "olga/open")
            boss = hub.people.login("boss", Person(hub, "boss").password)
            assert boss
            for repository in (mine.id, hub.repositories.get(boss, "acme/open").id):
                db.add(Build(repository_id=repository, state="running", cause="x", commit="refs/heads/main", tag="latest", dockerfile="Dockerfile", folder="", key=digest("key")))
                db.flush()


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("access") / "hub"
    prepared(folder)
    return folder


def visitor(hub: Hub, kind: str) -> tuple[Person, str]:
    """Gives who that is, and the namespace whose repositories are asked for."""
    people = {"anonymous": ("", "acme"), "stranger": ("sam", "acme"), "member": ("mia", "acme"), "admin": ("boss", "acme"), "owner": ("olga", "olga"), "a build": (f"{BUILDER}.1", "olga")}
    name, owner = people.get(kind, ("olga", "olga"))
    secret = {"a build": "key"}.get(kind, "")
    if kind not in people:
        secret = (hub.folder / f"token-{kind.split()[0]}").read_text()
    person = Person(hub, name, secret)
    if kind in ("stranger", "member", "admin", "owner"):
        person.enter()
    return person, owner


def asked(hub: Hub, kind: str, what: str) -> int:
    """Asks for one cell and gives the status."""
    person, owner = visitor(hub, kind)
    method, path = what.strip("`").split(" ", 1)
    path = path.replace("OWNER", owner).replace("BUILD", {"olga": "1", "acme": "2"}[owner]).replace("HOOK", {"olga": "3", "acme": "1"}[owner])
    if path.startswith("/v2/"):
        return _registry(person, method, path).status
    if path.startswith(("/token", "/v1/", "/git/")):
        extra = _GIT if method == "POST" else {}
        return person.says(method, path, b"0000" if method == "POST" else None, **extra).status
    if path.startswith(("/hooks/", "/builds/", "/events")):
        return person(method, path, b'{"state": "running"}', Authorization=f"Bearer {person.password}").status
    if method == "POST":
        fields = _FIELDS[re.sub(r"/\d+/", "/1/", path.replace(f"/{owner}/", "/OWNER/").replace(f"/u/{owner}/", "/u/OWNER/"))](owner, person.name)
        return (person.submits(path, fields) if person.session else person.says("POST", path, b"x=1", Content_Type="application/x-www-form-urlencoded")).status
    return person.says(method, path).status


def _registry(person: Person, method: str, path: str) -> Said:
    if path.endswith("DIGEST"):
        fetched = Person(person.hub, "boss" if "/acme/" in path else "olga").registry("GET", re.sub("/(blobs|manifests|referrers)/.*", "/manifests/latest", path))
        path = path.replace("DIGEST", fetched.json["layers"][0]["digest"] if "/blobs/" in path else fetched.headers["Docker-Content-Digest"])
    if method == "PUT":
        raw = json.dumps({"schemaVersion": 2, "mediaType": _MANIFEST["Content_Type"], "config": {"mediaType": "x/y", "digest": sha(b"layer"), "size": 5}, "layers": []}).encode()
        return person.registry("PUT", path, raw, **_MANIFEST)
    return person.registry(method, path, b"" if method == "POST" else None)


def _rule(owner: str, name: str) -> dict[str, Any]:
    return {"source": "", "kind": ["branch"], "pattern": ["main"], "tag": ["latest"], "dockerfile": ["Dockerfile"], "folder": [""]}


_FIELDS: dict[str, Callable[[str, str], dict[str, Any]]] = {
    "/login": lambda owner, name: {"name": "sam", "password": "sam's long password"},
    "/signup": lambda owner, name: {"name": "newcomer", "password": "a long password"},
    "/logout": lambda owner, name: {}, "/orgs": lambda owner, name: {"name": "guild"},
    "/settings/password": lambda owner, name: {"old": f"{name}'s long password", "new": "another long password"},
    "/settings/tokens": lambda owner, name: {"label": "x", "scope": "repo:read", "days": "3"}, "/settings/tokens/1/delete": lambda owner, name: {},
    "/u/OWNER/members": lambda owner, name: {"user": "sam", "role": "member"}, "/new": lambda owner, name: {"owner": owner, "name": "made"},
    "/r/OWNER/closed/star": lambda owner, name: {"liked": "yes"}, "/r/OWNER/open/star": lambda owner, name: {"liked": "yes"},
    "/r/OWNER/open/settings": lambda owner, name: {"description": "d", "readme": "", "visibility": "public"},
    "/r/OWNER/closed/settings": lambda owner, name: {"description": "d", "readme": "", "visibility": "private"},
    "/r/OWNER/open/delete": lambda owner, name: {"sure": f"{owner}/open"}, "/r/OWNER/closed/delete": lambda owner, name: {"sure": f"{owner}/closed"},
    "/r/OWNER/open/tags/latest/delete": lambda owner, name: {}, "/r/OWNER/open/automation": _rule, "/r/OWNER/closed/automation": _rule,
    "/r/OWNER/open/automation/delete": lambda owner, name: {}, "/r/OWNER/open/builds": lambda owner, name: {"branch": "main"},
    "/r/OWNER/closed/builds": lambda owner, name: {"branch": "main"},
    "/r/OWNER/open/webhooks": lambda owner, name: {"url": "http://example.org/"}, "/r/OWNER/open/webhooks/1/delete": lambda owner, name: {},
}  # fmt: skip


@pytest.fixture(scope="session")
def calm(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A hub on which things are only looked at."""
    with opened(copied(template, tmp_path_factory.mktemp("calm") / "hub")) as hub:
        yield hub


@pytest.fixture
def fresh(template: Path, tmp_path: Path) -> Callable[[], Any]:
    number = iter(range(10**6))
    return lambda: opened(copied(template, tmp_path / str(next(number))))


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0].strip("`"))
def test_each_visitor_gets_what_the_table_says(row: list[str], calm: Hub, fresh: Callable[[], Any]) -> None:
    given = []
    for kind in VISITORS:
        # A form that is refused changes nothing: so it does not need a hub of its own.
        looked = row[0].startswith("`GET") or (row[0].startswith("`POST /") and "login" not in row[0] and row[1 + VISITORS.index(kind)] in ("401", "403", "404"))
        with contextlib.nullcontext(calm) if looked else fresh() as hub:
            given.append(str(asked(hub, kind, row[0])))
    assert dict(zip(VISITORS, given, strict=True)) == dict(zip(VISITORS, row[1:], strict=True))


def test_every_door_stands_in_the_table(hub: Hub) -> None:
    known = [(each[0].strip("`").split()[0], each[0].strip("`").split(" ", 1)[1].replace("OWNER", "acme").replace("BUILD", "1").replace("HOOK", "1").partition("?")[0]) for each in rows()]
    routes = hub._routes
    doors = [("" if method == "*" else method, pattern) for method, pattern, _ in routes._doors]
    shown = [*(("GET", pattern) for _, pattern, _ in routes._pages), *(("POST", pattern) for _, pattern, _ in routes._forms)]

    def stands(method: str, pattern: re.Pattern[str]) -> bool:
        return any((not method or method == asked) and pattern.fullmatch(path.replace("DIGEST", sha(b""))) for asked, path in known)

    assert not [f"{method} {pattern.pattern}" for method, pattern in (*doors, *shown) if not stands(method, pattern)]
    assert hub.registry
    left = [f"{method} {pattern.pattern}" for pattern, handlers in hub.registry._routes for method in handlers if not stands(method, pattern)]
    assert all("uploads/(?P" in each or "healthz" in each for each in left), left  # an upload's address is nobody's to know; health is for everybody


@pytest.mark.parametrize("kind", ["stranger", "anonymous"])
def test_what_is_private_looks_like_what_is_not_there(fresh: Callable[[], Any], kind: str) -> None:
    """Status, headers and body are the same, but for the name that was asked for and what differs each time."""

    def plain(said: Said, name: str) -> tuple[Any, ...]:
        kept = {key: value.replace(name, "NAME") for key, value in said.headers.items() if key not in ("Set-Cookie", "Date")}
        return said.status, kept, re.sub(rb'value="[0-9a-f]{64}"', b"", said.body).replace(name.encode(), b"NAME")

    paths = ["/v2/{}/manifests/latest", "/v2/{}/tags/list", "/r/{}", "/r/{}/builds", "/r/{}/builds/2", "/r/{}/badge.svg", "/r/{}/settings", "/git/{}.git/info/refs?service=git-upload-pack"]
    with fresh() as hub:
        person, _ = visitor(hub, kind)
        for ask in (person.says, person.registry):
            for path in paths:
                assert plain(ask("GET", path.format("acme/closed")), "acme/closed") == plain(ask("GET", path.format("acme/absent")), "acme/absent"), path
        body = b'{"ref": "refs/heads/main", "after": "' + b"1" * 40 + b'"}'
        told = [person("POST", f"/hooks/acme/{name}", body, **{key.replace("-", "_"): value for key, value in headers("push", "wrong", body).items()}) for name in ("closed", "absent")]
        assert plain(told[0], "acme/closed") == plain(told[1], "acme/absent")
        assert b"closed" not in person.says("GET", "/v1/search?q=closed").body.replace(b'"query":"closed"', b"")
        assert b"closed" not in person("GET", "/u/acme").body


def table() -> Iterator[str]:
    """Yields the rows as they are (to look at after a change): python -m tests.hub.test_access."""
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "template"
        prepared(folder)
        for number, row in enumerate(rows()):
            cells = []
            for kind in VISITORS:
                with opened(copied(folder, Path(name) / f"{number}-{kind}")) as hub:
                    cells.append(str(asked(hub, kind, row[0])))
            yield f"| {row[0]} | {' | '.join(cells)} |"


if __name__ == "__main__":
    for line in table():
        print(line)
