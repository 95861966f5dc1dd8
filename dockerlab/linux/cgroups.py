"""A control group for one container, on version 1, 2 or both at once; cgroups(7)."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path

__all__ = ["create", "doors", "end", "enter", "folders", "freeze", "processes", "remove", "roots", "stay", "sweep"]

_ROOT = Path("/sys/fs/cgroup")
_VERSION_1 = ("memory", "pids", "cpu", "cpuacct", "freezer", "devices", "blkio", "cpuset")


def roots() -> list[Path]:
    """Gives the folder of each hierarchy that groups can be made in: one on version 2, one a controller on version 1."""
    if (_ROOT / "cgroup.controllers").exists():
        return [_ROOT] if os.access(_ROOT, os.W_OK) else []
    return [folder for name in _VERSION_1 if os.access(folder := _ROOT / name, os.W_OK)]


def create(name: str) -> list[Path]:
    """Makes the group `name` (a relative path) in every hierarchy and gives its folders; [] where the host allows none."""
    made = []
    for root in roots():
        folder = root / name
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if root.name == "cpuset":
                _inherit(root, folder)
        except OSError:
            continue
        made.append(folder)
    return made


def _inherit(root: Path, folder: Path) -> None:
    # A cpuset group of version 1 takes no process before it has been told which processors and memory are its own; those made below it later then know it.
    if (folder / "cpuset.mems").read_text().strip():
        return
    for step in reversed([folder, *[p for p in folder.parents if root in p.parents]]):
        for name in ("cpuset.cpus", "cpuset.mems"):
            if not (step / name).read_text().strip():
                (step / name).write_text((step.parent / name).read_text())
        (step / "cgroup.clone_children").write_text("1")


def doors(folders: Iterable[Path]) -> list[int]:
    """Opens, for each folder of a group, the file where a process says that it comes in itself; for `enter`. Raises OSError."""
    found = []
    for folder in folders:
        try:
            found.append(os.open(folder / "tasks", os.O_WRONLY | os.O_CLOEXEC))
        except FileNotFoundError:
            found.append(os.open(folder / "cgroup.procs", os.O_WRONLY | os.O_CLOEXEC))
    return found


def enter(doors: Iterable[int]) -> None:
    """Moves this process, which has one thread, into the group. Raises OSError.

    On version 1 the kernel moves a thread that moves itself at once. Whatever else is moved first waits for ten milliseconds (an RCU grace period).
    """
    for door in doors:
        os.write(door, b"0")
        os.close(door)


def _of_threads(folder: Path) -> bool:
    return (folder / "tasks").exists()


def stay(folders: Iterable[Path]) -> None:
    """Moves this process to the group where it is, where that makes the next one who enters the folders wait less."""
    if all(_of_threads(folder) for folder in folders):
        return
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        for root in (_ROOT / names, _ROOT):
            with contextlib.suppress(OSError), open(root / path.lstrip("/") / "cgroup.procs", "r+") as file:
                file.write(str(os.getpid()))
                return


def folders(name: str) -> list[Path]:
    """Gives the group's folder in every hierarchy that has it."""
    return [folder for root in roots() if (folder := root / name).is_dir()]


def freeze(name: str, *, frozen: bool) -> bool:
    """Stops or continues all processes of the group; gives False where no hierarchy can. cgroups(7), freezer; cgroup.freeze."""
    for folder in folders(name):
        for file, words in (("cgroup.freeze", ("0", "1")), ("freezer.state", ("THAWED", "FROZEN"))):
            if (folder / file).exists():
                (folder / file).write_text(words[frozen])
                return not frozen or _frozen(folder / file, words[1])
    return False


def _frozen(file: Path, word: str, *, patience: float = 2.0) -> bool:
    deadline = time.monotonic() + patience
    events = file.with_name("cgroup.events")
    while time.monotonic() < deadline:
        if "frozen 1" in events.read_text() if file.name == "cgroup.freeze" else file.read_text().strip() == word:
            return True
        time.sleep(0.002)
    return False


def end(name: str) -> None:
    """Kills what is left in the group, paused or not, and removes it."""
    if left := processes(name):
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        freeze(name, frozen=False)
    remove(name)


def sweep(name: str, *, age: float = 60.0) -> int:
    """Removes the groups below `name` that hold no process and are older than so many seconds: whoever made them was killed. Gives how many there were."""
    swept = set()
    for root in roots():
        with contextlib.suppress(OSError):
            for group in os.scandir(root / name):
                with contextlib.suppress(OSError):
                    if group.is_dir() and group.stat().st_ctime < time.time() - age:
                        os.rmdir(group.path)
                        swept.add(group.name)
    return len(swept)


def processes(name: str) -> set[int]:
    """Gives the ids of the processes in the group."""
    found: set[int] = set()
    for root in roots():
        with contextlib.suppress(OSError):
            found |= {int(pid) for pid in (root / name / "cgroup.procs").read_text().split()}
    return found


def remove(name: str, *, patience: float = 0.5) -> None:
    """Removes the group everywhere; one whose processes are still ending is tried again for `patience` seconds."""
    for root in roots():
        deadline = time.monotonic() + patience
        while True:
            try:
                (root / name).rmdir()
            except FileNotFoundError:
                break
            except OSError:
                if time.monotonic() > deadline:
                    break
                time.sleep(0.005)
            else:
                break
