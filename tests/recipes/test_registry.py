"""`registry:2` without a registry."""

from __future__ import annotations

import io
import shutil
import tarfile

import pytest

from dockerlab import recipes
from dockerlab.recipes import registry


def test_the_layers_of_our_own() -> None:
    recipe = recipes.find("docker.io/library/registry:2")
    assert recipe is not None
    assert (recipe.volumes, recipe.ports) == (("/var/lib/registry",), ("5000/tcp",))
    assert "dockerlab" in recipe.labels["dockerlab.provenance"]
    names, twice = [], []
    for write in recipe.layers:
        archives = []
        for _ in range(2):
            parts: list[bytes] = []
            write(lambda data, parts=parts: parts.append(bytes(data)))  # type: ignore[misc]
            archives.append(b"".join(parts))
        twice.append(archives[0] == archives[1])
        with tarfile.open(fileobj=io.BytesIO(archives[0])) as tar:
            names.append(set(tar.getnames()))
    python, others, own = names
    assert all(twice)
    assert "usr/bin/python3" in python and not any("dockerlab" in name for name in python)
    assert any(name.startswith("opt/registry/cheroot/") for name in others)
    assert {"bin/registry", "opt/registry/dockerlab/registry/server.py", "opt/registry/dockerlab/registry/__main__.py"} <= own
    assert any(name.endswith(".pyc") for name in own)


def test_the_real_one_where_this_host_has_it() -> None:
    if not shutil.which("docker-registry"):
        pytest.skip("docker-registry is not installed")
    parts: list[bytes] = []
    for write in registry.cncf_layers():
        write(lambda data: parts.append(bytes(data)))
    with tarfile.open(fileobj=io.BytesIO(b"".join(parts))) as tar:
        assert {"bin/docker-registry", "etc/docker/registry/config.yml"} <= set(tar.getnames())
