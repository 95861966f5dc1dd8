"""Why a step is done again: what the last build of the same Dockerfile did, held against what this one is about to do."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from dockerlab.build.cache import Cache
from dockerlab.build.context import Picked
from dockerlab.oci.digest import short

__all__ = ["Done", "Memory", "contents", "hashed", "origin"]

_MOST_FILES = 50_000
_WIDE, _LEAD = 80, 20  # characters of an instruction that are shown, and of them before the first that is another


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """One step as a build left it: its text as written, the key and image it had, the seconds that its execution took when it last was, what it read (`contents`,
    `hashed` arguments), what was measured then, as rule and sentence, and how many builds were not from the cache because something that it reads had changed;
    the line where it stands, 0 for a trigger of the base image; the ids of the secrets that it was given, None where that was not noted; and
    the date that it was told to have, in seconds.
    """

    text: str
    line: int = 0
    key: str = ""
    image: str = ""
    seconds: float = 0.0
    files: Mapping[str, str] = {}
    args: Mapping[str, str] = {}
    advice: Sequence[tuple[str, str]] = ()
    caused: int = 0
    secrets: Sequence[str] | None = None
    date: int | None = None


def contents(sources: Iterable[Picked]) -> dict[str, str]:
    """Gives, for each file that COPY or ADD reads, its mode, owner and a digest of its content, apart from each other; {} for very many."""
    found: dict[str, str] = {}
    for source in sources:
        for entry, place in source.inside or (source.itself,):
            name = os.fsencode(f"{source.name}/{entry.path}" if source.inside else source.name).decode("utf-8", "backslashreplace")
            data = source.content(entry, place) if entry.kind == "file" else hashlib.sha256(entry.link.encode("utf-8", "surrogateescape")).hexdigest()
            found[name] = f"{entry.kind} {entry.mode:o} {entry.uid}:{entry.gid} {data[:32]}"
            if len(found) > _MOST_FILES:
                return {}
    return found


def origin(image: str, place: str) -> str:
    """Gives the source of a step that was there, in words: its image, and the line that made it where that is known."""
    return f"{short(image)}, made by {place}" if place else short(image)


def hashed(values: Mapping[str, str]) -> dict[str, str]:
    """Gives build arguments as they may be remembered: enough to tell that one changed, and not what it was."""
    return {name: hashlib.sha256(value.encode("utf-8", "surrogateescape")).hexdigest()[:16] for name, value in values.items()}


class Memory:
    """The last build of a Dockerfile, known by its `origin`, and this one; `name` is what a person calls the file."""

    def __init__(self, cache: Cache, origin: str, name: str) -> None:
        self._cache, self._origin, self._name = cache, origin, name
        self.before: list[Done] = _read(cache.recall(origin)) if origin else []
        self.now: list[Done] = []
        self._places: dict[str, str] | None = None
        self.moved = ""

    def based(self, name: str, image: str) -> None:
        """Notes what a base image's name stands for this time."""
        last = next((done.image for done in self.before if done.text == f"FROM {name}"), "")
        self.moved = f"the base image {name} moved: it was {short(last)}, and is {short(image)}" if last and image and last != image else ""
        self.now.append(Done(text=f"FROM {name}", image=image))

    def last(self, text: str) -> Done | None:
        """Gives the same step of the last build, the first that this one has not come to yet."""
        taken = sum(done.text == text for done in self.now)
        same = [done for done in self.before if done.text == text]
        return same[min(taken, len(same) - 1)] if same else None

    def cause(self, now: Done, texts: Sequence[str]) -> str:
        """Gives the first cause in words; `texts` are all steps of this build as written."""
        if self.moved:
            return self.moved
        before = self.last(now.text)
        if before is None:
            gone = [done for done in self.before if done.text not in texts and not done.text.startswith("FROM ")]
            place = len(self.now)
            old = next((done for done in gone if self.before.index(done) == place), None)
            return f"the instruction changed: {_changed(old.text, now.text)}" if old else "the instruction is new here"
        if before.key == now.key:
            return "the image that it made was removed since" if before.image else "it failed the last time"
        return _files(before.files, now.files) or _arguments(before.args, now.args) or _given(before.secrets, now.secrets) or _dated(before.date, now.date) or "the settings above it changed"

    def place(self, image: str) -> str:
        """Gives where the step stands that made an image last, as FILE:LINE; "" where nobody knows."""
        if self._places is None:  # those of the last build in one question: most steps are theirs
            self._places = self._cache.places(done.image for done in self.before if done.image)
        if image not in self._places:
            self._places[image] = self._cache.places([image]).get(image, "")
        return self._places[image]

    def blamed(self, now: Done) -> int:
        """Gives how often a change of what this step reads was why a build was not from the cache, this time included."""
        before = self.last(now.text)
        if before is None or not before.image:
            return before.caused if before else 0
        return before.caused + (before.files != now.files)

    def note(self, done: Done) -> None:
        """Takes a step in that is done, or was there."""
        self.now.append(done)

    def keep(self, *, whole: bool) -> None:
        """Remembers this build for the next. One that was not `whole` leaves what it did not come to as it was; one that failed at once leaves all."""
        self._cache.place({done.image: f"{self._name}:{done.line}" for done in self.now if done.image and done.line})
        if self._origin and len(self.now) > 1 and self.now != self.before:
            steps = [*self.now, *([] if whole else self.before[len(self.now) :])]
            self._cache.remember(self._origin, json.dumps([msgspec.to_builtins(step) for step in steps]))


def _read(text: str) -> list[Done]:
    try:
        return msgspec.json.decode(text.encode(), type=list[Done]) if text else []
    except msgspec.DecodeError:
        return []


def _changed(before: str, now: str) -> str:
    """Gives what an instruction was; of a long one where it differs, and what stands there now."""
    old, new = (" ".join(text.split()) for text in (before, now))
    if len(old) <= _WIDE:
        return f"it was {old}"
    start = next((place for place, (one, other) in enumerate(zip(old, new, strict=False)) if one != other), min(len(old), len(new)))
    start = old.rfind(" ", 0, max(start - _LEAD, 0)) + 1
    return f"it was {_part(old, start)}, and is {_part(new, start)}"


def _part(text: str, start: int) -> str:
    return "…" * bool(start) + text[start : start + _WIDE] + "…" * (len(text) > start + _WIDE)


def _files(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    if before == now:
        return ""
    if not before or not now:
        return "one of very many files has changed"
    changed = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
    name, rest = changed[0], f", and {len(changed) - 1} more" if len(changed) > 1 else ""
    if name not in before:
        return f"{name} is new{rest}"
    if name not in now:
        return f"{name} is gone{rest}"
    old, new = before[name].split(" "), now[name].split(" ")
    what = next((word for word, one, other in zip(("kind", "mode", "owner", "content"), old, new, strict=True) if one != other), "content")
    detail = f" ({old[1]} → {new[1]})" if what == "mode" else f" ({old[2]} → {new[2]})" if what == "owner" else ""
    return f"{name} has another {what}{detail}{rest}"


def _arguments(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    changed = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
    return f"the build argument {changed[0]} changed" if changed else ""


def _dated(before: int | None, now: int | None) -> str:
    return f"SOURCE_DATE_EPOCH is {'not given' if now is None else now}, and was {'not given' if before is None else before}" if before != now else ""


def _given(before: Sequence[str] | None, now: Sequence[str] | None) -> str:
    if before is None or now is None or set(before) == set(now):
        return ""
    ident = min(set(before) ^ set(now))
    return f"the secret {ident} is given, which it was not the last time" if ident in now else f"the secret {ident} is not given, which it was the last time"
