"""Resource limits by their names of ulimit(1); getrlimit(2)."""

from __future__ import annotations

import resource

__all__ = ["LARGEST", "NAMES", "apply"]

LARGEST = 2**63 - 1

# Those that Python has no name for are numbers of include/uapi/asm-generic/resource.h.
NAMES: dict[str, int] = {
    "cpu": resource.RLIMIT_CPU, "fsize": resource.RLIMIT_FSIZE, "data": resource.RLIMIT_DATA, "stack": resource.RLIMIT_STACK, "core": resource.RLIMIT_CORE,
    "rss": resource.RLIMIT_RSS, "nproc": resource.RLIMIT_NPROC, "nofile": resource.RLIMIT_NOFILE, "memlock": resource.RLIMIT_MEMLOCK, "locks": 10,
    "sigpending": 11, "msgqueue": 12, "nice": 13, "rtprio": 14, "rttime": 15,
}  # fmt: skip


def apply(kind: str, soft: int, hard: int) -> None:
    """Limits this process, -1 meaning not at all; raises OSError where it may not go beyond what it has, ValueError where the soft limit is above the hard one."""
    resource.setrlimit(NAMES[kind.removeprefix("RLIMIT_").lower()], (soft, hard))
