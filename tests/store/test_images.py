"""Names and images: nothing is lost by concurrency, by kill -9, by a damaged index or by a full disk."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dockerlab.errors import CorruptContent, DockerlabError, NotFound, StoreError
from dockerlab.linux import syscalls
from dockerlab.oci.config import ImageConfig
from dockerlab.oci.digest import ImageId
from dockerlab.oci.manifest import CONFIG, Descriptor, Manifest
from dockerlab.oci.reference import Reference
from dockerlab.store.content import ContentStore
from dockerlab.store.images import ImageStore


def opened(root: Path) -> ImageStore:
    return ImageStore(root, ContentStore(root))


def add(images: ImageStore, author: str, name: str = "") -> ImageId:
    config = ImageConfig(architecture="amd64", author=author)
    manifest = Manifest(config=Descriptor(media_type=CONFIG, digest=config.image_id, size=len(config.encode())), layers=())  # type: ignore[arg-type]
    return images.add(config.encode(), manifest, name=Reference.parse(name) if name else None)


def names(images: ImageStore) -> set[str]:
    return {name for record in images.records() for name in record.names}


def together(count: int, action: Callable[[int], object]) -> None:
    """Runs the action in that many processes at once; every one must succeed."""
    children = []
    for number in range(count):
        child = os.fork()
        if child == 0:
            try:
                action(number)
            except BaseException as error:
                print(repr(error))
                os._exit(1)
            os._exit(0)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * count


def test_a_name_moves_and_leaves_a_dangling_image(tmp_path: Path) -> None:
    images = opened(tmp_path)
    first, second = add(images, "one", "app"), add(images, "two", "app")
    assert [(r.id, r.names) for r in images.records()] == [(first, ()), (second, ("docker.io/library/app:latest",))]
    images.tag(first, Reference.parse("app:old"))
    images.untag("docker.io/library/app:latest")
    assert names(images) == {"docker.io/library/app:old"}
    images.forget(first)
    assert [r.id for r in images.records()] == [second]
    with pytest.raises(NotFound, match="No such image"):
        images.tag(first, Reference.parse("again"))


def test_find(tmp_path: Path) -> None:
    images = opened(tmp_path)
    image = add(images, "one", "app:1")
    digits = image.removeprefix("sha256:")
    for text in ("app:1", "docker.io/library/app:1", image, digits, digits[:12], digits[:1]):
        assert images.find(text).id == image
    for text in ("app", "app:2", "f" * 64, "sha256:" + "0" * 64, digits[:5] + "x"):
        with pytest.raises(DockerlabError):
            images.find(text)
    several = [add(images, str(n)) for n in range(20)]
    shared = next(d for d in "0123456789abcdef" if sum(i.startswith(f"sha256:{d}") for i in several) > 1)
    with pytest.raises(NotFound, match="unambiguous"):
        images.find(shared)


def test_forty_writers_lose_nothing(tmp_path: Path) -> None:
    images = opened(tmp_path)
    base = add(images, "base", "base")
    for number in range(40):
        images.tag(base, Reference.parse(f"old:{number}"))

    def work(number: int) -> None:
        own = opened(tmp_path)
        own.tag(base, Reference.parse(f"new:{number}"))
        own.untag(f"docker.io/library/old:{number}")
        add(own, f"image {number}", f"image:{number}")

    together(40, work)
    expected = {f"docker.io/library/{kind}:{n}" for kind in ("new", "image") for n in range(40)} | {"docker.io/library/base:latest"}
    assert names(images) == expected
    assert len(images.records()) == 41


@pytest.mark.parametrize("turn", range(20))
def test_a_killed_writer_leaves_a_whole_index(tmp_path: Path, turn: int) -> None:
    images = opened(tmp_path)
    base = add(images, "base", "base")
    ready, go = os.pipe()
    child = os.fork()
    if child == 0:
        own = opened(tmp_path)
        os.write(go, b"x")
        for number in range(10_000):
            own.tag(base, Reference.parse(f"t:{number}"))
    os.read(ready, 1)
    time.sleep(random.Random(turn).uniform(0.0, 0.03))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    for descriptor in (ready, go):
        os.close(descriptor)
    found = names(opened(tmp_path)) - {"docker.io/library/base:latest"}
    assert found == {f"docker.io/library/t:{n}" for n in range(len(found))}
    images.tag(base, Reference.parse("after"))
    assert "docker.io/library/after:latest" in names(images)
    assert images.config(base).author == "base"


def test_an_index_cut_anywhere_is_told_and_kept(tmp_path: Path) -> None:
    images = opened(tmp_path)
    add(images, "one", "app")
    whole = (tmp_path / "index.json").read_bytes()
    for size in range(len(whole) - 1):
        (tmp_path / "index.json").write_bytes(whole[:size])
        with pytest.raises(CorruptContent, match="index cannot be read"):
            images.records()
        with pytest.raises(CorruptContent):
            images.untag("x")
        assert (tmp_path / "index.json").read_bytes() == whole[:size]


@pytest.mark.parametrize(
    "text",
    [
        '{"schemaVersion":3}',
        '{"schemaVersion":1,"manifests":[]}',
        "[]",
        "null",
        '{"manifests":7}',
        '{"manifests":[{}]}',
        '{"manifests":[null]}',
        "\ufeff{}",
        "[" * 100_000,
        '{"manifests":[{"mediaType":"m","digest":"sha256:../../etc/passwd","size":1}]}',
        '{"manifests":[{"mediaType":"m","digest":7,"size":1}]}',
        '{"manifests":[{"mediaType":"m","digest":"d","size":1e400}]}',
        '{"manifests":[{"mediaType":"m","digest":"d","size":1,"annotations":{"a":1}}]}',
    ],
)
def test_an_index_of_nonsense(tmp_path: Path, text: str) -> None:
    images = opened(tmp_path)
    (tmp_path / "index.json").write_text(text)
    with pytest.raises(CorruptContent):
        images.records()


def test_a_foreign_layout_is_read(tmp_path: Path) -> None:
    images = opened(tmp_path)
    image = add(images, "one", "app")
    index = json.loads((tmp_path / "index.json").read_text())
    index["manifests"][0]["annotations"] = {"org.opencontainers.image.ref.name": "v1", "other": "kept out"}
    (tmp_path / "index.json").write_text(json.dumps(index))
    assert [(r.id, r.names) for r in images.records()] == [(image, ("v1",))]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, 600), bits=st.integers(1, 255))
def test_flipped_bytes_are_told(tmp_path: Path, place: int, bits: int) -> None:
    images = opened(tmp_path)
    if not (tmp_path / "whole").exists():
        assert add(images, "one", "app") == ImageConfig(architecture="amd64", author="one").image_id
        (tmp_path / "whole").write_bytes((tmp_path / "index.json").read_bytes())
    raw = bytearray((tmp_path / "whole").read_bytes())
    raw[place % len(raw)] ^= bits
    (tmp_path / "index.json").write_bytes(raw)
    images = opened(tmp_path)
    try:
        for record in images.records():
            images.manifest(record)
            images.config(record.id)
        found = images.find("app")
    except DockerlabError:
        return
    assert found.id == ImageConfig(architecture="amd64", author="one").image_id  # what was flipped says nothing of an image


def on_small_disk(place: Path, flags: int, action: Callable[[], object]) -> str:
    """Runs the action in a child with a tmpfs of 256 KiB at `place`; gives "" or the error, "refused" where nothing can be mounted."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        answer = ""
        try:
            syscalls.unshare(syscalls.CLONE_NEWNS)
            syscalls.mount(None, "/", None, syscalls.MS_REC | syscalls.MS_PRIVATE)
            syscalls.mount("tmpfs", str(place), "tmpfs", 0, "size=256k")
        except OSError:
            os.write(writer, b"refused")
            os._exit(0)
        try:
            opened(place)
            add(opened(place), "base", "base")
            if flags:
                syscalls.mount("tmpfs", str(place), "tmpfs", flags | syscalls.MS_REMOUNT)
            action()
        except BaseException as error:
            answer = f"{type(error).__name__}: {error}"
        os.write(writer, answer.encode())
        os._exit(0)
    os.close(writer)
    with open(reader) as file:
        answer = file.read()
    os.waitpid(child, 0)
    if answer == "refused":
        pytest.skip("a tmpfs cannot be mounted here")
    return answer


def test_a_full_disk_is_said_and_changes_nothing(tmp_path: Path) -> None:
    def fill() -> None:
        images = opened(tmp_path)
        seen = names(images)
        try:
            for number in range(10_000):
                add(images, f"{number}" * 500, f"n:{number}")
                seen = names(images)
        except StoreError as error:
            assert "no space left" in error.message
            assert names(images) == seen
            (tmp_path / "index.json").read_bytes()
            assert not [f for f in os.listdir(tmp_path) if f.startswith(".index")]
            raise

    assert on_small_disk(tmp_path, 0, fill).startswith("StoreError: cannot write")


def test_a_read_only_disk_is_said_and_can_be_read(tmp_path: Path) -> None:
    def change() -> None:
        images = opened(tmp_path)
        assert names(images) == {"docker.io/library/base:latest"}
        images.untag("docker.io/library/base:latest")

    assert "read-only" in on_small_disk(tmp_path, syscalls.MS_RDONLY, change)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from(["add", "name", "tag", "untag", "forget"]), st.integers(0, 4), st.sampled_from(["a", "z:1", "m/n", "a:0"])), max_size=12))
def test_who_changed_the_index_knows_what_a_reader_reads(tmp_path_factory: pytest.TempPathFactory, deeds: list[tuple[str, int, str]]) -> None:
    root = tmp_path_factory.mktemp("store")
    images = opened(root)
    for deed, number, name in deeds:
        image = add(images, str(number), name if deed == "name" else "")
        if deed == "tag":
            images.tag(image, Reference.parse(name), f"2020-01-0{number + 1}T00:00:00Z")
        elif deed == "untag":
            images.untag(str(Reference.parse(name).tagged()))
        elif deed == "forget":
            images.forget(image)
        assert images.records() == opened(root).records()


def test_a_name_that_is_there_is_not_written_again(tmp_path: Path) -> None:
    images = opened(tmp_path)
    image, name = add(images, "one", "app"), Reference.parse("app")
    before = images.records()
    images.tag(image, name, "2001", anew=False)
    assert images.records() == before
    images.tag(image, Reference.parse("other:1"), "2001", anew=False)
    images.tag(image, name, "2002")
    assert [(each.tagged, len(each.names)) for each in images.records()] == [("2002", 2)]
