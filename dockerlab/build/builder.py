"""The build loop: each instruction is always *prepared* (new settings, cache key) and *executed* only on a miss.

A step makes an image, as in docker's classic builder, so a failed build resumes at its failed step and every step can be run and looked at.
A stage that nobody needs is left out, as by BuildKit. The builder touches no store and no kernel: its `Host` does.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from dockerlab.build import advice, confided, mounts, parser, pointing, stages, words
from dockerlab.build import instructions as ins
from dockerlab.build.advice import Advice, Checks, Facts
from dockerlab.build.cache import Cache, key_of
from dockerlab.build.context import Context, Picked
from dockerlab.build.digests import Digests
from dockerlab.build.preparing import PREDEFINED, Preparer
from dockerlab.build.reasons import Done, Memory, contents, hashed
from dockerlab.build.steps import Emit, Host, Stage, Step, Watched
from dockerlab.errors import BuildFailed, DockerfileError, DockerlabError, Interrupted
from dockerlab.events import Advised, ArgumentsUnused, CacheHit, CacheMiss, CheckOverridden, LayerCommitted, StepEnded, StepFailed, StepOutput, StepRunning, StepStarted, TriggersStarted
from dockerlab.oci.config import RunConfig, env_map

__all__ = ["Builder"]

_LAST_BYTES = 4096


class Builder:
    """One build of one Dockerfile. `cold` are the names of stages that take nothing from the cache, `labels` what the image gets at its end, `name` what the file is called,
    `platform` what FROM means where it does not say, `date` the seconds that all that is made is dated with."""

    def __init__(
        self, host: Host, cache: Cache, context: Context, *, build_args: Mapping[str, str], no_cache: bool = False, cold: Sequence[str] = (),
        labels: Mapping[str, str] | None = None, origin: str = "", name: str = "Dockerfile", platform: str = "", date: int | None = None, emit: Emit,
    ) -> None:  # fmt: skip
        self._host, self._cache, self._emit = host, cache, emit
        self._scope = Preparer(host, context, build_args)
        self._digests, self._context = Digests(cache, str(context.folder), lasting=context.lasting), context
        context.read = self._digests.of
        self._scope.globals |= _platform(host.platform)
        self._memory = Memory(cache, origin, name)
        cache.expect(done.key for done in self._memory.before if done.key)
        self._name, self._texts = name, list[str]()
        self._first_miss = 0
        self._no_cache, self._cold_stages, self._labels = no_cache, {name.lower() for name in cold}, dict(labels or {})
        # Nothing is taken from the cache at all; and: from some step on nothing can have been there.
        self._forced = self._cold = False
        self._platform, self._date = platform, date

    def build(self, dockerfile: parser.Dockerfile, *, target: str = "") -> str:
        """Gives the id of the last image (or of the stage `target`); raises DockerfileError and InvalidRequest before, BuildFailed and NotFound in the first step."""
        steps, whole = self._steps(dockerfile, target), False
        try:
            for position, step in enumerate(steps, 1):
                self._emit(StepStarted(position, len(steps), step.original))
                with self._pointing(dockerfile, step, position):
                    self._one(step, position, len(steps))
            whole = True
        finally:
            self._memory.keep(whole=whole)
            self._digests.keep()
        if left := sorted(self._scope.unused.difference(PREDEFINED, ["SOURCE_DATE_EPOCH"])):
            self._emit(ArgumentsUnused(tuple(left)))
        return self._scope.stage.image

    @contextlib.contextmanager
    def _pointing(self, dockerfile: parser.Dockerfile, step: ins.Instruction, position: int) -> Iterator[None]:
        """Has an error of a step say where in the Dockerfile it is."""
        try:
            yield
        except Interrupted:
            raise
        except DockerfileError as error:
            failed = BuildFailed(error.message, step=position, hint=error.hint)
            failed.place = pointing.place(dockerfile.source, self._name, step, error.message)
            raise failed from error
        except DockerlabError as error:
            error.place = error.place or pointing.place(dockerfile.source, self._name, step, error.message)
            raise

    def _steps(self, dockerfile: parser.Dockerfile, target: str) -> Sequence[ins.Instruction]:
        steps = ins.instructions(dockerfile)
        self._checks = Checks.parse(dockerfile.directives.get("check", ""))
        self._stated = self._checks.wanted(advice.stated(steps))
        if self._checks.fatal and self._stated:
            rules = ", ".join(sorted({each.rule for each in self._stated}))
            line = self._stated[0].line
            raise DockerfileError(f"lint violation found for rules: {rules}", line=line, text=dockerfile.source.split("\n")[line - 1], hint=self._stated[0].message)
        self._scope.escape = dockerfile.escape
        first, parts = stages.needed(steps, target, lambda start: self._base(start, steps), self._brought, self._host.given)
        chosen = [*first, *(step for part in parts for step in part.steps), *self._labelled(steps[-1].end_line + 1)]
        _refuse_unknown(chosen)
        self._scope.names = [step.name for step in steps if isinstance(step, ins.From)]
        self._numbers: dict[ins.Instruction, int] = {part.steps[0]: part.number for part in parts}
        self._texts = [step.original for step in chosen]
        return chosen

    def _labelled(self, line: int) -> Sequence[ins.Instruction]:
        """Gives the instructions that `--label` stands for, one each, as docker puts them below the Dockerfile; nothing in them is replaced."""
        found = []
        for name, value in sorted(self._labels.items()):
            node = parser.Node("label", (), (), False, f"LABEL {name}={value}", line, line, text=f"LABEL {name}={value}")
            found.append(ins.Label(node, ((words.literal(name, self._scope.escape), words.literal(value, self._scope.escape)),)))
        return found

    def _base(self, start: ins.From, steps: Sequence[ins.Instruction]) -> str:
        """Gives what FROM names, as far as it can be told before the first step; "" where an ARG is wrong, which that step will say."""
        known = dict(self._scope.globals)
        with contextlib.suppress(DockerfileError):
            for step in steps:
                if isinstance(step, ins.From):
                    break
                for name, default in step.pairs if isinstance(step, ins.Arg) else ():
                    known[name] = self._scope.build_args.get(name, words.expand(default or "", known, self._scope.escape))
            return words.expand(start.image, known, self._scope.escape)
        return ""

    def _brought(self, name: str) -> Sequence[ins.Instruction]:
        """Gives the ONBUILD instructions of an image that is here."""
        try:
            run = self._host.settings(name) if name and name != "scratch" else RunConfig()
            return [ins.instruction(node) for text in run.on_build for node in parser.parse(text).nodes]
        except (DockerlabError, ValueError):
            return ()

    def _one(self, step: ins.Instruction, position: int, total: int) -> None:
        if isinstance(step, ins.From):
            self._from(step)
            image = self._scope.stage.image
            self._triggers(position, total)
            self._emit(StepEnded(position, self._scope.stage.image))
            self._advise(position, step.line, advice.measured(step, Facts(self._scope.stage.run, base=(image, self._host.created(image)))) if image else ())
        elif isinstance(step, ins.Arg) and not self._scope.stage.begun:
            self._global_args(step)
        else:
            self._do(step, position)

    def _do(self, step: ins.Instruction, position: int, *, trigger: bool = False) -> None:
        before = self._scope.stage.run.healthcheck
        if isinstance(step, ins.Healthcheck) and before and before.test and before.test[0] != "NONE":
            self._emit(CheckOverridden(position, before.test))
        with contextlib.ExitStack() as self._scope.held:
            self._perform(self._scope.prepare(step), position, step, trigger)

    def _advise(self, number: int, line: int, measured: Iterable[Advice]) -> list[tuple[str, str]]:
        """Tells what a step could do better, what was measured in the place of what its text says; gives what was measured."""
        found = self._checks.wanted(measured)
        rules = {each.rule for each in found}
        for each in [*(said for said in self._stated if said.line == line and said.rule not in rules), *found]:
            if each.rule == "LatestTag" and not self._memory.moved:  # --check says so; a build once it made a difference
                continue
            self._emit(Advised(number, each.rule, each.line, each.message))
        return [(each.rule, each.message) for each in found]

    def _global_args(self, step: ins.Arg) -> None:
        scope = self._scope
        for name, default in step.pairs:
            scope.unused.discard(name)
            value = scope.build_args.get(name, None if default is None else words.expand(default, scope.globals, scope.escape))
            if value is not None:
                scope.globals[name] = value

    def _from(self, step: ins.From) -> None:
        scope = self._scope
        name = words.expand(step.image, scope.globals, scope.escape)
        if not name:
            raise BuildFailed(f"base name ({step.image}) should not be blank", hint="give the ARG a default")
        self._right_platform(step)
        self._leave_stage()
        below = scope.named(name)
        image = below.image if below else "" if name == "scratch" else self._host.resolve(name)
        args = dict(below.args) if below else {}  # a stage on another knows what ARG has set there
        run = self._host.settings(image) if image else RunConfig(env=("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",))
        scope.stage, scope.number = Stage(image, run, args, name=step.name, begun=True), self._numbers[step]
        self._forced = self._cold = self._no_cache or (bool(step.name) and step.name in self._cold_stages)
        self._first_miss = 0
        self._memory.based(name, image)

    def _leave_stage(self) -> None:
        if self._scope.stage.begun:
            self._scope.stages[self._scope.number] = self._scope.stage

    def _right_platform(self, step: ins.From) -> None:
        wanted, own = words.expand(step.platform, self._scope.globals, self._scope.escape) or self._platform, self._host.platform
        if wanted and wanted.lower() not in (own, own.partition("/")[2], {"linux/amd64": "linux/x86_64", "linux/arm64": "linux/aarch64"}.get(own)):
            raise BuildFailed(f"failed to build for platform {wanted}: this machine is {own}", hint="leave out --platform, or build on such a machine")

    def _triggers(self, position: int, total: int) -> None:
        stage = self._scope.stage
        triggers, stage.run = stage.run.on_build, msgspec.structs.replace(stage.run, on_build=())
        if triggers:
            self._emit(TriggersStarted(position, len(triggers)))
        for text in triggers:
            for node in parser.parse(text).nodes:
                trigger = ins.instruction(node)
                if isinstance(trigger, ins.From | ins.Maintainer | ins.Onbuild):
                    raise BuildFailed(f"{trigger.keyword.upper()} isn't allowed as an ONBUILD trigger", hint=f"the base image brings it along: {text[:80]}")
                _refuse_unknown([trigger])
                self._emit(StepStarted(position, total, text, trigger=True))
                self._do(trigger, position, trigger=True)

    # What is done only on a miss: executing.

    def _perform(self, step: Step, number: int, instruction: ins.Instruction, trigger: bool) -> None:
        key, known = self._looked_up(step)
        line = 0 if trigger else instruction.line
        done = msgspec.structs.replace(self._read(step, instruction, key), line=line)
        with contextlib.nullcontext() if known or self._forced else self._host.alone(key):
            known = known or self._looked_up(step)[1]  # another build may have done it while this one waited
            if known:
                self._emit(CacheHit(number, known, trigger, self._memory.place(known)))
                self._memory.note(msgspec.structs.replace(done, image=known))
                told = [*done.advice, *self._other_secrets(step, key)]
                self._advise(number, line, [Advice(rule, instruction.line, message) for rule, message in told])
            else:
                known = self._missed_step(step, done, number, trigger, instruction)
        self._scope.stage.image, self._scope.stage.run = known, step.run

    def _missed_step(self, step: Step, done: Done, number: int, trigger: bool, instruction: ins.Instruction) -> str:
        """Does a step; gives its image."""
        self._emit(CacheMiss(number, self._why(done), telling=bool(self._memory.before) and not self._cold))
        before = self._memory.last(done.text)
        done = msgspec.structs.replace(done, caused=(before.caused if before else 0) if self._cold else self._memory.blamed(done))
        begin = time.monotonic()
        try:
            image, facts = self._execute(self._scope.stage.image, step, number, trigger)
        except BaseException as error:
            if isinstance(error, BuildFailed):
                self._advise(number, done.line, advice.failed(instruction, error.exit_code))
            self._memory.note(msgspec.structs.replace(done, image="", seconds=0.0))
            raise
        self._cache.put(done.key, image)
        seconds = round(time.monotonic() - begin, 3)
        self._cache.confide(done.key, confided.marks(self._cache, step.mounts))
        found = self._advise(number, done.line, advice.measured(instruction, facts))
        self._memory.note(msgspec.structs.replace(done, image=image, seconds=seconds, advice=found))
        self._cold, self._first_miss = True, self._first_miss or number
        return image

    def _read(self, step: Step, instruction: ins.Instruction, key: str) -> Done:
        """Gives a step with what it reads, as it is remembered: the same key says that it reads the same."""
        if (before := self._memory.last(instruction.original)) and before.key == key:
            return before
        stage = self._scope.stage
        used = {name: value for name, value in stage.args.items() if name not in PREDEFINED and name not in env_map(stage.run.env)}
        secrets = [mount.ident for mount in step.mounts if mount.type == "secret"]
        return Done(text=instruction.original, key=key, args=hashed(used) if step.command else {}, files=contents(step.sources), secrets=secrets, date=self._date)

    def _other_secrets(self, step: Step, key: str) -> list[tuple[str, str]]:
        """Gives what is to be said where a step's image was made with other secrets: they are no part of its key, and no cause to do it again."""
        if not (others := confided.changed(self._cache, key, step.mounts)):
            return []
        which = f"the secrets {', '.join(others)} are others" if len(others) > 1 else f"the secret {others[0]} is another one"
        return [("SecretChanged", f"{which} than when this step was done, and its image is taken all the same: --no-cache does it again")]

    def _looked_up(self, step: Step) -> tuple[str, str]:
        """Gives the step's key, and the image that it made before, "" for none."""
        dated = () if self._date is None else (f"date={self._date}",)
        key = key_of(self._scope.stage.image, step.created_by, (*step.inputs, msgspec.json.encode(step.run).decode(), *dated))
        known = "" if self._forced else self._cache.get(key)
        return key, known if known and self._host.exists(known) else ""

    def _why(self, done: Done) -> str:
        if self._no_cache:
            return "--no-cache was given"
        if self._cold:
            return f"step {self._first_miss} was done again" if self._first_miss else "--no-cache-filter names its stage"
        return self._memory.cause(done, self._texts) if self._memory.before else "never built here"

    def _execute(self, parent: str, step: Step, number: int, trigger: bool) -> tuple[str, Facts]:
        running: list[str] = []
        said = bytearray()

        def begun(container: str) -> None:
            running.append(container)
            self._emit(StepRunning(number, container))

        def wrote(stream: int, data: bytes) -> None:
            said.extend(data)
            del said[:-_LAST_BYTES]
            self._emit(StepOutput(number, stream, data))

        watched = Watched(begun, wrote)
        try:
            image = self._host.execute(parent, step, watched)
        except BuildFailed as error:
            self._emit(StepFailed(number, running[0] if running else "", bool(error.container)))
            raise
        added = self._host.added(image) if step.command or step.transfer else ()
        if added:
            self._emit(LayerCommitted(number, sum(entry.weight for entry in added)))
        self._unchanged(step)
        self._emit(StepEnded(number, image, running[0] if running else "", trigger))
        sockets = [name for source in step.sources for name in source.sockets]
        return image, Facts(step.run, added, said.decode("utf-8", "replace"), watched.lost, args=self._scope.stage.args, sockets=sockets, author=step.author)

    def _unchanged(self, step: Step) -> None:
        """Raises BuildFailed where a file of the context has changed since it was looked at: the image must not stand under what the file was."""
        changed = [source for source in step.sources if source.read == self._context.read and _is_another(source)]
        if changed:
            raise BuildFailed(f"{changed[0].changed()} changed while it was read", hint="stop the program that writes it, then try again")


def _is_another(source: Picked) -> bool:
    try:
        return source.digest() != source.first
    except FileNotFoundError:
        return True


def _platform(own: str) -> dict[str, str]:
    """Gives the arguments that a Dockerfile may use without being given them (Dockerfile reference, "Automatic platform ARGs"); nothing is built for another machine."""
    system, _, rest = own.partition("/")
    machine, _, variant = rest.partition("/")
    parts: dict[str, str] = {"PLATFORM": own, "OS": system, "ARCH": machine, "VARIANT": variant}
    return {f"{kind}{name}": value for kind in ("BUILD", "TARGET") for name, value in parts.items()}


def _refuse_unknown(steps: Sequence[ins.Instruction]) -> None:
    for step in steps:
        if isinstance(step, ins.Onbuild):
            step = step.trigger
        if missing := _not_here(step):
            raise DockerfileError(f"{missing} is not executed by dockerlab", line=step.line, text=step.original.split("\n")[0], hint="leave it out, or do it in another way")


def _not_here(step: Any) -> str:
    if not isinstance(step, ins.Run):
        return ""
    return next(filter(None, map(mounts.refused, step.mounts)), "") or ("RUN --security=insecure" if step.security != "sandbox" else "")
