"""`save` and `load`: what is written, who else reads it, and archives that are none."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dockerlab.engine import Engine, RunOptions
from dockerlab.engine.imagefiles import ImageFiles
from dockerlab.errors import CorruptContent, DockerlabError, InvalidReference, NotFound, NotSupportedHere
from dockerlab.oci.platforms import architecture
from tests.conftest import end

pytestmark = pytest.mark.files


@pytest.fixture
def make(tmp_path: Path) -> Callable[[str], Engine]:
    return lambda name: Engine(tmp_path / name)


def saved(engine: Engine, *names: str) -> bytes:
    buffer = io.BytesIO()
    engine.images.save(names, buffer.write)
    return buffer.getvalue()


def tarred(files: dict[str, bytes], links: dict[str, str] | None = None) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        for name, target in (links or {}).items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            tar.addfile(info)
    return buffer.getvalue()


def digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def config(*layers: bytes) -> bytes:
    return json.dumps({"architecture": "amd64", "os": "linux", "config": {"Cmd": ["x"]}, "rootfs": {"type": "layers", "diff_ids": [digest(layer) for layer in layers]}}).encode()


def old_style(*, names: list[str] | None = None, **changes: bytes) -> bytes:
    """An archive as docker wrote them for years: a folder a layer, the same layer a link, the list of images last."""
    one, two = tarred({"a": b"1"}), tarred({"b": b"2"})
    document = config(one, two, one)
    items = [{"Config": "c.json", "RepoTags": names or ["old:1"], "Layers": ["1/layer.tar", "2/layer.tar", "3/layer.tar"]}]
    files = {"1/VERSION": b"1.0", "1/layer.tar": one, "2/layer.tar": two, "c.json": document, "repositories": b"{}", "manifest.json": json.dumps(items).encode()}
    return tarred({**files, **changes}, {"3/layer.tar": "../1/layer.tar"})


def load(engine: Engine, data: bytes) -> list[str]:
    return list(engine.images.load(io.BytesIO(data)))


def test_there_and_back(make: Callable[[str], Engine]) -> None:
    first, second = make("one"), make("two")
    image = first.images.resolve("busybox")
    first.images.tag("busybox", "me/img:1")
    first.images.tag("busybox", "me/img:2")
    data = saved(first, "me/img", image.id)
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        listed = tar.extractfile("manifest.json")
        assert listed and json.loads(listed.read())[0]["RepoTags"] == ["me/img:1", "me/img:2"]
    assert data == saved(first, "me/img", image.id), "the same images give the same bytes"
    for archive in (data, gzip.compress(data)):
        assert load(second, archive) == ["Loaded image: me/img:1", "Loaded image: me/img:2"]
    there = second.images.get("me/img:2")
    assert there.id == image.id and there.record.manifest.digest == image.record.manifest.digest
    assert [entry.path for table in second.images.layers.tables(there.record) for entry in table] == [entry.path for table in first.images.layers.tables(image.record) for entry in table]
    assert load(second, saved(first, image.id)) == [f"Loaded image ID: {image.id}"], "an id has no name"
    with pytest.raises(NotFound, match="No such image: nosuch"):
        saved(first, "busybox", "nosuch")


def test_a_loaded_image_runs(engine: Engine, tmp_path: Path) -> None:
    other = Engine(tmp_path / "other")
    data = saved(other, other.images.resolve("busybox").tags[0])
    assert load(engine, data) == ["Loaded image: busybox:latest"]
    out: list[bytes] = []
    engine.containers.run("busybox", ["echo", "hello"], stdout=out.append)
    assert out == [b"hello\n"]


def test_docker_s_old_archives(make: Callable[[str], Engine]) -> None:
    engine = make("one")
    assert load(engine, old_style()) == ["Loaded image: old:1"]
    image = engine.images.get("old:1")
    assert image.id == digest(config(tarred({"a": b"1"}), tarred({"b": b"2"}), tarred({"a": b"1"})))
    assert [[entry.path for entry in table] for table in engine.images.layers.tables(image.record)] == [["a"], ["b"], ["a"]]
    assert len({layer.digest for layer in image.manifest.layers}) == 2
    engine.images.tag(engine.images.resolve("busybox").id, "old:1")
    told = load(engine, old_style())
    assert told == [f"The image old:1 already exists, renaming the old one with ID {engine.images.get('busybox').id} to empty string", "Loaded image: old:1"]


def layout(*, wrong: str = "", platform: str = "", media: str = "application/vnd.oci.image.manifest.v1+json", index: bool = False) -> bytes:
    layer = gzip.compress(tarred({"a": b"1"}), mtime=0)
    document = config(tarred({"a": b"1"}))
    blobs: dict[str, bytes] = {}

    def put(data: bytes, kind: str, **more: object) -> dict[str, object]:
        blobs[f"blobs/sha256/{digest(data)[7:]}"] = data
        return {"mediaType": kind, "digest": digest(data), "size": len(data), **more}

    manifest = {"schemaVersion": 2, "config": put(document, "application/vnd.oci.image.config.v1+json"), "layers": [put(layer, "application/vnd.oci.image.layer.v1.tar+gzip")]}
    # Spaces that our own writer does not make: the digest must stay.
    told: dict[str, object] = {"platform": {"os": "linux", "architecture": platform}} if platform else {}
    line = put(json.dumps(manifest, indent=3).encode(), media, annotations={"org.opencontainers.image.ref.name": "from/layout:7"}, **told)
    if index:
        line = put(json.dumps({"schemaVersion": 2, "manifests": [line]}).encode(), "application/vnd.oci.image.index.v1+json", annotations={"io.containerd.image.name": "docker.io/from/layout:7"})
    if wrong:
        name = next(name for name, data in blobs.items() if data == {"layer": layer, "config": document}[wrong])
        blobs[name] = blobs[name][:-1] + b"!"
    return tarred({**blobs, "oci-layout": b"{}", "index.json": json.dumps({"schemaVersion": 2, "manifests": [line]}).encode()})


def test_a_layout(make: Callable[[str], Engine]) -> None:
    engine = make("one")
    for data in (layout(), layout(index=True, platform=architecture()), layout(media="application/vnd.docker.distribution.manifest.v2+json")):
        assert load(engine, data) == ["Loaded image: from/layout:7"]
    image = engine.images.get("from/layout:7")
    assert image.manifest.layers[0].digest == digest(gzip.compress(tarred({"a": b"1"}), mtime=0)), "what is compressed stays as it is"
    assert b"\n   " in engine.content.read(image.record.manifest.digest)
    with pytest.raises(NotFound, match="no matching manifest for"):
        load(engine, layout(index=True, platform="s390x"))
    for wrong in ("layer", "config"):
        with pytest.raises(CorruptContent):
            load(make("two"), layout(wrong=wrong))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (tarred({"x": b"1"}), "the archive holds no image"), (b"", "the archive holds no image"), (old_style()[:2000], "ends in the middle|lacks|holds no image"),
        (b"no tar at all" * 100, "not a tar"),
        (old_style(**{"manifest.json": b"{"}), "manifest.json cannot be read"),
        (old_style(**{"manifest.json": b'[{"Config":"../../../etc/passwd","RepoTags":null,"Layers":[]}]'}), "lacks ../../../etc/passwd"),
        (old_style(**{"manifest.json": b'[{"Config":"c.json","RepoTags":null,"Layers":["1/layer.tar"]}]'}), "length mismatch"),
        (old_style(**{"c.json": b"[]"}), "image config cannot be read"), (old_style(**{"2/layer.tar": tarred({"b": b"3"})}), "is damaged"),
        (old_style(**{"2/layer.tar": b"garbage" * 200}), "not a tar"),
        (tarred({"manifest.json": b'[{"Config":"l","RepoTags":null,"Layers":[]}]'}, {"l": "m", "m": "l"}), "lacks"),
        (old_style(**{"manifest.json": b" " * (17 << 20)}), "too large"),
        (tarred({"index.json": b'{"schemaVersion":2,"manifests":[{"mediaType":"x","digest":"sha256:1","size":1}]}'}), "lacks|digest"),
    ],
)  # fmt: skip
def test_what_is_no_archive(data: bytes, said: str, make: Callable[[str], Engine]) -> None:
    engine = make("one")
    with pytest.raises(DockerlabError, match=said):
        load(engine, data)
    assert not list(engine.content.ingest.iterdir()) and not engine.images.list(), "nothing half-done is kept"


def test_names_that_are_none(make: Callable[[str], Engine]) -> None:
    engine = make("one")
    with pytest.raises(DockerlabError, match="invalid reference format"):
        load(engine, old_style(names=["../../x"]))


def test_a_layer_that_is_here_already_is_proved_too(make: Callable[[str], Engine]) -> None:
    """An archive says that a blob of the store is the layer which its config wants: a lie would put it into other images."""
    engine = make("one")
    load(engine, layout())
    blob = digest(gzip.compress(tarred({"a": b"1"}), mtime=0))
    good = tarred({"good": b"1"})
    document = config(good)
    size = len(gzip.compress(tarred({"a": b"1"}), mtime=0))
    manifest = json.dumps({"schemaVersion": 2, "config": {"mediaType": "x", "digest": digest(document), "size": len(document)}, "layers": [{"mediaType": "y", "digest": blob, "size": size}]}).encode()
    line = {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest(manifest), "size": len(manifest)}
    files = {f"blobs/sha256/{digest(data)[7:]}": data for data in (document, manifest)} | {"index.json": json.dumps({"schemaVersion": 2, "manifests": [line]}).encode()}
    with pytest.raises(CorruptContent, match="is damaged"):
        load(engine, tarred(files))
    assert load(engine, old_style()) == ["Loaded image: old:1"]


def test_twice_nested_and_named_by_digest(make: Callable[[str], Engine]) -> None:
    engine = make("one")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for _ in range(3):
            info = tarfile.TarInfo("big")
            info.size = 100_000
            tar.addfile(info, io.BytesIO(bytes(100_000)))
    with pytest.raises(CorruptContent, match="holds no image"):
        load(engine, buffer.getvalue())
    assert not list(engine.content.ingest.iterdir())
    kind, data = "application/vnd.oci.image.index.v1+json", b"{}"
    files: dict[str, bytes] = {}
    for _ in range(1500):
        line = {"mediaType": kind, "digest": digest(data), "size": len(data), "platform": {"os": "linux", "architecture": architecture(), "os.features": ["x"]}}
        files[f"blobs/sha256/{digest(data)[7:]}"] = data
        data = json.dumps({"schemaVersion": 2, "manifests": [line]}).encode()
    with pytest.raises(DockerlabError):
        load(engine, tarred({**files, "index.json": data}))
    with pytest.raises(InvalidReference, match="by digest"):
        load(engine, old_style(names=[f"q@sha256:{'0' * 64}"]))
    assert not engine.images.list()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_byte_may_be_another(make: Callable[[str], Engine], data: st.DataObject) -> None:
    archive = bytearray(data.draw(st.sampled_from([old_style(), layout()])))
    for _ in range(data.draw(st.integers(1, 4))):
        archive[data.draw(st.integers(0, len(archive) - 1))] = data.draw(st.integers(0, 255))
    engine = make("one")
    try:
        load(engine, bytes(archive[: data.draw(st.integers(len(archive) // 2, len(archive)))]))
    except DockerlabError:
        pass
    for image in engine.images.list():
        assert engine.images.layers.tables(image.record)
    end(engine)


def test_of_a_path_that_a_layer_holds_twice_the_last_counts(make: Callable[[str], Engine], tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in (("f", b"first"), ("g", b"other"), ("f", b"last!"), ("h", b"after")):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    engine = make("one")
    load(engine, old_style(**{"1/layer.tar": buffer.getvalue(), "c.json": config(buffer.getvalue(), tarred({"b": b"2"}), buffer.getvalue())}))
    image = engine.builds.build("FROM scratch\nCOPY --from=old:1 /f /g /h /\n", tmp_path)
    found = ImageFiles(engine.images.layers, image.record, tmp_path)
    picked = [each for name in "fgh" for each in found.pick(name)]
    for each in picked:
        each.bring()
    assert [Path(each.itself[1]).read_text() for each in picked] == ["last!", "other", "after"]


def test_an_image_of_more_layers_than_may_be_made_runs(engine: Engine, tmp_path: Path) -> None:
    engine.images.resolve("busybox")
    blob = engine.content.path(engine.images.get("busybox").manifest.layers[0].digest)
    layers = [gzip.decompress(blob.read_bytes()), tarred({"own/x": b""}, {"link": "/f0"}), tarred({"own/.wh.x": b""}), *(tarred({f"f{n}": b"%d" % n}) for n in range(180))]
    document = {"architecture": architecture(), "os": "linux", "config": {"Cmd": ["sh"], "Env": ["PATH=/bin"]}, "rootfs": {"type": "layers", "diff_ids": [digest(layer) for layer in layers]}}
    items = [{"Config": "c.json", "RepoTags": ["deep:1"], "Layers": [f"{n}.tar" for n in range(len(layers))]}]
    files = {f"{n}.tar": layer for n, layer in enumerate(layers)}
    load(engine, tarred({**files, "c.json": json.dumps(document).encode(), "manifest.json": json.dumps(items).encode()}))
    said: list[bytes] = []
    engine.containers.run("deep:1", ["sh", "-c", "cat /link /f179; ls /own | wc -l; ls / | grep -c ^f; stat -c %u:%a /own"], RunOptions(rm=True), stdout=said.append, stderr=said.append)
    assert b"".join(said).endswith(b"01790\n180\n0:755\n")
    with pytest.raises(NotSupportedHere, match="max depth exceeded"):
        engine.builds.build("FROM deep:1\nRUN touch /x\n", tmp_path)
