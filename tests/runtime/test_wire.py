from __future__ import annotations

import os
import socket

import pytest

from dockerlab.errors import NotFound
from dockerlab.runtime import wire


def test_a_message_and_its_descriptors_arrive() -> None:
    ours, theirs = socket.socketpair()
    reader, writer = os.pipe()
    wire.send(ours, {"op": "run", "text": "ü" * 10_000}, [writer])
    os.close(writer)
    message, descriptors = wire.receive(theirs)
    assert message == {"op": "run", "text": "ü" * 10_000}
    os.write(descriptors[0], b"hello")
    assert os.read(reader, 5) == b"hello"
    for descriptor in (reader, *descriptors):
        os.close(descriptor)
    ours.close()
    assert wire.receive(theirs) == (None, [])
    theirs.close()


class _Quick(socket.socket):
    """A connection whose other end has read everything, answered and gone before the sender looks again."""

    def sendmsg(self, *args: object) -> int:  # type: ignore[override]
        sent = super().sendmsg(*args)  # type: ignore[arg-type]
        self.shutdown(socket.SHUT_WR)
        return sent


def test_whoever_answers_at_once_may_go_at_once() -> None:
    ours, theirs = socket.socketpair()
    quick = _Quick(fileno=ours.detach())
    wire.send(quick, {"op": "run"}, [0])
    message, descriptors = wire.receive(theirs)
    assert message == {"op": "run"}
    os.close(descriptors[0])
    quick.close()
    theirs.close()


def test_errors_come_back_as_they_were() -> None:
    back = wire.revive(wire.describe(NotFound("no such thing", hint="look again")))
    assert isinstance(back, NotFound) and back.message == "no such thing" and back.hint == "look again"
    refused = wire.revive(wire.describe(OSError(28, "No space left on device", "/x")))
    assert isinstance(refused, OSError) and (refused.errno, refused.filename) == (28, "/x")
    with pytest.raises(OSError):
        raise refused
