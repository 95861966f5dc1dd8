"""The filter's decisions, by a small interpreter of classic BPF: every guarded call, with and without what opens it."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import struct

import pytest

from dockerlab.errors import InvalidRequest
from dockerlab.linux import calls, capabilities, seccomp, syscalls

pytestmark = pytest.mark.skipif(syscalls.MACHINE not in seccomp._ARCHES, reason="no filter for this machine")

ALLOW, ERRNO = 0x7FFF0000, 0x00050000
EVERY = tuple(f"CAP_{name}" for name in capabilities.NAMES)


def decide(program: bytes, number: int, args: tuple[int, ...] = (), arch: int = 0) -> int:
    """Runs the program on one call; gives 0 for allowed, else the errno."""
    padded = (*args, 0, 0, 0, 0, 0, 0)[:6]
    data = struct.pack("<IIQ6Q", number & 0xFFFFFFFF, arch or seccomp._ARCHES[syscalls.MACHINE][0], 0, *(a & (1 << 64) - 1 for a in padded))
    code = list(struct.iter_unpack("HBBI", program))
    place = held = 0
    for _ in range(len(code) + 1):
        what, true, false, value = code[place]
        place += 1
        if what == 0x20:
            (held,) = struct.unpack_from("<I", data, value)
        elif what == 0x54:
            held &= value
        elif what in (0x15, 0x25, 0x35):
            hit = held == value if what == 0x15 else held > value if what == 0x25 else held >= value
            place += true if hit else false
        elif what == 0x06:
            assert value == ALLOW or value & 0xFFFF0000 == ERRNO
            return 0 if value == ALLOW else value & 0xFFFF
        else:
            raise AssertionError(f"unknown instruction {what:#x}")
    raise AssertionError("the program does not end")


def program(*held: str) -> bytes:
    return seccomp.compile_profile(seccomp.default_profile(held))


def number_of(name: str) -> int:
    return calls.number(name)


GUARDED = [(name, key) for key, names in seccomp._GUARDED.items() for name in names.split() if calls.number(name) >= 0]


@pytest.mark.parametrize(("name", "key"), GUARDED)
def test_every_guarded_call(name: str, key: str) -> None:
    number = number_of(name)
    assert decide(program(), number) == errno.EPERM
    assert decide(program(*(c for c in EVERY if c != key)), number) == errno.EPERM
    if key:
        assert decide(program(key), number) == 0
        assert decide(program(*EVERY), number) == 0


@pytest.mark.parametrize("held", [(), capabilities.DEFAULT, EVERY], ids=["none", "default", "all"])
def test_everything_else_is_allowed(held: tuple[str, ...]) -> None:
    compiled = program(*held)
    special = {number_of(name) for name in (*(name for name, _ in GUARDED), "clone", "clone3", "personality")}
    assert {decide(compiled, number) for number in range(calls.NEWEST + 1) if number not in special} == {0}


@pytest.mark.parametrize("number", [463, 1000, 0x3FFFFFFF, 0x40000000, 0x40000000 | 59, 0x40000000 | 165, 0x7FFFFFFF, 0x80000000, -1])
@pytest.mark.parametrize("held", [(), EVERY], ids=["none", "all"])
def test_unknown_numbers_and_x32_are_refused(number: int, held: tuple[str, ...]) -> None:
    assert decide(program(*held), number) == errno.ENOSYS


@pytest.mark.parametrize("arch", [0x40000003, 0xC000003E ^ 0x40000000, 0x40000028, 0xC00000F3, 1])
def test_foreign_architectures_are_refused(arch: int) -> None:
    for number in (0, 1, 39, 165, 272):
        assert decide(program(*EVERY), number, arch=arch) == errno.ENOSYS


NAMESPACES = [getattr(syscalls, f"CLONE_NEW{name}") for name in ("NS", "CGROUP", "UTS", "IPC", "USER", "PID", "NET")]


@pytest.mark.parametrize("flag", NAMESPACES)
def test_clone_makes_no_namespaces(flag: int) -> None:
    clone = number_of("clone")
    for flags in (flag, flag | 17, flag | 0x003D0F00, flag | 1 << 32, sum(NAMESPACES)):
        assert decide(program(*capabilities.DEFAULT), clone, (flags,)) == errno.EPERM
        assert decide(program("CAP_SYS_ADMIN"), clone, (flags,)) == 0


@pytest.mark.parametrize("flags", [0, 17, 0x003D0F00, 0x01200011, 0x4111, 0x8001FFFF, 1 << 40])
def test_clone_makes_processes_and_threads(flags: int) -> None:
    assert decide(program(), number_of("clone"), (flags,)) == 0


def test_clone3_falls_back_to_clone() -> None:
    assert decide(program(), number_of("clone3")) == errno.ENOSYS
    assert decide(program("CAP_SYS_ADMIN"), number_of("clone3")) == 0


@pytest.mark.parametrize(
    ("value", "answer"),
    [
        (0, 0),
        (8, 0),
        (0x20000, 0),
        (0x20008, 0),
        (0xFFFFFFFF, 0),
        (1, errno.EPERM),
        (0x40000, errno.EPERM),
        (0x0400000, errno.EPERM),
        (0x20009, errno.EPERM),
    ],
)
def test_personality(value: int, answer: int) -> None:
    assert decide(program(), number_of("personality"), (value,)) == answer
    assert decide(program(*EVERY), number_of("personality"), (value,)) == answer


@pytest.mark.parametrize(
    ("condition", "args", "hit"),
    [
        ({"index": 0, "value": 5, "op": "SCMP_CMP_EQ"}, (5,), True),
        ({"index": 0, "value": 5, "op": "SCMP_CMP_EQ"}, (5 | 1 << 32,), False),
        ({"index": 1, "value": 7 | 3 << 32, "op": "SCMP_CMP_EQ"}, (0, 7 | 3 << 32), True),
        ({"index": 5, "value": 9, "op": "SCMP_CMP_NE"}, (0, 0, 0, 0, 0, 9), False),
        ({"index": 5, "value": 9, "op": "SCMP_CMP_NE"}, (0, 0, 0, 0, 0, 8), True),
        ({"index": 2, "value": 6, "valueTwo": 4, "op": "SCMP_CMP_MASKED_EQ"}, (0, 0, 5), True),
        ({"index": 2, "value": 6, "valueTwo": 4, "op": "SCMP_CMP_MASKED_EQ"}, (0, 0, 6), False),
    ],
)
def test_conditions(condition: dict[str, object], args: tuple[int, ...], hit: bool) -> None:
    rules = [
        {"names": ["clone"], "action": "SCMP_ACT_ERRNO", "errnoRet": 77, "args": [condition]},
        {"names": ["acct"], "action": "SCMP_ACT_ERRNO"},
    ]
    compiled = seccomp.compile_profile({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules})
    assert decide(compiled, number_of("clone"), args) == (77 if hit else 0)
    assert decide(compiled, number_of("acct"), args) == errno.EPERM


def test_words_that_are_not_known() -> None:
    assert seccomp.compile_profile({}) == b""
    for rule in (
        {"names": ["clone"], "action": "SCMP_ACT_KILL"},
        {"names": ["clone"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_GT"}]},
    ):
        with pytest.raises(KeyError):
            seccomp.compile_profile({"syscalls": [rule]})


def test_the_kernel_takes_the_program() -> None:
    child = os.fork()
    if child == 0:
        try:
            capabilities.no_new_privileges()
            seccomp.install(program(*capabilities.DEFAULT))
            libc = ctypes.CDLL(None, use_errno=True)
            refused = libc.unshare(syscalls.CLONE_NEWUTS) == -1 and ctypes.get_errno() == errno.EPERM
            grandchild = os.fork()
            if grandchild == 0:
                os._exit(0)
            os._exit(0 if refused and os.waitpid(grandchild, 0)[1] == 0 and os.getpid() > 0 else 1)
        except OSError as error:
            os._exit(9 if error.errno in (errno.EINVAL, errno.ENOSYS, errno.EPERM) else 2)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code == 9:
        pytest.skip("this host takes no seccomp filters")
    assert code == 0


def own(*rules: dict[str, object], default: str = "SCMP_ACT_ALLOW", **more: object) -> dict[str, object]:
    return {"defaultAction": default, "syscalls": [*rules], **more}


VALUES = (0, 1, 5, 6, 7, 0xFFFFFFFF, 1 << 32, (1 << 32) + 5, (1 << 32) + 6, (6 << 32) + 1, (6 << 32) + 7, (7 << 32) + 6, 2**64 - 1)
COMPARE = {
    "SCMP_CMP_EQ": lambda a, b: a == b, "SCMP_CMP_NE": lambda a, b: a != b, "SCMP_CMP_LT": lambda a, b: a < b, "SCMP_CMP_LE": lambda a, b: a <= b,
    "SCMP_CMP_GT": lambda a, b: a > b, "SCMP_CMP_GE": lambda a, b: a >= b,
}  # fmt: skip


@pytest.mark.parametrize("op", list(COMPARE))
def test_arguments_are_compared_in_all_their_bits(op: str) -> None:
    for wanted in VALUES:
        rules = own({"names": ["dup"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 2, "value": wanted, "op": op}]})
        compiled = seccomp.compile_profile(seccomp.read_profile(json.dumps(rules), ()))
        for given in VALUES:
            assert (decide(compiled, number_of("dup"), (9, 9, given)) != 0) is COMPARE[op](given, wanted), (op, given, wanted)
            assert decide(compiled, number_of("dup3"), (9, 9, given)) == 0


def test_a_profile_in_docker_s_words() -> None:
    rules = own(
        {"names": ["read", "write", "chown", "nosuchcall"], "action": "SCMP_ACT_ALLOW"}, {"name": "mkdir", "action": "SCMP_ACT_ERRNO", "errnoRet": 99},
        {"names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}}, {"names": ["bpf"], "action": "SCMP_ACT_ALLOW", "excludes": {"caps": ["CAP_SYS_ADMIN"]}},
        {"names": ["ptrace"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "4.8"}}, {"names": ["kexec_load"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "99.0"}},
        {"names": ["reboot"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["s390x"]}}, default="SCMP_ACT_ERRNO", defaultErrnoRet=38,
    )  # fmt: skip
    read = seccomp.read_profile(json.dumps(rules), ["CAP_SYS_ADMIN"])
    compiled = seccomp.compile_profile(read)
    expected = {"read": 0, "chown": 0, "mkdir": 99, "mount": 0, "bpf": 38, "ptrace": 0, "kexec_load": 38, "reboot": 38, "execve": 38}
    assert {name: decide(compiled, number_of(name)) for name in expected if number_of(name) >= 0} == {n: v for n, v in expected.items() if number_of(n) >= 0}
    assert decide(compiled, 1000) == errno.ENOSYS
    asked = [{"names": ["chown", "execve"], "action": "SCMP_ACT_NOTIFY"}]
    kept = [rule["names"] for rule in seccomp.extended(read, asked)["syscalls"] if rule["action"] == "SCMP_ACT_NOTIFY"]
    assert kept == [["chown"]], "what the profile refuses is nobody's to answer"


@pytest.mark.parametrize("text", [
    "", "{", "[]", "{}", '{"defaultAction": "FOO"}', '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"]}]}',
    '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 0, "value": 1, "op": "X"}]}]}',
    '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": "read", "action": "SCMP_ACT_ERRNO"}]}', '{"defaultAction": "SCMP_ACT_NOTIFY"}',
    '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": [1, null], "action": "SCMP_ACT_ERRNO"}]}',
    '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ERRNO", "errnoRet": 2147418112}]}',
    '{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": -1}', '{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1' + "0" * 30 + "}",
    '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_NOTIFY"}]}',
    '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": [' + ",".join(['"read"'] * 50000) + '], "action": "SCMP_ACT_ERRNO"}]}',
    '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ERRNO", "args": [' + ",".join(['{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}'] * 100) + "]}]}",
    '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 9, "value": 1, "op": "SCMP_CMP_EQ"}]}]}',
    '{"a":' * 100000, '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": 7}', '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_TRACE"}]}',
])  # fmt: skip
def test_no_profile(text: str) -> None:
    with pytest.raises(InvalidRequest, match="decoding seccomp profile failed"):
        seccomp.read_profile(text, ())
