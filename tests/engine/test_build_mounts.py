"""`RUN --mount`: there while the command runs, in no layer, in every tier."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dockerlab.engine import Engine
from dockerlab.engine.containers import RunOptions
from dockerlab.engine.executing import Around
from dockerlab.engine.options import NetworkWord
from dockerlab.errors import BuildFailed
from dockerlab.events import CacheHit
from tests.conftest import strongest
from tests.engine.test_builds import build, output

pytestmark = pytest.mark.files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    context = tmp_path / "context"
    (context / "d").mkdir(parents=True)
    (context / "d" / "x").write_text("x\n")
    (context / "secret").write_text("no")
    (context / ".dockerignore").write_text("secret\n")
    return context


def added(engine: Engine, image: str) -> set[str]:
    """What the last layer holds."""
    return {entry.path for entry in engine.images.layers.tables(engine.images.get(image).record)[-1]}


MOUNTS = """FROM busybox AS other
RUN echo stage > /s
FROM busybox
WORKDIR /w
RUN --mount=target=/context,rw --mount=source=d/x,target=one --mount=from=other,source=/s,target=/deep/place/s \
    --mount=type=tmpfs,target=/memory --mount=type=cache,target=/cache --mount=type=secret,id=key,target=/run/secrets/key \
    cat /context/d/x /w/one /deep/place/s /run/secrets/key > /read; ls /context >> /read; \
    echo c >> /cache/count; cat /cache/count >> /read; touch /memory/m /context/new; echo y > /w/one || echo refused >> /read
"""


def test_every_kind(engine: Engine, folder: Path) -> None:
    around = Around(secrets={"key": b"hidden\n"})
    image, _ = build(engine, MOUNTS, folder, around=around)
    said = output(engine, image, "cat", "/read")
    assert said.startswith("x\nx\nstage\nhidden\nd\nc\n"), said
    assert added(engine, image) == {"read"}
    assert not (folder / "new").exists() and (folder / "d" / "x").read_text() == "x\n"
    if engine.capabilities.mounts:
        assert said.endswith("refused\n")
    again, events = build(engine, MOUNTS, folder, around=Around(secrets={"key": b"another\n"}))
    assert again == image and len([e for e in events if isinstance(e, CacheHit)]) == 3, "a secret is no part of a step"
    second, _ = build(engine, MOUNTS.replace("echo c", "echo d"), folder, around=around)
    assert "c\nd\n" in output(engine, second, "cat", "/read"), "the cache outlives the build"
    (folder / "d" / "x").write_text("changed\n")
    third, _ = build(engine, MOUNTS, folder, around=around)
    assert output(engine, third, "cat", "/read").startswith("changed\nchanged\n")


def test_places_that_the_image_has(engine: Engine, folder: Path) -> None:
    text = "FROM busybox\nRUN mkdir /has && echo under > /has/u && touch /file\nRUN --mount=source=d,target=/has --mount=source=d/x,target=/file cat /has/x /file > /read; touch /own\n"
    image, _ = build(engine, text, folder)
    assert added(engine, image) == {"read", "own"} and output(engine, image, "cat", "/has/u", "/read") == "under\nx\nx\n"


def test_caches_are_shared_kept_apart_and_begin_with_something(make_engine: Callable[[str], Engine], folder: Path) -> None:
    engine = make_engine(strongest())
    text = "FROM busybox\nRUN --mount=type=cache,id={0},target=/c{1} ls /c > /read; touch /c/{2}\n"
    words = (("a", "", "1"), ("b", "", "2"), ("a", ",sharing=locked", "3"), ("a", ",sharing=private", "4"), ("n", ",from=busybox,source=/etc", "5"))
    read = [output(engine, build(engine, text.format(*each), folder)[0], "cat", "/read") for each in words]
    assert read[:4] == ["", "", "1\n", "1\n3\n"] and "passwd" in read[4]


def test_a_missing_secret_is_absent(make_engine: Callable[[str], Engine], folder: Path) -> None:
    engine = make_engine(strongest())
    image, _ = build(engine, "FROM busybox\nRUN --mount=type=secret,id=key ls /run/secrets > /read 2>&1 || true\n", folder)
    assert "No such file" in output(engine, image, "cat", "/read")
    image, _ = build(engine, "FROM busybox\nRUN --mount=type=secret,id=key stat -c %a:%u /run/secrets/key > /read\n", folder, around=Around(secrets={"key": b"x"}))
    assert output(engine, image, "cat", "/read") == "400:0\n"


def test_a_secret_leaves_no_trace(make_engine: Callable[[str], Engine], folder: Path) -> None:
    engine = make_engine(strongest())
    with pytest.raises(BuildFailed):
        build(engine, "FROM busybox\nRUN --mount=type=secret,id=key test -s /run/secrets/key && exit 7\n", folder, around=Around(secrets={"key": b"do-not-keep-me"}))
    left = [path for path in engine.home.rglob("*") if path.is_file() and b"do-not-keep-me" in path.read_bytes()]
    assert left == []


def test_networks_of_a_step(make_engine: Callable[[str], Engine], folder: Path) -> None:
    engine = make_engine(strongest())
    if not (engine.capabilities.namespaces and engine.capabilities.mounts):
        pytest.skip("this host gives no network namespace, or no /sys to see it in")
    text = "FROM busybox\nRUN --network=none ls /sys/class/net > /read\n"
    assert output(engine, build(engine, text, folder)[0], "cat", "/read") == "lo\n"


def test_the_hosts_network_is_the_builders_to_give(make_engine: Callable[[str], Engine], folder: Path) -> None:
    engine, text = make_engine(strongest()), "FROM busybox\nRUN --network=host echo here > /read\n"
    with pytest.raises(BuildFailed, match=r"network\.host is not allowed"):
        build(engine, text, folder, around=Around(run=RunOptions(networks=(NetworkWord("none"),))))
    for around in (Around(allow=["network.host"]), Around(run=RunOptions(networks=(NetworkWord("host"),)))):
        assert output(engine, build(engine, text, folder, no_cache=True, around=around)[0], "cat", "/read") == "here\n"


def test_caches_are_pruned_by_age_and_size(make_engine: Callable[[str], Engine], folder: Path) -> None:
    engine = make_engine(strongest())
    for name in "ab":
        build(engine, f"FROM busybox\nRUN --mount=type=cache,id={name},target=/c dd if=/dev/zero of=/c/f bs=1000 count=2\n", folder)
    usage = next(row for row in engine.system.usage() if row.type == "Build Cache")
    assert (usage.total, usage.size, usage.reclaimable) == (2, 4000, 4000)
    assert engine.builds.prune(lambda used: used < 1) == 0 and engine.builds.prune(lambda _: True, keep=2500) == 2000
    assert engine.builds.prune(lambda _: True) == 2000 and engine.builds.prune(lambda _: True) == 0
