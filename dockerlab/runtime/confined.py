"""The first process where there are no mounts: a chroot, or PRoot; the counterpart of `init`, whose last steps it shares."""

from __future__ import annotations

import fcntl
import os
import socket
from pathlib import Path

from dockerlab.linux import capabilities, cgroups, landlock, syscalls
from dockerlab.linux.door import Door
from dockerlab.runtime import init, proot, users
from dockerlab.runtime.failing import InitFailed, not_executable, not_started
from dockerlab.runtime.init import Start

__all__ = ["run"]


def run(k: Door, start: Start) -> None:
    """Makes the container's folder its root and becomes its program; raises InitFailed, or OSError with the call's name."""
    k.setsid()
    if start.spec.process.terminal:
        _lend_terminal(start)
    if not start.joins:
        init.adjust(k, start.spec)
    if proot.is_proot(start.spec):
        _by_proot(k, start)
    else:
        _by_chroot(k, start)


def _by_chroot(k: Door, start: Start) -> None:
    """What the container needs lies in its folder already (`laying`). A chroot holds whoever cannot do it again; Landlock holds everybody."""
    spec = start.spec
    if not start.joins:
        init.set_sysctls(k, spec, "/proc/sys")
    k.chroot(start.mounts[0].source)
    k.chdir("/")
    if spec.owns("uts") and not start.joins:
        init.call(k, spec)
    if spec.owns("network") and not start.joins:
        init.loopback_up(k)
    written = [mount.destination for mount in spec.mounts if "ro" not in mount.options]
    rules = [("/", 5 if spec.root.readonly else 7), *((path, 7) for path in (*written, "/dev"))]
    start.confined = tuple((path, landlock.of_modes(bits)) for path, bits in rules)
    init.become_the_program(k, start)


def _by_proot(k: Door, start: Start) -> None:
    """PRoot stays outside the container's root and shows it to the program; Landlock holds both."""
    process, root = start.spec.process, start.mounts[0].source
    cgroups.enter(start.doors)
    init.set_sysctls(k, start.spec, "/proc/sys")
    try:
        group = proot.read_inside(root, "etc/group")
        who = users.with_groups(users.identify(start.user, proot.read_inside(root, "etc/passwd"), group), start.groups, group)
    except LookupError as error:
        raise InitFailed(str(error.args[0])) from error
    scratch = f"{os.path.dirname(start.rootfs)}/proot"
    os.makedirs(scratch, 0o700, exist_ok=True)
    variables = init.environment(process.env, who.home)
    _make_folder(root, process.cwd, make=not start.joins)
    program, code = proot.find_program(root, process.args[0], variables.get("PATH", ""))
    if code:
        reason = "permission denied" if code == 126 else f"stat {process.args[0]}: no such file or directory" if "/" in process.args[0] else "executable file not found in $PATH"
        raise not_started(f'exec: "{process.args[0]}": {reason}', code)
    words, own = proot.command(start.spec, root, program), proot.variables(scratch)
    rules = tuple((path, landlock.of_modes(bits)) for path, bits in proot.granted(start.spec, root, scratch))
    if start.only_id is not None:  # paths of the container, which lie below its root
        mine = tuple((root + path, rights) for path, rights in start.only_id)
        rules = (*((path, rights) for path, rights in rules if path != root), *mine)
    k.through("capset", "effective=0", "permitted=0", "inheritable=0", action=lambda: capabilities.apply(0, 0, 0))
    init.limit(k, process.rlimits)
    init.restrict(k, start, rules)
    init.install_filter(k, start, who)
    init.ready(k, start)
    try:
        k.execve(words[0], words, {**variables, **own})
    except OSError as error:
        raise not_executable("proot", error) from error


def _make_folder(root: str, path: str, *, make: bool) -> None:
    base = os.open(root, os.O_PATH | os.O_DIRECTORY)
    try:
        place = ""
        for part in Path(path).parts[1:]:
            place = f"{place}/{part}"
            try:
                os.close(syscalls.openat2(base, place.lstrip("/"), os.O_PATH | os.O_DIRECTORY))
            except FileNotFoundError:
                if not make:
                    raise not_started(f'chdir to cwd ("{path}") set in config.json failed: no such file or directory', 126) from None
                parent = syscalls.openat2(base, place.rpartition("/")[0].lstrip("/") or ".", os.O_PATH | os.O_DIRECTORY)
                os.mkdir(part, 0o755, dir_fd=parent)
                os.close(parent)
    except NotADirectoryError:
        raise InitFailed(f"Cannot mkdir: {path} is not a directory") from None
    finally:
        os.close(base)


def _lend_terminal(start: Start) -> None:
    """A terminal of the host's own: there is no place for another instance of devpts."""
    master, slave = os.openpty()
    if start.sync is not None:
        socket.send_fds(start.sync, [b"pty"], [master])
    os.close(master)
    fcntl.ioctl(slave, 0x540E, 0)  # TIOCSCTTY
    for descriptor in (0, 1, 2):
        os.dup2(slave, descriptor)
    os.close(slave)
