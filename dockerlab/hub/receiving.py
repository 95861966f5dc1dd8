"""Takes a Git push in, as a process of its own that can be ended: what a small push becomes when it is unpacked is bounded here, by memory and by time.

`python -m dockerlab.hub.receiving REPOSITORY`: the request's body on standard input; the answer's body goes to standard output.
"""

from __future__ import annotations

import contextlib
import resource
import sys

__all__ = ["main"]

_MEMORY, _SECONDS = 1 << 30, 120  # bytes of address space, seconds of a processor


def main() -> None:
    """Does it; ends with 1 for what is no push."""
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (_SECONDS, _SECONDS))
    from dulwich.errors import GitProtocolError
    from dulwich.protocol import ReceivableProtocol
    from dulwich.repo import Repo
    from dulwich.server import DictBackend, ReceivePackHandler

    def write(data: bytes) -> int:
        return sys.stdout.buffer.write(data)

    try:
        with contextlib.closing(Repo(sys.argv[1])) as repo:
            ReceivePackHandler(DictBackend({b"/": repo}), [b"/"], ReceivableProtocol(sys.stdin.buffer.read, write), stateless_rpc=True).handle()  # type: ignore[list-item,arg-type]
        sys.stdout.flush()
    except (GitProtocolError, AssertionError, KeyError, ValueError, EOFError, OSError, MemoryError) as error:
        sys.exit(f"{type(error).__name__}")


if __name__ == "__main__":
    main()
