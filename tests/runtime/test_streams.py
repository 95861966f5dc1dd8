"""Streams with several people at them, and the keys that let go."""

from __future__ import annotations

import os
import select
from pathlib import Path

import pytest

from dockerlab.runtime.detaching import DEFAULT, Keys, parse
from dockerlab.runtime.streams import Person, Streams
from dockerlab.store.logs import Log, read_log


class Desk:
    """A program's ends of the pipes, and how its streams are carried."""

    def __init__(self, people: list[Person], log: Path | None = None, *, once: bool = True, stdin: bool = True) -> None:
        self.streams = Streams(people, Log(log) if log else None, terminal=False, stdin=stdin, once=once)
        self.stdin, self.stdout, self.stderr = self.streams.open()
        self.poller = select.poll()
        self.streams.begin(self.poller)

    def carry(self, rounds: int = 20) -> None:
        for _ in range(rounds):
            for descriptor, _ in self.poller.poll(10):
                self.streams.carry(descriptor)


def pipe() -> tuple[int, int]:
    return os.pipe()


def taken(descriptor: int) -> bytes:
    os.set_blocking(descriptor, False)
    data = b""
    while True:
        try:
            part = os.read(descriptor, 1 << 20)
        except BlockingIOError:
            return data
        if not part:
            return data
        data += part


def test_everybody_gets_everything_and_the_slowest_sets_the_pace(tmp_path: Path) -> None:
    (fast, fast_end), (slow, slow_end) = pipe(), pipe()
    desk = Desk([Person({"stdout": fast_end}), Person({"stdout": slow_end})], tmp_path / "log", stdin=False)
    os.set_blocking(desk.stdout, False)
    written = 0
    got = bytearray()
    for _ in range(200):  # the fast one reads all the time, the slow one never
        try:
            written += os.write(desk.stdout, bytes([written % 251]) * 4096)
        except BlockingIOError:
            pass
        desk.carry(1)
        got += taken(fast)
    assert 65536 <= len(got) < written, "no more was read from the program than the slow one could take"
    held = bytearray()
    while len(held) < written:
        held += taken(slow)
        desk.carry(2)
        got += taken(fast)
    assert got == held and len(got) == written
    assert b"".join(data for _, _, data in read_log(tmp_path / "log")) == bytes(got)


def test_one_who_goes_away_holds_up_nobody() -> None:
    (left, left_end), (gone, gone_end) = pipe(), pipe()
    desk = Desk([Person({"stdout": left_end}), Person({"stdout": gone_end})], stdin=False)
    os.close(gone)
    os.write(desk.stdout, b"one")
    desk.carry()
    os.write(desk.stdout, b"two")
    desk.carry()
    assert taken(left) == b"onetwo"
    os.close(left)
    os.write(desk.stdout, b"three")
    desk.carry()
    with pytest.raises(BrokenPipeError):
        os.write(desk.stdout, b"four")


def test_several_may_type_and_only_the_first_may_end_the_input() -> None:
    (one_in, one), (two_in, two) = pipe(), pipe()
    first = Person({"stdin": one_in})
    desk = Desk([first])
    desk.streams.add(Person({"stdin": two_in}))
    os.write(one, b"a")
    desk.carry()
    os.write(two, b"b")
    desk.carry()
    assert taken(desk.stdin) == b"ab"
    os.close(one)
    desk.carry()
    os.set_blocking(desk.stdin, True)
    assert os.read(desk.stdin, 1) == b""


def test_a_detached_containers_input_stays_open_for_the_next() -> None:
    desk = Desk([], once=False)
    for word in (b"one", b"two"):
        theirs, typed = pipe()
        desk.streams.add(Person({"stdin": theirs}))
        os.write(typed, word)
        os.close(typed)
        desk.carry()
        assert taken(desk.stdin) == word
    assert desk.streams.people == [] or all(not person.given for person in desk.streams.people)


def test_no_more_is_read_than_the_program_takes() -> None:
    theirs, typed = pipe()
    os.set_blocking(typed, False)
    desk = Desk([Person({"stdin": theirs})])
    written = 0
    for _ in range(100):
        try:
            written += os.write(typed, b"x" * 65536)
        except BlockingIOError:
            pass
        desk.carry(1)
    assert written < 65536 * 5
    got = 0
    while got < written:
        got += len(taken(desk.stdin))
        desk.carry(2)
    assert got == written


def test_keys_let_go_and_close_only_what_is_theirs() -> None:
    theirs, typed = pipe()
    seen, seen_end = pipe()
    left: list[int] = []
    desk = Desk([], once=False)
    desk.streams.add(Person({"stdin": theirs, "stdout": seen_end}, keys=Keys(parse(DEFAULT)), left=lambda: left.append(1)))
    os.write(typed, b"a\x10b\x10")
    desk.carry()
    assert taken(desk.stdin) == b"a\x10b" and not left
    os.write(typed, b"\x11never")
    desk.carry()
    assert left == [1] and taken(desk.stdin) == b""
    with pytest.raises(BrokenPipeError):
        os.write(typed, b"x")


@pytest.mark.parametrize(("text", "keys"), [("ctrl-p,ctrl-q", (16, 17)), ("a", (97,)), ("ctrl-@,ctrl-[,ctrl-_", (0, 27, 31)), ("", ()), ("ctrl-\\", (28,))])
def test_sequences_are_read(text: str, keys: tuple[int, ...]) -> None:
    assert parse(text) == keys


@pytest.mark.parametrize("text", ["ctrl-1", "foo", "a,,b", "ctrl-", "é"])
def test_what_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="Unknown character"):
        parse(text)


def test_what_only_begins_like_the_sequence_is_typed() -> None:
    keys = Keys(b"aab")
    assert keys.feed(b"aaab") == (b"a", True)
    keys = Keys(b"ab")
    assert [keys.feed(bytes([byte])) for byte in b"xaac"] == [(b"x", False), (b"", False), (b"a", False), (b"ac", False)]
