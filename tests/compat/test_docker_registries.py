"""docker, skopeo and CNCF distribution with our client and our server: the same words, the same digests, the same files."""

from __future__ import annotations

import contextlib
import difflib
import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dockerlab.engine import Engine
from tests.compat.conftest import Both, Transcript
from tests.compat.registries import certificate, cncf, htpasswd, ours
from tests.compat.saying import plain, same
from tests.compat.test_tools import output, shop, tool

__all__ = ["shop"]
pytestmark = [pytest.mark.needs_docker, pytest.mark.timeout(300)]

Server = Callable[..., contextlib.AbstractContextManager[str]]
SERVERS: dict[str, Server] = {"theirs": cncf, "ours": ours}
# The port of this side's registry, and of one that wants to know who one is.
_R = "R=localhost:$(cat open); S=localhost:$(cat closed); export DOCKER_CONFIG=$PWD/config; "
_PAINT = "printf 'FROM busybox\\nRUN echo 1 > /1\\nRUN echo 2 > /2\\n' | docker build -q -t painted - > /dev/null; docker tag painted $R/me/painted; docker tag painted $R/me/painted:1"


def _lines(*lines: str) -> list[str]:
    return [_R + line for line in lines]


_CALM = " | sed 's/^[0-9a-f]*: //' | sort"  # which layer is through first is chance
_GONE = "docker rmi -f $R/me/painted $R/me/painted:1 painted > /dev/null"

_BY = "D=$R/me/painted@$(cat digest); {}"

CASES = [
    same("push and pull", *_lines(
        _PAINT, "docker push $R/me/painted | grep -v Pushed", f"docker push $R/me/painted{_CALM}", "docker push -q $R/me/painted", f"docker image push -a $R/me/painted{_CALM}",
        f"docker tag painted $R/me/other; docker push $R/me/other{_CALM}", "docker rmi $R/me/painted $R/me/painted:1 | wc -l", "docker pull $R/me/painted", "docker pull $R/me/painted",
        f"docker rmi -f $R/me/painted painted $R/me/other > /dev/null; docker pull $R/me/painted | grep -v Verifying{_CALM}", "docker run --rm $R/me/painted cat /1 /2",
        "docker images --format '{{.Tag}}' $R/me/painted", "docker pull -q $R/me/painted:1", "docker pull -a $R/me/painted | grep -c Pulling",
        "docker inspect -f '{{len .RepoDigests}} {{range .RepoTags}}{{.}} {{end}}' $R/me/painted", r"docker inspect -f 'a\nb{{\"\n\"}}c' busybox",
    )),
    same("by digest", *_lines(
        _PAINT, f"docker push $R/me/painted > /dev/null; D=$(docker inspect -f '{{{{index .RepoDigests 0}}}}' $R/me/painted); echo ${{D#*@}} > digest; {_GONE}; docker pull $D | tail -n 3",
        "docker images --digests --format '{{.Repository}} {{.Tag}}' $R/me/painted", _BY.format("docker inspect -f '{{.RepoTags}} {{len .RepoDigests}}' $D"),
        _BY.format("docker run --rm $D cat /1"), _BY.format(r"printf 'FROM %s\n' $D | docker build -q - | wc -c"), _BY.format("docker tag $D again; docker rmi $D"),
        "docker images --format '{{.Repository}}' | grep -e again -e painted", _BY.format("docker inspect -f '{{.Id}}' $D"), "docker rmi again | wc -l",
        _BY.format("docker pull -q $D; docker rmi $D | sed 's/.*Deleted.*/Deleted/'"), _BY.format("docker rmi $D"),
    )),
    same("what is refused", *_lines(
        "docker pull $R/no/such", "docker pull $R/no/such:tag", "docker pull localhost:1/x/y", "docker push $R/never/tagged", "docker push localhost:1/x/y",
        "docker tag busybox localhost:1/x/y; docker push localhost:1/x/y 2>&1 | grep connect", "docker pull a:b:c", "docker push -a busybox:latest", "docker pull -a busybox:latest", "docker push",
        "docker pull", "docker pull a b", "docker run $R/no/such true", "docker run --rm --pull never $R/no/such true", "docker pull --platform nonsense/x/y/z busybox",
    )),
    same("log in", *_lines(
        "docker tag busybox $S/me/bb; docker push $S/me/bb | tail -n 1", "docker pull $S/me/bb", "docker login -u me -p wrong $S", "docker login -u me -p hush $S",
        "cat config/config.json; stat -c %a config/config.json", "docker push $S/me/bb | tail -n 1 | cut -d: -f1-2", "docker rmi $S/me/bb > /dev/null; docker pull $S/me/bb | tail -n 1",
        "docker logout $S", "docker logout $S", "cat config/config.json", "docker pull $S/me/bb", "echo hush | docker login -u me --password-stdin $S", "echo hush | docker login --password-stdin $S",
        "echo hush | docker login -u me -p hush --password-stdin $S", "docker login -u me $S", "docker login http://localhost:1 -u me -p x", "docker login a b",
    )),
    same("a pull that a run needs", *_lines(
        _PAINT, f"docker push $R/me/painted > /dev/null; {_GONE}; docker run --rm $R/me/painted cat /1 2>&1 | grep -v Verifying{_CALM}",
        "docker create --pull always --name cc $R/me/painted | wc -c; docker rm cc", "printf 'FROM localhost:%s/me/painted\\n' $(cat open) | docker build -q - | wc -c",
        "docker rmi -f $R/me/painted > /dev/null; docker run --quiet --rm $R/me/painted cat /2",
    )),
]  # fmt: skip


def _said(transcript: Transcript, *, theirs: bool) -> list[str]:
    told = []
    for text in plain(transcript, theirs=theirs):
        text = text.replace(_R, "")
        text = re.sub(r"localhost:\d{2,}", "localhost:<port>", text)
        # Layers are compressed by another compressor, and manifests are OCI's.
        told.append(re.sub(r"size: \d+", "size: <n>", text))
    return told


@pytest.fixture
def shelves(tmp_path: Path) -> Iterator[None]:
    """Two registries for each side: one open, one that asks who one is."""
    with contextlib.ExitStack() as stack:
        users = htpasswd(tmp_path)
        for side in ("theirs", "ours"):
            (tmp_path / side).mkdir()
            for name, who in (("open", None), ("closed", users)):
                address = stack.enter_context(cncf(tmp_path / f"{side}-{name}", users=who))
                (tmp_path / side / name).write_text(address.partition(":")[2])
        yield


@pytest.mark.parametrize("lines", CASES)
def test_docker_says_the_same(both: Both, shelves: None, lines: tuple[str, ...]) -> None:
    theirs, own = both(lines)
    sides = ["\n".join(_said(side, theirs=side is theirs)).splitlines() for side in (theirs, own)]
    difference = list(difflib.unified_diff(*sides, "docker", "dockerlab", lineterm="", n=2))
    assert not difference, "\n".join(difference)


@pytest.mark.parametrize("server", list(SERVERS))
@pytest.mark.parametrize("locked", [False, True], ids=["open", "locked"])
def test_ours_there_docker_back(shop: Engine, daemon: str, tmp_path: Path, server: str, locked: bool) -> None:
    """We push, docker and skopeo pull; they push, we pull: the same digests on both ends."""
    users = htpasswd(tmp_path) if locked else None
    env = {**os.environ, "DOCKER_HOST": daemon, "DOCKER_CONFIG": str(tmp_path / "config")}

    def docker(*words: str, given: str = "") -> str:
        return subprocess.run(["docker", *words], env=env, input=given, capture_output=True, text=True, check=True, timeout=120).stdout

    with SERVERS[server](tmp_path / "shelf", users=users) as address, pytest.MonkeyPatch.context() as patch:
        patch.setenv("DOCKER_CONFIG", str(tmp_path / "config"))
        if locked:
            docker("login", "-u", "me", "--password-stdin", address, given="hush")  # and with that, so are we
        shop.images.tag("changed", f"{address}/us/changed:1")
        digest = [event.digest for event in shop.images.push(f"{address}/us/changed:1") if hasattr(event, "digest")][-1]
        assert digest == shop.images.get("changed").record.manifest.digest
        assert f"Digest: {digest}" in docker("pull", f"{address}/us/changed:1")
        assert docker("inspect", "-f", "{{.Id}}", f"{address}/us/changed:1").strip() == shop.images.get("changed").id
        assert docker("run", "--rm", f"{address}/us/changed:1", "cat", "/x") == "x\n"
        docker("tag", f"{address}/us/changed:1", f"{address}/them/changed:2")
        assert f"digest: {digest}" not in docker("push", f"{address}/them/changed:2") or server
        deque = list(shop.images.pull(f"{address}/them/changed:2"))
        assert deque
        assert shop.images.get(f"{address}/them/changed:2").id == shop.images.get("changed").id
        docker("rmi", "-f", f"{address}/us/changed:1", f"{address}/them/changed:2")
        login = ["--creds", "me:hush"] if locked else []
        inspected = json.loads(output(tool("skopeo"), "inspect", "--tls-verify=false", *login, f"docker://{address}/us/changed:1"))
        assert inspected["Digest"] == digest
        copy = [f"--{side}-creds=me:hush" for side in ("src", "dest")] if locked else []
        output(tool("skopeo"), "copy", "--src-tls-verify=false", "--dest-tls-verify=false", *copy, f"docker://{address}/us/changed:1", f"docker://{address}/skopeo/changed:3")
        list(shop.images.pull(f"{address}/skopeo/changed:3"))
        assert shop.images.get(f"{address}/skopeo/changed:3").record.manifest.digest == digest


@pytest.mark.parametrize(("first", "second"), [(cncf, ours), (ours, cncf)], ids=["theirs then ours", "ours then theirs"])
def test_one_serves_what_the_other_wrote(shop: Engine, tmp_path: Path, first: Server, second: Server) -> None:
    """The folder at /var/lib/registry is the same for both."""
    with first(tmp_path / "shelf") as address:
        for name in ("a/changed:1", "b/changed:1"):
            shop.images.tag("changed", f"{address}/{name}")
            list(shop.images.push(f"{address}/{name}"))
    with second(tmp_path / "shelf") as address:
        registry = shop.distribution.registry(address)
        assert (registry.catalog(), registry.tags("a/changed")) == (["a/changed", "b/changed"], ["1"])
        fetched = registry.manifest("b/changed", "1")
        assert fetched is not None
        assert fetched.digest == shop.images.get("changed").record.manifest.digest
        image = shop.images.get("changed")
        for layer in image.manifest.layers:
            registry.download("a/changed", layer.digest, layer.size, tmp_path / "blob")
        shop.images.tag("changed", f"{address}/c/changed:2")
        list(shop.images.push(f"{address}/c/changed:2"))
    with first(tmp_path / "shelf") as address:
        assert shop.distribution.registry(address).tags("c/changed") == ["2"]


def test_skopeo_copies_a_schema_2_image_through_us(shop: Engine, tmp_path: Path) -> None:
    """What came as schema 2 stays schema 2, byte by byte."""
    skopeo = tool("skopeo")
    with ours(tmp_path / "one") as one, ours(tmp_path / "two") as two:
        shop.images.tag("changed", f"{one}/a:1")
        list(shop.images.push(f"{one}/a:1"))
        output(skopeo, "copy", "--format", "v2s2", "--src-tls-verify=false", "--dest-tls-verify=false", f"docker://{one}/a:1", f"docker://{one}/a:schema2")
        digest = json.loads(output(skopeo, "inspect", "--tls-verify=false", f"docker://{one}/a:schema2"))["Digest"]
        list(shop.images.remove(shop.images.get("changed").id, force=True))  # an image that is here keeps the manifest that it has
        list(shop.images.pull(f"{one}/a:schema2"))
        shop.images.tag(f"{one}/a:schema2", f"{two}/a:schema2")
        list(shop.images.push(f"{two}/a:schema2"))
        assert json.loads(output(skopeo, "inspect", "--tls-verify=false", f"docker://{two}/a:schema2"))["Digest"] == digest


def test_tls_with_docker_and_skopeo(shop: Engine, daemon: str, tmp_path: Path) -> None:
    """skopeo verifies our certificate (and refuses it unasked), docker takes it on this machine, we find it where docker keeps such things; with a password, and in pieces."""
    pair, skopeo = certificate(tmp_path / "pki"), tool("skopeo")
    with ours(tmp_path / "shelf", users=htpasswd(tmp_path), pair=pair) as address, pytest.MonkeyPatch.context() as patch:
        patch.setenv("DOCKER_CONFIG", str(tmp_path / "config"))
        env = {**os.environ, "DOCKER_HOST": daemon}
        subprocess.run(["docker", "login", "-u", "me", "--password-stdin", address], env=env, input="hush", text=True, check=True, capture_output=True, timeout=60)
        trusted = tmp_path / "config" / "certs.d" / address
        trusted.mkdir(parents=True)
        (trusted / "ca.crt").write_bytes(pair[0].read_bytes())
        shop.images.tag("changed", f"{address}/us/changed:1")
        digest = [event.digest for event in shop.images.push(f"{address}/us/changed:1") if hasattr(event, "digest")][-1]
        assert shop.distribution.registry(address).base.startswith("https://")
        told = subprocess.run(["docker", "pull", f"{address}/us/changed:1"], env=env, check=True, capture_output=True, text=True, timeout=120).stdout
        assert f"Digest: {digest}" in told
        subprocess.run(["docker", "tag", f"{address}/us/changed:1", f"{address}/them/changed:2"], env=env, check=True, timeout=60)
        subprocess.run(["docker", "push", f"{address}/them/changed:2"], env=env, check=True, capture_output=True, timeout=120)
        copy = ["--src-creds=me:hush", f"--src-cert-dir={pair[0].parent}", f"docker://{address}/them/changed:2", f"dir:{tmp_path / 'copied'}"]
        refused = subprocess.run([skopeo, "copy", "--src-creds=me:hush", f"docker://{address}/them/changed:2", f"dir:{tmp_path / 'no'}"], capture_output=True, text=True, timeout=60)
        assert refused.returncode and "certificate" in refused.stderr
        output(skopeo, "copy", *copy)
        list(shop.images.pull(f"{address}/them/changed:2"))
        assert shop.images.get(f"{address}/them/changed:2").id == shop.images.get("changed").id
        subprocess.run(["docker", "rmi", "-f", f"{address}/us/changed:1", f"{address}/them/changed:2"], env=env, check=True, capture_output=True, timeout=60)


def test_skopeo_and_umoci_take_an_image_from_us_apart(shop: Engine, tmp_path: Path) -> None:
    """Out of our registry into a layout, unpacked by umoci, repacked with a change, and back in: we run what came of it."""
    skopeo, umoci = tool("skopeo"), tool("umoci")
    with ours(tmp_path / "shelf") as address:
        shop.images.tag("changed", f"{address}/us/changed:1")
        list(shop.images.push(f"{address}/us/changed:1"))
        output(skopeo, "copy", "--src-tls-verify=false", f"docker://{address}/us/changed:1", f"oci:{tmp_path / 'layout'}:1")
        output(umoci, "unpack", "--image", f"{tmp_path / 'layout'}:1", tmp_path / "bundle")
        assert (tmp_path / "bundle" / "rootfs" / "x").read_text() == "x\n"
        (tmp_path / "bundle" / "rootfs" / "y").write_text("y\n")
        output(umoci, "repack", "--image", f"{tmp_path / 'layout'}:2", tmp_path / "bundle")
        output(skopeo, "copy", "--dest-tls-verify=false", f"oci:{tmp_path / 'layout'}:2", f"docker://{address}/them/changed:2")
        list(shop.images.pull(f"{address}/them/changed:2"))
        registry = shop.distribution.registry(address)
        fetched, here = registry.manifest("them/changed", "2"), shop.images.get(f"{address}/them/changed:2")
        assert fetched and fetched.digest == here.record.manifest.digest and len(here.manifest.layers) == len(shop.images.get("changed").manifest.layers) + 1
        assert shop.images.layers.union(here.record).get("y")
