"""The same deterministic steps under SOURCE_DATE_EPOCH give the same image in every tier that this host can show."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dockerlab.engine import Engine, RunOptions
from tests.conftest import TIERS

STEPS = {
    "files, links, modes": "mkdir -p /srv/a/b && echo 1 > /srv/a/f && ln /srv/a/f /srv/a/g && ln -s f /srv/a/l && chmod 640 /srv/a/f && chmod 2775 /srv/a && mkfifo /srv/p",
    "owners": "mkdir /own && echo 1 > /own/f && ln -s f /own/l && chown -R 33:5 /own && chown -h 8:9 /own/l && chown :6 /etc/passwd",
    "another user's files": "mkdir /u && chmod 777 /u && su www-data -s /bin/sh -c 'cd /u && echo 1 > f && mkdir d && ln -s f l && chmod 600 f'",
    "changes and deletions": "rm /bin/vi && touch /bin/ed && echo more >> /etc/group && rm -rf /home && mkdir /home && chmod 700 /root",
    "set-id bits": "mkdir /srv && cp /bin/busybox /bin/own && chown 5:5 /bin/own && chmod 6755 /bin/own && chmod 1777 /srv",
}
DOCKERFILE = "FROM busybox\nENV A=1\nWORKDIR /work\nCOPY --chown=7:8 f /copied/\nRUN {}\nUSER 1000:100\nRUN cd /tmp && echo mine > mine && mkdir folder\nLABEL a=b\n"


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", list(STEPS))
def test_every_tier_makes_the_same_image(name: str, make_engine: Callable[[str], Engine], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    made: dict[str, tuple[str, ...]] = {}
    for tier in TIERS:
        try:
            engine = make_engine(tier)
        except pytest.skip.Exception:
            continue
        folder = tmp_path / f"context-{tier}"
        folder.mkdir()
        (folder / "f").write_text("f\n")
        for image in engine.images.list(intermediate=True):
            engine.image_store.forget(image.id)
        built = engine.builds.build(DOCKERFILE.format(STEPS[name]), folder, no_cache=True)
        container = engine.containers.run("busybox", ["sh", "-c", STEPS[name]], RunOptions(hostname="same"))
        committed = container.commit(message="by hand")
        made[tier] = (str(built.id), *map(str, built.config.rootfs.diff_ids), *map(str, committed.config.rootfs.diff_ids))
    assert made
    assert len(set(made.values())) == 1, made
