"""What a build would do, without doing it: `build --explain`, and `--what-if` a file or a line were changed."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass

from dockerlab.build import instructions as ins
from dockerlab.build import parser, words
from dockerlab.build.advice import Advice
from dockerlab.build.builder import Builder
from dockerlab.build.context import Picked
from dockerlab.build.reasons import Done, origin
from dockerlab.build.steps import Stage, Step

__all__ = ["Foreseen", "Foresight"]


@dataclass(frozen=True, slots=True)
class Foreseen:
    """One step: `cause` is "" where its image is there already; `seconds` its execution took the last time, None where nobody knows;
    `caused` counts the builds that were not from the cache because something it reads had changed, `last` is what it took whether or not it would be done;
    `remark` is what to know of an image that is there.
    """

    number: int
    text: str
    cause: str
    seconds: float | None = None
    caused: int = 0
    last: float = 0.0
    remark: str = ""


class Foresight(Builder):
    """A builder that executes nothing. `what_if` is a path of the context, or `line:N` of the Dockerfile, that is taken for changed."""

    what_if = ""

    def foresee(self, dockerfile: parser.Dockerfile, *, target: str = "") -> list[Foreseen]:
        """Gives every step up to the target; raises what a build would raise before its first step, BuildFailed and NotFound for what it would copy."""
        steps = self._steps(dockerfile, target)
        self._seen: list[Foreseen] = []
        self._unmade: set[str] = set()
        for number, step in enumerate(steps, 1):
            known, self._number = self._memory.last(step.original), number
            if self._cold and not isinstance(step, ins.From):
                again = f"step {self._first_miss} would be done again" if self._first_miss else "--no-cache-filter names its stage"
                self._add(step.original, "--no-cache was given" if self._no_cache else again)
                self._memory.note(known or Done(text=step.original))
                continue
            with self._pointing(dockerfile, step, number):
                if isinstance(step, ins.From) or (isinstance(step, ins.Arg) and not self._scope.stage.begun):
                    self._begin(step, number, len(steps))
                else:
                    self._do(step, number)
        return self._seen

    def _begin(self, step: ins.From | ins.Arg, number: int, total: int) -> None:
        scope = self._scope
        if self._cold and scope.stage.begun:
            self._unmade |= {scope.stage.name, str(scope.number)} - {""}
        base = words.expand(step.image, scope.globals, scope.escape) if isinstance(step, ins.From) else ""
        if isinstance(step, ins.From) and base.lower() in self._unmade:
            self._leave_stage()
            scope.stage, scope.number = Stage(name=step.name, begun=True), self._numbers[step]
            self._cold, self._first_miss = True, number
            self._add(step.original, f"the stage {base} would be made again")
            return
        supposed = isinstance(step, ins.From) and self._on_line(step)
        self._add(step.original, f"line {step.line} would be another" if supposed else "")
        self._one(step, number, total)
        if supposed:
            self._cold, self._first_miss = True, number

    def _add(self, text: str, cause: str, remark: str = "") -> None:
        known = self._memory.last(text)
        last = known.seconds if known else None
        self._seen.append(Foreseen(self._number, text, cause, last if cause else None, known.caused if known else 0, last or 0.0, remark))

    def _do(self, step: ins.Instruction, position: int, *, trigger: bool = False) -> None:
        taken = [step.from_] if isinstance(step, ins.Copy) else [mount.from_ for mount in step.mounts] if isinstance(step, ins.Run) else []
        if unmade := next((word for word in taken if word.lower() in self._unmade), ""):
            self._missed(step.original, f"the stage {unmade} would be made again")
            return
        super()._do(step, position, trigger=trigger)

    def _perform(self, step: Step, number: int, instruction: ins.Instruction, trigger: bool) -> None:
        key, known = self._looked_up(step)
        done = self._read(step, instruction, key)
        if trigger and self._cold:
            self._missed(instruction.original, f"step {self._first_miss} would be done again")
        elif cause := self._supposed(step, instruction):
            self._missed(instruction.original, cause)
        elif known:
            told = self._checks.wanted(Advice(rule, instruction.line, message) for rule, message in self._other_secrets(step, key))
            self._add(instruction.original, "", "; ".join([origin(known, self._memory.place(known)), *(each.message for each in told)]))
            self._memory.note(done)
        else:
            self._missed(instruction.original, self._why(done))
        self._scope.stage.image, self._scope.stage.run = known or self._scope.stage.image, step.run

    def _missed(self, text: str, cause: str) -> None:
        self._add(text, cause)
        self._memory.note(Done(text=text))
        self._cold, self._first_miss = True, self._first_miss or self._number

    def _supposed(self, step: Step, instruction: ins.Instruction) -> str:
        if self._on_line(instruction):
            return f"line {self.what_if[5:]} would be another"
        if self.what_if and any(source.read == self._context.read and self._holds(source) for source in step.sources):
            return f"{self.what_if} would have another content"
        return ""

    def _on_line(self, instruction: ins.Instruction) -> bool:
        word, _, line = self.what_if.partition(":")
        return word == "line" and line.isdigit() and instruction.line <= int(line) <= instruction.end_line

    def _holds(self, source: Picked) -> bool:
        """Tells whether a path, one that is not there yet perhaps, is or would be part of a source."""
        clean = posixpath.normpath(self.what_if).strip("/")
        name = posixpath.normpath(source.name)
        if not source.is_dir:
            return clean in (name, ".") or name.startswith(f"{clean}/")
        inside = name in (".", clean) or clean == "." or clean.startswith(f"{name}/") or name.startswith(f"{clean}/")
        return inside and not (clean != "." and self._context.ignores(clean))
