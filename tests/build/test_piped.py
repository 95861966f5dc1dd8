from __future__ import annotations

import gzip
import io
import tarfile

import pytest

from dockerlab.build import piped
from dockerlab.errors import DockerlabError, InvalidRequest


def tar(**files: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
    return buffer.getvalue()


def names(data: bytes, dockerfile: str = "Dockerfile") -> tuple[list[str], bytes]:
    with piped.context(data, dockerfile) as (context, text):
        return sorted(path.name for path in context.folder.iterdir()), text


def test_a_dockerfile_alone_is_the_whole_context() -> None:
    assert names(b"FROM busybox\n") == (["Dockerfile"], b"FROM busybox\n")
    assert names(b"") == (["Dockerfile"], b"")


@pytest.mark.parametrize("wrap", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_a_tar_is_the_context(wrap: type[bytes]) -> None:
    data = wrap(tar(Dockerfile="FROM busybox\n", f="f"))
    assert piped.is_archive(data) and names(data) == (["Dockerfile", "f"], b"FROM busybox\n")


def test_dockerignore_in_a_tar_hides_itself_and_the_dockerfile_only() -> None:
    assert names(tar(**{"D": "FROM a\n", "f": "f", ".dockerignore": "f\nD\n"}), "D") == ([".dockerignore", "f"], b"FROM a\n")
    assert names(tar(**{"D": "FROM a\n", "f": "f", ".dockerignore": ".dockerignore\n"}), "D")[0] == ["D", "f"]


@pytest.mark.parametrize("name", ["nosuch", "../etc/passwd", "/etc/passwd", "."])
def test_the_dockerfile_must_be_in_the_archive(name: str) -> None:
    with pytest.raises(InvalidRequest, match="Cannot locate specified Dockerfile"), piped.context(tar(f="f"), name):
        pass


def test_an_archive_that_is_cut_short() -> None:
    data = tar(Dockerfile="FROM busybox\n", f="x" * 2000)[:2048]
    with pytest.raises(DockerlabError, match="Error processing tar file"), piped.context(data):
        pass
