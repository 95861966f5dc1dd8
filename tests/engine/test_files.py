"""Files of a container from outside: the same whether it runs or not, in every tier, and never past its root."""

from __future__ import annotations

import io
import os
import stat
import tarfile
from pathlib import Path

import pytest

from dockerlab.engine import Container, Engine, RunOptions
from dockerlab.errors import DockerlabError, InvalidRequest, NotFound

pytestmark = pytest.mark.files

TREE = "mkdir -p /d/sub; echo f > /d/f; ln /d/f /d/hard; echo s > /d/sub/s; ln -s ../d/sub /d/link; ln -s /etc /d/abs; chown 12:34 /d/sub/s; chmod 4750 /d/sub/s; mkfifo /d/fifo; echo ready; sleep 500"


def begun(engine: Engine, script: str = TREE, **options: object) -> Container:
    container = engine.containers.create("busybox", ["sh", "-c", script], RunOptions(**options))  # type: ignore[arg-type]
    container.start(detach=True).close()
    next(iter(container.logs(follow=True)))
    return container


def taken(container: Container, path: str, tmp_path: Path, name: str | None = None) -> dict[str, tarfile.TarInfo]:
    with open(tmp_path / "taken", "w+b") as file:
        container.files.get_archive(path, file.fileno(), name=name)
        file.seek(0)
        with tarfile.open(fileobj=file) as tar:
            return {member.name: member for member in tar}


def laid(container: Container, path: str, tmp_path: Path, *members: tuple[str, bytes] | tarfile.TarInfo) -> None:
    with open(tmp_path / "laid", "w+b") as file:
        with tarfile.open(fileobj=file, mode="w") as tar:
            for member in members:
                if isinstance(member, tarfile.TarInfo):
                    tar.addfile(member)
                else:
                    info = tarfile.TarInfo(member[0])
                    info.size, info.uid, info.gid, info.mode = len(member[1]), 5, 6, 0o640
                    tar.addfile(info, io.BytesIO(member[1]))
        file.seek(0)
        os.lseek(file.fileno(), 0, os.SEEK_SET)
        container.files.put_archive(path, file.fileno())


@pytest.mark.parametrize("running", [True, False], ids=["running", "stopped"])
def test_what_lies_there_is_told_and_taken(engine: Engine, tmp_path: Path, running: bool) -> None:
    container = begun(engine)
    if not running:
        container.stop(timeout=0)
    seen = container.files.stat("/d/sub/s")
    assert (seen.name, seen.size, stat.S_IMODE(seen.mode)) == ("s", 2, 0o4750)
    assert container.files.stat("/d/link").target == "/d/sub" and container.files.stat("/d/link/").is_folder
    assert container.files.stat("/d/abs/passwd").size > 10
    found = taken(container, "/d", tmp_path)
    assert sorted(found) == ["d", "d/abs", "d/f", "d/fifo", "d/hard", "d/link", "d/sub", "d/sub/s"]
    assert (found["d/sub/s"].uid, found["d/sub/s"].gid, found["d/sub/s"].mode) == (12, 34, 0o4750)
    assert found["d/hard"].islnk() and found["d/hard"].linkname == "d/f" and found["d/fifo"].isfifo() and found["d/link"].linkname == "../d/sub"
    assert sorted(taken(container, "/d/sub", tmp_path, "")) == ["s"]
    assert sorted(taken(container, "/d/link", tmp_path, "new")) == ["new"]
    for path in ("/nope", "/d/f/", "/d/f/x", "/proc/version", "/sys/kernel", "/dev/null"):
        if path == "/dev/null" and not engine.capabilities.mounts:
            continue  # the device lies in the container's own folder there
        with pytest.raises(NotFound, match=f"Could not find the file {path} in container"):
            container.files.stat(path)


@pytest.mark.parametrize("running", [True, False], ids=["running", "stopped"])
def test_what_is_laid_down_is_the_containers_own(engine: Engine, tmp_path: Path, running: bool) -> None:
    container = begun(engine)
    if not running:
        container.stop(timeout=0)
    laid(container, "/d/link", tmp_path, ("new", b"content"), ("f", b"other"))
    assert [str(change) for change in container.diff() if "sub" in change.path] == ["A /d/sub", "A /d/sub/f", "A /d/sub/new", "A /d/sub/s"]
    if running:
        assert container.exec_run(["sh", "-c", "cat /d/sub/new; stat -c %u:%g:%a /d/sub/new"]).output == b"content5:6:640\n"
    found = taken(container, "/d/sub/new", tmp_path)["new"]
    assert (found.uid, found.gid, found.mode, found.size) == (5, 6, 0o640, 7)
    layer = container.commit("copied").config
    assert layer.config.cmd
    for path in ("/nope", "/d/f"):
        with pytest.raises(NotFound):
            laid(container, path, tmp_path, ("x", b""))


def test_a_volume_is_where_the_container_has_it(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    container = begun(engine, "echo in > /v/in; ln -s /v /way; echo ready; sleep 500", volume=(f"{tmp_path / 'here'}:/v", "named:/n"))
    for _ in range(2):
        laid(container, "/v", tmp_path, ("out", b"laid"))
        laid(container, "/n", tmp_path, ("kept", b"too"))
        assert sorted(taken(container, "/v", tmp_path)) == ["v", "v/in", "v/out"] and "n/kept" in taken(container, "/n", tmp_path)
        if engine.capabilities.mounts:
            assert sorted(taken(container, "/way/", tmp_path)) == ["way", "way/in", "way/out"]
        container.stop(timeout=0)
    assert (tmp_path / "here" / "out").stat().st_size == 4  # whose it is, the container says


def test_what_may_not_be_written_is_not(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    container = engine.containers.create("busybox", ["true"], RunOptions(read_only=True, volume=(f"{tmp_path / 'here'}:/v:ro", "/anonymous")))
    with pytest.raises(InvalidRequest, match="container rootfs is marked read-only"):
        laid(container, "/tmp", tmp_path, ("x", b""))
    with pytest.raises(InvalidRequest, match="mounted volume is marked read-only"):
        laid(container, "/v", tmp_path, ("x", b""))
    laid(container, "/anonymous", tmp_path, ("x", b""))
    assert list((tmp_path / "here").iterdir()) == []


def symlink(name: str, target: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = tarfile.SYMTYPE, target
    return info


HOSTILE: dict[str, tuple[tuple[str, bytes] | tarfile.TarInfo, ...]] = {
    "climbs": (("../../../../tmp/escaped", b"x"),),
    "absolute": (("/tmp/escaped", b"x"),),
    "through a symlink of its own": (symlink("way", "/tmp"), ("way/escaped", b"x")),
    "a symlink that leads out": (symlink("way", "../../../tmp"),),
    "whiteout names are names": ((".wh.sub", b"x"), (".wh..wh..opq", b"x")),
}


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("running", [True, False], ids=["running", "stopped"])
def test_nothing_leaves_the_root(engine: Engine, tmp_path: Path, running: bool, kind: str) -> None:
    container = begun(engine)
    if not running:
        container.stop(timeout=0)
    try:
        laid(container, "/d", tmp_path, *HOSTILE[kind])
    except DockerlabError:
        pass
    assert not Path("/tmp/escaped").exists() and container.files.stat("/d/sub/s").size == 2
    if kind.startswith("whiteout"):
        assert {"d/.wh.sub", "d/.wh..wh..opq"} <= set(taken(container, "/d", tmp_path))


def test_links_of_the_container_lead_to_its_own_files(engine: Engine, tmp_path: Path) -> None:
    host = tmp_path / "secret"
    host.write_text("host")
    container = begun(engine, f"ln -s {host} /way; ln -s /proc/1/root/{host} /proc-way; ln -s ../../../../../../{host} /up; echo ready; sleep 500")
    for path in ("/way", "/proc-way", "/up"):
        with pytest.raises(NotFound):
            container.files.stat(f"{path}/")
        with pytest.raises(NotFound):
            container.files.get_archive(str(container.files.stat(path).target), 2)
        with pytest.raises(DockerlabError):
            laid(container, path, tmp_path, ("x", b""))
