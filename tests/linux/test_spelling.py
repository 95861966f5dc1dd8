from __future__ import annotations

import os
import signal

import pytest

from dockerlab.linux import syscalls
from dockerlab.linux.spelling import Spelling


@pytest.mark.parametrize(
    ("name", "args", "words"),
    [
        ("mount", (None, "/", None, syscalls.MS_REC | syscalls.MS_SLAVE), ["NULL", '"/"', "NULL", "MS_REC|MS_SLAVE"]),
        ("mount", ("proc", "/p", "proc", 14, ""), ['"proc"', '"/p"', '"proc"', "MS_NOSUID|MS_NODEV|MS_NOEXEC", '""']),
        ("mount", ("a", "b", "c", 0), ['"a"', '"b"', '"c"', "0"]),
        ("mount", ("a", "b", "c", 1 << 40), ['"a"', '"b"', '"c"', hex(1 << 40)]),
        ("umount2", (".", 2), ['"."', "MNT_DETACH"]),
        ("mkdir", ("pts", 0o755), ['"pts"', "0o755"]),
        ("open", ("/x", os.O_PATH | os.O_DIRECTORY), ['"/x"', "O_DIRECTORY|O_PATH"]),
        ("prctl", (1, signal.SIGKILL), ["PR_SET_PDEATHSIG", "SIGKILL"]),
        ("unshare", (syscalls.CLONE_NEWUSER,), ["CLONE_NEWUSER"]),
        ("sethostname", (b"box\xff",), ['"box\udcff"']),
        ("setresuid", (0, 0, 0), ["0", "0", "0"]),
    ],
)
def test_a_call_is_spelled_as_strace_does(name: str, args: tuple[object, ...], words: list[str]) -> None:
    assert Spelling().call(name, args, 0) == words


def test_a_descriptor_is_shown_with_its_path() -> None:
    spelling = Spelling()
    assert spelling.call("open", ("/b/rootfs", os.O_PATH), 6) == ['"/b/rootfs"', "O_PATH"]
    assert spelling.call("openat2", (6, "dev/pts", os.O_PATH), 8) == ["6<rootfs>", '"dev/pts"', "O_PATH"]
    assert spelling.call("mount", ("devpts", "/proc/self/fd/8", "devpts", 0), None)[1] == '"/proc/self/fd/8</dev/pts>"'
    assert spelling.call("fchdir", (6,), None) == ["6<rootfs>"]
