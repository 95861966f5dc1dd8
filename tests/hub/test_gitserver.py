"""Git over smart HTTP: with dulwich in this process, and with git itself through a socket."""

from __future__ import annotations

import contextlib
import gzip
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from dulwich.errors import GitProtocolError, NotGitRepository

from dockerlab.hub.app import Hub
from dockerlab.hub.gitserver import _size
from dockerlab.hub.rights import ANYBODY
from dockerlab.registry.serving import Listening, Running
from tests.hub.conftest import PASSWORDS, SQLITE, Person, committed
from tests.hub.test_repositories import who


@pytest.fixture
def served(town: Hub) -> Iterator[str]:
    with Running(town, Listening(port=0, threads=8)) as running:
        yield f"localhost:{running.port}"


def push(repository: Path, address: str, path: str, name: str, *, ref: str = "main", secret: str = "") -> None:
    """Pushes with dulwich."""
    from dulwich import porcelain

    with open("/dev/null", "wb") as nowhere:
        porcelain.push(str(repository), f"http://{address}/git/{path}.git", ref, outstream=nowhere, errstream=nowhere, username=name, password=secret or PASSWORDS[name])


def test_a_push_makes_the_repository_and_its_automation(town: Hub, served: str, repository: Path) -> None:
    push(repository, served, "olga/app", "olga")
    found = town.repositories.get(ANYBODY, "olga/app")
    automation, rules, _ = town.automations.get(found.id)
    assert automation and automation.source == "" and [(rule.pattern, rule.tag) for rule in rules] == [("main", "latest"), ("master", "latest")]
    assert list(town.git.heads("olga/app")) == ["refs/heads/main"]
    builds = town.queue.of(found.id)
    assert [(build.state, build.tag, build.cause, build.commit) for build in builds] == [("queued", "latest", "push of main by olga", town.git.heads("olga/app")["refs/heads/main"])]
    committed(repository, {"Dockerfile": "FROM busybox\n"})
    push(repository, served, "olga/app", "olga")
    assert [build.state for build in town.queue.of(found.id)] == ["queued", "superseded"]


def test_a_quota_is_for_git_as_well(town: Hub, served: str, repository: Path) -> None:
    push(repository, served, "olga/app", "olga")
    before, town.git._quota = town.git.heads("olga/app"), _size(town.git._folder) + 100_000
    committed(repository, {"large": os.urandom(200_000).hex()})
    with pytest.raises(GitProtocolError, match="403"):
        push(repository, served, "olga/app", "olga")
    assert town.git.heads("olga/app") == before
    committed(repository, {"large": ""})
    town.git._quota = 10_000_000
    push(repository, served, "olga/app", "olga")
    assert town.git.heads("olga/app") != before


@pytest.mark.parametrize(("path", "name"), [("acme/app", "sam"), ("olga/app", "sam"), ("library/app", "olga"), ("nobody/app", "olga")])
def test_who_may_not_push(town: Hub, served: str, repository: Path, path: str, name: str) -> None:
    with pytest.raises((GitProtocolError, NotGitRepository)):
        push(repository, served, path, name)
    assert town.git.heads(path) == {} and not town.git.place(path).exists()


def test_git_itself(town: Hub, served: str, tmp_path: Path, repository: Path) -> None:
    git = shutil.which("git")
    if not git:
        pytest.skip("git is not installed")
    (repository / "large").write_bytes(bytes(range(256)) * 20_000)

    def run(*words: str, folder: Path = repository, fine: bool = True) -> str:
        identity = ["-c", "user.name=olga", "-c", "user.email=olga@example.org", "-c", "http.postBuffer=65536"]
        done = subprocess.run([git, *identity, *words], cwd=folder, capture_output=True, text=True, timeout=60, env={"PATH": "/usr/bin:/bin", "GIT_TERMINAL_PROMPT": "0", "HOME": str(tmp_path)})
        assert (done.returncode == 0) == fine, done.stderr
        return done.stdout + done.stderr

    secret = PASSWORDS["mia"].replace(" ", "%20").replace("'", "%27")
    run("add", "."), run("commit", "-q", "-m", "large")
    run("push", f"http://mia:{secret}@{served}/git/acme/app.git", "main")  # larger than the buffer: in chunks
    run("tag", "v1.0"), run("push", f"http://mia:{secret}@{served}/git/acme/app.git", "v1.0")
    run("clone", "-q", f"http://{served}/git/acme/app.git", "copy", folder=tmp_path)
    assert (tmp_path / "copy" / "large").read_bytes() == (repository / "large").read_bytes()
    assert "Authentication failed" in run("push", f"http://mia:wrong@{served}/git/acme/app.git", "main", fine=False)
    assert "403" in run("push", f"http://sam:{PASSWORDS['sam'].replace(' ', '%20')}@{served}/git/acme/app.git", "HEAD:refs/heads/other", fine=False)
    assert set(town.git.heads("acme/app")) == {"refs/heads/main", "refs/tags/v1.0"}
    run("push", f"http://mia:{secret}@{served}/git/acme/app.git", ":refs/tags/v1.0")
    assert set(town.git.heads("acme/app")) == {"refs/heads/main"}


@SQLITE
@pytest.mark.parametrize("door", ["/HEAD", "/objects/info/packs", "/config", "/../../hub.key", "/info/refs", "/objects/00/" + "0" * 38, "/info/refs?service=git-upload-archive", "/hooks/update"])
def test_nothing_but_smart_http(town: Hub, door: str) -> None:
    town.repositories.create(who(town, "olga"), "olga/app")
    town.git.made("olga/app")
    assert Person(town, "olga").says("GET", f"/git/olga/app.git{door}").status in (403, 404)


@SQLITE
@pytest.mark.parametrize("path", ["../x", "olga/..", "olga/.", "olga/a/b", "olga//app", "OLGA/app", "olga/app.git/../../sam/app"])
def test_no_path_leaves_the_folder(town: Hub, path: str) -> None:
    said = Person(town, "olga").says("GET", f"/git/{path}.git/info/refs?service=git-receive-pack")
    assert said.status in (400, 403, 404)
    assert not (town.folder / "git").exists() or not list((town.folder / "git").iterdir())


@SQLITE
@pytest.mark.parametrize(
    "body",
    [b"", b"0000", b"zzzz", b"ffff", b"0004", b"0032" + b"x" * 46, gzip.compress(b"0000", mtime=0),
     b"00a5" + b"0" * 40 + b" " + b"1" * 40 + b" refs/heads/main\0report-status\n0000PACK\0\0\0\2\0\0\0\1garbage"],
    ids=lambda body: str(len(body)),
)
@pytest.mark.parametrize("service", ["git-receive-pack", "git-upload-pack"])
def test_a_body_that_is_no_pack(town: Hub, service: str, body: bytes) -> None:
    town.repositories.create(who(town, "olga"), "olga/app")
    town.automations.configure(who(town, "olga"), "olga/app")
    town.git.made("olga/app")
    extra = {"Content_Encoding": "gzip"} if body[:2] == b"\x1f\x8b" else {}
    said = Person(town, "olga").says("POST", f"/git/olga/app.git/{service}", body, Content_Type=f"application/x-{service}-request", **extra)
    assert said.status in (200, 400)
    assert town.git.heads("olga/app") == {}


@SQLITE
def test_a_small_body_does_not_become_a_large_one(town: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dockerlab.hub.gitserver._LARGEST", 1 << 20)
    town.repositories.create(who(town, "olga"), "olga/app")
    town.git.made("olga/app")
    command = b"0" * 40 + b" " + b"1" * 40 + b" refs/heads/main\0report-status\n"
    bomb = gzip.compress(b"%04x" % (len(command) + 4) + command + b"0000PACK\0\0\0\2\0\0\0\1" + b"\xbf\xff\xff\xff\x7f" + b"\0" * (8 << 20))
    said = Person(town, "olga").says("POST", "/git/olga/app.git/git-receive-pack", bomb, Content_Type="application/x-git-receive-pack-request", Content_Encoding="gzip")
    assert len(bomb) < 1 << 14 and said.status in (400, 413, 200)
    assert town.git.heads("olga/app") == {}


def test_head_names_a_branch_that_there_is(town: Hub, served: str, tmp_path: Path) -> None:
    from dulwich.repo import Repo

    repository = committed(tmp_path / "other", {"Dockerfile": "FROM busybox\n"}, branch="develop")
    push(repository, served, "olga/app", "olga", ref="develop")
    with contextlib.closing(Repo(str(town.git.place("olga/app")))) as repo:
        assert repo.head().decode() == town.git.heads("olga/app")["refs/heads/develop"]
