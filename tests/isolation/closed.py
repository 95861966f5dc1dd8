"""An image with perl and busybox, a secret of the host, and what else the probes are run with."""

from __future__ import annotations

import os
import socket
import subprocess
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dockerlab.engine import Engine, RunOptions
from dockerlab.recipes import closure
from tests.isolation.probes import program

__all__ = ["TOKEN", "Outside", "import_tools", "outside", "perl", "said", "verdict"]

TOKEN = "TOKEN-OF-THE-HOST"
_APPLETS = "sh ls cat cp mv rm rmdir mkdir ln touch chmod chown stat su id echo sleep mkfifo mknod readlink find test true false dd kill mount setpriv seq".split()
_PASSWD = b"root:x:0:0::/:/bin/sh\nwww-data:x:33:33::/:/bin/sh\n"


@dataclass(frozen=True, slots=True)
class Outside:
    """What of the host is aimed at."""

    secret: Path
    pid: int
    socket: str
    port: int

    @property
    def env(self) -> dict[str, str]:
        """What a probe is told."""
        return {"SECRET": str(self.secret), "OUTSIDE": str(self.pid), "SOCKET": self.socket, "PORT": str(self.port), "DISK": str(_disk())}


def _disk() -> int:
    """Gives the number of a disk of this host, as mknod(2) takes it."""
    for name in sorted(os.listdir("/sys/block")):
        major, minor = map(int, Path("/sys/block", name, "dev").read_text().split(":"))
        if int(Path("/sys/block", name, "size").read_text()):
            return os.makedev(major, minor)
    return os.stat("/").st_dev


@contextmanager
def outside(folder: Path) -> Iterator[Outside]:
    """Gives a file that only the host has, a process of this user, and an abstract socket that somebody listens at."""
    place = folder / "host-only"
    place.mkdir(exist_ok=True)
    secret = place / "secret"
    secret.write_text(f"{TOKEN}\n")
    process = subprocess.Popen(["sleep", "600"], cwd=place, env={"HOST_SECRET": TOKEN}, stdin=open(secret))
    name = f"dockerlab-probe-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as listener, socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(8)
        listener.bind(f"\0{name}")
        listener.listen(8)
        try:
            yield Outside(secret, process.pid, name, server.getsockname()[1])
        finally:
            process.kill()
            process.wait()


def import_tools(engine: Engine, folder: Path, links: dict[str, str] | None = None, *, name: str = "tools") -> None:
    """Imports the image; `links` are symlinks that it has besides (path → target)."""
    own = {f"bin/{applet}": "busybox" for applet in _APPLETS}
    with open(folder / f"{name}.tar", "wb") as file:
        closure.make(file.write, ["busybox", "perl"], {"etc/passwd": (_PASSWD, 0o644), "etc/shadow": (b"TOKEN-OF-ROOT", 0o600)}, own | (links or {}))
    with tarfile.open(folder / f"{name}.tar") as old, tarfile.open(folder / f"{name}-own.tar", "w") as new:
        for member in old:
            if not (member.isdir() and member.name.strip("/") in (links or {})):
                new.addfile(member, old.extractfile(member) if member.isreg() else None)
    engine.images.import_(folder / f"{name}-own.tar", name=name)


def said(engine: Engine, command: Sequence[str], options: RunOptions | None = None, *, image: str = "tools") -> str:
    """Runs a command in a new container and gives all that it wrote."""
    parts: list[bytes] = []
    engine.containers.run(image, command, options, stdout=parts.append, stderr=parts.append)
    return b"".join(parts).decode(errors="replace")


def perl(engine: Engine, code: str, options: RunOptions | None = None, *, image: str = "tools") -> str:
    """Runs one probe and gives its verdict, or all that it wrote where it gave none."""
    return verdict(said(engine, ["perl", "-e", program(code)], options, image=image))


def verdict(text: str) -> str:
    """Gives the verdict in what a probe wrote, or all of it where there is none."""
    words = [line.removeprefix("VERDICT ") for line in text.splitlines() if line.startswith("VERDICT ")]
    return words[-1] if words else text
