"""The tier without user namespaces: PRoot, which rewrites the paths of a program's calls by ptrace(2), and our own emulation of users on top.

PRoot is a program of its own (package proot). It keeps programs out of nothing that their user may reach: Landlock does that. It knows no call newer than
itself, so those do not exist inside; and it must not filter itself, since the kernel asks our listener before it asks a tracer that filters.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from typing import Any

import msgspec

from dockerlab.linux import seccomp, syscalls
from dockerlab.oci.runtime import Mount, Spec
from dockerlab.runtime import emulation, filters
from dockerlab.runtime.chroot import MARK, laid, refuse_network
from dockerlab.runtime.sandbox import Capabilities

__all__ = ["ProotSandbox", "command", "find_program", "granted", "is_proot", "read_inside", "variables", "writable"]

_SAYS = (
    "PRoot without namespaces: owners, users and devices are kept by the engine; processes and network are this machine's, everything is several times "
    "slower, set-uid programs do not act; Landlock holds the container to its files; no security boundary"
)
_UNKNOWN = ("statx", "openat2", "faccessat2", "fchmodat2", "clone3")
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty", "pts", "ptmx")
_FOLDERS = ("/usr", "/lib", "/lib64", "/bin", "/etc/ld.so.cache")


class ProotSandbox:
    """An ordinary user with one id and no user namespace."""

    def __init__(self) -> None:
        self.capabilities = Capabilities("proot", True, False, "", False, False, _SAYS, mounts=False, set_uid=False, namespaces=False)

    def enter(self, shared: int = -1) -> None:
        """Nothing to do: there is no other world to enter."""

    def adapt(self, spec: Spec) -> Spec:
        """Gives the spec for PRoot; raises NotSupportedHere for a network of its own."""
        refuse_network(spec)
        mounts = laid(spec)
        process = msgspec.structs.replace(spec.process, no_new_privileges=True)
        absent: dict[str, Any] = {"names": list(_UNKNOWN), "action": "SCMP_ACT_ERRNO", "errnoRet": errno.ENOSYS}
        # PRoot waits for all that it traces, and a container ends with its first program (`Supervisor`).
        ends: dict[str, Any] = {"names": ["exit_group"], "action": "SCMP_ACT_NOTIFY"}
        profile = seccomp.extended(filters.of(spec, ()), [absent, ends, *emulation.rules(copying=True)])
        linux = msgspec.structs.replace(spec.linux, namespaces=(), seccomp=profile, masked_paths=(), readonly_paths=())
        return msgspec.structs.replace(spec, process=process, mounts=mounts, linux=linux, annotations={**spec.annotations, MARK: "proot"})


def variables(scratch: str) -> dict[str, str]:
    """Gives what PRoot reads from the environment, which the program sees as well; its loader is laid into the folder `scratch`."""
    found = {"PROOT_NO_SECCOMP": "1", "PROOT_TMP_DIR": scratch}
    place = f"{scratch}/loader"
    if program := _loader(shutil.which("proot") or ""):
        # Another program of the container may be about to start by the one that is there.
        draft = f"{place}.{secrets.token_hex(6)}"
        with open(draft, "xb") as file:
            file.write(program)
        os.chmod(draft, 0o500)
        os.rename(draft, place)
        found["PROOT_LOADER"] = place
    return found


def _loader(path: str) -> bytes:
    """Gives the small program that PRoot carries inside itself, and would write to /tmp, where Landlock lets nobody write; b"" for none. elf(5)."""
    with open(path, "rb") as file:
        data = file.read()
    start = data.find(b"\x7fELF\x02", 4)
    if start < 0:
        return b""
    table, size, count = (int.from_bytes(data[start + a : start + b], "little") for a, b in ((40, 48), (58, 60), (60, 62)))
    return data[start : start + table + size * count]


def is_proot(spec: Spec) -> bool:
    """Tells whether a spec was made for PRoot."""
    return spec.annotations.get(MARK) == "proot"


def command(spec: Spec, root: str, program: str) -> list[str]:
    """Gives PRoot's command line: the container's root, what it binds, and the program."""
    binds = [word for name in _DEVICES if os.path.exists(f"/dev/{name}") for word in ("-b", f"/dev/{name}")]
    binds += [word for mount in spec.mounts if mount.type == "bind" for word in ("-b", f"{mount.source}:{mount.destination}")]
    path = shutil.which("proot") or "proot"
    return [path, "-r", root, "-b", "/proc", *binds, "-w", spec.process.cwd, program, *spec.process.args[1:]]


def _place(mount: Mount, root: str) -> str:
    return mount.source if mount.type == "bind" else root + mount.destination


def granted(spec: Spec, root: str, scratch: str) -> list[tuple[str, int]]:
    """Gives what Landlock allows (path, rights as mode bits): the container's files and volumes, and what PRoot itself needs of the host."""
    rules = [(root, 5 if spec.root.readonly else 7), (f"{root}/dev", 7), (scratch, 7), ("/dev", 6), ("/proc", 4), *((folder, 5) for folder in _FOLDERS)]
    return [*rules, *((_place(mount, root), 5 if "ro" in mount.options else 7) for mount in spec.mounts)]


def writable(spec: Spec, root: str) -> tuple[str, ...]:
    """Gives the folders of the host where the container may change modes, owners and times, with all symlinks followed."""
    own = [f"{root}/dev"] if spec.root.readonly else [root]
    return tuple(os.path.realpath(place) for place in (*own, "/dev", "/proc", *(_place(mount, root) for mount in spec.mounts if "ro" not in mount.options)))


def find_program(root: str, word: str, paths: str) -> tuple[str, int]:
    """Gives where a program stands inside a root, and docker's exit code where it does not: ("", 127 | 126)."""
    folder = os.open(root, os.O_PATH | os.O_DIRECTORY)
    try:
        for candidate in [word] if "/" in word else [f"{place or '.'}/{word}" for place in paths.split(":")]:
            try:
                found = syscalls.openat2(folder, candidate.lstrip("/"), os.O_PATH)
            except OSError:
                continue
            try:
                if os.path.isfile(f"/proc/self/fd/{found}") and os.access(f"/proc/self/fd/{found}", os.X_OK):
                    return candidate, 0
                if "/" in word:
                    return "", 126
            finally:
                os.close(found)
    finally:
        os.close(folder)
    return "", 127


def read_inside(root: str, path: str) -> str:
    """Gives a small file of the container, "" for none."""
    folder = os.open(root, os.O_PATH | os.O_DIRECTORY)
    try:
        with open(syscalls.openat2(folder, path.lstrip("/"), os.O_RDONLY), "rb") as file:
            return file.read(1 << 20).decode("utf-8", "surrogateescape")
    except OSError:
        return ""
    finally:
        os.close(folder)
