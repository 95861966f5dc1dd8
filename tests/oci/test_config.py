"""Image configs, dockers' and our own."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockerlab.errors import CorruptContent, DockerlabError
from dockerlab.oci.config import EMPTY_TIME, Healthcheck, History, ImageConfig, RootFS, RunConfig, env_map, env_words
from dockerlab.oci.digest import DiffId, digest_of

HEX = DiffId("sha256:" + "a" * 64)


def config(**changed: Any) -> bytes:
    return json.dumps({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [HEX]}, **changed}).encode()


def test_there_and_back() -> None:
    run = RunConfig(
        user="1",
        env=("A=b",),
        cmd=("sh",),
        exposed_ports={"80/tcp": {}},
        labels={"k": "v"},
        healthcheck=Healthcheck(test=("CMD", "x"), interval=5),
    )
    made = ImageConfig(
        architecture="amd64", config=run, rootfs=RootFS(diff_ids=(HEX,)), history=(History(created_by="RUN x"), History(empty_layer=True))
    )
    assert ImageConfig.decode(made.encode()) == made
    assert made.image_id == digest_of(made.encode()) and made.chain == (HEX,)
    assert json.loads(made.encode())["created"] == EMPTY_TIME


def test_nulls_of_docker_are_empty() -> None:
    nulls = dict.fromkeys(
        [
            "User",
            "ExposedPorts",
            "Env",
            "Entrypoint",
            "Cmd",
            "Volumes",
            "WorkingDir",
            "Labels",
            "StopSignal",
            "Healthcheck",
            "OnBuild",
            "Shell",
        ]
    )
    read = ImageConfig.decode(config(config=nulls, history=None, created=None, author=None, variant=None))
    assert read.config == RunConfig() and (read.created, read.history) == (EMPTY_TIME, ())
    assert ImageConfig.decode(config(config=None, container_config={"Cmd": None}, docker_version="1")).config == RunConfig()


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"[" * 200_000,
        config()[:-1],
        config(rootfs=None),
        config(rootfs={"diff_ids": ["sha256:short"]}),
        config(rootfs={"diff_ids": [7]}),
        config(architecture=None),
        config(config=[]),
        config(config={"Env": "A=b"}),
        config(config={"Cmd": "sh"}),
        config(config={"Labels": {"a": 1}}),
        config(history=[7]),
        config(config={"Healthcheck": {"Interval": 10**30}}),
        config(history=[{"empty_layer": "yes"}]),
    ],
)
def test_what_is_no_config(raw: bytes) -> None:
    with pytest.raises(CorruptContent):
        ImageConfig.decode(raw)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
)


@given(st.sampled_from(["config", "rootfs", "history", "created", "architecture", "os"]), JSON)
def test_any_json_in_any_field(name: str, value: Any) -> None:
    try:
        read = ImageConfig.decode(config(**{name: value}))
    except DockerlabError:
        return
    assert ImageConfig.decode(read.encode()) == read


@given(st.dictionaries(st.text("AB_", min_size=1, max_size=4), st.text(max_size=5)))
def test_environments(variables: dict[str, str]) -> None:
    assert env_map(env_words(variables)) == variables
    assert env_map(("A=1", "B", "A=2=3")) == {"A": "2=3", "B": ""}
