"""Messages between engine, launcher and monitor: a length, JSON, and descriptors beside the first bytes; unix(7).

The command server speaks the same frames with other content.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from dockerlab import errors
from dockerlab.errors import DockerlabError

__all__ = ["address", "describe", "reached", "receive", "receive_bytes", "receive_soon", "revive", "send", "send_bytes"]

_LENGTH = struct.Struct("!I")
_LONGEST = 108
_CLOEXEC = 0x40000000  # MSG_CMSG_CLOEXEC: what is received must not reach the container


@contextlib.contextmanager
def address(path: str) -> Iterator[str]:
    """Gives a name for a socket's path that is short enough for the kernel, which takes 107 bytes; unix(7). Raises OSError."""
    if len(os.fsencode(path)) < _LONGEST:
        yield path
        return
    folder, _, name = path.rpartition("/")
    descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}/{name}"
    finally:
        os.close(descriptor)


def reached(path: str) -> socket.socket | None:
    """Gives a connection to who listens at a socket's path, None where nobody does."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with address(path) as place:
            connection.connect(place)
    except OSError:
        connection.close()
        return None
    return connection


def send(connection: socket.socket, message: dict[str, Any], descriptors: Sequence[int] = ()) -> None:
    """Sends one message; raises OSError when nobody listens."""
    send_bytes(connection, json.dumps(message).encode(), descriptors)


def send_bytes(connection: socket.socket, data: bytes, descriptors: Sequence[int] = ()) -> None:
    """Sends one frame; raises OSError when nobody listens."""
    data = _LENGTH.pack(len(data)) + data
    if descriptors:
        sent = socket.send_fds(connection, [data], list(descriptors))
        data = data[sent:]
    if data:  # sendall of nothing asks the kernel all the same, and whoever answers at once may have gone by then
        connection.sendall(data)


def receive(connection: socket.socket) -> tuple[dict[str, Any] | None, list[int]]:
    """Gives the next message and its descriptors; (None, []) at the end."""
    data, descriptors = receive_bytes(connection)
    return None if data is None else json.loads(data), descriptors


def receive_soon(connection: socket.socket, *, longest: int = 8 << 20, within: float = 1.0) -> tuple[dict[str, Any] | None, list[int]]:
    """The same, with one descriptor at most, for who has others to serve: raises OSError (TimeoutError) for a frame that takes longer, ValueError for what is no message."""
    deadline = time.monotonic() + within
    connection.settimeout(within)
    try:
        data, descriptors = receive_bytes(connection, 1, longest, lambda: connection.settimeout(max(0.001, deadline - time.monotonic())))
    finally:
        connection.settimeout(within)
    try:
        message = None if data is None else json.loads(data)
    except (ValueError, RecursionError):
        message = ""
    if message is not None and not isinstance(message, dict):
        for descriptor in descriptors:
            os.close(descriptor)
        raise ValueError("not a message")
    return message, descriptors


def receive_bytes(connection: socket.socket, most: int = 8, longest: int = 1 << 32, before: Callable[[], object] = lambda: None) -> tuple[bytes | None, list[int]]:
    """Gives the next frame and at most so many descriptors with it; (None, …) at the end, also in the middle of a frame, and for one that is too long."""
    data, descriptors, _, _ = socket.recv_fds(connection, _LENGTH.size, most, _CLOEXEC)
    while 0 < len(data) < _LENGTH.size:
        part = connection.recv(_LENGTH.size - len(data))
        data = data + part if part else b""
    if not data:
        return None, descriptors
    left = _LENGTH.unpack(data)[0]
    parts = []
    try:
        while left:
            if left > longest:
                return None, descriptors
            before()
            part = connection.recv(min(left, 1 << 20))
            if not part:
                return None, descriptors
            parts.append(part)
            left -= len(part)
    except OSError:
        for descriptor in descriptors:
            os.close(descriptor)
        raise
    return b"".join(parts), descriptors


def describe(error: BaseException) -> dict[str, Any]:
    """Gives an error as plain values."""
    if isinstance(error, DockerlabError):
        return {"kind": type(error).__name__, "message": error.message, "hint": error.hint, "code": error.exit_code}
    if isinstance(error, OSError):
        return {"kind": "OSError", "errno": error.errno, "message": error.strerror or str(error), "path": str(error.filename or "")}
    return {"kind": "DockerlabError", "message": f"{type(error).__name__}: {error}", "hint": "", "code": 1}


def revive(facts: dict[str, Any]) -> Exception:
    """Gives the error that `describe` took apart."""
    if facts["kind"] == "OSError":
        return OSError(facts["errno"], facts["message"] or os.strerror(facts["errno"]), facts["path"])
    kind = getattr(errors, facts["kind"], DockerlabError)
    error: DockerlabError = kind(facts["message"], hint=facts["hint"])
    error.exit_code = facts["code"]
    return error
