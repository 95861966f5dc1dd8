"""Volumes and places to mount on: what stands outside them is never read, written or deleted, whatever a container or an image does."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dockerlab.engine import Engine, RunOptions
from dockerlab.errors import ContainerError, DockerlabError
from tests.isolation.closed import TOKEN, import_tools, said

pytestmark = pytest.mark.files

_EVERYTHING = (
    "echo x > /v/new; echo x >> /v/f; : > /v/f; rm -f /v/f; rm -rf /v/d; mv /v/f /v/g; chmod 777 /v/f /v/d; chown 33:33 /v/f /v/d; touch -d '2001-01-01' /v/f /v; ln /v/f /v/h; ln /v/f /h; "
    "echo x > /h; chmod 777 /h; ln -s x /v/l; mkdir /v/e; mkfifo /v/p; mknod /v/c c 1 3; mv /v /w; mkdir /v; echo x > /v/f"
)


def shape(folder: Path) -> dict[str, tuple[object, ...]]:
    """Gives all that could be changed about a tree."""
    places = [folder, *sorted(folder.rglob("*"))]
    found: dict[str, tuple[object, ...]] = {}
    for place in places:
        status = os.lstat(place)
        marks = os.listxattr(place, follow_symlinks=False)
        content = os.readlink(place) if place.is_symlink() else place.read_text() if place.is_file() else ""
        found[str(place.relative_to(folder))] = (status.st_mode, status.st_uid, status.st_gid, status.st_nlink, status.st_mtime_ns, content, marks)
    return found


def made(folder: Path) -> Path:
    (folder / "d").mkdir(parents=True)
    (folder / "d" / "inner").write_text("inner\n")
    (folder / "f").write_text("before\n")
    (folder / "set").write_text("before\n")
    (folder / "set").chmod(0o4755)
    (folder / "d").chmod(0o2777)
    return folder


def test_a_readonly_volume_never_changes(engine: Engine, tmp_path: Path) -> None:
    import_tools(engine, tmp_path)
    volume = made(tmp_path / "volume")
    before = shape(volume)
    attempts = f"chown 33 /v/set; chmod 755 /v/set; {_EVERYTHING}; su www-data -s /bin/sh -c 'mkdir /v/d/x; echo x > /v/d/y; ln -s x /v/d/z; chmod 700 /v/d; mkfifo /v/d/q'"
    said(engine, ["sh", "-c", attempts], RunOptions(volume=(f"{volume}:/v:ro",)))
    assert shape(volume) == before
    said(engine, ["sh", "-c", "mkdir /v/d/x; echo x > /v/d/y; ln -s x /v/d/z; chmod 700 /v/d; mkfifo /v/d/q"], RunOptions(volume=(f"{volume}:/v:ro",), user="33:33"))
    assert shape(volume) == before


def test_a_symlink_in_a_volume_leads_inside(engine: Engine, tmp_path: Path) -> None:
    import_tools(engine, tmp_path)
    other, volume = made(tmp_path / "other"), made(tmp_path / "volume")
    (other / "secret").write_text(TOKEN)
    (volume / "link").symlink_to(other)
    before = shape(other)
    text = said(engine, ["sh", "-c", "cat /v/link/secret; echo x > /v/link/f; rm -rf /v/link/d; chmod 777 /v/link/f; chown 33 /v/link/f; ls -lR /v"], RunOptions(volume=(f"{volume}:/v",)))
    assert TOKEN not in text
    assert shape(other) == before


@pytest.mark.parametrize("late", ["mkdir -p /v/d; echo x > /v/d/f; echo x > /v/d/evil", "rm -f /v/d/inner", "chmod 700 /v/d/inner"])
def test_two_containers_cannot_lead_a_volume_elsewhere(engine: Engine, tmp_path: Path, late: str) -> None:
    # Without mounts a volume is copied back at a container's end, when another one may have put a symlink where it had a folder.
    import_tools(engine, tmp_path)
    other, volume = made(tmp_path / "other"), made(tmp_path / "volume")
    before = shape(other)
    options = RunOptions(volume=(f"{volume}:/v",))
    said(engine, ["sh", "-c", "true"], options)
    container = engine.containers.create("tools", ["sh", "-c", f"echo ready > /v/ready; until test -e /go; do sleep 0.05; done; {late}"], options)
    session = container.start(detach=True)
    said(engine, ["sh", "-c", f"rm -rf /v/d; ln -s {other}/d /v/d"], options)
    root = Path(engine.snapshotter.mounts(container.id)[0].source)
    if engine.capabilities.mounts:
        container.kill()
    else:
        (root / "go").touch()
    container.wait(timeout=20)
    session.close()
    assert shape(other) == before


@pytest.mark.parametrize("change", [
    "rm -rf /v; ln -s /etc /v", "rm -rf /v", "mv /v /w; mkdir /v; ln -s ../.. /v/up; mkdir '/v/...'; echo x > '/v/.../..x'", "rm -rf /v/d; ln -s @ /v/d", "rm -rf /v/d; ln -s / /v/d; ln -s @/f /v/g",
    "ln -f /etc/passwd /v/f; ln -s @ /v/l; mv /v/d /v/l2; mv /v/f /v/d2",
])  # fmt: skip
def test_what_goes_back_to_a_volume_stays_in_it(engine: Engine, tmp_path: Path, change: str) -> None:
    import_tools(engine, tmp_path)
    other = made(tmp_path / "around" / "other")
    volume = made(tmp_path / "around" / "volume")
    before = shape(other)
    said(engine, ["sh", "-c", change.replace("@", str(other))], RunOptions(volume=(f"{volume}:/v",)))
    assert shape(other) == before
    assert sorted(os.listdir(tmp_path / "around")) == ["other", "volume"]


def test_a_volume_in_a_volume_is_none_of_it(engine: Engine, tmp_path: Path) -> None:
    import_tools(engine, tmp_path)
    outer, inner = made(tmp_path / "outer"), made(tmp_path / "inner")
    (inner / "only-inner").write_text("x")
    before = shape(inner)
    said(engine, ["sh", "-c", "echo x > /v/i/new; echo y > /v/mine; ls /v /v/i"], RunOptions(volume=(f"{outer}:/v", f"{inner}:/v/i:ro")))
    assert shape(inner) == before
    assert (outer / "mine").exists()
    assert not (outer / "i").exists() or os.listdir(outer / "i") == []


@pytest.mark.parametrize("place", ["/v", "/v/below", "/etc/hosts", "/dev", "/proc", "/sys", "/work"])
def test_an_image_with_a_symlink_where_something_is_put_leads_inside(engine: Engine, tmp_path: Path, place: str) -> None:
    other, volume = made(tmp_path / "other"), made(tmp_path / "volume")
    (other / "hosts").write_text("before\n")
    before = shape(other)
    link = "/v" if place == "/v/below" else place
    import_tools(engine, tmp_path, {link.lstrip("/"): f"{other}/hosts" if place == "/etc/hosts" else str(other)})
    target = place if place.startswith("/v") else "/vol"
    try:
        said(engine, ["sh", "-c", f"echo x > {target}/new; ls -l /"], RunOptions(volume=(f"{volume}:{target}",), workdir="/work/deep"))
    except DockerlabError as error:
        assert isinstance(error, ContainerError)  # refusing is right as well
    assert shape(other) == before
