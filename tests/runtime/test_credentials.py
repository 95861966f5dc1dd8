"""What a change of user does, compared with the kernel's own answer."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys

import pytest

from dockerlab.runtime.credentials import UNCHANGED, Credentials, Processes, may, with_group_call, with_user_call

IDS = (0, 5, 7)
CALLS = {"setuid": 1, "setreuid": 2, "setresuid": 3, "setgid": 1, "setregid": 2, "setresgid": 3}


# A small process, since each case takes a fork.
KERNEL = """
import json, os, sys
def answer(name, ids, before):
    reader, writer = os.pipe()
    if os.fork() == 0:
        found = None
        try:
            if "uid" in name:
                os.setresuid(*before)
            else:
                os.setresgid(*before)
                if before[1]:
                    os.setresuid(9, 9, 9)
            getattr(os, name)(*ids)
            found = os.getresuid() if "uid" in name else os.getresgid()
        except PermissionError:
            pass
        os.write(writer, json.dumps(found).encode())
        os._exit(0)
    os.close(writer)
    os.wait()
    with open(reader, "rb") as file:
        return json.loads(file.read())
print(json.dumps([answer(*case) for case in json.load(sys.stdin)]))
"""


def kernel(cases: list[tuple[str, tuple[int, ...], tuple[int, int, int]]]) -> list[tuple[int, ...] | None]:
    """Gives what the kernel's own calls make of ids (three in each case's `before`), each in a child that is thrown away; None for a refusal."""
    asked = json.dumps([(name, [id if id != UNCHANGED else -1 for id in ids], before) for name, ids, before in cases])
    done = subprocess.run([sys.executable, "-I", "-S", "-c", KERNEL], input=asked, capture_output=True, text=True, check=True)
    return [tuple(found) if found else None for found in json.loads(done.stdout)]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become others")
@pytest.mark.parametrize("name", list(CALLS))
def test_as_the_kernel_does(name: str) -> None:
    befores = [(0, 0, 0), (5, 5, 5), (5, 0, 7), (5, 7, 0), (0, 5, 7), (7, 5, 5)]
    words = [ids for ids in itertools.product((*IDS, UNCHANGED), repeat=CALLS[name]) if ids != (UNCHANGED,)]
    cases = [(name, ids, before) for before, ids in itertools.product(befores, words)]
    assert len(cases) >= 18
    for (_, ids, before), theirs in zip(cases, kernel(cases), strict=True):
        if "uid" in name:
            new = with_user_call(name, ids, Credentials(*before, 0, 0, 0, ()))
            ours = new and (new.ruid, new.euid, new.suid)
        else:
            user = 9 if before[1] else 0
            new = with_group_call(name, ids, Credentials(user, user, user, *before, ()))
            ours = new and (new.rgid, new.egid, new.sgid)
        assert ours == theirs, (name, before, ids)


def test_a_child_is_what_its_parent_is() -> None:
    processes = Processes(Credentials.of(0, 0, (0,)))
    bob = Credentials.of(1000, 1000, (1000,))
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.read(reader, 1)
        os._exit(0)
    try:
        assert processes.of(child).root
        processes.set(os.getpid(), bob)
        assert processes.of(child) == bob
        processes.set(child, Credentials.of(5, 5, ()))
        assert processes.of(os.getpid()) == bob
    finally:
        os.write(writer, b"x")
        os.waitpid(child, 0)


@pytest.mark.parametrize(
    ("who", "mode", "wanted", "answer"),
    [
        (Credentials.of(0, 0, ()), 0o000, 7, True), (Credentials.of(5, 9, ()), 0o700, 7, True), (Credentials.of(6, 6, ()), 0o770, 2, True),
        (Credentials.of(9, 9, (6,)), 0o070, 3, True), (Credentials.of(9, 9, ()), 0o776, 1, False), (Credentials.of(5, 6, ()), 0o077, 4, False),
    ],
)  # fmt: skip
def test_mode_bits(who: Credentials, mode: int, wanted: int, answer: bool) -> None:
    assert may(who, 5, 6, mode, wanted) is answer
