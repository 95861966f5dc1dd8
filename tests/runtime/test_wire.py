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


def test_what_is_no_message_leaves_no_descriptor() -> None:
    before = len(os.listdir("/proc/self/fd"))
    for frame in (b"\0\0\0\2[]", b"\0\0\0\1x", b"\0\0\0\1", b"\x7f\xff\xff\xff"):
        ours, theirs = socket.socketpair()
        null = os.open("/dev/null", os.O_RDONLY)
        socket.send_fds(ours, [frame], [null])
        os.close(null)
        if frame[-1:] in b"]x":
            with pytest.raises(ValueError, match="not a message"):
                wire.receive_soon(theirs, within=0.2)
        elif frame[0]:
            message, descriptors = wire.receive_soon(theirs, within=0.2)
            assert message is None
            for descriptor in descriptors:
                os.close(descriptor)
        else:
            with pytest.raises(TimeoutError):
                wire.receive_soon(theirs, within=0.2)
        ours.close()
        theirs.close()
    assert len(os.listdir("/proc/self/fd")) == before
