"""Which instructions a build comes to: those of the stages that its target needs, and of no other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from dockerlab.build import instructions as ins
from dockerlab.errors import InvalidRequest

__all__ = ["Part", "needed"]


@dataclass(frozen=True, slots=True)
class Part:
    """One stage: its number, its name or "", and its instructions from FROM on."""

    number: int
    name: str
    steps: tuple[ins.Instruction, ...]


def needed(
    steps: Sequence[ins.Instruction], target: str, base: Callable[[ins.From], str], triggers: Callable[[str], Sequence[ins.Instruction]],
    given: Callable[[str], bool],
) -> tuple[tuple[ins.Instruction, ...], list[Part]]:  # fmt: skip
    """Gives what stands before the first FROM, and the stages that `target` (a name, a number, "" for the last) needs, in order. Raises InvalidRequest.

    `base` gives what FROM names, `triggers` the instructions that such an image brings along: they may name a stage as well;
    `given` tells which names stand for no stage, because the build was given something in its place.
    """
    first = next(place for place, step in enumerate(steps) if isinstance(step, ins.From))
    parts: list[Part] = []
    for step in steps[first:]:
        if isinstance(step, ins.From):
            parts.append(Part(len(parts), step.name, (step,)))
        else:
            last = parts[-1]
            parts[-1] = Part(last.number, last.name, (*last.steps, step))
    return tuple(steps[:first]), _reached(parts, _wanted(parts, target), base, triggers, given)


def _wanted(parts: Sequence[Part], target: str) -> int:
    if not target:
        return len(parts) - 1
    for part in parts:
        if target.lower() in (part.name, str(part.number)):
            return part.number
    names = ", ".join(part.name for part in parts if part.name)
    raise InvalidRequest(f"failed to reach build target {target} in Dockerfile", hint=f"name one of its stages: {names}" if names else "name the stage with FROM … AS")


def _reached(
    parts: Sequence[Part], wanted: int, base: Callable[[ins.From], str], triggers: Callable[[str], Sequence[ins.Instruction]], given: Callable[[str], bool],
) -> list[Part]:  # fmt: skip
    reached, waiting = set[int](), [wanted]
    while waiting:
        number = waiting.pop()
        if number in reached:
            continue
        reached.add(number)
        start, *rest = parts[number].steps
        below = base(start) if isinstance(start, ins.From) else ""
        stage = next((part for part in reversed(parts[:number]) if part.name and part.name == below.lower()), None)
        # What the stage or image below brings along is done here, and may name a stage that stands between.
        brought = [step.trigger for step in stage.steps if isinstance(step, ins.Onbuild)] if stage else triggers(below)
        for word, by_number in ((below, False), *(each for step in (*rest, *brought) for each in _named(step))):
            found = [part.number for part in parts[:number] if word and not given(part.name) and (word.lower() == part.name or (by_number and word == str(part.number)))]
            waiting += found[-1:]
    return [part for part in parts if part.number in reached]


def _named(step: ins.Instruction) -> Iterator[tuple[str, bool]]:
    """Yields what else an instruction takes files from, and whether that may be a stage's number."""
    if isinstance(step, ins.Copy):
        yield step.from_, True
    elif isinstance(step, ins.Run):
        yield from ((mount.from_, False) for mount in step.mounts)
    elif isinstance(step, ins.Onbuild):
        yield from _named(step.trigger)
