"""The build loop: each instruction is always *prepared* (new settings, cache key) and *executed* only on a miss.

A step makes an image, as in docker's classic builder, so a failed build resumes at its failed step and every step can be run and looked at.
The builder touches no store and no kernel: its `Host` does.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import posixpath
import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import msgspec

from dockerlab.build import instructions as ins
from dockerlab.build import parser, values, words
from dockerlab.build.cache import Cache, key_of
from dockerlab.build.context import Context, Picked, Source
from dockerlab.build.reasons import Done, Memory, contents, hashed
from dockerlab.build.stages import up_to
from dockerlab.errors import BuildFailed, DockerfileError, NotFound
from dockerlab.events import ArgumentsUnused, CacheHit, CacheMiss, Event, StepEnded, StepOutput, StepRunning, StepStarted, TriggersStarted
from dockerlab.oci.config import Healthcheck, RunConfig, env_map, env_words

__all__ = ["Builder", "Host", "Step", "Transfer", "settings_after"]

_SHELL = ("/bin/sh", "-c")
_PREDEFINED = tuple("HTTP_PROXY http_proxy HTTPS_PROXY https_proxy FTP_PROXY ftp_proxy NO_PROXY no_proxy ALL_PROXY all_proxy".split())
Emit = Callable[[Event], object]


@dataclass(frozen=True, slots=True)
class Transfer:
    """What COPY and ADD lay down: the sources, where, as whom ("" keeps the owner), with which mode (None keeps it)."""

    sources: tuple[Picked, ...]
    destination: str
    owner: str = ""
    mode: int | None = None
    unpack: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """A prepared instruction: the settings after it, its line in the history, what its cache key depends on, and what is to be done."""

    run: RunConfig
    created_by: str
    inputs: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    transfer: Transfer | None = None
    folder: str = ""
    author: str = ""


class Host(Protocol):
    """What the builder needs of an engine. Images are named by their ids, "" is `scratch`."""

    def resolve(self, reference: str) -> str:
        """Gives an image's id; raises NotFound."""
        ...

    def settings(self, image: str) -> RunConfig:
        """Gives the settings of an image."""
        ...

    def exists(self, image: str) -> bool:
        """Tells whether the image is still here."""
        ...

    def files(self, image: str) -> AbstractContextManager[Source]:
        """Opens an image as something to copy from."""
        ...

    def execute(self, image: str, step: Step, running: Callable[[str], object], output: Callable[[int, bytes], object]) -> str:
        """Does a step on an image and gives the new image's id; raises BuildFailed."""
        ...


@dataclass(slots=True)
class _Stage:
    image: str = ""
    run: RunConfig = field(default_factory=RunConfig)
    args: dict[str, str] = field(default_factory=dict)
    author: str = ""
    cmd_set: bool = False
    name: str = ""
    begun: bool = False


class Builder:
    """One build of one Dockerfile."""

    def __init__(
        self, host: Host, cache: Cache, context: Context, *, build_args: Mapping[str, str], no_cache: bool = False, origin: str = "", emit: Emit
    ) -> None:
        self._host, self._cache, self._context, self._emit = host, cache, context, emit
        self._memory = Memory(cache, origin)
        self._texts: list[str] = []
        self._first_miss = 0
        self._build_args, self._no_cache = dict(build_args), no_cache
        self._globals: dict[str, str] = {}
        self._stages: list[tuple[str, str]] = []
        self._stage = _Stage()
        self._cold = False
        self.unused = set(build_args)

    def build(self, dockerfile: parser.Dockerfile, *, target: str = "") -> str:
        """Gives the id of the last image (or of the stage `target`); raises DockerfileError and InvalidRequest before, BuildFailed and NotFound in the first step."""
        steps, whole = self._steps(dockerfile, target), False
        try:
            for position, step in enumerate(steps, 1):
                self._emit(StepStarted(position, len(steps), step.original))
                try:
                    self._one(step, position, len(steps))
                except DockerfileError as error:
                    raise BuildFailed(error.message, step=position, hint=error.hint) from error
            whole = True
        finally:
            self._memory.keep(whole=whole)
        if left := sorted(self.unused.difference(_PREDEFINED)):
            self._emit(ArgumentsUnused(tuple(left)))
        return self._stage.image

    def _steps(self, dockerfile: parser.Dockerfile, target: str) -> Sequence[ins.Instruction]:
        steps = up_to(ins.instructions(dockerfile), target)
        self._refuse_unknown(steps)
        self._escape, self._texts = dockerfile.escape, [step.original for step in steps]
        return steps

    def _refuse_unknown(self, steps: Sequence[ins.Instruction]) -> None:
        for step in steps:
            if isinstance(step, ins.Onbuild):
                step = step.trigger
            missing = _not_yet(step)
            if missing:
                raise DockerfileError(
                    f"{missing} is not executed by dockerlab yet",
                    line=step.line,
                    text=step.original.split("\n")[0],
                    hint="leave it out, or do it with RUN",
                )

    def _one(self, step: ins.Instruction, position: int, total: int) -> None:
        if isinstance(step, ins.From):
            self._from(step)
            self._triggers(position, total)
            self._emit(StepEnded(position, self._stage.image))
        elif isinstance(step, ins.Arg) and not self._stage.begun:
            self._global_args(step)
        else:
            self._do(step, position)

    def _do(self, step: ins.Instruction, position: int, *, trigger: bool = False) -> None:
        with contextlib.ExitStack() as self._held:
            self._perform(self._prepare(step), position, step, trigger)

    def _global_args(self, step: ins.Arg) -> None:
        for name, default in step.pairs:
            self.unused.discard(name)
            value = self._build_args.get(name, None if default is None else words.expand(default, self._globals, self._escape))
            if value is not None:
                self._globals[name] = value

    def _from(self, step: ins.From) -> None:
        name = words.expand(step.image, self._globals, self._escape)
        if not name:
            raise BuildFailed(f"base name ({step.image}) should not be blank", hint="give the ARG a default")
        if self._stage.begun:
            self._stages.append((self._stage.name, self._stage.image))
        image = self._named(name)
        if image is None:
            image = "" if name == "scratch" else self._host.resolve(name)
        run = self._host.settings(image) if image else RunConfig(env=("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",))
        self._stage = _Stage(image, run, name=step.name, begun=True)
        self._cold, self._first_miss = self._no_cache, 0
        self._memory.based(name, image)

    def _named(self, name: str) -> str | None:
        return next((image for known, image in reversed(self._stages) if known == name.lower()), None)

    def _other(self, word: str) -> str:
        """Gives the image that `--from` names: a stage that is done by its name or number, else any image."""
        image = self._named(word)
        if image is not None:
            return image
        if re.fullmatch(r"[+-]?[0-9]+", word):
            if int(word) == len(self._stages):
                raise BuildFailed(f"invalid from flag value {word}: refers to current build stage", hint="name a stage that stands above this one")
            if not 0 <= int(word) < len(self._stages):
                raise BuildFailed(f"invalid from flag value {word}: index out of bounds", hint="count the FROM lines above this one from 0")
            return self._stages[int(word)][1]
        try:
            return self._host.resolve(word)
        except (NotFound, ValueError) as error:
            raise BuildFailed(f"invalid from flag value {word}: {str(error).partition(chr(10))[0]}", hint="name a stage with FROM … AS NAME, or an image that is here") from error

    def _triggers(self, position: int, total: int) -> None:
        triggers = self._stage.run.on_build
        self._stage.run = msgspec.structs.replace(self._stage.run, on_build=())
        if triggers:
            self._emit(TriggersStarted(position, len(triggers)))
        for text in triggers:
            for node in parser.parse(text).nodes:
                trigger = ins.instruction(node)
                self._refuse_unknown([trigger])
                self._emit(StepStarted(position, total, text, trigger=True))
                self._do(trigger, position, trigger=True)

    # What is always done: preparing.

    def _variables(self) -> dict[str, str]:
        return {**self._stage.args, **env_map(self._stage.run.env)}

    def _expand(self, text: str) -> str:
        return words.expand(text, self._variables(), self._escape)

    def _prepare(self, step: ins.Instruction) -> Step:
        prepare = getattr(self, f"_prepare_{step.keyword}")
        return prepare(step)  # type: ignore[no-any-return]

    def _set(self, line: str, **changes: Any) -> Step:
        return Step(msgspec.structs.replace(self._stage.run, **changes), f"/bin/sh -c #(nop)  {line}")

    def _shell(self) -> tuple[str, ...]:
        return self._stage.run.shell or _SHELL

    def _words(self, command: ins.Command, text: str = "") -> tuple[str, ...]:
        return (*self._shell(), text or " ".join(command.words)) if command.shell else command.words

    def _prepare_run(self, step: ins.Run) -> Step:
        command = self._words(step.command, step.script.content if step.script else step.shell_text)
        used = {n: v for n, v in self._stage.args.items() if n not in env_map(self._stage.run.env)}
        told = [f"{name}={value}" for name, value in sorted(used.items()) if name not in _PREDEFINED]
        prefix = f"|{len(told)} {' '.join(told)} " if told else ""
        env = env_words({**used, **env_map(self._stage.run.env)})
        return Step(self._stage.run, prefix + " ".join(command), (*command, *told), command, env)

    def _prepare_copy(self, step: ins.Copy | ins.Add, *, unpack: bool = False) -> Step:
        keyword = step.keyword.upper()
        destination = self._expand(step.destination)
        picked = self._picked(step, keyword)
        if len(picked) > 1 and not destination.endswith("/"):
            raise BuildFailed(
                f"When using {keyword} with more than one source file, the destination must be a directory and end with a /", hint=f"write {destination}/"
            )
        digests = [p.digest() for p in picked]
        kind = "multi" if len(picked) > 1 else "dir" if picked[0].is_dir else "file"
        name = digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
        where = destination if destination.startswith("/") else f"{self._stage.run.working_dir.rstrip('/')}/{destination}"
        owner, mode = self._expand(step.chown), self._mode(step)
        transfer = Transfer(tuple(picked), where, owner, mode, unpack)
        # Docker writes no blank behind the owner.
        line = f"/bin/sh -c #(nop) {keyword} {'--chown=' + owner if owner else ''}{kind}:{name} in {destination} "
        return Step(self._stage.run, line, (*digests, *(p.name for p in picked), where, owner, str(mode)), transfer=transfer)

    def _picked(self, step: ins.Copy | ins.Add, keyword: str) -> list[Picked]:
        source: Source = self._context
        if isinstance(step, ins.Copy) and step.from_:
            source = self._held.enter_context(self._host.files(self._other(step.from_)))
        try:
            picked = [one for word in step.sources for one in source.pick(self._expand(word))]
        except BuildFailed as error:
            raise BuildFailed(error.message.replace("COPY", keyword, 1), hint=error.hint) from None
        if not picked:
            raise BuildFailed(f"{keyword} failed: no source files were specified", hint="look at the pattern: nothing matches it")
        return picked

    def _mode(self, step: ins.Copy | ins.Add) -> int | None:
        text = self._expand(step.chmod)
        if not text:
            return None
        if not all(c in "01234567" for c in text) or int(text, 8) > 0o7777:
            raise BuildFailed(f"invalid chmod parameter: '{text}'. it should be octal string and between 0 and 07777", hint="write --chmod=755")
        return int(text, 8)

    def _prepare_add(self, step: ins.Add) -> Step:
        return self._prepare_copy(step, unpack=True)

    def _prepare_env(self, step: ins.Env) -> Step:
        variables = self._variables()
        pairs = {words.expand(n, variables, self._escape): words.expand(v, variables, self._escape) for n, v in step.pairs}
        line = " ".join(f"{name}={value}" for name, value in pairs.items())
        return self._set(f"ENV {line}", env=env_words({**env_map(self._stage.run.env), **pairs}))

    def _prepare_label(self, step: ins.Label) -> Step:
        pairs = {self._expand(name): self._expand(value) for name, value in step.pairs}
        return self._set("LABEL " + " ".join(f"{n}={v}" for n, v in pairs.items()), labels={**self._stage.run.labels, **pairs})

    def _prepare_arg(self, step: ins.Arg) -> Step:
        shown = []
        for name, default in step.pairs:
            self.unused.discard(name)
            value = self._build_args.get(name, self._globals.get(name) if default is None else self._expand(default))
            if value is not None:
                self._stage.args[name] = value
            shown.append(name if default is None else f"{name}={self._expand(default)}")
        return self._set("ARG " + " ".join(shown))

    def _prepare_workdir(self, step: ins.Workdir) -> Step:
        path = posixpath.normpath(posixpath.join(self._stage.run.working_dir or "/", self._expand(step.path)))
        run = msgspec.structs.replace(self._stage.run, working_dir=path)
        return Step(run, f"/bin/sh -c #(nop) WORKDIR {path}", folder=path)

    def _prepare_user(self, step: ins.User) -> Step:
        user = self._expand(step.user)
        return self._set(f"USER {user}", user=user)

    def _prepare_expose(self, step: ins.Expose) -> Step:
        ports = [port for text in step.ports for port in words.split(text, self._variables(), self._escape)]
        full: dict[str, dict[str, str]] = {port: {} for word in ports for port in values.ports(word)}
        return self._set(f"EXPOSE {' '.join(ports)}", exposed_ports={**self._stage.run.exposed_ports, **full})

    def _prepare_volume(self, step: ins.Volume) -> Step:
        paths = [self._expand(path) for path in step.paths]
        if "" in paths:
            raise BuildFailed("VOLUME specified can not be an empty string", hint="name a folder of the image, as in VOLUME /data")
        return self._set(f"VOLUME [{' '.join(paths)}]", volumes={**self._stage.run.volumes, **{path: {} for path in paths}})

    def _prepare_entrypoint(self, step: ins.Entrypoint) -> Step:
        command = self._words(step.command) if step.command.words else ()
        # A new entrypoint forgets a command that came from the image below; one of this Dockerfile stays.
        inherited = self._host.settings(self._stage.image).cmd if self._stage.image else None
        cmd = None if inherited == self._stage.run.cmd and not self._stage.cmd_set else self._stage.run.cmd
        return self._set(f"ENTRYPOINT {_listed(command)}", entrypoint=command or None, cmd=cmd)

    def _prepare_cmd(self, step: ins.Cmd) -> Step:
        command = self._words(step.command) if step.command.words else ()
        self._stage.cmd_set = True
        return self._set(f"CMD {_listed(command)}", cmd=command or None)

    def _prepare_shell(self, step: ins.Shell) -> Step:
        return self._set(f"SHELL [{' '.join(step.words)}]", shell=step.words)

    def _prepare_stopsignal(self, step: ins.StopSignal) -> Step:
        signal = values.checked_signal(self._expand(step.signal))
        return self._set(f"STOPSIGNAL {signal}", stop_signal=signal)

    def _prepare_healthcheck(self, step: ins.Healthcheck) -> Step:
        command = step.command
        test = ("NONE",) if command is None else ("CMD-SHELL", " ".join(command.words)) if command.shell else ("CMD", *command.words)
        check = Healthcheck(
            test=test,
            interval=step.interval,
            timeout=step.timeout,
            start_period=step.start_period,
            start_interval=step.start_interval,
            retries=step.retries,
        )
        return self._set(f"HEALTHCHECK {_listed(test)}", healthcheck=check)

    def _prepare_maintainer(self, step: ins.Maintainer) -> Step:
        self._stage.author = step.name
        return _by(self._set(f"MAINTAINER {step.name}"), step.name)

    def _prepare_onbuild(self, step: ins.Onbuild) -> Step:
        return self._set(f"ONBUILD {step.text}", on_build=(*self._stage.run.on_build, step.text))

    # What is done only on a miss: executing.

    def _perform(self, step: Step, number: int, instruction: ins.Instruction, trigger: bool) -> None:
        parent, (key, known) = self._stage.image, self._looked_up(step)
        done = self._read(step, instruction, key)
        if known:
            self._emit(CacheHit(number, known, trigger))
            self._memory.note(msgspec.structs.replace(done, image=known))
        else:
            self._emit(CacheMiss(number, self._why(done), telling=bool(self._memory.before) and not self._cold))
            begin = time.monotonic()
            try:
                known = self._execute(parent, step, number, trigger)
            except BaseException:
                self._memory.note(msgspec.structs.replace(done, image="", seconds=0.0))  # it failed
                raise
            self._cache.put(key, known)
            self._memory.note(msgspec.structs.replace(done, image=known, seconds=round(time.monotonic() - begin, 3)))
            self._cold, self._first_miss = True, self._first_miss or number
        self._stage.image, self._stage.run = known, step.run

    def _read(self, step: Step, instruction: ins.Instruction, key: str) -> Done:
        """Gives a step with what it reads, as it is remembered: the same key says that it reads the same."""
        if (before := self._memory.last(instruction.original)) and before.key == key:
            return before
        used = {name: value for name, value in self._stage.args.items() if name not in _PREDEFINED and name not in env_map(self._stage.run.env)}
        return Done(text=instruction.original, key=key, args=hashed(used) if step.command else {}, files=contents(step.transfer.sources) if step.transfer else {})

    def _looked_up(self, step: Step) -> tuple[str, str]:
        """Gives the step's key, and the image that it made before, "" for none."""
        key = key_of(self._stage.image, step.created_by, (*step.inputs, msgspec.json.encode(step.run).decode()))
        known = "" if self._cold else self._cache.get(key)
        return key, known if known and self._host.exists(known) else ""

    def _why(self, done: Done) -> str:
        if self._no_cache:
            return "--no-cache was given"
        if self._cold:
            return f"step {self._first_miss} was done again"
        return self._memory.cause(done, self._texts) if self._memory.before else "never built here"

    def _execute(self, parent: str, step: Step, number: int, trigger: bool) -> str:
        running: list[str] = []

        def begun(container: str) -> None:
            running.append(container)
            self._emit(StepRunning(number, container))

        image = self._host.execute(parent, step, begun, lambda stream, data: self._emit(StepOutput(number, stream, data)))
        self._emit(StepEnded(number, image, running[0] if running else "", trigger))
        return image


def settings_after(run: RunConfig, node: parser.Node) -> RunConfig:
    """Gives settings as one instruction changes them; raises DockerfileError. For `--change`, where nothing is executed."""
    builder = Builder.__new__(Builder)
    builder._stage, builder._escape, builder._globals, builder._build_args, builder.unused = _Stage("", run), "\\", {}, {}, set()
    return builder._prepare(ins.instruction(node)).run


def _by(step: Step, author: str) -> Step:
    return replace(step, author=author, inputs=(*step.inputs, author))


def _listed(command: Sequence[str]) -> str:
    return "[" + " ".join(json.dumps(word, ensure_ascii=False) for word in command) + "]"


def _not_yet(step: ins.Instruction) -> str:
    if isinstance(step, ins.Run):
        if step.mounts:
            return "RUN --mount"
        if step.network != "default":
            return "RUN --network"
        return "RUN --security" if step.security != "sandbox" else ""
    if isinstance(step, ins.Copy | ins.Add):
        checks = {"--link": step.link, "--parents": getattr(step, "parents", False), "--exclude": step.excludes,
                  "--checksum": getattr(step, "checksum", ""), "--keep-git-dir": getattr(step, "keep_git_dir", False), "<<heredoc": step.heredocs,
                  "--unpack": getattr(step, "unpack", None) is not None,
                  "of a URL": isinstance(step, ins.Add) and any(s.startswith(("http://", "https://", "git@", "git://")) for s in step.sources)}  # fmt: skip
        return next((f"{step.keyword.upper()} {flag}" for flag, used in checks.items() if used), "")
    return "FROM --platform" if isinstance(step, ins.From) and step.platform else ""
