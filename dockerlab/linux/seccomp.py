"""Filters of system calls: docker's default profile in the runtime specification's words, compiled to BPF and installed; seccomp(2).

The profile lists what is refused; whatever is newer than the tables below is refused with ENOSYS, so that a kernel's new calls stay shut
until somebody has looked at them. Programs of other architectures, and x32, are refused altogether.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import re
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dockerlab.errors import InvalidRequest
from dockerlab.linux import calls, syscalls

__all__ = ["compile_profile", "default_profile", "extended", "install", "listens", "read_profile", "unconfined"]

_ARCHES: dict[str, tuple[int, str]] = {"x86_64": (0xC000003E, "SCMP_ARCH_X86_64"), "aarch64": (0xC00000B7, "SCMP_ARCH_AARCH64")}
_ALLOW, _ERRNO, _NOTIFY, _LOG, _TRAP, _KILL_THREAD, _KILL_PROCESS = 0x7FFF0000, 0x00050000, 0x7FC00000, 0x7FFC0000, 0x00030000, 0, 0x80000000
_CLONE_NAMESPACES = 0x7E020000

# The capability that opens them ("" for none), and the calls.
_GUARDED: dict[str, str] = {
    "": (
        "add_key create_module get_kernel_syms io_uring_enter io_uring_register io_uring_setup keyctl move_pages nfsservctl query_module request_key "
        "swapoff swapon sysfs uselib userfaultfd ustat "
    ),
    "CAP_BPF": "bpf",
    "CAP_DAC_READ_SEARCH": "open_by_handle_at",
    "CAP_PERFMON": "perf_event_open",
    "CAP_SYSLOG": "syslog",
    "CAP_SYS_ADMIN": (
        "fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie mount mount_setattr move_mount open_tree pivot_root quotactl quotactl_fd "
        "setdomainname sethostname setns umount2 unshare "
    ),
    "CAP_SYS_BOOT": "kexec_file_load kexec_load reboot",
    "CAP_SYS_CHROOT": "chroot",
    "CAP_SYS_MODULE": "delete_module finit_module init_module",
    "CAP_SYS_NICE": "get_mempolicy mbind set_mempolicy set_mempolicy_home_node",
    "CAP_SYS_PACCT": "acct",
    "CAP_SYS_PTRACE": "kcmp pidfd_getfd",
    "CAP_SYS_RAWIO": "ioperm iopl",
    "CAP_SYS_TIME": "clock_adjtime clock_settime settimeofday",
    "CAP_SYS_TTY_CONFIG": "vhangup",
}  # fmt: skip
_NEW_LISTENER, _WAIT_KILLABLE = 8, 32
_MOST_INSTRUCTIONS = 4096  # BPF_MAXINSNS
_MOST_CONDITIONS = 32  # of a rule: a jump reaches 255 instructions


def default_profile(capabilities: Iterable[str]) -> dict[str, Any]:
    """Gives docker's default profile for a process with these capabilities, as config-linux.md "Seccomp" words it; {} on other machines."""
    if syscalls.MACHINE not in _ARCHES:
        return {}
    held = set(capabilities)
    shut = sorted(name for key, names in _GUARDED.items() if key not in held for name in names.split() if calls.number(name) >= 0)
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


def extended(profile: Mapping[str, Any], rules: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Gives the profile with more rules for what it allows; {} stays {}. What it refuses stays refused."""
    if not profile:
        return {}
    refusing = [rule for rule in profile["syscalls"] if rule["action"] != "SCMP_ACT_ALLOW"]
    allowing = [rule for rule in profile["syscalls"] if rule["action"] == "SCMP_ACT_ALLOW"]
    if profile["defaultAction"] == "SCMP_ACT_ALLOW":
        return {**profile, "syscalls": [*refusing, *rules, *allowing]}
    allowed = {name for rule in allowing for name in rule["names"]}
    kept = [{**rule, "names": names} for rule in rules if (names := [name for name in rule["names"] if name in allowed])]
    return {**profile, "syscalls": [*refusing, *kept, *allowing]}


def unconfined() -> dict[str, Any]:
    """Gives a profile that refuses nothing; {} on machines whose calls are not known."""
    return {"defaultAction": "SCMP_ACT_ALLOW", "architectures": [_ARCHES[syscalls.MACHINE][1]], "syscalls": []} if syscalls.MACHINE in _ARCHES else {}


def read_profile(text: str, capabilities: Iterable[str]) -> dict[str, Any]:
    """Gives a person's profile, in docker's words or the specification's, for a process with these capabilities; raises InvalidRequest."""
    held, machine = set(capabilities), {"x86_64": "amd64", "aarch64": "arm64"}.get(syscalls.MACHINE, "")
    try:
        told = json.loads(text)
        default = told["defaultAction"]
        _action({"action": default, "errnoRet": told.get("defaultErrnoRet")})
        rules = []
        for rule in told.get("syscalls") or ():
            if not _applies(rule.get("includes") or {}, rule.get("excludes") or {}, held, machine):
                continue
            names = [*_texts(rule.get("names") or []), *([rule["name"]] if rule.get("name") else [])]
            _action(rule)
            args = [{"index": int(arg["index"]), "value": int(arg["value"]), "valueTwo": int(arg.get("valueTwo", 0)), "op": arg["op"]} for arg in rule.get("args") or ()]
            if any(not 0 <= arg["index"] <= 5 for arg in args) or len(args) > _MOST_CONDITIONS:
                raise ValueError(f"a call has six arguments, and a rule at most {_MOST_CONDITIONS} conditions")
            for arg in args:
                _condition(arg)
            rules.append({"names": names, "action": rule["action"], **({"errnoRet": rule["errnoRet"]} if rule.get("errnoRet") is not None else {}), "args": args})
        if {"SCMP_ACT_NOTIFY"} & {default, *(rule["action"] for rule in rules)}:
            raise ValueError("SCMP_ACT_NOTIFY needs a listener, and there is none")
        known = {**({"defaultErrnoRet": told["defaultErrnoRet"]} if told.get("defaultErrnoRet") is not None else {}), "defaultAction": default, "syscalls": rules}
        if syscalls.MACHINE in _ARCHES and len(compile_profile(known)) > 8 * _MOST_INSTRUCTIONS:
            raise ValueError(f"the kernel takes {_MOST_INSTRUCTIONS} instructions, and this profile has more")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, struct.error) as error:
        raise InvalidRequest(f"decoding seccomp profile failed: {error}", hint="give a profile as docker's default one is written") from error
    return {**known, "architectures": [_ARCHES[syscalls.MACHINE][1]]} if syscalls.MACHINE in _ARCHES else {}


def _texts(words: Any) -> list[str]:
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise TypeError(f"names is no list of names: {str(words)[:40]}")
    return words


def _applies(includes: Mapping[str, Any], excludes: Mapping[str, Any], held: set[str], machine: str) -> bool:
    """Tells whether docker's conditions on a rule hold: capabilities, machines, the kernel's age."""
    if any(cap in held for cap in excludes.get("caps") or ()) or machine in (excludes.get("arches") or ()):
        return False
    if not set(includes.get("caps") or ()) <= held or machine not in (includes.get("arches") or (machine,)):
        return False
    least = includes.get("minKernel")
    return not least or _version(os.uname().release) >= _version(str(least))


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", text)[:2])


def listens(profile: Mapping[str, Any]) -> bool:
    """Tells whether somebody has to listen to calls of this profile."""
    return any(rule["action"] == "SCMP_ACT_NOTIFY" for rule in profile["syscalls"])


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
    program += [_op(_LOAD, 0, 0, 0), _op(_JGT, 0, 1, calls.NEWEST), _op(_RET, 0, 0, _ERRNO | errno.ENOSYS)]
    for rule in profile["syscalls"]:
        action = _action(rule)
        for number in (n for n in map(calls.number, rule["names"]) if n >= 0):
            program += _matching(number, rule.get("args", ()), action)
    program.append(_op(_RET, 0, 0, _action({"action": profile["defaultAction"], "errnoRet": profile.get("defaultErrnoRet")})))
    return b"".join(program)


def _action(rule: Mapping[str, Any]) -> int:
    """Gives what the kernel is to do; raises KeyError for a word that it does not know, ValueError for a number that is none of an error."""
    number = rule.get("errnoRet")
    if number is not None and not 0 <= int(number) <= 0xFFFF:
        raise ValueError(f"errnoRet {str(number)[:20]} is out of range")
    return {
        "SCMP_ACT_ERRNO": _ERRNO | (errno.EPERM if number is None else int(number)), "SCMP_ACT_ALLOW": _ALLOW, "SCMP_ACT_NOTIFY": _NOTIFY, "SCMP_ACT_KILL": _KILL_THREAD,
        "SCMP_ACT_KILL_THREAD": _KILL_THREAD, "SCMP_ACT_KILL_PROCESS": _KILL_PROCESS, "SCMP_ACT_TRAP": _TRAP, "SCMP_ACT_LOG": _LOG,
    }[rule["action"]]  # fmt: skip


def _matching(number: int, conditions: Sequence[Mapping[str, Any]], action: int) -> list[bytes]:
    body = [op for condition in conditions for op in _condition(condition)]
    block = [*body, _op(_RET, 0, 0, action)]
    fixed = _exits(block, len(conditions))
    return [_op(_JEQ, 0, len(fixed) + (1 if conditions else 0), number), *fixed, *([_op(_LOAD, 0, 0, 0)] if conditions else [])]


def _condition(condition: Mapping[str, Any]) -> list[bytes]:
    """Gives the instructions over one argument, 64 bits as two words; a jump offset of 255 means "this rule does not match" and is filled in later."""
    low, value, kind = 16 + 8 * condition["index"], condition["value"] % 2**64, condition["op"]
    high, upper, lower = low + 4, value >> 32, value & 0xFFFFFFFF
    if kind == "SCMP_CMP_MASKED_EQ":
        wanted = condition["valueTwo"] % 2**64
        words = [_op(_LOAD, 0, 0, low), _op(_AND, 0, 0, lower), _op(_JEQ, 0, 255, wanted)]
        return words + ([_op(_LOAD, 0, 0, high), _op(_AND, 0, 0, upper), _op(_JEQ, 0, 255, wanted >> 32)] if upper else [])
    if kind == "SCMP_CMP_EQ":
        return [_op(_LOAD, 0, 0, low), _op(_JEQ, 0, 255, lower), _op(_LOAD, 0, 0, high), _op(_JEQ, 0, 255, upper)]
    if kind == "SCMP_CMP_NE":
        # Equal in both halves is no match; different in the upper one is, so the lower one is jumped over.
        return [_op(_LOAD, 0, 0, high), _op(_JEQ, 0, 2, upper), _op(_LOAD, 0, 0, low), _op(_JEQ, 255, 0, lower)]
    # Below: the upper halves decide, and where they are the same the lower ones do.
    compare = {"SCMP_CMP_LT": (_JGE, 255, 0), "SCMP_CMP_LE": (_JGT, 255, 0), "SCMP_CMP_GT": (_JGT, 0, 255), "SCMP_CMP_GE": (_JGE, 0, 255)}[kind]
    less = kind in ("SCMP_CMP_LT", "SCMP_CMP_LE")
    above, below = (255, 3) if less else (3, 255)
    return [_op(_LOAD, 0, 0, high), _op(_JGT, above, 0, upper), _op(_JEQ, 0, below - 1 if below != 255 else 255, upper), _op(_LOAD, 0, 0, low), _op(*compare, lower)]


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
