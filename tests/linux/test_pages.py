from __future__ import annotations

import os
import resource
import socket
import traceback
from collections.abc import Callable

import pytest

from dockerlab.linux.pages import Copies

PAGES = 1000
_OTHER_ENDS: list[socket.socket] = []


def faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def door(said: bytes = b"") -> socket.socket:
    """Gives where somebody asks for something; without `said` nobody does."""
    ours, theirs = socket.socketpair()
    theirs.sendall(said)
    _OTHER_ENDS.append(theirs)  # one that is closed is something to hear as well
    return ours


def in_a_child(act: Callable[[], int]) -> int:
    """Gives what a function gives in a process forked for it."""
    reader, writer = os.pipe()
    if os.fork() == 0:
        try:
            os.write(writer, str(act()).encode())
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, encoding="ascii") as file:
        said = file.read()
    os.wait()
    return int(said)


def test_the_second_copies_ahead_what_the_first_wrote_to() -> None:
    copies, memory = Copies(), bytearray(b"\1" * (PAGES * 4096))

    def written(note: bool) -> int:
        copies.ahead(door())
        before = faults()
        for page in range(PAGES):
            memory[page * 4096] = 7
        found = faults() - before
        if note:
            copies.note()
        return found

    first = in_a_child(lambda: written(True))
    if not os.access("/proc/self/pagemap", os.R_OK):
        pytest.skip("this user may not read /proc/self/pagemap")
    assert first >= PAGES > 4 * in_a_child(lambda: written(False)), "huge pages, or no MADV_POPULATE_WRITE"
    assert memory[0] == 1, "what a child writes is its own"


def test_who_is_wanted_does_not_go_on() -> None:
    copies, memory = Copies(), bytearray(b"\1" * (PAGES * 4096))

    def noted() -> int:
        copies.ahead(door())
        for page in range(PAGES):
            memory[page * 4096] = 7
        copies.note()
        return 0

    def hurried() -> int:
        before = faults()
        copies.ahead(door(b"now"))
        return faults() - before

    in_a_child(noted)
    assert in_a_child(hurried) < 200


@pytest.mark.parametrize("pair", [(1 << 40, 1 << 46), (1 << 40, (1 << 40) + (1 << 20)), (1 << 41, 1 << 40), ((1 << 64) - 4096, 4096)])
def test_what_is_no_address_does_no_harm(pair: tuple[int, int]) -> None:
    """A process that was killed while it noted something leaves half of it."""
    copies = Copies()
    copies._shared[:16] = b"".join(word.to_bytes(8, "little") for word in pair)
    assert sum(end - start for start, end in copies._known()) <= 2048 * 4096

    def acts() -> int:
        copies.ahead(door())
        memory = bytearray(b"\1" * (PAGES * 4096))
        copies.note()
        return len(memory)

    assert in_a_child(acts)


def test_who_is_alone_leaves_nothing_to_its_children() -> None:
    copies = Copies()

    def mapped() -> int:
        with open("/proc/self/maps", encoding="ascii") as file:
            return sum(" rw-s " in line for line in file)

    before = in_a_child(mapped)
    copies.alone()
    assert in_a_child(mapped) == before - 1
