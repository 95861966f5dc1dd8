from __future__ import annotations

import os
import resource
import traceback
from collections.abc import Callable

import pytest

from dockerlab.linux.pages import Copies

PAGES = 2000


def faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


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
        copies.ahead(lambda: False)
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
    assert first >= PAGES > 10 * in_a_child(lambda: written(False)), "huge pages, or no MADV_POPULATE_WRITE"
    assert memory[0] == 1, "what a child writes is its own"


def test_who_is_wanted_does_not_go_on() -> None:
    copies, memory = Copies(), bytearray(b"\1" * (PAGES * 4096))

    def noted() -> int:
        copies.ahead(lambda: False)
        for page in range(PAGES):
            memory[page * 4096] = 7
        copies.note()
        return 0

    def hurried() -> int:
        before = faults()
        copies.ahead(lambda: True)
        return faults() - before

    in_a_child(noted)
    assert in_a_child(hurried) < 200


def test_what_is_no_address_does_no_harm() -> None:
    """A process that was killed while it noted something leaves half of it."""
    copies = Copies()
    copies._shared[:16] = (1 << 40).to_bytes(8, "little") + (1 << 46).to_bytes(8, "little")

    def acts() -> int:
        copies.ahead(lambda: False)
        copies.note()
        return 1

    assert in_a_child(acts)
