"""The container's first process, top to bottom in the order in which the kernel does things.

It begins as a copy of the launcher, in new namespaces and as their root, and ends by becoming the program. Everything that it needs is
imported before the root file system is swapped, since afterwards no module can be found. Man pages: mount(2), pivot_root(2),
capabilities(7), seccomp(2), credentials(7), execve(2).
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial

from dockerlab.linux import capabilities, cgroups, idmap, landlock, limits, seccomp, syscalls
from dockerlab.linux.door import Door
from dockerlab.oci.runtime import Rlimit, Spec
from dockerlab.runtime import reaper, users
from dockerlab.runtime.failing import InitFailed, not_executable, not_started, told
from dockerlab.runtime.mounting import make_marks, make_readonly, mask, mount_inside, mount_snapshot, place, travelling
from dockerlab.store import snapshots

__all__ = ["Start", "adjust", "become_the_program", "call", "environment", "install_filter", "limit", "loopback_up", "ready", "restrict", "run", "set_sysctls"]


@dataclass(slots=True)
class Start:
    """What the first process is told: the bundle's spec, the snapshot's mounts, the user as typed, and the socket to the supervisor, where a terminal and a listener go.

    With `init` the program is the first process's child (`reaper`). With `joins` the container is there already, and the process in its namespaces: `docker exec`.
    """

    spec: Spec
    rootfs: str
    mounts: tuple[snapshots.Mount, ...]
    user: str = ""
    fresh_volumes: tuple[str, ...] = ()
    filter: bytes = b""
    unheard: bytes = b""
    user_groups: bool = True
    sync: socket.socket | None = field(default=None)
    trace: int = -1
    only_id: tuple[tuple[str, int], ...] | None = None
    confined: tuple[tuple[str, int], ...] | None = None
    joins: bool = False
    groups: tuple[str, ...] = ()
    init: bool = False
    cgroups: tuple[str, ...] = ()
    doors: tuple[int, ...] = ()
    shared: int = -1


def run(k: Door, start: Start) -> None:
    """Builds the container around this process and becomes its program; raises InitFailed, or OSError with the call's name."""
    if start.joins:
        join_the_world(k, start)
    else:
        adjust(k, start.spec)
        build_the_world(k, start)
    become_the_program(k, start)


def build_the_world(k: Door, start: Start) -> None:
    """Steps 0 to 6: from the host's view of things to the container's."""
    spec = start.spec

    # 0. A session of its own: what the notebook's interrupt key sends to its process group does not reach in here.
    k.setsid()

    # 0b. Below some volumes mounts shall travel out, which they cannot once step 1 is done.
    trees = travelling(k, spec.mounts)
    if start.shared >= 0:
        trees["/dev/shm"] = start.shared

    # 1. From here on mounts are our own affair; those of the host may still reach us, ours never the host.
    k.mount(None, "/", None, syscalls.MS_REC | syscalls.MS_SLAVE)

    # 2. The image's layers and the container's own become one tree. No device on it works: /dev has its own mounts.
    for snapshot in start.mounts:
        mount_snapshot(k, snapshot, start.rootfs)

    # 3. What a program expects beside files: /proc, /sys, /dev, and the volumes.
    root = k.open(start.rootfs, os.O_PATH | os.O_DIRECTORY)
    for mount in spec.mounts:
        mount_inside(k, root, mount, fresh=start.fresh_volumes, groups=start.cgroups, trees=trees)
    _fill_dev(k, root)
    make_marks(k, root)
    if spec.process.terminal:
        _open_terminal(k, root, start)

    # 4. The tree becomes the root. The old one is stacked on the same place, and let go.
    k.fchdir(root)
    k.pivot_root(".", ".")
    k.umount2(".", syscalls.MNT_DETACH)
    k.chdir("/")

    # 5. Settings of the container's own namespaces; then what of the kernel's own files a container shall not see, or not write.
    set_sysctls(k, spec, "/proc/sys")
    for path in spec.linux.masked_paths:
        mask(k, path)
    for path in spec.linux.readonly_paths:
        make_readonly(k, path)
    if spec.root.readonly:
        k.mount_setattr_readonly("/", recursive=False)

    # 6. A name of its own, and a working loopback where the network is its own.
    call(k, spec)
    if spec.owns("network"):
        loopback_up(k)


def join_the_world(k: Door, start: Start) -> None:
    """The same for one program more: its parent has entered the namespaces of a container that runs, whose root is now the root."""
    k.setsid()
    if start.spec.process.terminal:
        root = k.open("/", os.O_PATH | os.O_DIRECTORY)
        os.close(_new_terminal(k, root, start))
        os.close(root)


def become_the_program(k: Door, start: Start) -> None:
    """Steps 7 to 11: from root of the container's world to the program, with no more rights than it shall have."""
    process = start.spec.process
    cgroups.enter(start.doors)

    # 7. Who the program runs as is looked up in the container's own files.
    who = _identity(start)
    uid, gid = who.uid, who.gid
    variables = environment(process.env, who.home)
    _enter_folder(k, process.cwd, make=not start.joins)
    program = _find_program(process.args[0], variables)

    limit(k, process.rlimits)

    # 8. Rights are dropped in an order that the kernel forces: the bounding set while we still may, the filter while we still may,
    #    then groups, group, user, and at last the capabilities themselves.
    sets = process.capabilities
    keep = capabilities.mask(sets.bounding) if sets else 0
    _drop_bounding(k, keep)
    if start.only_id is not None:
        _become_in_place(k, start, uid, gid)
        _drop_bounding(k, keep)
    if start.confined is not None:
        restrict(k, start, start.confined)
    if not process.no_new_privileges:
        install_filter(k, start, who)
    if (uid or gid) and start.user_groups:
        k.through("prctl", "PR_SET_KEEPCAPS", 1, action=capabilities.keep_on_setuid)
    if start.user_groups:
        k.setgroups([gid, *who.groups])  # docker names the first group among the others as well
        k.setresgid(gid, gid, gid)
        k.setresuid(uid, uid, uid)
    held = keep if not uid else 0
    k.through("capset", f"effective={held:x}", f"permitted={held:x}", "inheritable=0", action=lambda: capabilities.apply(held, held, 0))
    if process.no_new_privileges:
        k.through("prctl", "PR_SET_NO_NEW_PRIVS", 1, action=capabilities.no_new_privileges)
        install_filter(k, start, who)

    ready(k, start)
    try:
        k.execve(program, list(process.args), variables)
    except OSError as error:
        raise not_executable(process.args[0], error) from error


def ready(k: Door, start: Start) -> None:
    """Steps 9 to 11: the last things before execve(2)."""
    # 9. If the process that watches us dies, we die. A change of user has cleared this, so it stands here.
    k.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)

    # 10. The monitor has limited its control group by now, or says so in a moment.
    if start.sync is not None and not start.sync.recv(2):
        raise InitFailed("the container's monitor was killed")

    # 11. The program takes our place. Its descriptors are 0, 1 and 2; every other one closes itself at execve.
    syscalls.close_on_exec(3)
    if start.trace >= 0:
        os.write(start.trace, k.notes())
    if start.init:
        reaper.begin(start.spec.process.args)
    reset_signals()


def _become_in_place(k: Door, start: Start, uid: int, gid: int) -> None:
    """With one id there is nobody to change to: the id gets another number, and Landlock holds it to what that user might do.

    A user namespace in the user namespace maps `uid` inside to our only id, user_namespaces(7). All files belong to that id, so their mode
    bits stop nobody; the rules, made from the owners that the layers know, do.
    """
    rules = start.only_id or ()
    if start.confined is not None:
        # In a chroot the kernel makes no user namespace: the monitor alone gives the id another number, and no right of root's is left.
        _drop_bounding(k, 0)
    else:
        k.prctl(syscalls.PR_SET_DUMPABLE, 1)  # otherwise /proc/self belongs to somebody who is not in here
        k.unshare(syscalls.CLONE_NEWUSER)
        idmap.write_own(idmap.single(uid, 0), idmap.single(gid, 0))
    if not k.through("landlock_restrict_self", f"{len(rules)} rules", action=lambda: landlock.restrict(rules, signals=_among_its_own(start))):
        raise InitFailed(told(f"user {uid}: this kernel has no Landlock to hold a user to their rights where a host gives one id only"))


def restrict(k: Door, start: Start, rules: tuple[tuple[str, int], ...]) -> None:
    """Leaves this process what Landlock's rules grant and nothing else; raises InitFailed on a kernel without Landlock."""
    if start.spec.process.no_new_privileges:
        k.through("prctl", "PR_SET_NO_NEW_PRIVS", 1, action=capabilities.no_new_privileges)
    if not k.through("landlock_restrict_self", f"{len(rules)} rules", action=lambda: landlock.restrict(rules, signals=_among_its_own(start))):
        raise InitFailed(told("this kernel has no Landlock to hold a container in its folder where mount(2) is refused"))


def _among_its_own(start: Start) -> bool:
    """Tells whether no signal can reach the host anyway: then those between a container's programs, each with rules of its own, are the kernel's affair."""
    return start.spec.owns("pid") or start.spec.joins("pid")


def _drop_bounding(k: Door, keep: int) -> None:
    k.through("prctl", "PR_CAPBSET_DROP", f"all but {keep:x}", action=lambda: capabilities.drop_bounding(keep))


def install_filter(k: Door, start: Start, who: users.Identity) -> None:
    """Installs the seccomp filter, and hands its listener to the monitor where it has one."""
    if not start.filter:
        return
    size = f"{len(start.filter) // 8} instructions"
    if not start.unheard or start.sync is None:
        k.through("seccomp", "SECCOMP_SET_MODE_FILTER", size, action=lambda: seccomp.install(start.filter))
        return
    try:
        listener = k.through("seccomp", "SECCOMP_SET_MODE_FILTER", size, "NEW_LISTENER", action=lambda: seccomp.install(start.filter, listener=True))
    except OSError as error:
        # One listener is all that a chain of processes may have. Without it the calls seem to succeed, which installs packages but forgets owners.
        if error.errno != errno.EBUSY:
            raise
        k.through("seccomp", "SECCOMP_SET_MODE_FILTER", size, action=lambda: seccomp.install(start.unheard))
        return
    # From here on the monitor answers for the kernel where that knows one user only.
    socket.send_fds(start.sync, [json.dumps({"listen": [who.uid, who.gid, who.gid, *who.groups]}).encode()], [listener])
    os.close(listener)


def _fill_dev(k: Door, root: int) -> None:
    folder = k.openat2(root, "dev", os.O_PATH)
    for name, target in (("fd", "/proc/self/fd"), ("stdin", "/proc/self/fd/0"), ("stdout", "/proc/self/fd/1"), ("stderr", "/proc/self/fd/2"), ("ptmx", "pts/ptmx")):
        k.symlink(target, name, dir_fd=folder)
    os.close(folder)


def _open_terminal(k: Door, root: int, start: Start) -> None:
    slave = _new_terminal(k, root, start)
    console = place(k, root, "/dev/console", is_file=True)
    k.mount(f"/proc/self/fd/{slave}", f"/proc/self/fd/{console}", None, syscalls.MS_BIND)
    os.close(console)
    os.close(slave)


def _new_terminal(k: Door, root: int, start: Start) -> int:
    """Opens a terminal of the container's own devpts and makes it this session's; gives its program's end."""
    master = k.openat2(root, "dev/pts/ptmx", os.O_RDWR | os.O_NOCTTY)
    fcntl.ioctl(master, 0x40045431, struct.pack("i", 0))  # TIOCSPTLCK: unlock
    number = struct.unpack("i", fcntl.ioctl(master, 0x80045430, bytes(4)))[0]  # TIOCGPTN: its number
    slave: int = k.openat2(root, f"dev/pts/{number}", os.O_RDWR | os.O_NOCTTY)
    if start.sync is not None:
        socket.send_fds(start.sync, [b"pty"], [master])
    os.close(master)
    fcntl.ioctl(slave, 0x540E, 0)  # TIOCSCTTY
    for descriptor in (0, 1, 2):
        os.dup2(slave, descriptor)
    return slave


def adjust(k: Door, spec: Spec) -> None:
    """Makes the kernel kill this process sooner, or later, when memory runs out; proc(5), oom_score_adj. Raises InitFailed."""
    score = spec.process.oom_score_adj
    if not score:
        return
    k.prctl(syscalls.PR_SET_DUMPABLE, 1)  # otherwise the file belongs to somebody else
    try:
        _write(k, "/proc/self/oom_score_adj", str(score))
    except OSError as error:
        raise not_started(f"error during container init: write /proc/self/oom_score_adj: {(error.strerror or '').lower()}", 126) from error
    k.prctl(syscalls.PR_SET_DUMPABLE, 0)


def call(k: Door, spec: Spec) -> None:
    """Gives the container's UTS namespace its names; uts_namespaces(7)."""
    if spec.hostname:
        k.sethostname(spec.hostname)
    if spec.domainname:
        k.setdomainname(spec.domainname)


def set_sysctls(k: Door, spec: Spec, folder: str) -> None:
    """Sets what of the kernel's settings belongs to the container's own namespaces; sysctl(8). Raises InitFailed."""
    for name, value in spec.linux.sysctl.items():
        own, what = ("network", "network") if name.startswith("net.") else ("ipc", "IPC")
        if not spec.owns(own):
            raise InitFailed(told(f'sysctl "{name}" not allowed in host {what} namespace'))
        path = name.replace(".", "/")
        try:
            _write(k, f"{folder}/{path}", value)
        except OSError as error:
            code = {errno.ENOENT: 127, errno.EACCES: 126, errno.EPERM: 126}.get(error.errno or 0, 125)
            raise not_started(f"error during container init: open /proc/sys/{path}: {(error.strerror or '').lower()}", code) from error


def _write(k: Door, path: str, text: str) -> None:
    descriptor = k.open(path, os.O_WRONLY)
    try:
        k.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def loopback_up(k: Door) -> None:
    """Starts the network namespace's own loopback; netdevice(7)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as control:
        fcntl.ioctl(control, 0x8914, struct.pack("16sh14x", b"lo", 0x1 | 0x40))  # SIOCSIFFLAGS: IFF_UP | IFF_RUNNING


def limit(k: Door, wanted: Iterable[Rlimit]) -> None:
    """Sets resource limits; raises InitFailed for one beyond what this host gives."""
    for each in wanted:
        soft, hard = (-1 if value > limits.LARGEST else value for value in (each.soft, each.hard))
        try:
            k.through("prlimit", each.type, soft, hard, action=partial(limits.apply, each.type, soft, hard))
        except (OSError, ValueError) as error:
            reason = "operation not permitted" if isinstance(error, ValueError) else (error.strerror or "").lower()
            raise not_started(f"error during container init: error setting rlimits for ready process: error setting rlimit type {limits.NAMES[each.type[7:].lower()]}: {reason}", 125) from error


def _identity(start: Start) -> users.Identity:
    try:
        group = _text("/etc/group")
        return users.with_groups(users.identify(start.user, _text("/etc/passwd"), group), start.groups, group)
    except LookupError as error:
        raise InitFailed(str(error.args[0])) from error


def _text(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return file.read(1 << 20).decode("utf-8", "surrogateescape")
    except OSError:
        return ""


def environment(words: tuple[str, ...], home: str) -> dict[str, str]:
    """Gives the program's environment."""
    variables = dict(word.split("=", 1) for word in words if "=" in word)
    variables.setdefault("HOME", home)
    return variables


def _enter_folder(k: Door, path: str, *, make: bool) -> None:
    try:
        if make:
            os.makedirs(path, 0o755, exist_ok=True)
        k.chdir(path)
    except RecursionError:
        raise InitFailed(f"Cannot mkdir: {path[:40]}… is too deep") from None
    except (FileExistsError, NotADirectoryError):
        raise InitFailed(f"Cannot mkdir: {path} is not a directory") from None
    except OSError as error:
        raise not_started(f'chdir to cwd ("{path}") set in config.json failed: {(error.strerror or "").lower()}', 126) from error


def _find_program(word: str, variables: dict[str, str]) -> str:
    if "/" in word:
        if not os.path.exists(word):
            raise not_started(f'exec: "{word}": stat {word}: no such file or directory', 127)
        if os.path.isdir(word):
            raise not_started(f'exec: "{word}": permission denied', 126)
        return word
    for folder in variables.get("PATH", "").split(":"):
        candidate = f"{folder or '.'}/{word}"
        if os.path.isfile(candidate) and os.access(candidate, os.X_OK):
            return candidate
    raise not_started(f'exec: "{word}": executable file not found in $PATH', 127)


def reset_signals() -> None:
    """Gives the program signals as a fresh process has them."""
    # Python ignores SIGPIPE and catches SIGINT; a program expects neither.
    for number in range(1, 65):
        if number not in (signal.SIGKILL, signal.SIGSTOP, 32, 33):
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
