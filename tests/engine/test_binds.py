from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from dockerlab.engine import Engine, RunOptions
from dockerlab.engine.binds import Bind, made, parse, refuse_twice
from dockerlab.errors import InvalidArgument, InvalidRequest
from dockerlab.store.volumes import VolumeStore
from tests.conftest import strongest


@pytest.mark.parametrize(
    ("word", "bind"),
    [("/d", Bind("", "/d")), ("v:/d", Bind("v", "/d")), ("/h:/d:ro", Bind("/h", "/d", True, mode="ro")), ("./h:/d:rw,z", Bind("./h", "/d", mode="rw,z"))],
)
def test_words(word: str, bind: Bind) -> None:
    assert parse(word) == bind
    assert bind.is_volume == (bind.source in ("", "v"))


@pytest.mark.parametrize(
    ("word", "kind", "said"),
    [
        (":/x", InvalidArgument, "invalid spec: :/x: empty section between colons"),
        ("a:b:c:d", InvalidRequest, "invalid volume specification: 'a:b:c:d'"),
        ("/a:/b:xx", InvalidRequest, "invalid mode: xx"),
        ("/a:b", InvalidRequest, "invalid mount config for type \"bind\": invalid mount path: 'b' mount path must be absolute"),
        ("a:/", InvalidRequest, "invalid mount config for type \"volume\": invalid specification: destination can't be '/'"),
    ],
)
def test_words_that_are_none(word: str, kind: type[Exception], said: str) -> None:
    with pytest.raises(kind) as caught:
        parse(word)
    assert type(caught.value) is kind and said in str(caught.value)


def test_a_file_of_the_host_is_a_mount_as_well(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    store = VolumeStore(tmp_path, lambda *_, **__: None)
    (volume,), names = made(store, [parse(f"{tmp_path}/file:/x")], [])
    assert (volume.source, volume.target, names) == (str(tmp_path / "file"), "/x", ())
    with pytest.raises(InvalidRequest, match="Duplicate mount point: /x"):
        refuse_twice([parse("a:/x"), parse("b:/x")])


def test_a_volume_that_holds_the_store_is_not_copied_into_itself(make_engine: Callable[[str], Engine], tmp_path: Path) -> None:
    engine = make_engine(strongest() if os.environ.get("DOCKERLAB_SHAPE") else "single-chroot")
    (tmp_path / "mine").write_text("x\n")
    said: list[bytes] = []
    engine.containers.run("busybox", ["sh", "-c", "ls /here; echo y > /here/made"], RunOptions(volume=(f"{tmp_path}:/here",)), stdout=said.append)
    assert "mine" in b"".join(said).decode().split()
    assert (tmp_path / "made").read_text() == "y\n" and engine.system.check() == []
    if not engine.capabilities.binds:
        assert "home" not in b"".join(said).decode().split()
