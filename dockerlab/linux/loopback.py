"""Ports of this machine that are sockets in a folder, where nobody may bind them or somebody else has them; unix(7).

$DOCKERLAB_LOOPBACK names the folder. A file `5000` in it stands for port 5000 of localhost, for whoever listens and for whoever connects; every other port is TCP's.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import secrets
import socket
import stat
from collections.abc import Iterable
from pathlib import Path

__all__ = ["CURL", "INSIDE", "VARIABLE", "connected", "declare", "folder", "handed", "lend", "lent", "listening", "refusal", "stand_in"]

VARIABLE = "DOCKERLAB_LOOPBACK"
CURL = "CURL_HOME"  # where curl looks for its file first; curl(1), --config
INSIDE = "/run/loopback"  # where a container finds what is lent to it
_WAITING = 256


def folder() -> str:
    """Gives the folder, "" where all ports are TCP's."""
    return os.environ.get(VARIABLE, "")


def refusal(ports: Iterable[int]) -> str:
    """Gives why one of these ports of localhost cannot be had, in the system's words with the port; "" where all can. 0 is any port."""
    for port in ports:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                tried.bind(("", port))
                tried.listen(1)  # two sockets may be bound to a port, but only one listens
            except OSError as error:
                return f"port {port}: {(error.strerror or str(error)).lower()}" if port else (error.strerror or str(error)).lower()
    return ""


def declare(place: Path, ports: Iterable[int]) -> None:
    """Has these ports be sockets in a folder, which is made, for this process and those that it starts; nobody listens at them yet."""
    place.mkdir(mode=0o700, exist_ok=True)
    for port in ports:
        (place / str(port)).unlink(missing_ok=True)
        (place / str(port)).touch(mode=0o600)  # whoever connects to a plain file is refused; connect(2)
    os.environ[VARIABLE] = str(place)


def stand_in(host: str, port: int) -> str:
    """Gives the path of the socket that stands for a port of an address, "" where it is a port like any other."""
    if not folder() or not _is_this_machine(host):
        return ""
    place = os.path.join(folder(), str(port))
    return place if os.path.lexists(place) else ""


def _is_this_machine(host: str) -> bool:
    if host.strip("[]") in ("localhost", ""):
        return True
    with contextlib.suppress(ValueError):
        found = ipaddress.ip_address(host.strip("[]"))
        return found.is_loopback or found.is_unspecified
    return False


def lend(place: Path) -> None:
    """Writes what curl needs to find the ports of a folder by its socket `door`, outside and in containers that have this machine's network; see `lent`."""
    for where, door in ((place / ".curlrc", place / "door"), (place / "curlrc", Path(INSIDE, "door"))):
        where.write_text(f'unix-socket = "{door}"\n')


def lent() -> tuple[dict[str, Path], tuple[str, ...]]:
    """Gives what stands for this machine's ports in a container that has its network: files by their places, and words of the environment."""
    place = Path(folder())
    if not folder() or not (place / "door").exists():
        return {}, ()
    return {f"{INSIDE}/door": place / "door", f"{INSIDE}/.curlrc": place / "curlrc"}, (f"{CURL}={INSIDE}",)


def listening(place: str) -> socket.socket:
    """Gives a socket that listens there, in place of what nobody listens at any more. Raises OSError, with EADDRINUSE where somebody does."""
    try:
        connected(place, 1.0).close()
    except (ConnectionRefusedError, FileNotFoundError):
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        draft, folder = f"{place}.{secrets.token_hex(4)}", os.open(os.path.dirname(place), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            # Whoever has the socket, a container as well, can ask for the name that it was bound to: not for where that lies.
            made.bind(f"/proc/self/fd/{folder}/{os.path.basename(draft)}")
            made.listen(_WAITING)
            os.rename(draft, place)
        except BaseException:
            made.close()
            with contextlib.suppress(OSError):
                os.unlink(draft)
            raise
        finally:
            os.close(folder)
        return made
    except OSError as error:  # somebody who is too busy, or does not let us in
        raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE)) from error
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


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


def handed() -> socket.socket | None:
    """Takes the socket that this process was begun with as its standard input, if one listens there; inetd(8), "wait"."""
    try:
        if not stat.S_ISSOCK(os.fstat(0).st_mode):
            return None
        found = socket.socket(fileno=os.dup(0))
    except OSError:
        return None
    if found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)  # once what is given here is closed, nobody listens
        os.close(nothing)
        return found
    found.close()
    return None
