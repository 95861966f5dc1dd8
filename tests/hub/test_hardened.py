"""What a review by strangers found, each proved by what they did."""

from __future__ import annotations

import base64
import json
import os
import socket
import struct
import threading
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from dockerlab.errors import DockerlabError, NotFound
from dockerlab.hub.app import Hub
from dockerlab.hub.rights import ANYBODY
from dockerlab.hub.tables import Build
from dockerlab.registry.serving import Listening, Running
from tests.hub.conftest import PASSWORDS, SQLITE, Person, committed, opened, peopled
from tests.hub.test_automation import rule
from tests.hub.test_gitserver import push
from tests.hub.test_repositories import who
from tests.registry.conftest import sha

FORM = {"Content_Type": "application/x-www-form-urlencoded"}


# Repositories that are removed.


@SQLITE
def test_a_number_never_means_another_build(town: Hub) -> None:
    olga, sam = who(town, "olga"), who(town, "sam")
    town.repositories.create(olga, "olga/app", private=True)
    town.automations.configure(olga, "olga/app")
    (build,) = town.automations.again(olga, "olga/app", "refs/heads/main")
    (town.folder / "logs" / f"{build.id}.log").write_text("PRIVATE")
    town.remove(olga, "olga/app")
    assert list((town.folder / "logs").iterdir()) == []
    town.repositories.create(sam, "sam/app")
    town.automations.configure(sam, "sam/app")
    (other,) = town.automations.again(sam, "sam/app", "refs/heads/main")
    assert other.id != build.id


def test_nothing_of_a_removed_repository_comes_back(town: Hub) -> None:
    olga, person = who(town, "olga"), Person(town, "olga")
    town.repositories.create(olga, "olga/app", private=True)
    digests = [person.push("olga/app", layer=text).headers["Docker-Content-Digest"] for text in (b"old secret", b"newer secret")]
    town.remove(olga, "olga/app")
    town.repositories.create(olga, "olga/app")
    for digest in digests:
        assert Person(town).registry("GET", f"/v2/olga/app/manifests/{digest}").status == 404
    for text in (b"old secret", b"newer secret"):
        assert Person(town).registry("GET", f"/v2/olga/app/blobs/{sha(text)}").status == 404


def test_a_late_push_does_not_bring_it_back(town: Hub) -> None:
    boss, mia = who(town, "boss"), Person(town, "mia")
    town.repositories.create(boss, "acme/app", private=True)
    held = mia.bearer("repository:acme/app:pull,push")
    town.remove(boss, "acme/app")
    for method, path in (("POST", "/v2/acme/app/blobs/uploads/"), ("PUT", "/v2/acme/app/manifests/latest")):
        assert mia(method, path, b"{}", **held).status == 403
    assert mia.push("acme/app").status == 403
    with pytest.raises(NotFound):
        town.repositories.get(ANYBODY, "acme/app")
    town.repositories.create(boss, "acme/app", private=True)  # whoever decides may begin anew
    assert mia.push("acme/app").status == 201 and Person(town)("GET", "/r/acme/app").status == 404


# Links, indexes, names.


@SQLITE
def test_nobody_elses_builds_stop_a_push(town: Hub) -> None:
    sam, olga = who(town, "sam"), Person(town, "olga")
    assert olga.push("olga/base").status == 201
    town.repositories.create(sam, "sam/bad")
    town.automations.configure(sam, "sam/bad", bases=["olga/base"], rules=[rule("branch", "*", "{ref}")])
    for number in range(50):
        town.automations.again(sam, "sam/bad", f"refs/heads/b{number}")
    assert olga.push("olga/base", "2").status == 201
    with town.state.writing() as db:
        for build in db.query(Build):
            build.state = "failed"
    assert olga.push("olga/base", "3").status == 201
    assert len([build for build in town.queue.of(town.repositories.get(sam, "sam/bad").id, limit=None) if build.state == "queued"]) == 10


@SQLITE
def test_a_link_is_of_no_use_to_who_may_not_read_any_more(town: Hub) -> None:
    boss, sam = who(town, "boss"), who(town, "sam")
    assert Person(town, "boss").push("acme/base").status == 201
    town.repositories.create(sam, "sam/app")
    town.automations.configure(sam, "sam/app", bases=["acme/base"])
    town.automations.again(sam, "sam/app", "refs/heads/main")
    town.repositories.describe(boss, "acme/base", description="", readme="", private=True)
    assert town.automations.based("acme/base", 0) == []
    assert b"acme/base" not in Person(town)("GET", "/r/sam/app/builds").body


@pytest.mark.parametrize("kind", ["application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json"])
@SQLITE
def test_an_index_is_a_push(town: Hub, kind: str) -> None:
    person = Person(town, "olga")
    raw = json.dumps({"schemaVersion": 2, "mediaType": kind, "manifests": []}).encode()
    assert person.registry("PUT", "/v2/olga/app/manifests/latest", raw, Content_Type=kind).status == 201
    assert town.repositories.get(ANYBODY, "olga/app").pushed
    assert person.registry("GET", "/v2/olga/app/manifests/latest").status == 200 and town.repositories.get(ANYBODY, "olga/app").pulls == 0


@pytest.mark.parametrize("name", ["olga/a/b", "olga/" + "x" * 101, "olga"])
@SQLITE
def test_what_no_repository_is_called_is_not_pushed(town: Hub, name: str) -> None:
    assert Person(town, "olga").push(name).status == 401


@SQLITE
def test_the_hubs_own_name_is_nobodys(town: Hub) -> None:
    for name in ("hub", "builder"):
        with pytest.raises(DockerlabError, match="reserved"):
            town.people.add(name, "a long password")


# Git.


@SQLITE
def test_a_look_makes_nothing(town: Hub) -> None:
    mia = Person(town, "mia")
    said = mia.says("GET", "/git/acme/fresh.git/info/refs?service=git-receive-pack")
    assert said.status == 200 and b"capabilities^{}" in said.body
    with pytest.raises(NotFound):
        town.repositories.get(who(town, "mia"), "acme/fresh")


@SQLITE
def test_build_no_more_means_it(town: Hub, repository: Path) -> None:
    with Running(town, Listening(port=0, threads=4)) as running:
        push(repository, f"localhost:{running.port}", "acme/app", "mia")
        town.automations.stop(who(town, "boss"), "acme/app")
        committed(repository, {"note": "x"})
        push(repository, f"localhost:{running.port}", "acme/app", "mia")
    found = town.repositories.get(ANYBODY, "acme/app")
    assert len(town.queue.of(found.id)) == 1 and town.automations.get(found.id)[0] is None
    town.automations.configure(who(town, "boss"), "acme/app")
    assert town.automations.get(found.id)[0]


@SQLITE
def test_many_branches_are_pushed_whatever_becomes_of_their_builds(town: Hub, repository: Path) -> None:
    town.repositories.create(who(town, "olga"), "olga/app")
    town.automations.configure(who(town, "olga"), "olga/app", rules=[rule("branch", "*", "{ref}")])
    with Running(town, Listening(port=0, threads=4)) as running:
        from dulwich import porcelain

        with open(os.devnull, "wb") as nowhere:
            refs = [f"main:refs/heads/b{number}" for number in range(60)]
            porcelain.push(str(repository), f"http://localhost:{running.port}/git/olga/app.git", refs, outstream=nowhere, errstream=nowhere, username="olga", password=PASSWORDS["olga"])
    assert len(town.git.heads("olga/app")) == 60
    assert len(town.queue.of(town.repositories.get(ANYBODY, "olga/app").id, limit=None)) == 50


@SQLITE
@pytest.mark.timeout(120)
def test_a_small_push_does_not_take_the_hubs_memory(town: Hub) -> None:
    """A pack of one object that becomes 1.2 GB of zeros."""
    size, packer, parts = 1200 << 20, zlib.compressobj(1), []
    for _ in range(size >> 20):
        parts.append(packer.compress(bytes(1 << 20)))
    body = b"".join(parts) + packer.flush()
    head, left = [(3 << 4) | (size & 15) | 0x80], size >> 4
    while left:
        head.append((left & 0x7F) | (0x80 if left >> 7 else 0))
        left >>= 7
    pack = b"PACK" + struct.pack(">LL", 2, 1) + bytes(head) + body
    import hashlib

    pack += hashlib.sha1(pack).digest()
    line = b"0" * 40 + b" " + b"1" * 40 + b" refs/heads/main\0report-status"
    said = Person(town, "olga").says("POST", "/git/olga/app.git/git-receive-pack", b"%04x" % (len(line) + 4) + line + b"0000" + pack, Content_Type="application/x-git-receive-pack-request")
    assert said.status in (200, 400) and town.git.heads("olga/app") == {}
    assert int(next(each for each in Path("/proc/self/status").read_text().splitlines() if each.startswith("VmHWM")).split()[1]) < 1 << 20


# At once.


def at_once(count: int, act: Callable[[int], Any]) -> list[Any]:
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(act, range(count)))


def test_many_at_once_are_like_one_after_another(town: Hub) -> None:
    assert sorted(at_once(12, lambda _: Person(town, "olga", "wrong").says("GET", "/token").status)) == [401] * 5 + [429] * 7
    olga, sam = Person(town, "olga").push, Person(town, "sam").enter()
    assert set(at_once(6, lambda number: Person(town, "mia").push("acme/app", f"v{number}").status)) == {201}
    token = sam.csrf
    assert set(at_once(6, lambda _: sam.submits("/r/acme/app/star", {"csrf": token, "liked": "yes"}).status)) == {303}
    assert set(at_once(6, lambda _: sam.submits("/new", {"csrf": token, "owner": "sam", "name": "app"}).status)) <= {303, 400}
    assert olga


def test_two_admins_who_demote_each_other(town: Hub) -> None:
    for _ in range(5):
        town.people.appoint("acme", "mia", "admin")
        town.people.appoint("acme", "boss", "admin")

        def demote(number: int) -> None:
            try:
                town.people.appoint("acme", ("mia", "boss")[number], "member")
            except DockerlabError:
                pass

        at_once(2, demote)
        assert [member.role for member in town.people.members("acme")].count("admin") == 1


# Slow ones.


@SQLITE
@pytest.mark.timeout(120)
def test_slow_listeners_are_their_own_affair(town: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dockerlab.hub.webhooks._SECONDS", 1.5)
    town.webhooks._private = True
    with socket.create_server(("127.0.0.1", 0)) as slow, socket.create_server(("127.0.0.1", 0)) as quick:

        def dribble() -> None:
            while True:
                try:
                    line, _ = slow.accept()
                except OSError:
                    return
                threading.Thread(target=lambda line=line: [line.sendall(b"HTTP/1.1 200 OK\r\n"), [line.sendall(b"X: y\r\n") or time.sleep(0.3) for _ in range(200)]], daemon=True).start()

        threading.excepthook = lambda _: None
        threading.Thread(target=dribble, daemon=True).start()
        for name, port in (("sam", slow.getsockname()[1]), ("olga", quick.getsockname()[1])):
            town.repositories.create(who(town, name), f"{name}/app")
            for number in range(3 if name == "sam" else 1):
                town.webhooks.add(who(town, name), f"{name}/app", f"http://127.0.0.1:{port}/{number}")
        Person(town, "sam").push("sam/app")
        Person(town, "olga").push("olga/app")
        quick.settimeout(8)
        quick.accept()[0].close()
        began = time.monotonic()
        town.webhooks.close()
        assert time.monotonic() - began < 8
    threading.excepthook = threading.__excepthook__


@SQLITE
@pytest.mark.timeout(60)
def test_a_body_that_dribbles_keeps_no_thread(town: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dockerlab.registry.wire._GRACE", 1.0)
    with Running(town, Listening(port=0, threads=2)) as running:
        lines = [socket.create_connection(("127.0.0.1", running.port)) for _ in range(2)]
        for line in lines:
            line.sendall(b"POST /login HTTP/1.1\r\nHost: h\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 1000\r\n\r\n")

        def dribble() -> None:
            try:
                for _ in range(60):
                    for line in lines:
                        line.sendall(b"x")
                    time.sleep(0.2)
            except OSError:
                pass

        threading.Thread(target=dribble, daemon=True).start()
        other = socket.create_connection(("127.0.0.1", running.port), timeout=15)
        other.sendall(b"GET /login HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        assert other.recv(15).startswith(b"HTTP/1.1 200")
        for line in (*lines, other):
            line.close()


@SQLITE
def test_nobodys_message_is_read_before_it_could_be_right(town: Hub) -> None:
    class Never:
        def read(self, size: int = -1) -> bytes:
            raise AssertionError("it was read")

    begun: list[str] = []
    environ = {"REQUEST_METHOD": "POST", "PATH_INFO": "/hooks/olga/app", "QUERY_STRING": "", "wsgi.input": Never(), "CONTENT_LENGTH": "10", "HTTP_HOST": "h"}
    list(town(environ, lambda status, _: begun.append(status)))
    assert begun[0].startswith("401")


# Pages and words.


@SQLITE
def test_neighbours_are_not_locked_out(town: Hub) -> None:
    for number in range(210):
        Person(town, f"nobody{number}", "x").says("GET", "/token")
    assert Person(town, "nobody", "x").says("GET", "/token").status == 429
    assert Person(town, "olga").says("GET", "/token").status == 200


@SQLITE
def test_a_proxy_is_believed_where_it_is_said_to_be(tmp_path: Path, database: str) -> None:
    with opened(tmp_path / "hub", proxy="127.0.0.1") as hub:
        peopled(hub)
        for number in range(6):
            Person(hub, "olga", "wrong").says("GET", "/token", X_Forwarded_For="6.6.6.6, 10.0.0.9")
        assert Person(hub, "olga").says("GET", "/token", X_Forwarded_For="10.0.0.9").status == 429
        assert Person(hub, "olga").says("GET", "/token", X_Forwarded_For="10.0.0.9, 10.0.0.8").status == 200


@pytest.mark.parametrize("headers", [{"Origin": "http://["}, {"Referer": "http://[x"}])
@SQLITE
def test_headers_that_are_no_address(town: Hub, headers: dict[str, str]) -> None:
    assert Person(town)("POST", "/login", b"name=a&password=b", **FORM, **headers).status == 403


@SQLITE
def test_words_that_no_database_holds(town: Hub) -> None:
    olga = Person(town, "olga").enter()
    olga.push("olga/app")
    assert olga.submits("/r/olga/app/automation", {"source": "http://[", "kind": [], "bases": ""}).status == 400
    automation = town.automations.configure(who(town, "olga"), "olga/app")
    from dockerlab.hub.webhooks import headers

    body = b'{"ref": "refs/heads/\\ud800", "after": "' + b"1" * 40 + b'"}'
    assert Person(town)("POST", "/hooks/olga/app", body, **{name.replace("-", "_"): value for name, value in headers("push", automation.secret, body).items()}).status == 400
    packed = base64.b64encode(b"ol\nga \x1b[2J admin:x").decode()
    assert Person(town)("GET", "/token", Authorization=f"Basic {packed}").status == 401


@SQLITE
def test_a_hub_behind_a_proxy_that_changes_the_host(town: Hub) -> None:
    town.url = "https://hub.example.org"
    body = urlencode({"name": "olga", "password": PASSWORDS["olga"]}).encode()
    assert Person(town)("POST", "/login", body, Origin="https://hub.example.org", Host="10.0.0.1:8080", **FORM).status == 303


@SQLITE
def test_a_second_login_in_another_tab(town: Hub) -> None:
    olga = Person(town, "olga").enter()
    assert b'name="csrf"' in olga("GET", "/login").body
    assert olga.submits("/login", {"name": "olga", "password": PASSWORDS["olga"]}).status == 303


@SQLITE
def test_who_belongs_where_is_their_own_business(town: Hub) -> None:
    assert b"acme" not in Person(town)("GET", "/u/mia").body and b"acme" not in Person(town, "sam").enter()("GET", "/u/mia").body
    assert b"acme" in Person(town, "mia").enter()("GET", "/u/mia").body


@SQLITE
def test_the_folder_is_its_owners(tmp_path: Path, database: str) -> None:
    (tmp_path / "a?b").mkdir(mode=0o755)
    with opened(tmp_path / "a?b"):
        assert (tmp_path / "a?b").stat().st_mode & 0o077 == 0 and (tmp_path / "a?b" / "hub.db").exists()


def test_letters_of_all_people_are_found(town: Hub) -> None:
    town.repositories.create(who(town, "olga"), "olga/app", description="Ärzte und ÜBUNG")
    assert [town.repositories.search(ANYBODY, words)[0] for words in ("ärzte", "ÄRZTE", "übung")] == [1, 1, 1]


@SQLITE
def test_what_is_large_is_not_read_for_a_page(town: Hub) -> None:
    person = Person(town, "olga")
    history = ",".join(['{"created_by":"x","empty_layer":true}'] * 300_000)
    config = ('{"architecture":"amd64","os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":[]},"history":[' + history + "]}").encode()
    token = person.bearer("repository:olga/app:pull,push")
    assert person("POST", f"/v2/olga/app/blobs/uploads/?digest={sha(config)}", config, **token).status == 201
    about = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": sha(config), "size": len(config)}
    manifest = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": about, "layers": []}
    assert person("PUT", "/v2/olga/app/manifests/latest", json.dumps(manifest).encode(), Content_Type=str(manifest["mediaType"]), **token).status == 201
    assert len(Person(town)("GET", "/r/olga/app/tags/latest").body) < 20_000
