"""Ports of this machine that are sockets in a folder, where nobody may bind them or somebody else has them; unix(7).

$DOCKERLAB_LOOPBACK names the folder. A file `5000` in it stands for port 5000 of localhost, for whoever listens and for whoever connects; every other port is TCP's.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import ipaddress
import os
import secrets
import socket
import stat
from collections.abc import Iterable
from pathlib import Path

__all__ = ["CURL", "VARIABLE", "activated", "claim", "connected", "declare", "folder", "lent", "listening", "refusal", "stand_in"]

VARIABLE = "DOCKERLAB_LOOPBACK"
CURL = "CURL_HOME"  # where curl looks for its file first; curl(1), --config
_INSIDE = "/run/loopback"  # where a container finds what is lent to it
_WANTED = "wanted"  # the ports that become sockets as soon as one of them cannot be had
_WAITING = 1024


def folder() -> str:
    """Gives the folder, "" where all ports are TCP's."""
    return os.environ.get(VARIABLE, "")


def refusal(ports: Iterable[int]) -> str:
    """Gives why one of these ports cannot be had, in the system's words with the port; "" where all can. 0 is any port."""
    for port in ports:
        try:
            with socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as tried:
                tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                tried.bind(("", port))
                tried.listen(1)  # two sockets may be bound to a port, but only one listens
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            return f"port {port}: {why}" if port else why
    return ""


def declare(place: Path, ports: Iterable[int], *, wanted: Iterable[int] = ()) -> None:
    """Has these ports be sockets in a folder, which is made; nobody listens at them yet. `wanted` may be claimed later.

    `proxy`, where there is one, is a socket that leads everywhere, and `curlrc` a file that tells curl of it, `inside` the same for containers.
    """
    place.mkdir(mode=0o700, exist_ok=True)
    place.chmod(0o700)
    for name, door in (("curlrc", place / "proxy"), ("inside", Path(_INSIDE, "proxy"))):
        words = str(door).replace("\\", "\\\\").replace('"', '\\"')
        (place / name).write_text(f'{_persons() if name == "curlrc" else ""}unix-socket = "{words}"\n')
    (place / _WANTED).write_text(" ".join(map(str, wanted)))
    _declare(place, ports)


def _persons() -> str:
    """Gives what somebody has told curl already: it reads one file."""
    with contextlib.suppress(OSError, ValueError, RuntimeError):
        return Path("~/.curlrc").expanduser().read_text().rstrip("\n") + "\n"
    return ""


def _declare(place: Path, ports: Iterable[int]) -> None:
    for port in ports:
        with contextlib.suppress(FileExistsError):
            (place / str(port)).touch(mode=0o600, exist_ok=False)  # whoever connects to a plain file is refused; connect(2)
        with contextlib.suppress(FileNotFoundError):
            os.rename(place / "curlrc", place / ".curlrc")  # until now curl needs no proxy


def stand_in(host: str, port: int) -> str:
    """Gives the path of the socket that stands for a port of an address, "" where it is a port like any other."""
    if not folder() or not _is_this_machine(host):
        return ""
    place = os.path.join(folder(), str(port))
    return place if os.path.lexists(place) else ""


def claim(host: str, port: int) -> str:
    """Gives the same for whoever is about to listen: a port that was wanted and that somebody else has by now becomes a socket, and the others that were wanted with it."""
    if (place := stand_in(host, port)) or not folder() or not _is_this_machine(host):
        return place
    with contextlib.suppress(OSError, ValueError):
        wanted = [int(word) for word in Path(folder(), _WANTED).read_text().split()]
        if port in wanted and refusal([port]):
            _declare(Path(folder()), wanted)
    return stand_in(host, port)


def _is_this_machine(host: str) -> bool:
    if host.strip("[]") in ("localhost", ""):
        return True
    with contextlib.suppress(ValueError):
        found = ipaddress.ip_address(host.strip("[]"))
        return found.is_loopback or found.is_unspecified
    return False


def lent() -> dict[str, str]:
    """Gives what a container with this machine's network finds its ports by: what is mounted, by its place. Nothing while all ports are TCP's."""
    place = Path(folder() or os.devnull)
    return {f"{_INSIDE}/proxy": str(place / "proxy"), f"{_INSIDE}/.curlrc": str(place / "inside")} if (place / ".curlrc").exists() and (place / "proxy").is_socket() else {}


def listening(place: str) -> socket.socket:
    """Gives a socket that listens there, in place of what nobody listens at any more. Raises OSError, with EADDRINUSE where somebody does."""
    base = os.open(os.path.dirname(place), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(base, fcntl.LOCK_EX)
        if _taken(place):
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
        made, draft = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC), f"{os.path.basename(place)}.{secrets.token_hex(4)}"
        try:
            # Whoever has the socket, a container as well, can ask for the name that it was bound to: not for where that lies.
            made.bind(f"/proc/self/fd/{base}/{draft}")
            made.listen(_WAITING)
            os.rename(draft, os.path.basename(place), src_dir_fd=base, dst_dir_fd=base)
        except BaseException:
            made.close()
            with contextlib.suppress(OSError):
                os.unlink(draft, dir_fd=base)
            raise
        return made
    finally:
        os.close(base)


def _taken(place: str) -> bool:
    try:
        connected(place, 1.0).close()
    except (ConnectionRefusedError, FileNotFoundError):
        return False
    except (TimeoutError, BlockingIOError):  # somebody who is too busy to accept
        return True
    return True


def connected(place: str, timeout: float | None) -> socket.socket:
    """Gives a socket that is connected to the one there; raises OSError, with ECONNREFUSED where nobody listens."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        made.settimeout(timeout)
        made.connect(place)
    except BaseException:
        made.close()
        raise
    return made


def activated() -> socket.socket | None:
    """Takes the listening socket that this process was begun with as its standard input, if it was; inetd(8), "wait"; systemd.socket(5), Accept=no."""
    try:
        if not stat.S_ISSOCK(os.fstat(0).st_mode):
            return None
        with socket.socket(fileno=os.dup(0)) as found:
            if not found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                return None
            taken = found.dup()
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)  # once what is given here is closed, nobody listens
        os.close(nothing)
    except OSError:
        return None
    return taken
