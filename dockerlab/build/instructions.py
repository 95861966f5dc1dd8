"""What the nodes of a Dockerfile mean: one checked value per instruction, its variables not yet replaced.

    FROM RUN CMD ENTRYPOINT ENV LABEL ARG WORKDIR USER EXPOSE VOLUME COPY ADD SHELL STOPSIGNAL HEALTHCHECK MAINTAINER ONBUILD

Follows the Dockerfile reference; messages are docker's own.
"""

from __future__ import annotations

import csv
import difflib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from dockerlab.build.parser import Dockerfile, Flags, Heredoc, Node, heredoc_word, with_heredocs
from dockerlab.build.words import SPACE, duration
from dockerlab.errors import DockerfileError

__all__ = ["Add", "Arg", "Cmd", "Command", "Copy", "Entrypoint", "Env", "Expose", "From", "Healthcheck", "Instruction", "Label"]
__all__ += ["Maintainer", "Mount", "Onbuild", "Run", "Shell", "StopSignal", "User", "Volume", "Workdir", "instruction", "instructions"]

Pairs = tuple[tuple[str, str], ...]
# Docker names no line in this message, so the hint does.
_NO_STAGE = "no build stage in current context"
_STAGE_NAME = re.compile(r"[a-z][a-z0-9_.-]*")
_MILLISECOND = 10**6
_FLAGS: Mapping[str, Mapping[str, str]] = {
    "add": {"chown": "one", "chmod": "one", "link": "bool", "checksum": "one", "keep-git-dir": "bool", "unpack": "bool", "exclude": "many"},
    "copy": {"from": "one", "chown": "one", "chmod": "one", "link": "bool", "parents": "bool", "exclude": "many"},
    "from": {"platform": "one"},
    "healthcheck": dict.fromkeys(("interval", "timeout", "start-period", "start-interval", "retries"), "one"),
    "run": {"mount": "many", "network": "one", "security": "one"},
}


@dataclass(frozen=True, slots=True)
class Command:
    """A program: its words as they are, or one line for the shell to read."""

    words: tuple[str, ...]
    shell: bool


@dataclass(frozen=True, slots=True)
class Mount:
    """`RUN --mount`: `read_only` is None where it was left to the kind of mount, `options` holds whatever else was given."""

    type: str = "bind"
    target: str = ""
    source: str = ""
    from_: str = ""
    read_only: bool | None = None
    options: Pairs = ()


@dataclass(frozen=True, slots=True)
class Instruction:
    """What every instruction has: the node that it was read from, and its facts (`original`: what docker prints after `Step 1/2 : `)."""

    node: Node = field(repr=False)

    @property
    def keyword(self) -> str:
        return self.node.keyword

    @property
    def line(self) -> int:
        return self.node.line

    @property
    def end_line(self) -> int:
        return self.node.end_line

    @property
    def original(self) -> str:
        return self.node.original


@dataclass(frozen=True, slots=True)
class From(Instruction):
    image: str
    name: str = ""
    platform: str = ""


@dataclass(frozen=True, slots=True)
class Run(Instruction):
    command: Command
    mounts: tuple[Mount, ...] = ()
    network: str = "default"
    security: str = "sandbox"

    @property
    def heredocs(self) -> tuple[Heredoc, ...]:
        """The files that the shell is to read."""
        return self.node.heredocs

    @property
    def script(self) -> Heredoc | None:
        """The heredoc that is the whole command, as in `RUN <<EOF`; its text is then a program, with or without `#!`."""
        alone = self.command.shell and len(self.heredocs) == 1 and heredoc_word(self.command.words[0])
        return self.heredocs[0] if alone else None

    @property
    def shell_text(self) -> str:
        """The line with its heredocs below it, as a shell reads them."""
        return with_heredocs(" ".join(self.command.words), self.heredocs)


@dataclass(frozen=True, slots=True)
class Cmd(Instruction):
    command: Command


@dataclass(frozen=True, slots=True)
class Entrypoint(Instruction):
    command: Command


@dataclass(frozen=True, slots=True)
class Env(Instruction):
    pairs: Pairs


@dataclass(frozen=True, slots=True)
class Label(Instruction):
    pairs: Pairs


@dataclass(frozen=True, slots=True)
class Arg(Instruction):
    pairs: tuple[tuple[str, str | None], ...]


@dataclass(frozen=True, slots=True)
class Workdir(Instruction):
    path: str


@dataclass(frozen=True, slots=True)
class User(Instruction):
    user: str


@dataclass(frozen=True, slots=True)
class Expose(Instruction):
    ports: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Volume(Instruction):
    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Transfer(Instruction):
    sources: tuple[str, ...]
    heredocs: tuple[Heredoc, ...]
    destination: str
    chown: str = ""
    chmod: str = ""
    link: bool = False
    excludes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Copy(_Transfer):
    from_: str = ""
    parents: bool = False


@dataclass(frozen=True, slots=True)
class Add(_Transfer):
    checksum: str = ""
    keep_git_dir: bool = False
    unpack: bool | None = None


@dataclass(frozen=True, slots=True)
class Shell(Instruction):
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StopSignal(Instruction):
    signal: str


@dataclass(frozen=True, slots=True)
class Healthcheck(Instruction):
    """`command` is None for `HEALTHCHECK NONE`; times are nanoseconds, and 0 stands for docker's default."""

    command: Command | None
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0


@dataclass(frozen=True, slots=True)
class Maintainer(Instruction):
    name: str


@dataclass(frozen=True, slots=True)
class Onbuild(Instruction):
    """`text` is what the image stores, and what a later build parses again."""

    trigger: Instruction
    text: str


def instructions(dockerfile: Dockerfile) -> tuple[Instruction, ...]:
    """Every instruction of the file. Raises DockerfileError for the first that is wrong or stands before FROM."""
    found: list[Instruction] = []
    in_stage = False
    for node in dockerfile.nodes:
        made = instruction(node)
        in_stage = in_stage or isinstance(made, From)
        if not in_stage and not isinstance(made, Arg):
            raise DockerfileError(_NO_STAGE, hint=f"put a FROM line before line {node.line}: {node.text.strip()}")
        found.append(made)
    if not in_stage:
        raise DockerfileError(_NO_STAGE, hint="add a FROM line with the name of an image")
    return tuple(found)


def instruction(node: Node) -> Instruction:
    """The meaning of one node. Raises DockerfileError in docker's words, pointing at the line."""
    make = _MAKERS.get(node.keyword)
    if make is None:
        raise node.error(f"unknown instruction: {node.keyword.upper()}", hint=_unknown_hint(node.keyword))
    return make(node, Flags(node, _FLAGS.get(node.keyword, {})))


def _unknown_hint(keyword: str) -> str:
    if "\xa0" in keyword:
        return "replace the non-breaking space after the first word by a plain one"
    if close := difflib.get_close_matches(keyword[:30], _MAKERS, n=1):
        return f"write {close[0].upper()} instead of {keyword.upper()}"
    return "begin the line with an instruction such as RUN, or end the line before it with a backslash if this one continues it"


def _some(node: Node, count: str = "at least one") -> tuple[str, ...]:
    if not node.args:
        raise node.error(f"{node.keyword.upper()} requires {count} argument", hint=f"write it after {node.keyword.upper()}")
    return node.args


def _only(node: Node) -> str:
    return _some(node, "exactly one")[0]


def _named(node: Node, names: list[str]) -> None:
    if "" in names:
        raise node.error(f"{node.keyword.upper()} names can not be blank", at="=", hint="write a name before the =")


def _pairs(node: Node) -> Pairs:
    words = _some(node)
    pairs = tuple(zip(words[::3], words[1::3], strict=True))
    _named(node, [name for name, _ in pairs])
    return pairs


def _from(node: Node, flags: Flags) -> From:
    match node.args:
        case (image,):
            return From(node, image, "", flags.one("platform"))
        case (image, as_, name) if as_.lower() == "as":
            if not _STAGE_NAME.fullmatch(name.lower()):
                shown = json.dumps(name, ensure_ascii=False)
                message = f"invalid name for build stage: {shown}, name can't start with a number or contain symbols"
                raise node.error(message, at=name, hint="begin it with a letter and go on with letters, digits, - _ and .")
            return From(node, image, name.lower(), flags.one("platform"))
    raise node.error("FROM requires either one or three arguments", hint="write FROM image, or FROM image AS name")


def _command(node: Node) -> Command:
    return Command(node.args, shell=not node.json)


def _run(node: Node, flags: Flags) -> Run:
    _some(node)
    network, security = flags.one("network", "default"), flags.one("security", "sandbox")
    if network not in {"default", "none", "host"}:
        raise node.error(f'invalid network mode: "{network}"', at=network, hint="write default, none or host")
    if security not in {"sandbox", "insecure"}:
        raise node.error(f'security "{security}" is not valid', at=security, hint="write sandbox or insecure")
    return Run(node, _command(node), tuple(_mount(node, text) for text in flags.many("mount")), network, security)


_MOUNT_NAMES = {"dst": "target", "destination": "target", "src": "source", "ro": "readonly", "rw": "readwrite"}
_MOUNT_SWITCHES = ("readonly", "readwrite", "required")
_MOUNT_KEYS = ("type", "from", "target", "source", *_MOUNT_SWITCHES, "id", "sharing", "mode", "uid", "gid", "size", "env")
_CHOICES = {"type": ("bind", "cache", "tmpfs", "secret", "ssh"), "sharing": ("shared", "private", "locked")}
_BOOLEANS = {"": True, "1": True, "t": True, "true": True, "0": False, "f": False, "false": False}


def _mount(node: Node, text: str) -> Mount:
    try:
        fields = next(csv.reader([text]), [])
    except csv.Error:
        raise node.error("failed to parse csv mounts", at=text, hint="write --mount=type=cache,target=/path") from None
    given = dict(_mount_field(node, item) for item in fields)
    read_only = _read_only(node, given)
    kind, target = given.pop("type", "bind"), given.pop("target", "")
    if not target and kind not in {"secret", "ssh"}:
        raise node.error('invalid mount target ""', at=text, hint=f"add target=/path to the {kind} mount")
    return Mount(kind, target, given.pop("source", ""), given.pop("from", ""), read_only, tuple(given.items()))


def _mount_field(node: Node, item: str) -> tuple[str, str]:
    written, equals, value = item.partition("=")
    key = _MOUNT_NAMES.get(written.lower(), written.lower())
    if not equals and key not in _MOUNT_SWITCHES:
        raise node.error(f"invalid field '{item}' must be a key=value pair", at=item, hint="write key=value parts, with commas between")
    if key not in _MOUNT_KEYS:
        close = difflib.get_close_matches(key[:30], _MOUNT_KEYS, n=1)
        hint = f"write {close[0]} instead of {written}" if close else f"use one of {', '.join(_MOUNT_KEYS)}"
        raise node.error(f"unexpected key '{written}' in '{item}'", at=item, hint=hint)
    choices = _CHOICES.get(key, ())
    if choices and value not in choices and "$" not in value:
        raise node.error(f'unsupported {"mount " * (key == "type")}{key} "{value}"', at=item, hint=f"write one of {', '.join(choices)}")
    return key, value


def _read_only(node: Node, given: dict[str, str]) -> bool | None:
    answer = None
    for key in sorted(given.keys() & {"readonly", "readwrite"}):
        value = given.pop(key).lower()
        if value not in _BOOLEANS:
            raise node.error(f"invalid value for {key}: {value}", hint="write true or false")
        answer = _BOOLEANS[value] == (key == "readonly")
    return answer


def _arg(node: Node, flags: Flags) -> Arg:
    split = [word.partition("=") for word in _some(node)]
    _named(node, [name for name, equals, _ in split if equals])
    return Arg(node, tuple((name, value if equals else None) for name, equals, value in split))


def _volume(node: Node, flags: Flags) -> Volume:
    paths = tuple(path.strip(SPACE) for path in _some(node))
    if "" in paths:
        raise node.error("VOLUME specified can not be an empty string", hint="write an absolute path")
    return Volume(node, paths)


def _transfer(node: Node, flags: Flags) -> tuple[tuple[str, ...], tuple[Heredoc, ...], str, str, str, bool, tuple[str, ...]]:
    if len(node.args) < 2:
        message = "requires at least two arguments, but only one was provided. Destination could not be determined"
        hint = f"write the source and then the destination: {node.keyword.upper()} {node.args[0] if node.args else 'file'} /path"
        raise node.error(f"{node.keyword.upper()} {message}", hint=hint)
    *words, destination = node.args
    files = {heredoc.name: heredoc for heredoc in node.heredocs}
    if files and heredoc_word(destination):
        raise node.error(f"{node.keyword.upper()} cannot accept a heredoc as a destination", at=destination, hint="write a path after it")
    announced = {word: heredoc for word in words if files and (heredoc := heredoc_word(word))}
    sources = tuple(word for word in words if word not in announced)
    heredocs = tuple(files.get(heredoc.name, heredoc) for heredoc in announced.values())
    return sources, heredocs, destination, flags.one("chown"), flags.one("chmod"), flags.true("link"), flags.many("exclude")


def _copy(node: Node, flags: Flags) -> Copy:
    return Copy(node, *_transfer(node, flags), from_=flags.one("from"), parents=flags.true("parents"))


def _add(node: Node, flags: Flags) -> Add:
    unpack = flags.true("unpack") if flags.many("unpack") else None
    return Add(node, *_transfer(node, flags), flags.one("checksum"), flags.true("keep-git-dir"), unpack)


def _shell(node: Node, flags: Flags) -> Shell:
    if _some(node) and not node.json:
        raise node.error("SHELL requires the arguments to be in JSON form", hint='write SHELL ["/bin/sh", "-c"]')
    return Shell(node, node.args)


def _healthcheck(node: Node, flags: Flags) -> Healthcheck:
    kind, *words = _some(node)
    if kind.upper() == "NONE":
        if words:
            raise node.error("HEALTHCHECK NONE takes no arguments", hint="end the line after NONE")
        return Healthcheck(node, None)
    if kind.upper() != "CMD":
        shown = json.dumps(kind.upper(), ensure_ascii=False)
        raise node.error(f"Unknown type {shown} in HEALTHCHECK (try CMD)", at=kind, hint="write CMD before the command")
    if not words:
        raise node.error("Missing command after HEALTHCHECK CMD", hint="write the command after CMD")
    interval, timeout = _time(node, flags, "interval"), _time(node, flags, "timeout")
    period, between = _time(node, flags, "start-period"), _time(node, flags, "start-interval")
    command = Command(tuple(words), shell=not node.json)
    return Healthcheck(node, command, interval, timeout, period, between, _retries(node, flags))


def _time(node: Node, flags: Flags, name: str) -> int:
    text = flags.one(name)
    try:
        nanoseconds = duration(text) if text else 0
    except DockerfileError as error:
        raise node.error(error.message, at=text, hint=error.hint) from None
    if nanoseconds and nanoseconds < _MILLISECOND:
        raise node.error(f'Interval "{name}" cannot be less than 1ms', at=text, hint="write a longer time")
    return nanoseconds


def _retries(node: Node, flags: Flags) -> int:
    text = flags.one("retries") or "0"
    if not re.fullmatch(r"[+-]?[0-9]{1,10}", text) or abs(int(text)) >= 1 << 31:
        raise node.error(f'strconv.ParseInt: parsing "{text}": invalid syntax', at=text, hint="write a number such as 3")
    if int(text) < 0:
        raise node.error(f"--retries cannot be negative ({int(text)})", at=text, hint="write a number such as 3")
    return int(text)


def _onbuild(node: Node, flags: Flags) -> Onbuild:
    if node.child is None:
        raise node.error("ONBUILD requires at least one argument", hint="write the instruction to be kept after ONBUILD")
    name = node.child.keyword.upper()
    if name in {"FROM", "MAINTAINER"}:
        raise node.error(f"{name} isn't allowed as an ONBUILD trigger", at=name, hint="write another instruction after ONBUILD")
    return Onbuild(node, instruction(node.child), with_heredocs(node.child.original, node.heredocs))


_MAKERS: Mapping[str, Callable[[Node, Flags], Instruction]] = {
    "add": _add,
    "arg": _arg,
    "cmd": lambda node, flags: Cmd(node, _command(node)),
    "copy": _copy,
    "entrypoint": lambda node, flags: Entrypoint(node, _command(node)),
    "env": lambda node, flags: Env(node, _pairs(node)),
    "expose": lambda node, flags: Expose(node, _some(node)),
    "from": _from,
    "healthcheck": _healthcheck,
    "label": lambda node, flags: Label(node, _pairs(node)),
    "maintainer": lambda node, flags: Maintainer(node, _only(node)),
    "onbuild": _onbuild,
    "run": _run,
    "shell": _shell,
    "stopsignal": lambda node, flags: StopSignal(node, _only(node)),
    "user": lambda node, flags: User(node, _only(node)),
    "volume": _volume,
    "workdir": lambda node, flags: Workdir(node, _only(node)),
}
