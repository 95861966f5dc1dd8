"""docker and skopeo at our hub, and the hub in front of CNCF distribution's registry."""

from __future__ import annotations

import contextlib
import difflib
import json
import os
import re
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from dockerlab.engine import Engine
from dockerlab.errors import RegistryError
from dockerlab.hub.app import Hub
from dockerlab.hub.queue import ENDED
from dockerlab.hub.rights import ANYBODY
from tests.compat.conftest import Both, Transcript
from tests.compat.registries import cncf, fronted, hub
from tests.compat.saying import plain, same
from tests.compat.test_tools import output, shop, tool
from tests.hub.conftest import committed
from tests.hub.test_gitserver import push

__all__ = ["shop"]
pytestmark = [pytest.mark.needs_docker, pytest.mark.timeout(300)]

_H = "H=localhost:$(cat hub); export DOCKER_CONFIG=$PWD/config; "
_IN = "echo 'me and a long password' | docker login -u me --password-stdin $H 2> /dev/null"
_CALM = " | sed 's/^[0-9a-f]*: //' | sort"


def _lines(*lines: str) -> list[str]:
    return [_H + line for line in lines]


CASES = [
    same("accounts", *_lines(
        "docker tag busybox $H/me/bb; docker tag busybox $H/you/bb; docker push $H/me/bb", "docker login -u me -p wrong $H 2>&1 | grep -v WARNING", _IN, f"docker push $H/me/bb | cut -d: -f1,2{_CALM}",
        "docker push $H/you/bb", "docker push $H/nobody/bb 2>&1 || docker tag busybox $H/nobody/bb; docker push $H/nobody/bb", "docker logout $H", "docker push $H/me/bb | grep -v already",
        "docker rmi $H/me/bb $H/you/bb $H/nobody/bb > /dev/null; docker pull $H/me/bb | tail -n 2", "docker pull $H/me/secret",
        "docker pull $H/you/nothing", "docker pull $H/nobody/nothing", "docker pull $H/me/bb:nothing",
    )),
    same("search", *_lines(
        "docker search $H/web", "docker search $H/we", "docker search --no-trunc $H/web", "docker search --limit 1 $H/web", "docker search --limit 0 $H/web", "docker search --limit 101 $H/web",
        "docker search --format '{{.Name}}|{{.StarCount}}|{{.IsOfficial}}|{{.Description}}' $H/web", "docker search --format '{{json .}}' $H/web",
        "docker search --filter stars=1 $H/web",
        "docker search --filter stars=2 $H/web", "docker search -f is-official=true $H/web", "docker search -f is-official=false $H/web", "docker search -f is-automated=true $H/web",
        "docker search -f is-automated=maybe $H/web",
        "docker search -f stars=x $H/web", "docker search -f nonsense=1 $H/web", "docker search $H/zzz", "docker search", "docker search a b",
        "docker search --format table $H/web", "docker search -f stars $H/web",
        "docker search --limit x $H/web",
    )),
]  # fmt: skip


@pytest.fixture
def hubs(tmp_path: Path) -> Iterator[None]:
    """A hub for each side, with some repositories on it."""
    with contextlib.ExitStack() as stack:
        for side in ("theirs", "ours"):
            (tmp_path / side).mkdir()
            made, address = stack.enter_context(hub(tmp_path / f"{side}-hub"))
            (tmp_path / side / "hub").write_text(address.partition(":")[2])
            me = made.people.login("me", "me and a long password")
            assert me
            for name, description in (("web", "A description that is rather long, so that it has to be cut somewhere"), ("web-two", "short"), ("webthree", "")):
                made.repositories.create(me, f"me/{name}", description=description)
            made.repositories.create(me, "me/secret", private=True)
            made.repositories.star(me, "me/web-two", True)
            made.automations.configure(me, "me/webthree")
        yield


def _said(transcript: Transcript, *, theirs: bool) -> list[str]:
    told = []
    for text in plain(transcript, theirs=theirs):
        text = re.sub(r"localhost:\d{2,}", "localhost:<port>", text.replace(_H, ""))
        told.append(re.sub(r"size: \d+", "size: <n>", text))
    return told


@pytest.mark.parametrize("lines", CASES)
def test_docker_says_the_same(both: Both, hubs: None, lines: tuple[str, ...]) -> None:
    theirs, own = both(lines)
    sides = ["\n".join(_said(side, theirs=side is theirs)).splitlines() for side in (theirs, own)]
    difference = list(difflib.unified_diff(*sides, "docker", "dockerlab", lineterm="", n=2))
    assert not difference, "\n".join(difference)


def _waited(made: Hub, path: str) -> None:
    """Waits until the registry has told the hub of a push."""
    for _ in range(100):
        with contextlib.suppress(Exception):
            made.repositories.get(ANYBODY, path)
            return
        time.sleep(0.1)
    raise AssertionError(f"nobody told the hub of {path}")


@pytest.mark.parametrize("server", [hub, fronted], ids=["our registry", "CNCF distribution"])
def test_a_hubs_tokens_open_the_registry(shop: Engine, daemon: str, tmp_path: Path, server: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """docker, skopeo and we push to and pull from the registry behind the hub, with a password and with tokens; who may not is denied."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "config"))
    env = {**os.environ, "DOCKER_HOST": daemon}

    def docker(*words: str, given: str = "", fine: bool = True) -> str:
        done = subprocess.run(["docker", *words], env=env, input=given, capture_output=True, text=True, timeout=120)
        assert (done.returncode == 0) == fine, done.stdout + done.stderr
        return done.stdout + done.stderr

    with server(tmp_path) as (made, address):  # type: ignore[operator]
        shop.images.tag("changed", f"{address}/me/changed:1")
        docker("login", "-u", "me", "--password-stdin", address, given="me and a long password")
        digest = [event.digest for event in shop.images.push(f"{address}/me/changed:1") if hasattr(event, "digest")][-1]
        _waited(made, "me/changed")
        assert f"Digest: {digest}" in docker("pull", f"{address}/me/changed:1")
        docker("tag", f"{address}/me/changed:1", f"{address}/you/changed:1")
        assert "denied: requested access to the resource is denied" in docker("push", f"{address}/you/changed:1", fine=False)
        docker("tag", f"{address}/me/changed:1", f"{address}/me/second:1")
        assert "digest: sha256" in docker("push", f"{address}/me/second:1")
        _waited(made, "me/second")
        me = made.people.login("me", "me and a long password")
        assert me
        made.repositories.describe(me, "me/second", description="", readme="", private=True)
        docker("logout", address)
        docker("pull", f"{address}/me/changed:1")
        assert "pull access denied" in docker("pull", f"{address}/me/second:1", fine=False)
        reading = made.passes.issue(me, "reading", "repo:read", days=1)
        docker("login", "-u", "me", "--password-stdin", address, given=reading)
        docker("pull", f"{address}/me/second:1")
        assert "denied" in docker("push", f"{address}/me/second:1", fine=False)
        with pytest.raises(Exception, match="denied"):
            list(shop.images.push(f"{address}/me/changed:1"))
        skopeo = tool("skopeo")
        inspected = json.loads(output(skopeo, "inspect", "--tls-verify=false", "--creds", f"me:{reading}", f"docker://{address}/me/second:1"))
        assert inspected["RepoTags"] == ["1"]
        writing = made.passes.issue(me, "writing", "repo:write", days=1)
        output(skopeo, "copy", "--src-tls-verify=false", "--dest-tls-verify=false", "--src-creds", f"me:{reading}", "--dest-creds", f"me:{writing}", f"docker://{address}/me/changed:1", f"docker://{address}/me/third:3")
        assert [tag.name for tag in made.shelf.tags("me/third")[1]] == ["3"]
        docker("rmi", "-f", f"{address}/me/changed:1", f"{address}/me/second:1", f"{address}/you/changed:1")
        pulls = made.repositories.get(ANYBODY, "me/changed").pulls
        assert pulls >= 2 or server is fronted


def test_a_hub_in_front_builds_and_takes_tags_away(tmp_path: Path, runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    with fronted(tmp_path) as (made, address):
        made.open(made.url)
        place = made.url.partition("://")[2]
        source = committed(tmp_path / "base", {"Dockerfile": "FROM busybox\nRUN echo one > /base\n"})
        push(source, place, "me/base", "me", secret="me and a long password")
        me = made.people.login("me", "me and a long password")
        assert me
        made.repositories.describe(me, "me/base", description="", readme="", private=True)
        for name, dockerfile in (("base", ""), ("app", "FROM me/base\nRUN cat /base > /x\n")):
            if dockerfile:
                push(committed(tmp_path / name, {"Dockerfile": dockerfile}), place, f"me/{name}", "me", secret="me and a long password")
            found, deadline = made.repositories.get(me, f"me/{name}"), time.monotonic() + 60
            while (build := made.queue.of(found.id)[0]).state not in ENDED and time.monotonic() < deadline:
                time.sleep(0.1)
            assert build.state == "success", made.queue.get(me, f"me/{name}", build.id)[1]
            assert [(tag.name, tag.digest) for tag in made.shelf.tags(f"me/{name}")[1]] == [("latest", build.digest)]
        with urllib.request.urlopen(f"{made.url}/r/me/app") as page:
            assert f"docker pull {address}/me/app" in page.read().decode()
        behind = made.shelf._registry
        fetched = behind.manifest("me/app", "latest")
        assert fetched
        behind.put_manifest("me/app", "same", fetched.raw, fetched.media_type)
        with pytest.raises(RegistryError, match="takes images away, not tags, and same is the same image as latest"):
            made.shelf.forget("me/app", "latest")
        behind.put_manifest("me/app", "same", fetched.raw + b"\n", fetched.media_type)
        made.shelf.forget("me/app", "latest")
        assert [tag.name for tag in made.shelf.tags("me/app")[1]] == ["same"]


_M = "R=localhost:$(cat open); export DOCKER_CONFIG=$PWD/config; "
_MADE = (
    "for A in a b; do printf \"FROM busybox\\nRUN echo $A > /x\\n\" | docker build -q -t $R/me/img:$A - > /dev/null; docker push -q $R/me/img:$A > /dev/null; done; "
    "docker tag $R/me/img:a $R/me/other:a; docker push -q $R/me/other:a > /dev/null; docker rmi $R/me/img:a $R/me/img:b $R/me/other:a > /dev/null"
)
_NAMELESS = " | sed 's/[0-9a-f]\\{64\\}/<id>/g; s/\"size\": [0-9]*/\"size\": n/; s/\"Raw\": .*/raw/'"


MANIFESTS = same("manifest lists", *(_M + line for line in (
    _MADE, "docker manifest create --insecure $R/me/list $R/me/img:a $R/me/img:b",
    "docker manifest create --insecure $R/me/list $R/me/img:a",
    "docker manifest create --insecure --amend $R/me/list $R/me/img:a",
    "docker manifest create --insecure $R/me/no $R/me/nothing:a",
    f"docker manifest inspect $R/me/list{_NAMELESS} | grep -v mediaType",
    f"docker manifest inspect --insecure -v $R/me/img:a | head -n 12{_NAMELESS} | grep -v mediaType",
    "docker manifest annotate $R/me/list $R/me/img:b --arch arm64 --variant v8 --os-version 10 --os-features x,y",
    "docker manifest annotate $R/me/list $R/me/img:b --arch nonsense",
    "docker manifest annotate $R/me/list $R/me/img:b --os plan9",
    "docker manifest annotate $R/me/list $R/me/img:zz --arch arm64",
    "docker manifest annotate $R/me/nolist $R/me/img:a --arch arm64",
    f"docker manifest inspect $R/me/list{_NAMELESS} | grep -v mediaType",
    f"docker manifest inspect -v $R/me/list{_NAMELESS} | grep -c raw",
    f"docker manifest inspect $R/me/list $R/me/img:b{_NAMELESS} | head -n 2",
    "docker manifest inspect $R/me/list $R/me/img:zz",
    "docker manifest inspect --insecure $R/me/nothing",
    f"docker manifest push --insecure $R/me/list{_NAMELESS}",
    "docker manifest create --insecure $R/me/img:both $R/me/img:a $R/me/img:b",
    f"docker manifest push --insecure $R/me/img:both{_NAMELESS}",
    "docker manifest create --insecure $R/me/l3 $R/me/img:both",
    f"docker manifest push --insecure --purge $R/me/list{_NAMELESS} | tail -n 1",
    "docker manifest push --insecure $R/me/list",
    f"docker manifest inspect --insecure $R/me/list{_NAMELESS} | grep -v mediaType",
    f"docker manifest inspect --insecure -v $R/me/list{_NAMELESS} | grep Ref",
    "docker manifest rm $R/me/img:both $R/me/none",
    "docker manifest create --insecure $R/me/x $R/me/other:a; docker manifest push --insecure $R/me/x | wc -l; docker manifest rm $R/me/x",
    "docker manifest create x",
    "docker manifest annotate",
    "docker manifest inspect",
    "docker manifest push",
    "docker manifest create a:b:c x",
    "docker manifest create --insecure x a:b:c",
    "docker pull $R/me/list | tail -n 1",
    "docker run --rm $R/me/list cat /x",
    "ls config/manifests",
)))  # fmt: skip


@pytest.fixture
def two_registries(tmp_path: Path) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for side in ("theirs", "ours"):
            (tmp_path / side).mkdir()
            (tmp_path / side / "open").write_text(stack.enter_context(cncf(tmp_path / f"{side}-open")).partition(":")[2])
        yield


@pytest.mark.parametrize("lines", [MANIFESTS])
def test_docker_says_the_same_of_lists(both: Both, two_registries: None, lines: tuple[str, ...]) -> None:
    theirs, own = both(lines)
    sides = ["\n".join(_said(side, theirs=side is theirs)).replace(_M, "").splitlines() for side in (theirs, own)]
    difference = list(difflib.unified_diff(*sides, "docker", "dockerlab", lineterm="", n=2))
    assert not difference, "\n".join(difference)
