"""The keys that let go of a container's terminal and leave its program running; ctrl-p ctrl-q unless others are chosen."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["DEFAULT", "Keys", "parse"]

DEFAULT = "ctrl-p,ctrl-q"


def parse(text: str) -> tuple[int, ...]:
    """Gives the bytes of a sequence as docker writes it: letters, or `ctrl-` and one of a–z @ [ ] ^ _ and the backslash, with commas between. Raises ValueError."""
    return tuple(_key(word) for word in text.split(",")) if text else ()


def _key(word: str) -> int:
    if len(word) == 1 and word.isascii():
        return ord(word)
    name = word.removeprefix("ctrl-")
    if word.startswith("ctrl-") and len(name) == 1 and name in "abcdefghijklmnopqrstuvwxyz@[\\]^_":
        return ord(name.upper()) & 0x1F
    raise ValueError(f"Unknown character: '{word}'")


class Keys:
    """Looks for a sequence in what is typed; what only began like it is typed after all."""

    def __init__(self, sequence: Sequence[int]) -> None:
        self._sequence, self._held = bytes(sequence), b""

    def feed(self, data: bytes) -> tuple[bytes, bool]:
        """Gives what goes on to the program, and whether the sequence was complete."""
        passed = bytearray()
        for byte in data:
            self._held += bytes([byte])
            while self._held and not self._sequence.startswith(self._held):
                passed.append(self._held[0])
                self._held = self._held[1:]
            if self._held and self._held == self._sequence:
                return bytes(passed), True
        return bytes(passed), False
