"""Which instructions a build comes to."""

from __future__ import annotations

from dockerlab.build import instructions as ins
from dockerlab.errors import InvalidRequest

__all__ = ["up_to"]


def up_to(steps: tuple[ins.Instruction, ...], target: str) -> tuple[ins.Instruction, ...]:
    """Gives the steps to the end of the stage `target`, a name or a number; raises InvalidRequest."""
    stages = [(step.name, place) for place, step in enumerate(steps) if isinstance(step, ins.From)]
    ends = [place for _, place in stages[1:]] + [len(steps)]
    for number, ((name, _), end) in enumerate(zip(stages, ends, strict=True)):
        if target and target.lower() in (name, str(number)):
            return steps[:end]
    if target:
        names = ", ".join(name for name, _ in stages if name)
        raise InvalidRequest(f"failed to reach build target {target} in Dockerfile", hint=f"name one of its stages: {names}" if names else "name the stage with FROM … AS")
    return steps
