"""Docker's command line: which words mean which command, how its options are read, and what is said when they cannot be.

    command, rest = find(commands, ["run", "-it", "busybox"])
    parsed = parse(command, rest)
    parsed.flag("tty"), parsed.args        # True, ("busybox",)

A UsageError holds the first line in `message` and the rest in `usage`; a terminal shows both with an empty line between (see `shown`).
Sources: github.com/spf13/pflag, github.com/spf13/cobra, docker/cli `cli/required.go` and `cli/cobra.go`; wording of docker 28.2.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from dockerlab.commands import quantities
from dockerlab.commands.go_text import quoted
from dockerlab.errors import DockerlabError, NotSupportedHere, UsageError

__all__ = ["GROUPS", "TRUTH", "Command", "Flag", "Parsed", "duration", "find", "forms", "invalid_value", "parse", "refusal", "shown", "suggest", "usage_line"]

Kind = Literal["bool", "string", "int", "list", "map", "duration", "bytes", "swap", "decimal"]

TRUTH = dict.fromkeys(("1", "t", "T", "true", "TRUE", "True"), True) | dict.fromkeys(("0", "f", "F", "false", "FALSE", "False"), False)
_INTEGER = re.compile(r"[+-]?(?:0[xX](?:_?[0-9a-fA-F])+|0[bB](?:_?[01])+|0[oO]?(?:_?[0-7])+|[1-9](?:_?[0-9])*|0)")
_DURATION = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)(?![^.0-9])", re.ASCII)
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_LONGEST = (1 << 63) / 1e9
GROUPS = {
    "builder": "Manage builds",
    "container": "Manage containers",
    "image": "Manage images",
    "network": "Manage networks",
    "hub": "Serve and tend a hub",
    "manifest": "Manage Docker image manifests and manifest lists",
    "registry": "Serve and tend a registry",
    "system": "Manage Docker",
    "volume": "Manage volumes",
}


@dataclass(frozen=True, slots=True)
class Flag:
    """One option. A list or map may be given many times; `meta` is the word that help shows for its value.

    `check` raises ValueError for a value that cannot be used.
    """

    name: str
    kind: Kind = "bool"
    short: str = ""
    default: Any = None
    help: str = ""
    meta: str = ""
    hidden: bool = False
    check: Callable[[str], object] = str

    @property
    def start(self) -> Any:
        """The value of an option that nobody typed."""
        empty = {"bool": False, "string": "", "int": 0, "duration": 0.0, "bytes": 0, "swap": 0, "decimal": 0, "list": (), "map": {}}[self.kind]
        return empty if self.default is None else tuple(self.default) if self.kind == "list" else self.default

    @property
    def label(self) -> str:
        """How an error names it: `-e, --env`."""
        return f"-{self.short}, --{self.name}" if self.short else f"--{self.name}"


@dataclass(frozen=True, slots=True)
class Command:
    """One verb. `refused` maps the names (or letters) of options that docker has and this host cannot do to the reason why.

    A group (`docker container`) has no work of its own: it shows the list of what is in it. `more` stands below the short help.
    """

    name: str
    usage: str
    short: str = ""
    flags: tuple[Flag, ...] = ()
    min_args: int = 0
    max_args: int | None = None
    interspersed: bool = True
    aliases: tuple[str, ...] = ()
    refused: Mapping[str, str] = field(default_factory=dict, hash=False)
    group: bool = False
    more: str = ""


@dataclass(frozen=True, slots=True)
class Parsed:
    """A command line that was understood; `given` names the flags the person typed, `help` is true when help was asked for."""

    command: Command
    args: tuple[str, ...]
    values: Mapping[str, Any] = field(hash=False)
    given: frozenset[str]
    help: bool = False

    def flag(self, name: str) -> Any:
        """The flag's value, or its default where it was not typed. Raises KeyError for a flag that the command does not have."""
        return self.values[name]


def shown(error: UsageError) -> str:
    """All that a terminal shows for the error, without the last line end."""
    return f"{error.message}\n\n{error.usage}" if error.usage else error.message


def parse(command: Command, argv: Sequence[str], *, program: str = "docker") -> Parsed:
    """Reads what follows the verb. Arguments are not counted when help was asked for.

    A list comes back as a tuple, a map as a dict, a duration as seconds. Raises UsageError (exit code 125 for an option, 1 for the number
    of arguments) and NotSupportedHere for an option in `refused`.
    """
    reader = _Reader(command, program)
    reader.read(argv)
    values = {flag.name: reader.values.get(flag.name, flag.start) for flag in command.flags}
    given = frozenset(reader.values) - {"help"}
    parsed = Parsed(command, tuple(reader.args), values, given, reader.values.get("help", False))
    if not parsed.help:
        _count(command, len(parsed.args), program)
    return parsed


class _Reader:
    """pflag's loop: what has been typed so far."""

    def __init__(self, command: Command, program: str) -> None:
        self.command, self.program = command, program
        asks = Flag("help", help="Print usage", short="" if any(flag.short == "h" for flag in command.flags) else "h")
        self.flags = {flag.name: flag for flag in (asks, *command.flags)}
        self.shorts = {flag.short: flag for flag in self.flags.values() if flag.short}
        self.args: list[str] = []
        self.values: dict[str, Any] = {}

    def error(self, message: str, hint: str = "") -> UsageError:
        return UsageError(message, usage=_closing(self.command, self.program), hint=hint)

    def read(self, argv: Sequence[str]) -> None:
        at = 0
        while at < len(argv):
            word = argv[at]
            at += 1
            if word == "--":
                break
            if word.startswith("--"):
                at += self.long(word, argv[at : at + 1])
            elif word.startswith("-") and word != "-":
                at += self.bundle(word, argv[at : at + 1])
            else:
                self.args.append(word)
                if not self.command.interspersed:
                    break
        self.args += argv[at:]

    def long(self, word: str, following: Sequence[str]) -> int:
        """Takes `--name` or `--name=value`; returns how many of the following words it used."""
        if word[2] in "-=":
            raise self.error(f"bad flag syntax: {word}")
        name, equals, value = word[2:].partition("=")
        self.check(name)
        if name not in self.flags:
            near = suggest(name, [flag.name for flag in self.flags.values() if not flag.hidden])
            raise self.error(f"unknown flag: --{name}", hint=f"Try '--{near}'" if near else "")
        flag = self.flags[name]
        if equals or flag.kind == "bool":
            self.put(flag, value if equals else "true")
            return 0
        if not following:
            raise self.error(f"flag needs an argument: {word}")
        self.put(flag, following[0])
        return 1

    def bundle(self, word: str, following: Sequence[str]) -> int:
        """Takes `-it`, `-eA=1`, `-e A=1` or `-t=false`; returns how many of the following words it used."""
        for at in range(1, len(word)):
            letter, rest = word[at], word[at + 1 :]
            self.check(letter)
            if letter not in self.shorts:
                byte = letter.encode("utf-8", "surrogateescape" if "\udc80" <= letter <= "\udcff" else "surrogatepass")[0]
                raise self.error(f"unknown shorthand flag: {_quoted_byte(byte)} in -{word[at:]}")
            flag = self.shorts[letter]
            if rest[:1] == "=" and len(rest) > 1:
                rest = rest[1:]
            elif flag.kind == "bool":
                self.put(flag, "true")
                continue
            elif not rest:
                if not following:
                    raise self.error(f"flag needs an argument: {_quoted_byte(ord(letter))} in -{word[at:]}")
                self.put(flag, following[0])
                return 1
            self.put(flag, rest)
            return 0
        return 0

    def check(self, name: str) -> None:
        if reason := self.command.refused.get(name):
            raise refusal(self.command, name, reason, self.program)

    def put(self, flag: Flag, text: str) -> None:
        self.checked(flag, text)
        if flag.kind == "list":
            self.values[flag.name] = (*self.values.get(flag.name, ()), text)
        elif flag.kind == "map":
            key, _, value = text.partition("=")
            self.values[flag.name] = {**self.values.get(flag.name, {}), key: value}
        else:
            try:
                self.values[flag.name] = _READERS[flag.kind](text)
            except ValueError as error:
                raise invalid_value(self.command, flag, text, str(error), program=self.program) from None

    def checked(self, flag: Flag, text: str) -> None:
        try:
            flag.check(text)
        except ValueError as error:
            why, hint = (error.message, error.hint) if isinstance(error, DockerlabError) else (str(error), "")
            raise invalid_value(self.command, flag, text, why, program=self.program, hint=hint) from None


def _quoted_byte(byte: int) -> str:
    return {0x22: "'\"'", 0x27: r"'\''"}.get(byte) or f"'{quoted(chr(byte))[1:-1]}'"


def _truth(text: str) -> bool:
    if text not in TRUTH:
        raise ValueError(f"strconv.ParseBool: parsing {quoted(text)}: invalid syntax")
    return TRUTH[text]


def _integer(text: str) -> int:
    if not _INTEGER.fullmatch(text):
        raise ValueError(f"strconv.ParseInt: parsing {quoted(text)}: invalid syntax")
    plain = text.replace("_", "")
    number = int(plain, 8 if re.match(r"[+-]?0[0-7]", plain) else 0) if len(plain) < 100 else 1 << 64
    if not -(1 << 63) <= number < 1 << 63:
        raise ValueError(f"strconv.ParseInt: parsing {quoted(text)}: value out of range")
    return number


def duration(text: str) -> float:
    """Gives the seconds of a duration as Go writes it: 1h30m, 500ms. Raises ValueError in Go's words."""
    body = text[1:] if text[:1] in ("-", "+") else text
    if body == "0":
        return 0.0
    if not body:
        raise ValueError(f"time: invalid duration {quoted(text)}")
    seconds, at = 0.0, 0
    while at < len(body):
        if not (found := _DURATION.match(body, at)):
            raise ValueError(_bad_duration(text, body[at:]))
        seconds, at = seconds + float(found[1]) * _SECONDS[found[2]], found.end()
    if seconds >= _LONGEST:
        raise ValueError(f"time: invalid duration {quoted(text)}")
    return -seconds if text[0] == "-" else seconds


def _bad_duration(text: str, rest: str) -> str:
    number = re.match(r"[0-9]*\.?[0-9]*", rest)
    unit = re.match(r"[^.0-9]*", rest[number.end() :]) if number and number[0].strip(".") else None
    if unit is None:
        return f"time: invalid duration {quoted(text)}"
    return f"time: {f'unknown unit {quoted(unit[0])} in' if unit[0] else 'missing unit in'} duration {quoted(text)}"


_READERS: Mapping[str, Callable[[str], Any]] = {"bool": _truth, "int": _integer, "duration": duration, "string": str,
                                                  "bytes": quantities.size, "swap": quantities.swap, "decimal": quantities.processors}  # fmt: skip


def invalid_value(command: Command, flag: Flag, value: str, why: str, *, program: str = "docker", hint: str = "") -> UsageError:
    """The error for an option's value that is understood but cannot be used: `invalid argument "abc" for "-m, --memory" flag: ...`."""
    return UsageError(f"invalid argument {quoted(value)} for {quoted(flag.label)} flag: {why}", usage=_closing(command, program), hint=hint)


def refusal(command: Command, flag: str, reason: str, program: str = "docker") -> NotSupportedHere:
    """The error for an option that docker has and dockerlab does not."""
    name = f"-{flag}" if len(flag) == 1 else f"--{flag}"
    return NotSupportedHere(f"{name} of '{_called(command, program)}' is not supported here: {reason}", reason=reason)


def _called(command: Command, program: str) -> str:
    return f"{program} {command.name}".rstrip()


def usage_line(command: Command, program: str) -> str:
    """The line that begins with `Usage:`."""
    lines = [f"{program}{line.strip().removeprefix('docker')}" for line in command.usage.splitlines()]
    return "Usage:  " + "\n\t".join(lines)


def _closing(command: Command, program: str, advice: str = "Run") -> str:
    return f"{usage_line(command, program)}\n\n{advice} '{_called(command, program)} --help' for more information"


def _count(command: Command, count: int, program: str) -> None:
    least, most = command.min_args, command.max_args
    if count >= least and (most is None or count <= most):
        return
    advice = "Run"
    if most == 0:
        wanted = "accepts no arguments"
    elif most is None:
        wanted, advice = f"requires at least {_arguments(least)}", "See"
    elif least == most:
        wanted = f"requires {_arguments(least)}"
    else:
        wanted = f"requires at most {_arguments(most)}" if not least else f"requires at least {least} and at most {_arguments(most)}"
    message = f"{program}: '{_called(command, program)}' {wanted}"
    raise UsageError(message, usage=_closing(command, program, advice), exit_code=1)


def _arguments(count: int) -> str:
    return f"{count} argument{'' if count == 1 else 's'}"


def suggest(word: str, choices: Iterable[str]) -> str | None:
    """The choice that the word was probably meant to be, or None."""
    return next(iter(difflib.get_close_matches(word[:40], list(choices), n=1, cutoff=0.7)), None)


_OF_A_DAEMON = ("D", "H", "c", "config", "context", "debug", "host", "l", "log-level", "tls", "tlscacert", "tlscert", "tlskey", "tlsverify")


def find(commands: Sequence[Command], argv: Sequence[str], *, program: str = "docker") -> tuple[Command, list[str]]:
    """The command that the first words name, as it is called there (`container run`), and the words that follow.

    No word at all, `--help`, or the name of a group alone give a command with `group` set, for `help.index_text`; `help run` is `run --help`.
    Raises UsageError with exit code 1 for an unknown word, 125 for an option where a verb should be.
    """
    words = list(argv)
    if words[:1] == ["help"]:
        return _topic(commands, words[1:], program)
    for length in (2, 1):
        form = " ".join(words[:length])
        found = next((command for command in commands if form == command.name or f"docker {form}" in command.aliases), None)
        if found and form and not any(" " in word for word in words[:length]):
            return _forms(found)[form], words[length:]
    known = forms(commands)
    groups = {form.partition(" ")[0] for form in known if " " in form}
    inside = words[:1] if words and words[0] in groups else []
    prefix, rest = "".join(inside), words[len(inside) :]
    usage = f"docker {prefix}{' COMMAND' * (prefix == 'volume')}" if prefix else "docker [OPTIONS] COMMAND [ARG...]"
    group = Command(prefix, usage, GROUPS.get(prefix, ""), group=True, interspersed=False, refused={} if prefix else dict.fromkeys(_OF_A_DAEMON, "there is no daemon to choose or to watch"))
    parsed = parse(group, rest, program=program)
    if parsed.help or not parsed.args:
        return group, []
    raise _unknown(group, parsed.args[0], program, suggest(" ".join((*inside, parsed.args[0])), known))


def _unknown(group: Command, word: str, program: str, near: str | None) -> UsageError:
    called = _called(group, program)
    closing = f"{usage_line(group, program)}\n\n" if group.name else ""
    return UsageError(
        f"{program}: unknown command: {called} {word}",
        usage=f"{closing}Run '{called} --help' for more information",
        hint=f"Try '{program} {near}'" if near else "",
        exit_code=1,
    )


def _topic(commands: Sequence[Command], words: Sequence[str], program: str) -> tuple[Command, list[str]]:
    topic = [word for word in words if not word.startswith("-")]
    try:
        command, _ = find(commands, topic, program=program)
    except UsageError:
        raise UsageError(f"unknown help topic: {topic[-1]}", exit_code=1) from None
    return command, [] if command.group else ["--help"]


def forms(commands: Sequence[Command]) -> dict[str, Command]:
    """Every way to call a command. Of the aliases under one group the first is the name that docker goes on to use."""
    found: dict[str, Command] = {}
    for command in commands:
        found = {**_forms(command), **found}
    return found


def _forms(command: Command) -> dict[str, Command]:
    found: dict[str, Command] = {}
    shown_as: dict[str, str] = {}
    for form in dict.fromkeys([*(alias.partition(" ")[2] for alias in command.aliases), command.name]):
        name = shown_as.setdefault(form.rpartition(" ")[0], form)
        found[form] = command if name == command.name else _renamed(command, name)
    return found


def _renamed(command: Command, name: str) -> Command:
    head, rest = command.usage.partition(f"docker {command.name}")[::2]
    called = not head and not rest[:1].isalnum() and rest[:1] not in ("_", "-")
    return replace(command, name=name, usage=f"docker {name}{rest}" if called else command.usage)
