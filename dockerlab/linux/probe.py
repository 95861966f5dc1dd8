"""What this host allows: every capability is tried, in a child that is thrown away, and nothing is inferred from anything else.

A call that succeeds proves little: on some hosts unshare(2) works and all that should follow is refused. So each probe goes on until it
has *used* what it was given.
"""

from __future__ import annotations

import json
import os
import platform
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass

from dockerlab.linux import capabilities, cgroups, idmap, landlock, seccomp, syscalls
from dockerlab.linux.syscalls import CLONE_NEWIPC, CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWUSER, CLONE_NEWUTS, MS_BIND, MS_PRIVATE, MS_REC

__all__ = ["Finding", "probe", "situation"]

_RIGHTS = ("Uid:", "Gid:", "Groups:", "CapEff:", "CapBnd:", "NoNewPrivs:", "Seccomp:", "Umask:")
_ALL = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was tried: how, whether it worked, and the errno and words of the refusal."""

    name: str
    how: str
    ok: bool
    errno: int = 0
    detail: str = ""


def probe(store: str) -> list[Finding]:
    """Gives what this host allows for a store in the folder `store`."""
    if sys.platform != "linux":
        return [Finding("kernel", f"platform is {sys.platform}", False, 0, "containers need a Linux kernel")]
    with tempfile.TemporaryDirectory(prefix="dockerlab-probe-") as place:
        return _findings(store, place)


def _findings(store: str, place: str) -> list[Finding]:
    findings = [
        _tried("kernel", "system call numbers for this machine", lambda: syscalls.raw("close_range", 1 << 20, 1 << 20, 0) and None),
        _tried("root", "unshare(NEWNS|NEWPID|NEWUTS|NEWIPC|NEWNET), mount tmpfs, bind, pivot_root", lambda: _root(place)),
        _tried("user namespace", "unshare(NEWUSER|…), write uid_map and gid_map, then sethostname", _user_namespace),
        _tried("id range", "newuidmap and newgidmap with the ranges of /etc/subuid and /etc/subgid", _id_range),
        _tried("mount", "user namespace, then mount tmpfs, bind, pivot_root", lambda: _mounts_inside(place)),
        _tried("chroot inside", "user namespace, then chroot", _chroot_inside),
        _tried("chroot", "chroot as root, and Landlock around it", _chroot),
        _tried("listener", "a seccomp filter that reports to another process", _listener),
        _tried("proot", "the program proot runs another one by ptrace", _proot),
        _tried("overlay", "mount overlay in the store, then rmdir, mkdir, rename, read the marks", lambda: _overlay(store, user=False)),
        _tried("overlay userxattr", "the same in a user namespace with userxattr", lambda: _overlay(store, user=True)),
        _tried("fresh proc", "user namespace, new pid namespace, mount proc", _fresh_proc),
        _tried("landlock", "landlock_create_ruleset(version)", lambda: _need(syscalls.landlock_abi() > 0, "no Landlock in this kernel")),
        _tried("tap", "open /dev/net/tun, for the program slirp4netns", _tap),
        _tried("cgroups", "make a group, move a process into it", _cgroup),
    ]  # fmt: skip
    return findings


def situation(pid: int | str = "self") -> tuple[str, ...]:
    """Gives where a process stands and what it may do: findings, and whoever acts for another, are good in one situation only.

    Raises OSError; on other systems than Linux there is one. namespaces(7), proc(5).
    """
    if sys.platform != "linux":
        return ()
    places = tuple(os.readlink(f"/proc/{pid}/{name}") for name in ("root", "ns/mnt", "ns/net", "ns/pid", "ns/user"))
    with open(f"/proc/{pid}/status", "rb", buffering=0) as file:
        rights = [line for line in file.read().decode("utf-8", "replace").split("\n") if line.startswith(_RIGHTS)]
    return (*places, *rights)


def _tried(name: str, how: str, action: Callable[[], object]) -> Finding:
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        signal.alarm(5)
        answer: tuple[bool, int, str] = (True, 0, "")
        try:
            action()
        except OSError as error:
            answer = (False, error.errno or 0, f"{error.filename or ''}: {error.strerror}".removeprefix(": "))
        except BaseException as error:
            answer = (False, 0, str(error))
        os.write(writer, json.dumps(answer).encode())
        os._exit(0)
    os.close(writer)
    data = os.read(reader, 4096) if select.select([reader], [], [], 8)[0] else b""
    os.close(reader)
    os.waitpid(pid, 0)
    ok, number, detail = json.loads(data) if data else (False, 0, "no answer in time")
    return Finding(name, how, ok, number, detail)


def _need(condition: bool, words: str) -> None:
    if not condition:
        raise RuntimeError(words)


def _enter(extra: int = CLONE_NEWNS) -> None:
    uid, gid = os.geteuid(), os.getegid()
    syscalls.unshare(CLONE_NEWUSER | extra)
    idmap.write_own(idmap.single(0, uid), idmap.single(0, gid))


def _root(place: str) -> None:
    syscalls.unshare(_ALL)
    _mounts(place)


def _user_namespace() -> None:
    _enter(_ALL)
    syscalls.sethostname("probe")


def _mounts(place: str) -> None:
    syscalls.mount(None, "/", None, MS_REC | MS_PRIVATE)
    syscalls.mount("tmpfs", place, "tmpfs")
    os.mkdir(f"{place}/bound")
    syscalls.mount("/usr", f"{place}/bound", None, MS_BIND | MS_REC)
    os.chdir(place)
    syscalls.pivot_root(".", ".")
    syscalls.umount2(".", syscalls.MNT_DETACH)


def _mounts_inside(place: str) -> None:
    _enter()
    _mounts(place)


def _id_range() -> None:
    uid, gid = idmap.ranges("uid"), idmap.ranges("gid")
    _need(bool(uid and gid), "no range for this user in /etc/subuid and /etc/subgid")
    with_range(uid, gid, CLONE_NEWNS)
    os.setgroups([])
    os.setresgid(1, 1, 1)
    os.setresuid(1, 1, 1)


def with_range(uid: tuple[idmap.Extent, ...], gid: tuple[idmap.Extent, ...], extra: int = 0) -> None:
    """Enters a new user namespace whose maps a child that stayed outside has the helpers write. Raises OSError with their words."""
    pid, (ready, go), (answer, done) = os.getpid(), os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        os.close(go)
        os.read(ready, 1)
        try:
            idmap.write_by_helpers(pid, uid, gid)
            os.write(done, b"ok")
        except OSError as error:
            os.write(done, f"{error.filename}: {error.strerror}".encode())
        os._exit(0)
    os.close(done)
    syscalls.unshare(CLONE_NEWUSER | extra)
    os.close(go)
    words = os.read(answer, 4096).decode()
    os.waitpid(child, 0)
    os.close(answer)
    os.close(ready)
    if words != "ok":
        raise PermissionError(1, words or "no answer", "newuidmap")


def _overlay(store: str, *, user: bool) -> None:
    place = tempfile.mkdtemp(dir=store, prefix="probe-")
    try:
        for name in ("low", "low/d", "up", "work", "all"):
            os.mkdir(f"{place}/{name}")
        with open(f"{place}/low/f", "w") as file:
            file.write("below")
        if user:
            _enter()
        else:
            syscalls.unshare(CLONE_NEWNS)
        syscalls.mount(None, "/", None, MS_REC | MS_PRIVATE)
        words = f"lowerdir={place}/low,upperdir={place}/up,workdir={place}/work" + (",userxattr" if user else "")
        syscalls.mount("overlay", f"{place}/all", "overlay", 0, words)
        os.rmdir(f"{place}/all/d")
        os.mkdir(f"{place}/all/d")
        os.rename(f"{place}/all/d", f"{place}/all/e")
        with open(f"{place}/all/f", "a") as file:
            file.write("above")
        os.unlink(f"{place}/all/f")
        os.mkdir(f"{place}/all/d")
        mark = os.getxattr(f"{place}/up/d", ("user" if user else "trusted") + ".overlay.opaque")
        _need(mark == b"y", "no opaque mark")
        syscalls.umount2(f"{place}/all")
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _chroot_inside() -> None:
    _enter(_ALL)
    os.chroot("/usr")
    os.chdir("/")


def _chroot() -> None:
    # Without Landlock a chroot of root's holds nobody.
    capabilities.no_new_privileges()
    os.chroot("/usr")
    os.chdir("/")
    _need(landlock.restrict([("/", landlock.READ)]), "no Landlock in this kernel")


def _listener() -> None:
    capabilities.no_new_privileges()
    profile = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["acct"], "action": "SCMP_ACT_NOTIFY"}]}
    os.close(seccomp.install(seccomp.compile_profile(profile), listener=True))


def _proot() -> None:
    path = shutil.which("proot")
    _need(path is not None, "proot is not installed")
    done = subprocess.run([path or "", "-r", "/", "/bin/true"], env={"PROOT_NO_SECCOMP": "1"}, capture_output=True, text=True, check=False, timeout=4)
    _need(done.returncode == 0, done.stderr.strip()[-200:] or "proot failed")


def _tap() -> None:
    os.close(os.open("/dev/net/tun", os.O_RDWR))
    _need(shutil.which("slirp4netns") is not None, "slirp4netns is not installed")


def _fresh_proc() -> None:
    uid, gid = os.geteuid(), os.getegid()
    syscalls.unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID)
    idmap.write_own(idmap.single(0, uid), idmap.single(0, gid))
    _in_child(_mount_proc, "mount proc")


def _mount_proc() -> None:
    syscalls.mount(None, "/", None, MS_REC | MS_PRIVATE)
    syscalls.mount("proc", "/proc", "proc")


def _in_child(deed: Callable[[], None], what: str) -> None:
    """Does something in a child of its own; raises OSError with the child's errno."""
    child = os.fork()
    if child == 0:
        try:
            deed()
        except OSError as error:
            os._exit(error.errno or 1)
        os._exit(0)
    number = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if number:
        raise OSError(number, os.strerror(number), what)


def _cgroup() -> None:
    name = f"dockerlab-probe-{os.getpid()}"
    made = cgroups.create(name)
    try:
        _need(bool(made), "no control group can be made")
        _in_child(lambda: cgroups.enter(cgroups.doors(made)), "cgroup.procs")
    finally:
        cgroups.remove(name)


def main() -> None:
    """Writes the findings as JSON: run as a process of its own, since a Jupyter kernel has threads and cannot fork safely."""
    findings = [asdict(finding) for finding in probe(sys.argv[1])]
    json.dump({"machine": platform.machine(), "kernel": platform.release(), "findings": findings}, sys.stdout)


if __name__ == "__main__":
    main()
