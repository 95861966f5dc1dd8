"""What is always done with an instruction: its variables are replaced, and a `Step` made of it. Nothing is executed here.

Variables: ENV over ARG; an ARG takes --build-arg, else what stands before the first FROM, else its default (Dockerfile reference, "Understand how ARG and FROM interact").
"""

from __future__ import annotations

import difflib
import json
import posixpath
import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, cast

import msgspec

from dockerlab.build import copying, mounts, parser, values, words
from dockerlab.build import instructions as ins
from dockerlab.build.context import Context, Source
from dockerlab.build.steps import Host, Stage, Step
from dockerlab.errors import BuildFailed, NotFound
from dockerlab.oci.config import Healthcheck, RunConfig, env_map, env_words

__all__ = ["PREDEFINED", "Preparer", "settings_after"]

_SHELL = ("/bin/sh", "-c")
# Nobody has to declare these, and no history shows them.
PREDEFINED = tuple("HTTP_PROXY http_proxy HTTPS_PROXY https_proxy FTP_PROXY ftp_proxy NO_PROXY no_proxy ALL_PROXY all_proxy".split())


class Preparer:
    """The stage that a build is in, and the stages before it, by their numbers."""

    def __init__(self, host: Host, context: Context, build_args: Mapping[str, str], run: RunConfig | None = None) -> None:
        self.host, self.context, self.build_args = host, context, dict(build_args)
        self.stage, self.stages = Stage("", run or RunConfig()), dict[int, Stage]()
        self.number, self.escape = 0, "\\"
        self.globals: dict[str, str] = {}
        self.names: list[str] = []  # of all stages by their numbers, those that nobody needs too, "" for none
        self.unused = set(build_args)
        self.held = ExitStack()

    def variables(self) -> dict[str, str]:
        """Gives all that a `$` may name."""
        return {**self.stage.args, **env_map(self.stage.run.env)}

    def expand(self, text: str) -> str:
        """Gives one word with its variables replaced; raises DockerfileError."""
        return words.expand(text, self.variables(), self.escape)

    def named(self, name: str) -> Stage | None:
        """Gives the last stage of this name; None where the build was given something in its place."""
        return None if self.host.given(name) else next((stage for stage in reversed(self.stages.values()) if stage.name == name.lower()), None)

    def source(self, word: str, *, numbers: bool = True) -> Source:
        """Opens what `from` names, for as long as the step lasts: a stage by its name, or number, a context with a name, else any image. Raises BuildFailed."""
        number = int(word) if numbers and word.isascii() and word.isdigit() and int(word) < self.number else -1
        word = self.names[number] if number >= 0 and self.host.given(self.names[number]) else word
        if context := self.host.named(word):
            return context
        return self.held.enter_context(self.host.files(self._other(word, numbers)))

    def _other(self, word: str, numbers: bool) -> str:
        if stage := self.named(word):
            return stage.image
        if numbers and re.fullmatch(r"[+-]?[0-9]+", word):
            if int(word) == self.number:
                raise BuildFailed(f"invalid from flag value {word}: refers to current build stage", hint="name a stage that stands above this one")
            if int(word) not in self.stages:
                raise BuildFailed(f"invalid from flag value {word}: index out of bounds", hint="count the FROM lines above this one from 0")
            return self.stages[int(word)].image
        try:
            return self.host.resolve(word)
        except (NotFound, ValueError) as error:
            raise BuildFailed(f"invalid from flag value {word}: {str(error).partition(chr(10))[0]}", hint=self._meant(word)) from error

    def _meant(self, word: str) -> str:
        close = difflib.get_close_matches(word.lower(), filter(None, self.names[: self.number]), n=1)
        return f"is the stage {close[0]} meant?" if close else "name a stage with FROM … AS NAME, or an image that is here"

    def prepare(self, step: ins.Instruction) -> Step:
        """Gives what there is to do; raises BuildFailed, DockerfileError."""
        prepare = getattr(self, f"_prepare_{step.keyword}")
        return prepare(step)  # type: ignore[no-any-return]

    def _set(self, line: str, **changes: Any) -> Step:
        return Step(msgspec.structs.replace(self.stage.run, **changes), f"/bin/sh -c #(nop)  {line}")

    def _shell(self) -> tuple[str, ...]:
        return self.stage.run.shell or _SHELL

    def _words(self, command: ins.Command, text: str = "") -> tuple[str, ...]:
        return (*self._shell(), text or " ".join(command.words)) if command.shell else command.words

    def _prepare_run(self, step: ins.Run) -> Step:
        command = self._words(step.command, step.script.content if step.script else step.shell_text)
        used = {n: v for n, v in self.stage.args.items() if n not in env_map(self.stage.run.env)}
        told = [f"{name}={value}" for name, value in sorted(used.items()) if name not in PREDEFINED]
        prefix = f"|{len(told)} {' '.join(told)} " if told else ""
        proxies = {name: self.build_args[name] for name in PREDEFINED if name in self.build_args}
        env = env_words({**proxies, **used, **env_map(self.stage.run.env)})
        laid = tuple(each for mount in step.mounts if (each := mounts.prepared(self, step, mount)))
        network = "" if step.network == "default" else step.network
        keys = (*(part for mount in laid for part in mount.key()), *([f"network={network}"] if network else []))
        return Step(self.stage.run, prefix + " ".join(command), (*command, *told, *keys), command, env, laid, network)

    def _prepare_copy(self, step: ins.Copy) -> Step:
        return copying.prepared(self, step)

    def _prepare_add(self, step: ins.Add) -> Step:
        return copying.prepared(self, step)

    def _prepare_env(self, step: ins.Env) -> Step:
        variables = self.variables()
        pairs = {words.expand(n, variables, self.escape): words.expand(v, variables, self.escape) for n, v in step.pairs}
        _no_blank("ENV", pairs)
        line = " ".join(f"{name}={value}" for name, value in pairs.items())
        return self._set(f"ENV {line}", env=env_words({**env_map(self.stage.run.env), **pairs}))

    def _prepare_label(self, step: ins.Label) -> Step:
        pairs = {self.expand(name): self.expand(value) for name, value in step.pairs}
        _no_blank("LABEL", pairs)
        return self._set("LABEL " + " ".join(f"{n}={v}" for n, v in pairs.items()), labels={**self.stage.run.labels, **pairs})

    def _prepare_arg(self, step: ins.Arg) -> Step:
        shown = []
        for name, default in step.pairs:
            self.unused.discard(name)
            value = self.build_args.get(name, self.globals.get(name) if default is None else self.expand(default))
            if value is not None:
                self.stage.args[name] = value
            shown.append(name if default is None else f"{name}={self.expand(default)}")
        return self._set("ARG " + " ".join(shown))

    def _prepare_workdir(self, step: ins.Workdir) -> Step:
        path = posixpath.normpath(posixpath.join(self.stage.run.working_dir or "/", self.expand(step.path)))
        run = msgspec.structs.replace(self.stage.run, working_dir=path)
        return Step(run, f"/bin/sh -c #(nop) WORKDIR {path}", folder=path)

    def _prepare_user(self, step: ins.User) -> Step:
        user = self.expand(step.user)
        return self._set(f"USER {user}", user=user)

    def _prepare_expose(self, step: ins.Expose) -> Step:
        ports = [port for text in step.ports for port in words.split(text, self.variables(), self.escape)]
        full: dict[str, dict[str, str]] = {port: {} for word in ports for port in values.ports(word)}
        return self._set(f"EXPOSE {' '.join(ports)}", exposed_ports={**self.stage.run.exposed_ports, **full})

    def _prepare_volume(self, step: ins.Volume) -> Step:
        paths = [self.expand(path) for path in step.paths]
        if "" in paths:
            raise BuildFailed("VOLUME specified can not be an empty string", hint="name a folder of the image, as in VOLUME /data")
        return self._set(f"VOLUME [{' '.join(paths)}]", volumes={**self.stage.run.volumes, **{path: {} for path in paths}})

    def _prepare_entrypoint(self, step: ins.Entrypoint) -> Step:
        command = self._words(step.command) if step.command.words else ()
        # A new entrypoint forgets a command that came from the image below; one of this Dockerfile stays.
        inherited = self.host.settings(self.stage.image).cmd if self.stage.image else None
        cmd = None if inherited == self.stage.run.cmd and not self.stage.cmd_set else self.stage.run.cmd
        return self._set(f"ENTRYPOINT {_listed(command)}", entrypoint=command or None, cmd=cmd)

    def _prepare_cmd(self, step: ins.Cmd) -> Step:
        command = self._words(step.command) if step.command.words else ()
        self.stage.cmd_set = True
        return self._set(f"CMD {_listed(command)}", cmd=command or None)

    def _prepare_shell(self, step: ins.Shell) -> Step:
        return self._set(f"SHELL [{' '.join(step.words)}]", shell=step.words)

    def _prepare_stopsignal(self, step: ins.StopSignal) -> Step:
        signal = values.checked_signal(self.expand(step.signal))
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
        self.stage.author = step.name
        return _by(self._set(f"MAINTAINER {step.name}"), step.name)

    def _prepare_onbuild(self, step: ins.Onbuild) -> Step:
        return self._set(f"ONBUILD {step.text}", on_build=(*self.stage.run.on_build, step.text))


def settings_after(run: RunConfig, node: parser.Node) -> RunConfig:
    """Gives settings as one instruction changes them; raises DockerfileError. For `--change`: what only sets something asks neither host nor context."""
    return Preparer(cast(Host, None), cast(Context, None), {}, run).prepare(ins.instruction(node)).run


def _no_blank(keyword: str, pairs: Mapping[str, str]) -> None:
    if "" in pairs:
        raise BuildFailed(f"{keyword} names can not be blank", hint="a variable stands before the =, and is not set")


def _by(step: Step, author: str) -> Step:
    return replace(step, author=author, inputs=(*step.inputs, author))


def _listed(command: Sequence[str]) -> str:
    return "[" + " ".join(json.dumps(word, ensure_ascii=False) for word in command) + "]"
