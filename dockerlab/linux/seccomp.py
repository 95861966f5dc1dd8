"""Filters of system calls: docker's default profile in the runtime specification's words, compiled to BPF and installed; seccomp(2).

The profile lists what is refused; whatever is newer than the tables below is refused with ENOSYS, so that a kernel's new calls stay shut
until somebody has looked at them. Programs of other architectures, and x32, are refused altogether.
"""

from __future__ import annotations

import ctypes
import errno
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dockerlab.linux import calls, syscalls

__all__ = ["compile_profile", "default_profile", "extended", "install", "listens"]

_ARCHES: dict[str, tuple[int, str, int]] = {"x86_64": (0xC000003E, "SCMP_ARCH_X86_64", 0), "aarch64": (0xC00000B7, "SCMP_ARCH_AARCH64", 1)}
_NEWEST = 462  # mseal, Linux 6.10
_ALLOW, _ERRNO, _NOTIFY = 0x7FFF0000, 0x00050000, 0x7FC00000
_CLONE_NAMESPACES = 0x7E020000

# name: (number on x86_64, number on aarch64, the capability that opens it)
_GUARDED: dict[str, tuple[int, int, str]] = {
    "acct": (163, 89, "CAP_SYS_PACCT"), "add_key": (248, 217, ""), "bpf": (321, 280, "CAP_BPF"), "chroot": (161, 51, "CAP_SYS_CHROOT"),
    "clock_adjtime": (305, 266, "CAP_SYS_TIME"), "clock_settime": (227, 112, "CAP_SYS_TIME"), "create_module": (174, -1, ""),
    "delete_module": (176, 106, "CAP_SYS_MODULE"), "fanotify_init": (300, 262, "CAP_SYS_ADMIN"), "finit_module": (313, 273, "CAP_SYS_MODULE"),
    "fsconfig": (431, 431, "CAP_SYS_ADMIN"), "fsmount": (432, 432, "CAP_SYS_ADMIN"), "fsopen": (430, 430, "CAP_SYS_ADMIN"),
    "fspick": (433, 433, "CAP_SYS_ADMIN"), "get_kernel_syms": (177, -1, ""), "get_mempolicy": (239, 236, "CAP_SYS_NICE"),
    "init_module": (175, 105, "CAP_SYS_MODULE"), "io_uring_enter": (426, 426, ""), "io_uring_register": (427, 427, ""),
    "io_uring_setup": (425, 425, ""), "ioperm": (173, -1, "CAP_SYS_RAWIO"), "iopl": (172, -1, "CAP_SYS_RAWIO"),
    "kcmp": (312, 272, "CAP_SYS_PTRACE"), "kexec_file_load": (320, 294, "CAP_SYS_BOOT"), "kexec_load": (246, 104, "CAP_SYS_BOOT"),
    "keyctl": (250, 219, ""), "lookup_dcookie": (212, 18, "CAP_SYS_ADMIN"), "mbind": (237, 235, "CAP_SYS_NICE"),
    "mount": (165, 40, "CAP_SYS_ADMIN"), "mount_setattr": (442, 442, "CAP_SYS_ADMIN"), "move_mount": (429, 429, "CAP_SYS_ADMIN"),
    "move_pages": (279, 239, ""), "nfsservctl": (180, 42, ""), "open_by_handle_at": (304, 265, "CAP_DAC_READ_SEARCH"),
    "open_tree": (428, 428, "CAP_SYS_ADMIN"), "perf_event_open": (298, 241, "CAP_PERFMON"), "pidfd_getfd": (438, 438, "CAP_SYS_PTRACE"),
    "pivot_root": (155, 41, "CAP_SYS_ADMIN"), "query_module": (178, -1, ""), "quotactl": (179, 60, "CAP_SYS_ADMIN"),
    "quotactl_fd": (443, 443, "CAP_SYS_ADMIN"), "reboot": (169, 142, "CAP_SYS_BOOT"), "request_key": (249, 218, ""),
    "set_mempolicy": (238, 237, "CAP_SYS_NICE"), "set_mempolicy_home_node": (450, 450, "CAP_SYS_NICE"),
    "setdomainname": (171, 162, "CAP_SYS_ADMIN"), "sethostname": (170, 161, "CAP_SYS_ADMIN"), "setns": (308, 268, "CAP_SYS_ADMIN"),
    "settimeofday": (164, 170, "CAP_SYS_TIME"), "swapoff": (168, 225, ""), "swapon": (167, 224, ""), "sysfs": (139, -1, ""),
    "syslog": (103, 116, "CAP_SYSLOG"), "umount2": (166, 39, "CAP_SYS_ADMIN"), "unshare": (272, 97, "CAP_SYS_ADMIN"),
    "uselib": (134, -1, ""), "userfaultfd": (323, 282, ""), "ustat": (136, -1, ""), "vhangup": (153, 58, "CAP_SYS_TTY_CONFIG"),
}  # fmt: skip
_CONDITIONAL: dict[str, tuple[int, int]] = {"clone": (56, 220), "clone3": (435, 435), "personality": (135, 92)}
_NEW_LISTENER, _WAIT_KILLABLE = 8, 32


def default_profile(capabilities: Iterable[str]) -> dict[str, Any]:
    """Gives docker's default profile for a process with these capabilities, as config-linux.md "Seccomp" words it; {} on other machines."""
    if syscalls.MACHINE not in _ARCHES:
        return {}
    held = set(capabilities)
    shut = [name for name, (x86, arm, key) in _GUARDED.items() if key not in held and (x86, arm)[_column()] >= 0]
    rules: list[dict[str, Any]] = [{"names": shut, "action": "SCMP_ACT_ERRNO", "errnoRet": errno.EPERM}]
    if "CAP_SYS_ADMIN" not in held:
        bits = [1 << n for n in range(32) if _CLONE_NAMESPACES >> n & 1]
        rules += [_rule("clone", [{"index": 0, "value": bit, "valueTwo": bit, "op": "SCMP_CMP_MASKED_EQ"}]) for bit in bits]
        # The flags of clone3 lie in memory, where a filter cannot look; ENOSYS makes the C library fall back to clone.
        rules.append({"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno.ENOSYS})
    harmless = (0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)
    rules.append(_rule("personality", [{"index": 0, "value": value, "op": "SCMP_CMP_NE"} for value in harmless]))
    return {"defaultAction": "SCMP_ACT_ALLOW", "architectures": [_ARCHES[syscalls.MACHINE][1]], "syscalls": rules}


def _rule(name: str, args: list[dict[str, Any]]) -> dict[str, Any]:
    return {"names": [name], "action": "SCMP_ACT_ERRNO", "errnoRet": errno.EPERM, "args": args}


def _column() -> int:
    column: int = _ARCHES[syscalls.MACHINE][2]
    return column


def extended(profile: Mapping[str, Any], rules: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Gives the profile with more rules behind its own; {} stays {}."""
    return {**profile, "syscalls": [*profile["syscalls"], *rules]} if profile else {}


def listens(profile: Mapping[str, Any]) -> bool:
    """Tells whether somebody has to listen to calls of this profile."""
    return any(rule["action"] == "SCMP_ACT_NOTIFY" for rule in profile["syscalls"])


def _number(name: str) -> int:
    if name in _CONDITIONAL:
        return _CONDITIONAL[name][_column()]
    return _GUARDED[name][:2][_column()] if name in _GUARDED else calls.number(name)


def _op(code: int, true: int, false: int, value: int) -> bytes:
    return struct.pack("HBBI", code, true, false, value & 0xFFFFFFFF)


_LOAD, _JEQ, _JGT, _JGE, _AND, _RET = 0x20, 0x15, 0x25, 0x35, 0x54, 0x06


def compile_profile(profile: Mapping[str, Any]) -> bytes:
    """Gives the profile as a BPF program (struct sock_filter[]); b"" for an empty profile. Raises KeyError for a word it does not know."""
    if not profile:
        return b""
    architecture = _ARCHES[syscalls.MACHINE][0]
    program = [_op(_LOAD, 0, 0, 4), _op(_JEQ, 1, 0, architecture), _op(_RET, 0, 0, _ERRNO | errno.ENOSYS)]
    # The test against the newest known number refuses x32 as well: its numbers have bit 30 set.
    program += [_op(_LOAD, 0, 0, 0), _op(_JGT, 0, 1, _NEWEST), _op(_RET, 0, 0, _ERRNO | errno.ENOSYS)]
    for rule in profile["syscalls"]:
        action = {"SCMP_ACT_ERRNO": _ERRNO | rule.get("errnoRet", errno.EPERM), "SCMP_ACT_ALLOW": _ALLOW, "SCMP_ACT_NOTIFY": _NOTIFY}[rule["action"]]
        for number in (n for n in map(_number, rule["names"]) if n >= 0):
            program += _matching(number, rule.get("args", ()), action)
    program.append(_op(_RET, 0, 0, _ALLOW))
    return b"".join(program)


def _matching(number: int, conditions: Sequence[Mapping[str, Any]], action: int) -> list[bytes]:
    body = [op for condition in conditions for op in _condition(condition)]
    block = [*body, _op(_RET, 0, 0, action)]
    fixed = _exits(block, len(conditions))
    return [_op(_JEQ, 0, len(fixed) + (1 if conditions else 0), number), *fixed, *([_op(_LOAD, 0, 0, 0)] if conditions else [])]


def _condition(condition: Mapping[str, Any]) -> list[bytes]:
    """Four or six instructions over one argument; a jump offset of 255 means "this rule does not match" and is filled in later."""
    offset = 16 + 8 * condition["index"]
    value, kind = condition["value"], condition["op"]
    if kind == "SCMP_CMP_MASKED_EQ":
        return [_op(_LOAD, 0, 0, offset), _op(_AND, 0, 0, value), _op(_JEQ, 0, 255, condition["valueTwo"])]
    if kind == "SCMP_CMP_EQ":
        return [_op(_LOAD, 0, 0, offset), _op(_JEQ, 0, 255, value), _op(_LOAD, 0, 0, offset + 4), _op(_JEQ, 0, 255, value >> 32)]
    if kind == "SCMP_CMP_NE":
        return [_op(_LOAD, 0, 0, offset), _op(_JEQ, 255, 0, value)]
    raise KeyError(kind)


def _exits(block: list[bytes], conditions: int) -> list[bytes]:
    fixed = []
    for place, op in enumerate(block):
        code, true, false, value = struct.unpack("HBBI", op)
        out = len(block) - place - 1
        fixed.append(_op(code, out if true == 255 else true, out if false == 255 else false, value) if conditions else op)
    return fixed


def install(program: bytes, *, listener: bool = False) -> int:
    """Installs a compiled program on this thread for good; needs no_new_privs or CAP_SYS_ADMIN. Gives a descriptor to listen at, or 0."""
    buffer = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("HP", len(program) // 8, ctypes.addressof(buffer))
    if not listener:
        return syscalls.raw("seccomp", 1, 0, ctypes.c_char_p(header))
    try:
        # A signal that comes while a call waits would make it start over: Go's runtime sends such signals all the time. Linux 5.19.
        return syscalls.raw("seccomp", 1, _NEW_LISTENER | _WAIT_KILLABLE, ctypes.c_char_p(header))
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return syscalls.raw("seccomp", 1, _NEW_LISTENER, ctypes.c_char_p(header))
