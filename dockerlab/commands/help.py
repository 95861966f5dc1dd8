"""What `--help` prints: of one verb, of a group, of all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dockerlab.commands.go_text import quoted
from dockerlab.commands.grammar import GROUPS, Command, Flag, forms, usage_line

__all__ = ["help_text", "index_text"]

_WIDTH, _SLOP, _NARROW = 79, 5, 24
_COMMON = ("run", "exec", "ps", "build", "pull", "push", "images", "login", "logout", "search", "version", "info")


def help_text(command: Command, program: str = "docker") -> str:
    """What `docker run --help` prints."""
    parts = [usage_line(command, program), command.short, *([command.more] if command.more else [])]
    if command.aliases:
        names = ", ".join(f"{program}{alias.removeprefix('docker')}" for alias in command.aliases)
        parts.append(f"Aliases:\n  {names}")
    flags = [flag for flag in command.flags if not flag.hidden and flag.name not in command.refused]
    if any(flag.short == "h" for flag in command.flags):
        flags.append(Flag("help", help="Print usage"))
    if flags:
        parts.append("Options:\n" + _options(flags))
    return "\n\n".join(parts) + "\n"


def _options(flags: Sequence[Flag]) -> str:
    ordered = sorted(flags, key=lambda flag: flag.name)
    heads = [f"{f'  -{flag.short}, ' if flag.short else '      '}--{flag.name} {_meta(flag)}".rstrip() for flag in ordered]
    indent = max(map(len, heads)) + 3
    return "\n".join(head.ljust(indent) + _wrapped(_explained(flag), indent) for head, flag in zip(heads, ordered, strict=True))


def _meta(flag: Flag) -> str:
    return flag.meta or ("" if flag.kind == "bool" else flag.kind)


def _explained(flag: Flag) -> str:
    if not flag.default:
        return flag.help
    default = quoted(flag.default) if flag.kind == "string" else "true" if flag.default is True else flag.default
    return f"{flag.help} (default {default})"


def _wrapped(text: str, indent: int) -> str:
    """The text in what is left of the line, as pflag breaks it: five columns early, unless the rest then fits."""
    width = _WIDTH - indent
    start = "" if width >= _NARROW else "\n" + " " * 16
    indent, width = (indent, width) if width >= _NARROW else (16, _WIDTH - 16)
    width -= _SLOP
    lines: list[str] = []
    while len(text.encode("utf-8", "replace")) >= width + _SLOP:
        cut = max(text.rfind(char, 0, width) for char in " \t\n")
        line_end = text.rfind("\n", 0, width)
        if cut <= 0:
            break
        cut = line_end if 0 < line_end else cut
        lines.append(text[:cut])
        text = text[cut + 1 :]
    lines.append(text)
    return start + "\n".join(lines).replace("\n", "\n" + " " * indent)


def index_text(commands: Sequence[Command], program: str = "docker", group: str = "") -> str:
    """What `docker --help` prints, or with a group what `docker container --help` does."""
    known = forms(commands)
    named = [form.rpartition(" ") for form, command in known.items() if form == command.name]
    verbs = {verb: known[f"{parent} {verb}".strip()] for parent, _, verb in named if parent == group}
    title = f"{program} {group}".rstrip()
    if group:
        parts = [f"Usage:  {title} COMMAND", GROUPS.get(group, ""), _listed("Commands", sorted(verbs), verbs)]
    else:
        parents = {form.partition(" ")[0] for form in known if " " in form}
        managed = {name: Command(name, "", GROUPS.get(name, f"Manage {name}")) for name in parents}
        common = [name for name in _COMMON if name in verbs]
        others = sorted(set(verbs) - set(common))
        parts = [f"Usage:  {title} [OPTIONS] COMMAND", "A self-sufficient runtime for containers"]
        parts += [
            _listed("Common Commands", common, verbs),
            _listed("Management Commands", sorted(managed), managed),
            _listed("Commands", others, verbs),
            "Global Options:\n  -v, --version   Print version information and quit",
        ]
    return "\n\n".join([*filter(None, parts), f"Run '{title} COMMAND --help' for more information on a command."]) + "\n"


def _listed(title: str, names: Sequence[str], commands: Mapping[str, Command]) -> str:
    if not names:
        return ""
    width = max(11, *map(len, names))
    return f"{title}:\n" + "\n".join(f"  {name.ljust(width)} {commands[name].short.partition(chr(10))[0]}" for name in names)
