"""Pushes and pulls of an engine, by a registry in the same process."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dockerlab.engine import Engine, RunOptions
from dockerlab.engine.transferring import Transfer
from dockerlab.errors import CorruptContent, InvalidRequest, NotFound, RegistryError
from dockerlab.events import Event, LayerStatus, TransferEnded
from dockerlab.oci.manifest import CONFIG, INDEX, LAYER_GZIP, MANIFEST
from dockerlab.oci.platforms import architecture
from dockerlab.registry import client
from dockerlab.registry.server import RegistryApp
from dockerlab.registry.storage import Storage
from dockerlab.registry.transport import Direct
from tests.conftest import end
from tests.registry.conftest import Client, sha


@pytest.fixture
def app(tmp_path: Path) -> RegistryApp:
    return RegistryApp(Storage(tmp_path / "registry"))


@pytest.fixture
def shop(tmp_path: Path, app: RegistryApp, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """An engine that reaches `localhost:5000` and nothing else."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "config"))
    engine = Engine(tmp_path / "home")
    engine.distribution.transport = Direct({"localhost:5000": app, "mirror:5000": app})
    engine.images.resolve("busybox")
    yield engine
    end(engine)


def layer(name: str, text: str) -> tuple[bytes, str]:
    """Gives a compressed layer with one file, and its diff_id."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        entry = tarfile.TarInfo(name)
        entry.size = len(text)
        tar.addfile(entry, io.BytesIO(text.encode()))
    return gzip.compress(buffer.getvalue(), mtime=0), sha(buffer.getvalue())


def foreign(ask: Client, name: str, tag: str, *layers: tuple[bytes, str], **facts: object) -> str:
    """Pushes an image that another tool has made, and gives the digest of its manifest."""
    config = json.dumps({"architecture": architecture(), "os": "linux", "config": {"Cmd": ["sh"]}, "rootfs": {"type": "layers", "diff_ids": [diff for _, diff in layers]}, **facts}).encode()
    document = {
        "schemaVersion": 2, "mediaType": MANIFEST, "config": {"mediaType": CONFIG, "digest": ask.blob(name, config), "size": len(config)},
        "layers": [{"mediaType": LAYER_GZIP, "digest": ask.blob(name, blob), "size": len(blob)} for blob, _ in layers],
    }  # fmt: skip
    raw = json.dumps(document).encode()
    assert ask("PUT", f"/v2/{name}/manifests/{tag or sha(raw)}", raw, Content_Type=MANIFEST).status == 201
    return sha(raw)


def statuses(events: list[Event]) -> list[str]:
    return [f"{event.status} {event.note}".strip() for event in events if isinstance(event, LayerStatus) and event.layer]


@pytest.mark.parametrize("near", [True, False])
def test_push_again_mount_and_pull(shop: Engine, monkeypatch: pytest.MonkeyPatch, near: bool) -> None:
    monkeypatch.setattr(client, "_NEAR", 60.0 if near else 0.0)  # asked one thing after another, or several at a time
    for name in ("localhost:5000/me/one", "localhost:5000/me/two"):
        shop.images.tag("busybox", name)
    first = list(shop.images.push("localhost:5000/me/one"))
    assert statuses(first) == ["Preparing", "Pushed"]
    assert statuses(list(shop.images.push("localhost:5000/me/one"))) == ["Preparing", "Layer already exists"]
    assert statuses(list(shop.images.push("localhost:5000/me/two"))) == ["Preparing", "Mounted from me/one"]
    image = shop.images.get("busybox")
    ended = first[-1]
    assert isinstance(ended, TransferEnded)
    assert (ended.digest, ended.tag) == (image.record.manifest.digest, "latest")
    assert {each.familiar_name for each in shop.places.digests(image.id)} == {"localhost:5000/me/one", "localhost:5000/me/two"}
    told = list(shop.images.remove("localhost:5000/me/one"))
    assert told == [("Untagged", "localhost:5000/me/one:latest"), ("Untagged", f"localhost:5000/me/one@{ended.digest}")]
    pulled = list(shop.images.pull("localhost:5000/me/one"))
    assert statuses(pulled) == []  # all of it is here
    assert isinstance(pulled[-1], TransferEnded) and pulled[-1].fresh
    assert not list(shop.images.pull("localhost:5000/me/one"))[-1].fresh  # type: ignore[attr-defined]


def test_what_is_known_is_asked_for_at_once_and_may_be_wrong(shop: Engine, app: RegistryApp) -> None:
    """A registry that has the manifest is asked for nothing else; one that has lost a blob of it, or everything, gets it anew."""
    shop.images.tag("busybox", "localhost:5000/bb")

    def pushed() -> tuple[list[str], list[str]]:
        told: list[Any] = []
        events = list(shop.images.push("localhost:5000/bb", tell=told.append))
        return [f"{each.method} {each.status} {each.url.split('/')[-2]}" for each in told], statuses(events)

    assert pushed()[1] == ["Preparing", "Pushed"]
    assert pushed() == (["HEAD 200 manifests", "PUT 201 manifests"], ["Preparing", "Layer already exists"])
    ask, layer = Client(app), shop.images.get("busybox").manifest.layers[0].digest
    assert ask("DELETE", f"/v2/bb/blobs/{layer}").status == 202
    for blob in (app.storage.root / "docker/registry/v2/blobs").rglob(layer.partition(":")[2]):
        shutil.rmtree(blob)
    requests, told = pushed()
    assert requests[:2] == ["HEAD 200 manifests", "PUT 404 manifests"] and requests[-1] == "PUT 201 manifests"
    assert told == ["Preparing", "Layer already exists", "Pushed"]
    assert ask("GET", f"/v2/bb/blobs/{layer}").status == 200
    shutil.rmtree(app.storage.root / "docker")
    requests, told = pushed()
    assert requests[:2] == ["HEAD 404 manifests", "GET 200 v2"] and told == ["Preparing", "Pushed"]


@pytest.mark.parametrize("refused", [("HEAD", "403 Forbidden"), ("PUT", "301 Moved Permanently")], ids=["does not say how to log in", "is somewhere else by now"])
def test_who_answers_oddly_is_greeted_after_all(shop: Engine, app: RegistryApp, refused: tuple[str, str]) -> None:
    greeted = [True]

    def odd(environ: dict[str, Any], start_response: Any) -> Any:
        greeted[0] |= environ["PATH_INFO"] == "/v2/"
        if environ["REQUEST_METHOD"] == refused[0] and not greeted[0]:
            start_response(refused[1], [("Content-Length", "0")])
            return [b""]
        return app(environ, start_response)

    shop.distribution.transport = Direct({"localhost:5000": odd})
    shop.images.tag("busybox", "localhost:5000/bb")
    list(shop.images.push("localhost:5000/bb"))
    greeted[0] = False
    assert statuses(list(shop.images.push("localhost:5000/bb")))[-1] == "Layer already exists"
    assert greeted[0]


def test_a_pulled_image_runs(shop: Engine, app: RegistryApp) -> None:
    shop.images.tag("busybox", "localhost:5000/bb:1")
    list(shop.images.push("localhost:5000/bb:1"))
    for name in ("localhost:5000/bb:1", "busybox"):
        list(shop.images.remove(name, force=True))
    assert statuses(list(shop.images.pull("localhost:5000/bb:1")))[-1] == "Pull complete"
    assert shop.containers.run("localhost:5000/bb:1", ["true"], RunOptions(rm=True, pull="never")).state.exit_code == 0


def test_what_is_not_there_is_pulled_for_a_container(shop: Engine, app: RegistryApp) -> None:
    shop.images.tag("busybox", "localhost:5000/bb:1")
    list(shop.images.push("localhost:5000/bb:1"))
    list(shop.images.remove("localhost:5000/bb:1"))
    assert shop.images.resolve("localhost:5000/bb:1").id == shop.images.get("busybox").id
    with pytest.raises(RegistryError, match="repository localhost:5000/no/such not found: name unknown"):
        shop.images.resolve("localhost:5000/no/such")
    with pytest.raises(NotFound, match="Unable to find image 'nowhere.example/x:latest' locally"):
        shop.images.resolve("nowhere.example/x")


def test_all_tags(shop: Engine) -> None:
    for tag in ("a", "b"):
        shop.images.tag("busybox", f"localhost:5000/bb:{tag}")
    ended = [event.tag for event in shop.images.push("localhost:5000/bb", all_tags=True) if isinstance(event, TransferEnded)]
    assert ended == ["a", "b"]
    list(shop.images.remove("localhost:5000/bb:a"))
    assert [event.tag for event in shop.images.pull("localhost:5000/bb", all_tags=True) if isinstance(event, TransferEnded)] == ["a", "b"]
    assert "localhost:5000/bb:a" in shop.images.get("busybox").tags
    with pytest.raises(NotFound, match="An image does not exist locally with the tag: localhost:5000/none"):
        list(shop.images.push("localhost:5000/none", all_tags=True))


def test_the_platform_is_chosen(shop: Engine, app: RegistryApp) -> None:
    ask = Client(app)
    own, other = foreign(ask, "a", "", layer("own", "x")), foreign(ask, "a", "", layer("other", "x"), architecture="s390x")
    entries = [(other, {"os": "linux", "architecture": "s390x"}), (own, {"os": "linux", "architecture": architecture()}), (own, {"os": "unknown", "architecture": "unknown"})]
    sizes = {digest: len(ask("GET", f"/v2/a/manifests/{digest}").body) for digest in (own, other)}
    raw = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [{"mediaType": MANIFEST, "digest": d, "size": sizes[d], "platform": p} for d, p in entries]}).encode()
    assert ask("PUT", "/v2/a/manifests/all", raw).status == 201
    list(shop.images.pull("localhost:5000/a:all"))
    assert shop.images.get("localhost:5000/a:all").record.manifest.digest == own
    assert [str(each.digest) for each in shop.places.digests(shop.images.get("localhost:5000/a:all").id)] == [sha(raw)]
    list(shop.images.pull("localhost:5000/a:all", platform="linux/s390x"))
    assert shop.images.get("localhost:5000/a:all").config.architecture == "s390x"
    with pytest.raises(NotFound, match="no matching manifest for linux/mips in the manifest list entries") as caught:
        list(shop.images.pull("localhost:5000/a:all", platform="mips"))
    assert "linux/s390x" in caught.value.hint and "unknown" not in caught.value.hint
    with pytest.raises(InvalidRequest, match="cannot parse platform specifier"):
        list(shop.images.pull("localhost:5000/a:all", platform="a/b/c/d"))


def test_by_digest(shop: Engine, app: RegistryApp) -> None:
    digest = foreign(Client(app), "a", "v1", layer("f", "x"))
    list(shop.images.pull(f"localhost:5000/a@{digest}"))
    image = shop.images.get(f"localhost:5000/a@{digest}")
    assert (image.tags, image.record.manifest.digest) == ([], digest)


def test_a_layer_that_stands_in_it_twice(shop: Engine, app: RegistryApp) -> None:
    one, two = layer("f", "x"), layer("g", "y")
    foreign(Client(app), "a", "v1", one, two, one)
    list(shop.images.pull("localhost:5000/a:v1"))
    assert len(shop.images.get("localhost:5000/a:v1").manifest.layers) == 3


@pytest.mark.parametrize("what", ["a config that promises another layer", "a layer that is no tar", "one layer with two ids"])
def test_images_that_are_damaged(shop: Engine, app: RegistryApp, what: str) -> None:
    blob, diff_id = layer("f", "x")
    layers = {"a config that promises another layer": [(blob, sha(b"?"))], "a layer that is no tar": [(b"nonsense" * 100, sha(b"nonsense" * 100))],
              "one layer with two ids": [(blob, diff_id), (blob, sha(b"?"))]}[what]  # fmt: skip
    foreign(Client(app), "a", "v1", *layers)
    before = set(shop.content.digests())
    with pytest.raises(CorruptContent):
        list(shop.images.pull("localhost:5000/a:v1"))
    with pytest.raises(NotFound):
        shop.images.get("localhost:5000/a:v1")
    assert list(shop.content.ingest.iterdir()) == []
    assert set(shop.content.digests()) - before <= {sha(blob)}


def test_an_index_that_leads_elsewhere(shop: Engine, app: RegistryApp) -> None:
    ask = Client(app)
    digest = foreign(ask, "a", "ok", layer("f", "x"))
    platform = {"os": "linux", "architecture": architecture()}
    for entry in ({"digest": "ok", "size": 5}, {"digest": digest, "size": 1}):
        raw = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [{"mediaType": MANIFEST, "platform": platform, **entry}]}).encode()
        app.storage.repository("a").put_manifest(sha(raw), raw, ("all",))
        with pytest.raises(CorruptContent):
            list(shop.images.pull("localhost:5000/a:all"))


def test_a_mirror_is_asked_first(shop: Engine, app: RegistryApp) -> None:
    digest = foreign(Client(app), "library/hello", "latest", layer("f", "x"))
    (shop.home / "daemon.json").write_text('{"registry-mirrors": ["http://mirror:5000"]}')
    list(shop.images.pull("hello"))
    assert shop.images.get("hello").record.manifest.digest == digest


def test_a_mirror_that_has_lost_a_layer_is_passed_by(shop: Engine, app: RegistryApp, tmp_path: Path) -> None:
    digest = foreign(Client(app), "library/hello", "latest", lost := layer("f", "x"))
    mirror = RegistryApp(Storage(tmp_path / "mirror"))
    assert foreign(Client(mirror), "library/hello", "latest", lost) == digest
    mirror.storage.blob(sha(lost[0])).unlink()
    shop.distribution.transport = Direct({"mirror:5000": mirror, "registry-1.docker.io": app})
    (shop.home / "daemon.json").write_text('{"registry-mirrors": ["http://mirror:5000"]}')
    list(shop.images.pull("hello"))
    assert shop.images.get("hello").record.manifest.digest == digest


def test_a_transfer_shows_itself(shop: Engine) -> None:
    shop.images.tag("busybox", "localhost:5000/bb")
    transfers = []
    for _ in range(2):
        transfer = Transfer("localhost:5000/bb:latest")
        for event in shop.images.push("localhost:5000/bb", tell=transfer.heard):
            transfer.hear(event)
        transfers.append(transfer)
    first, second = (transfer.story for transfer in transfers)
    assert [row.status for row in first.rows] == ["Pushed", "Pushed", "latest"]
    assert [row.status for row in second.rows] == ["Layer already exists", "Layer already exists", "latest"]
    assert first.rows[0].exchanges[0] == ("HEAD", 404)
    assert first.travelled > second.travelled == second.rows[-1].size
    for view in (*transfers, transfers[0].beside(transfers[1])):
        bundle = view._repr_mimebundle_()
        assert "Layer already exists" in bundle["text/html"] or view is transfers[0]
        assert "<script" not in bundle["text/html"]
    assert "curl -i -X PUT" in str(transfers[1])


def test_a_layer_is_compressed_once(shop: Engine) -> None:
    """What lies in the store is what is sent: its digest is known before."""
    image = shop.images.get("busybox")
    descriptor = image.manifest.layers[0]
    data = shop.content.path(descriptor.digest).read_bytes()
    assert "sha256:" + hashlib.sha256(data).hexdigest() == descriptor.digest
