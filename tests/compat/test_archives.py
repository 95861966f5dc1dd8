"""Archives that docker and skopeo have written are loaded here, and ours there; the image stays the same."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dockerlab.engine import Engine
from tests.compat.conftest import Both
from tests.compat.saying import plain, same
from tests.compat.test_tools import tool

pytestmark = [pytest.mark.timeout(240)]

ARCHIVES = [
    same("saved and loaded", "docker tag busybox me/img:1", "docker tag busybox me/img:2", "docker save -o all.tar me/img busybox", "docker save me/img:2 | tar t | grep -c manifest.json",
         "docker save busybox > b.tar", "docker rmi me/img:1 me/img:2 busybox | wc -l", "docker load -i all.tar | sort", "docker load -q -i b.tar", "docker load < b.tar",
         "gzip -c b.tar | docker load",
         "docker run --rm me/img:1 echo runs", "docker images --format '{{.Repository}}:{{.Tag}}' | sort", "docker save $(docker images -q busybox) > id.tar; docker load -i id.tar | cut -d: -f1",
         "docker create --name c1 busybox touch /x | wc -c; docker start -a c1; docker commit c1 me/img:1 | wc -c; docker load -i all.tar | sort",
         "docker save nosuch", "docker save busybox nosuch > /dev/null", "docker load -i /nosuch", "docker save -o /nosuch/x busybox", "docker save", "docker load x",
         "docker image save busybox | docker image load"),
]  # fmt: skip


@pytest.mark.needs_docker
@pytest.mark.parametrize("lines", ARCHIVES)
def test_docker_says_the_same(both: Both, lines: tuple[str, ...]) -> None:
    theirs, ours = both(lines)
    assert "\n".join(plain(ours, theirs=False)) == "\n".join(plain(theirs, theirs=True))


@pytest.mark.needs_docker
@pytest.mark.parametrize("tier", ["root"])
def test_from_docker_and_to_docker(both: Both, tmp_path: Path) -> None:
    """The same image id in both, whoever wrote the archive."""
    ours = f"DOCKERLAB_HOME={tmp_path}/x {shlex.quote(sys.executable)} -m dockerlab.cli"
    steps = (
        "docker create --name c1 busybox sh -c 'touch /x; rm /bin/vi' | wc -c; docker start -a c1; docker commit c1 made:1 > id; docker save -o theirs.tar made:1",
        f"{ours} load -i theirs.tar; {ours} images -q --no-trunc made:1 | diff - id && echo same; {ours} run --rm made:1 ls /x",
        f"{ours} save -o ours.tar made:1 && docker rm c1 && docker rmi made:1 | wc -l",
        "docker load -i ours.tar; docker images -q --no-trunc made:1 | diff - id && echo same; docker run --rm made:1 ls /x", f"{ours} system check",
    )  # fmt: skip
    theirs, _ = both(steps)
    told = [said.output for said in theirs]
    assert told[1] == "Loaded image: made:1\nsame\n/x\n" and told[3] == "Loaded image: made:1\nsame\n/x\n", told
    assert told[4] == "the store is sound\n"


@pytest.mark.parametrize("kind", ["docker-archive", "oci-archive"])
def test_from_skopeo_and_to_skopeo(kind: str, tmp_path: Path) -> None:
    engine, other = Engine(tmp_path / "one"), Engine(tmp_path / "two")
    image = engine.images.resolve("busybox")
    with open(tmp_path / "ours.tar", "wb") as file:
        engine.images.save(["busybox"], file.write)
    skopeo: Callable[..., str] = lambda *words: subprocess.run(  # noqa: E731
        [tool("skopeo"), "--insecure-policy", *words], capture_output=True, text=True, check=True, timeout=60, env={**os.environ, "TMPDIR": str(tmp_path)}
    ).stdout
    assert json.loads(skopeo("inspect", "--config", f"docker-archive:{tmp_path}/ours.tar:busybox:latest"))["rootfs"]["diff_ids"] == list(image.config.rootfs.diff_ids)
    assert json.loads(skopeo("inspect", f"oci-archive:{tmp_path}/ours.tar"))["Digest"] == image.record.manifest.digest
    skopeo("copy", f"oci-archive:{tmp_path}/ours.tar", f"{kind}:{tmp_path}/theirs.tar:from/skopeo:3")
    with open(tmp_path / "theirs.tar", "rb") as file:
        assert list(other.images.load(file)) == ["Loaded image: from/skopeo:3"]
    there = other.images.get("from/skopeo:3")
    assert there.config.rootfs.diff_ids == image.config.rootfs.diff_ids and there.config.config.cmd == image.config.config.cmd
