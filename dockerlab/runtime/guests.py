"""People who look at a container that somebody else has begun: `docker attach`."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING, Any

from dockerlab.runtime import control, wire
from dockerlab.runtime.detaching import Keys
from dockerlab.runtime.streams import Person

if TYPE_CHECKING:
    from dockerlab.runtime.supervisor import Supervisor

__all__ = ["Guests"]


class Guests:
    """Those at one program."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._there: dict[int, socket.socket] = {}

    def connections(self) -> list[socket.socket]:
        """Gives where they are told things."""
        return list(self._there.values())

    def let_in(self, message: dict[str, Any], connection: socket.socket, descriptors: list[int]) -> None:
        """Somebody more looks at the container, until it ends or they go."""
        host = self._supervisor
        connection.settimeout(None)
        keys = Keys(message["keys"]) if message.get("keys") and host.spec.process.terminal else None
        guest = Person(dict(zip(message["attach"], descriptors, strict=False)), keys=keys)
        self._there[connection.fileno()] = connection

        def gone() -> None:
            host.neglect(connection.fileno())
            self._there.pop(connection.fileno(), None)
            connection.close()

        def hear() -> None:
            if not host.hear(connection):
                host.streams.lose(guest)
                gone()

        def left() -> None:
            with contextlib.suppress(OSError):
                wire.send(connection, {"detached": True})
            gone()

        guest.left = left
        with contextlib.suppress(OSError):
            wire.send(connection, {"started": host.first})
        host.attend(connection.fileno(), hear)
        host.streams.add(guest)

    def part(self, code: int) -> None:
        """Tells all of them how the program ended, which is the last that they hear."""
        for descriptor, connection in self._there.items():
            self._supervisor.neglect(descriptor)
            control.answer(connection, {"exit": code})
        self._there = {}
