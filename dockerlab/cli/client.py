"""`dockerlab`, and `docker` through the shim: hands the command line to a warm command server and waits for its exit code.

An interpreter that imports an engine costs more than docker does. This module imports next to nothing, not even `os`; where no server answers (none runs
yet, another namespace, DOCKERLAB_SERVER=0) it takes the ordinary path, `dockerlab.cli.main`, which leaves a server behind for the next time. client.c does
the same for the shim, without an interpreter, where a compiler was at hand.

One message goes there: four bytes of length, then fields that end in a NUL: the protocol's number, the folder, the number of arguments, the arguments, the
environment. The three standard descriptors ride on the length (unix(7), SCM_RIGHTS). Afterwards one byte is one signal on the way there; on the way
back `+` from the worker that has it, then `exit` and a byte. Anything else (`cold` from a server that cannot do it, the end of the line, a worker's `exit`) was nobody's: server or worker
was killed before it began.
"""

# The C halves of `os`, `socket` and `signal`: their other halves cost several milliseconds of every command line, for names.
import posix
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket

__all__ = ["PROTOCOL", "address", "fields", "main", "private", "whole"]

PROTOCOL = b"2"
_SOL_SOCKET, _SCM_RIGHTS, _SO_PEERCRED = 1, 1, 17
_FORWARDED = (1, 2, 3, 15, 28)  # HUP INT QUIT TERM WINCH
_LOST = 125
_NAMES = (sys.getfilesystemencoding(), "surrogateescape")


def address() -> str:
    """Gives where this user's command server for this installation listens: in a folder that only the user can enter."""
    place = (posix.environ.get(b"XDG_RUNTIME_DIR") or posix.environ.get(b"TMPDIR") or b"/tmp").decode(*_NAMES)
    status = posix.stat(__file__.rpartition("/")[0].rpartition("/")[0])
    return f"{place}/dockerlab-{posix.geteuid()}/{status.st_dev:x}-{status.st_ino:x}-{posix.stat(sys.executable).st_ino:x}"


def private(folder: str) -> bool:
    """Tells whether a folder is ours alone."""
    status = posix.lstat(folder)
    return status.st_uid == posix.geteuid() and status.st_mode & 0o170077 == 0o040000


def fields(*, arguments: list[bytes], environment: dict[bytes, bytes], folder: bytes) -> bytes:
    """Gives the one message."""
    words = [PROTOCOL, folder, b"%d" % len(arguments), *arguments, *(name + b"=" + value for name, value in environment.items())]
    data = b"".join(word + b"\0" for word in words)
    return len(data).to_bytes(4, "big") + data


def whole() -> None:
    """Puts /dev/null where a standard descriptor is closed: the next file that is opened would take its place."""
    while (number := posix.open("/dev/null", posix.O_RDWR)) < 3:
        pass
    posix.close(number)
    for name, number in (("stdin", 0), ("stdout", 1), ("stderr", 2)):
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "w" if number else "r", closefd=False))


def main() -> None:
    """Does one command line and ends the process with docker's exit code."""
    whole()
    try:
        code = None if posix.environ.get(b"DOCKERLAB_SERVER") == b"0" else _asked()
    except (OSError, ImportError):
        code = None
    if code is not None:
        posix._exit(code)
    if sys.flags.no_site:
        import site

        site.main()
    from dockerlab.cli.main import main as ordinary

    try:
        ordinary()
    finally:
        from dockerlab.cli import server

        server.leave_one()


def _asked() -> "int | None":
    """Gives the exit code that the server tells, or None where there is no server that can do it. Raises OSError."""
    import _signal
    import _socket

    place = address()
    if not private(place.rpartition("/")[0]):
        return None
    line = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    line.connect(place)
    if int.from_bytes(line.getsockopt(_SOL_SOCKET, _SO_PEERCRED, 12)[4:8], sys.byteorder) != posix.geteuid():
        return None
    data = fields(arguments=[word.encode(*_NAMES) for word in sys.argv], environment=posix.environ, folder=posix.getcwdb())
    descriptors = b"".join(number.to_bytes(4, sys.byteorder) for number in (0, 1, 2))
    # Only the end of a terminal may be somebody's not to hear of, nohup(1); docker's client hears the others even where a shell has its background jobs ignore them.
    forwarded = [number for number in _FORWARDED if number != 1 or _signal.getsignal(number) != _signal.SIG_IGN]
    for number in forwarded:
        _signal.signal(number, lambda got, _: line.send(bytes([got])))
    sent = line.sendmsg([data], [(_SOL_SOCKET, _SCM_RIGHTS, descriptors)])
    while sent < len(data):
        sent += line.send(data[sent:])
    if _heard(line, 1) != b"+":
        for number in forwarded:
            _signal.signal(number, _signal.default_int_handler if number == 2 else _signal.SIG_DFL)
        return None
    answer = _heard(line, 5)  # it is being done, and nobody does it twice
    if len(answer) > 4:
        return answer[4]
    posix.write(2, b"the command server was killed, and what it did for this command line with it\n")
    return _LOST


def _heard(line: "_socket.socket", size: int) -> bytes:
    try:
        return line.recv(size)
    except OSError:
        return b""
