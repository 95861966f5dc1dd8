"""What the kernel tells of a process; proc(5). Each raises OSError for one that has ended, and IndexError for one that ends this moment."""

from __future__ import annotations

import os

__all__ = ["anonymous", "name", "rename", "stat"]

_PAGE = os.sysconf("SC_PAGE_SIZE")


def stat(pid: int | str) -> list[bytes]:
    """Gives the fields of /proc/PID/stat behind the command's name, which may hold anything: field 3 of the manual is the first here."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        return file.read().rpartition(b")")[2].split()


def anonymous(pid: int) -> int:
    """Gives the bytes that a process has in memory and no file has; /proc/PID/statm."""
    with open(f"/proc/{pid}/statm", "rb") as file:
        _, resident, shared, *_ = map(int, file.read().split())
    return (resident - shared) * _PAGE


def name(pid: int) -> str:
    """Gives what a process is called, "" for one that has ended; /proc/PID/comm."""
    try:
        with open(f"/proc/{pid}/comm", "rb") as file:
            return file.read().decode("utf-8", "replace").rstrip("\n")
    except OSError:
        return ""


def rename(text: str) -> None:
    """Calls this process something else, of 15 bytes at most."""
    descriptor = os.open("/proc/self/comm", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)
