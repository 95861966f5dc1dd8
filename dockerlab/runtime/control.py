"""What others ask of a running container's monitor, at a socket in the container's folder: one message in, one answer out."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dockerlab.runtime import wire

__all__ = ["answer", "ask", "call", "listen", "put", "root"]

_NAME = "control"
_PATIENCE = 1.0  # seconds that a monitor waits for who connects and then says nothing


def listen(folder: Path) -> socket.socket | None:
    """Gives the socket that takes questions; None where the file system of the store holds no sockets."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(folder / _NAME)
        with wire.address(str(folder / _NAME)) as place:
            made.bind(place)
        made.listen(16)
    except OSError:
        made.close()
        return None
    return made


def put(listening: socket.socket) -> tuple[dict[str, Any], socket.socket, list[int]] | None:
    """Gives the next question, where its answer goes, and the descriptors that came with it; None for one that came to nothing."""
    try:
        connection, _ = listening.accept()
    except OSError:
        return None
    connection.settimeout(_PATIENCE)
    try:
        message, descriptors = wire.receive(connection)
    except (OSError, ValueError):
        message, descriptors = None, []
    if isinstance(message, dict):
        return message, connection, descriptors
    for descriptor in descriptors:
        os.close(descriptor)
    connection.close()
    return None


def answer(connection: socket.socket, message: dict[str, Any]) -> None:
    """Answers, if anybody still listens."""
    with contextlib.suppress(OSError), connection:
        wire.send(connection, message)


def ask(folder: Path, message: dict[str, Any], *, timeout: float | None = None) -> dict[str, Any] | None:
    """Gives a monitor's answer; None where no monitor listens, or it ended without one. Raises TimeoutError."""
    connection = call(folder, message, timeout=timeout)
    if connection is None:
        return None
    with connection:
        try:
            return wire.receive(connection)[0]
        except TimeoutError:
            raise
        except OSError:
            return None


def call(folder: Path, message: dict[str, Any], descriptors: Sequence[int] = (), *, timeout: float | None = None) -> socket.socket | None:
    """Asks something of a monitor that it answers more than once; gives where the answers come, None where no monitor listens. Raises TimeoutError."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(timeout)
    try:
        with wire.address(str(folder / _NAME)) as place:
            connection.connect(place)
        wire.send(connection, message, descriptors)
    except OSError as error:
        connection.close()
        if isinstance(error, TimeoutError):
            raise
        return None
    return connection


def root(folder: Path) -> int:
    """Gives a descriptor of the root folder that a running container sees, with all that is mounted there; -1 where no monitor answers."""
    connection = call(folder, {"root": True}, timeout=10)
    if connection is None:
        return -1
    with connection, contextlib.suppress(OSError):
        _, descriptors = wire.receive(connection)
        return descriptors[0] if descriptors else -1
    return -1
