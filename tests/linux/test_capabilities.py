"""Capability names and sets."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from dockerlab.errors import InvalidArgument
from dockerlab.linux import capabilities


def test_docker_s_default_set() -> None:
    assert len(capabilities.DEFAULT) == 14 and len(capabilities.NAMES) == 41
    assert capabilities.mask(capabilities.DEFAULT) == 0x00000000A80425FB
    assert capabilities.chosen() == tuple(sorted(capabilities.DEFAULT, key=lambda name: capabilities.NAMES.index(name[4:])))


@pytest.mark.parametrize(
    ("add", "drop", "has", "lacks"),
    [
        (["NET_ADMIN"], [], ["CAP_NET_ADMIN", "CAP_CHOWN"], ["CAP_SYS_ADMIN"]),
        (["cap_net_admin"], ["chown"], ["CAP_NET_ADMIN"], ["CAP_CHOWN"]),
        (["ALL"], [], ["CAP_CHECKPOINT_RESTORE", "CAP_CHOWN"], []),
        (["ALL"], ["SYS_ADMIN"], ["CAP_BPF"], ["CAP_SYS_ADMIN"]),
        ([], ["ALL"], [], ["CAP_CHOWN"]),
        (["KILL"], ["all"], ["CAP_KILL"], ["CAP_CHOWN"]),
        (["CHOWN"], ["CHOWN"], ["CAP_CHOWN"], []),
    ],
)
def test_chosen(add: list[str], drop: list[str], has: list[str], lacks: list[str]) -> None:
    kept = capabilities.chosen(add, drop)
    assert set(has) <= set(kept) and not set(lacks) & set(kept) and len(set(kept)) == len(kept)


@pytest.mark.parametrize("word", ["", "CAP_", "NONSENSE", "CAP_CAP_CHOWN", "CHOWN ", "\0", "CAP_ALL"])
def test_unknown_names(word: str) -> None:
    for ask in (lambda: capabilities.chosen([word]), lambda: capabilities.chosen([], [word])):
        with pytest.raises(InvalidArgument, match="invalid Cap(Add|Drop): unknown capability"):
            ask()


def test_mask() -> None:
    assert capabilities.mask([]) == 0
    assert capabilities.mask(["CAP_CHOWN", "CAP_CHOWN", "CAP_BPF"]) == 1 | 1 << 39


def in_child(action: Callable[[], bool]) -> int:
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if action() else 1)
        except BaseException:
            os._exit(2)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has something to drop")
def test_what_is_dropped_is_gone() -> None:
    keep = capabilities.mask(["CAP_CHOWN", "CAP_SETPCAP"]) & capabilities.status_mask("CapBnd")

    def drop() -> bool:
        capabilities.drop_bounding(keep)
        capabilities.apply(keep, keep, keep, keep)
        capabilities.no_new_privileges()
        fields = {name: capabilities.status_mask(name) for name in ("CapBnd", "CapEff", "CapPrm", "CapInh", "CapAmb")}
        return set(fields.values()) == {keep} and capabilities.held() == keep

    assert in_child(drop) == 0
