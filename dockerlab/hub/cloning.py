"""Clones a build's source, as a process of its own that can be ended: `python -m dockerlab.hub.cloning`, told on standard input what and where.

What is said in return is one line: nothing where all went well.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import sys
from typing import Any
from urllib.parse import urlsplit

from dockerlab.linux.dialling import guarded, why

__all__ = ["main"]

_MEMORY = 1 << 30  # bytes of address space beyond what the interpreter has


def main() -> None:
    """Does it."""
    told: dict[str, Any] = json.loads(sys.stdin.buffer.read())
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_FSIZE, (told["disk"], told["disk"]))
    import urllib3
    from dulwich import porcelain
    from dulwich.client import HttpGitClient, HTTPUnauthorized
    from dulwich.errors import GitProtocolError, NotGitRepository

    parts = urlsplit(told["url"])
    login = {"username": told["user"], "password": told["key"]} if told["user"] else {}
    try:
        client = HttpGitClient(f"{parts.scheme}://{parts.netloc}/", pool_manager=guarded(private=told["private"]), quiet=True, **login)
        with contextlib.closing(client.clone(parts.path, told["target"], mkdir=True, checkout=False)) as repo:
            porcelain.reset(repo, "hard", _commit(repo, told["commit"]))
    except (HTTPUnauthorized, GitProtocolError, NotGitRepository, KeyError, OSError, ValueError, MemoryError, urllib3.exceptions.HTTPError) as error:
        sys.stdout.write("there is none, or it is private" if isinstance(error, HTTPUnauthorized) else why(error).strip("'"))
        sys.stdout.flush()
        os._exit(1)


def _commit(repo: Any, wanted: str) -> str:
    """Gives the commit that a reference stands for in a clone."""
    if not wanted.startswith("refs/"):
        return wanted
    remote = wanted.replace("refs/heads/", "refs/remotes/origin/", 1)
    return str(repo.refs[remote.encode()].decode())


if __name__ == "__main__":
    main()
