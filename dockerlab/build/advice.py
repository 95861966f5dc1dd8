"""What a Dockerfile could do better, each with what it was seen to do in this build.

`stated` reads the text alone; `measured` is told what a step did. Names are those of BuildKit's checks where it has one (Dockerfile reference, "Build checks").
`# check=skip=RuleOne,RuleTwo` at the top leaves rules out, `skip=all` every one, `error=true` makes a build of them.
"""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from dockerlab.build import instructions as ins
from dockerlab.layers.index import Entry
from dockerlab.oci.config import RunConfig
from dockerlab.oci.digest import short
from dockerlab.oci.visible import some

__all__ = ["Advice", "Checks", "Facts", "measured", "stated"]

_ARCHIVE = re.compile(r"\.(tar|tgz|txz|tbz2?|tar\.(gz|xz|bz2|zst|zstd))$")
_SECRET = re.compile(r"(?:_|^)(?:apikey|auth|credentials?|key|password|pword|passwd|secret|token)(?:_|$)", re.IGNORECASE)
_PUBLIC = re.compile(r"(?:_|^)public(?:_|$)", re.IGNORECASE)
_DOWNLOADS = ("var/lib/apt/lists/", "var/cache/apt/", "var/cache/apk/", "var/cache/dnf/", "var/cache/yum/", "root/.cache/pip/", "root/.npm/_cacache/")
_LOOP = re.compile(r"\bfind\b.*(?:\bdo\b|\|\s*(?:xargs|while)\b)|(?:\bfor\b|\bwhile\b).*\bfind\b", re.DOTALL)
_WIDE = 100  # characters of a command that are shown
_SHELLS = ("sh", "bash", "ash", "dash")


@dataclass(frozen=True, slots=True)
class Advice:
    """One remark: the rule's name, the line of the Dockerfile, and a sentence."""

    rule: str
    line: int
    message: str


@dataclass(frozen=True, slots=True)
class Facts:
    """What a step did: the settings after it, the layer that it added ([] for none), what its command wrote last, the bytes by volume that went with its container, the
    image and date that FROM stands for, the arguments, the paths of a context that no image can hold, and the author."""

    run: RunConfig
    added: Sequence[Entry] = ()
    output: str = ""
    lost: Mapping[str, int] = field(default_factory=dict)
    base: tuple[str, str] = ("", "")
    args: Mapping[str, str] = field(default_factory=dict)
    sockets: Sequence[str] = ()
    author: str = ""


@dataclass(frozen=True, slots=True)
class Checks:
    """What the `check` directive says."""

    skipped: frozenset[str] = frozenset()
    fatal: bool = False

    @classmethod
    def parse(cls, text: str) -> Checks:
        """Gives the meaning of `skip=A,B;error=true`."""
        words = dict(part.strip().partition("=")[::2] for part in text.split(";"))
        return cls(frozenset(name.strip() for name in words.get("skip", "").split(",")) - {""}, words.get("error", "").strip().lower() == "true")

    def wanted(self, found: Iterable[Advice]) -> list[Advice]:
        """Gives what is not left out."""
        return [] if "all" in self.skipped else [advice for advice in found if advice.rule not in self.skipped]


# What the text says


def stated(steps: Sequence[ins.Instruction]) -> Iterator[Advice]:
    """Yields what can be said without building."""
    yield from _casing(steps)
    names: dict[str, int] = {}
    moved = entrypoint = False
    for step in steps:
        if isinstance(step, ins.From):
            moved = entrypoint = False
            if step.name and step.name in names:
                yield Advice("DuplicateStageName", step.line, f"the name {step.name} is taken by line {names[step.name]}: only the later stage is found by it")
            yield from _from(step, names)
            names |= {step.name: step.line} if step.name else {}
        elif isinstance(step, ins.Maintainer):
            yield Advice("MaintainerDeprecated", step.line, f'MAINTAINER is deprecated: LABEL org.opencontainers.image.authors="{step.name}" can be read with inspect as well')
        elif isinstance(step, ins.Entrypoint):
            entrypoint = step.command.shell and bool(step.command.words)
        elif isinstance(step, ins.Workdir):
            if not (moved or step.path.startswith(("/", "$"))):
                yield Advice("WorkdirRelativePath", step.line, f"{step.path} is relative: where it leads depends on the image below")
            moved = True
        yield from _said(step, entrypoint=entrypoint)


def _casing(steps: Sequence[ins.Instruction]) -> Iterator[Advice]:
    written = [(step.line, step.original.split(None, 1)[0]) for step in steps]
    upper = sum(word.isupper() for _, word in written) * 2 >= len(written)
    for line, word in written:
        if not (word.isupper() if upper else word.islower()):
            yield Advice("ConsistentInstructionCasing", line, f"{word} is not written as most instructions here are: {word.upper() if upper else word.lower()}")


def _from(step: ins.From, names: Mapping[str, int]) -> Iterator[Advice]:
    name, _, tag = step.image.rpartition("/")[2].partition(":")
    if tag in ("", "latest") and "@" not in step.image and "$" not in step.image and name != "scratch" and step.image.lower() not in names:
        yield Advice("LatestTag", step.line, f"{step.image} names whatever is newest: write the tag, or the digest, that this was tried with")


def _said(step: ins.Instruction, *, entrypoint: bool) -> Iterator[Advice]:
    if isinstance(step, ins.Cmd | ins.Entrypoint | ins.Run) and step.keyword != "run" and (broken := _broken_list(step.command)):
        yield Advice("BrokenJSON", step.line, f"this looks like a list but is no JSON, so the shell gets it as it stands, and looks for a program called {broken}: use double quotes")
    if isinstance(step, ins.Cmd) and entrypoint:
        yield Advice("EntrypointIgnoresCmd", step.line, "the ENTRYPOINT above is in shell form: /bin/sh -c takes its one line, and neither this CMD nor words behind the image's name reach it")
    if isinstance(step, ins.Add) and not step.heredocs and not any(_ARCHIVE.search(word) or "://" in word or word.startswith("git@") for word in step.sources):
        yield Advice("AddInsteadOfCopy", step.line, "nothing here has to be laid out or fetched: COPY does the same and no more")
    if isinstance(step, ins.Env | ins.Label) and "" in step.node.args[2::3]:
        yield Advice("LegacyKeyValueFormat", step.line, f"write {step.keyword.upper()} {step.pairs[0][0]}=value")
    if isinstance(step, ins.Env | ins.Arg):
        for name, _ in step.pairs:
            if _SECRET.search(name) and not _PUBLIC.search(name):
                yield Advice("SecretsUsedInArgOrEnv", step.line, f"{name} is written into the image: RUN --mount=type=secret is not")


def _broken_list(command: ins.Command) -> str:
    text = " ".join(command.words).strip()
    return text.split(None, 1)[0].rstrip(",") if command.shell and text.startswith("[") and text.endswith("]") and not text.startswith(("[ ", "[[")) else ""


# What a step did


def failed(step: ins.Instruction, code: int) -> Iterator[Advice]:
    """Yields what a step's failure says: its exit code."""
    if isinstance(step, ins.Run) and code == 127 and (broken := _broken_list(step.command)):
        yield Advice("BrokenJSON", step.line, f"the shell looked for a program called {broken}, as this is no JSON: a list needs double quotes")


def measured(step: ins.Instruction, facts: Facts) -> Iterator[Advice]:
    """Yields what was seen; where `stated` says the same, this takes its place."""
    for judge in _JUDGES.get(type(step), ()):
        yield from (Advice(rule, step.line, message) for rule, message in judge(step, facts))
    yield from (Advice(rule, step.line, message) for rule, message in _set_ids(facts))


def _of_from(step: ins.Instruction, facts: Facts) -> Iterator[tuple[str, str]]:
    image, made = facts.base
    if image and isinstance(step, ins.From) and any(_from(step, {})):
        yield "LatestTag", f"{step.image} is {short(image)} of {made[:10]} today; another day it may be another, and the build with it: write the tag, or the digest, that this was tried with"


def _of_run(step: ins.Instruction, facts: Facts) -> Iterator[tuple[str, str]]:
    text = step.original
    left = sum(entry.weight for entry in facts.added if entry.path.startswith(_DOWNLOADS))
    if left:
        yield "DownloadsLeft", f"{left:,} bytes of package lists and downloads stay in this layer, and a later RUN cannot take them out again: remove them in this one"
    if _LOOP.search(text) and not facts.added:
        said = next((line.strip() for line in facts.output.splitlines() if line.lstrip().startswith("find:")), "")
        yield "EmptyFindLoop", f"this step changed no file, and succeeded all the same{': ' + said if said else ': find found nothing'}"
    for place, size in facts.lost.items():
        yield "VolumeThenWrites", f"{size:,} bytes that this step wrote to {place} are gone: it is a VOLUME, which ends with the step's container"


def _of_workdir(step: ins.Instruction, facts: Facts) -> Iterator[tuple[str, str]]:
    if isinstance(step, ins.Workdir) and not step.path.startswith(("/", "$")):
        yield "WorkdirRelativePath", f"{step.path} is relative, and became {facts.run.working_dir} on this image"


def _of_add(step: ins.Instruction, facts: Facts) -> Iterator[tuple[str, str]]:
    if any(advice.rule == "AddInsteadOfCopy" for advice in _said(step, entrypoint=False)):
        files = [entry for entry in facts.added if entry.kind == "file"]
        yield "AddInsteadOfCopy", f"ADD copied {len(files)} file{'s' * (len(files) != 1)}, laid out no archive and fetched nothing: COPY does the same and no more"


def _of_maintainer(step: ins.Instruction, facts: Facts) -> Iterator[tuple[str, str]]:
    value = f'"{facts.author}"' if not set(facts.author) & set('"$\\') else "…"
    yield "MaintainerDeprecated", f"the image has the Author {facts.author}, and no label that says so: LABEL org.opencontainers.image.authors={value} is what is looked for today"


def _of_command(step: ins.Instruction, facts: Facts) -> Iterator[tuple[str, str]]:
    """A shell's one line and what stands behind it: sh(1), "-c"."""
    if not isinstance(step, ins.Cmd | ins.Entrypoint):
        return
    entrypoint, cmd = tuple(facts.run.entrypoint or ()), tuple(facts.run.cmd or ())
    whole = json.dumps([*entrypoint, *cmd], ensure_ascii=False)
    runs = f"a container runs {whole if len(whole) <= _WIDE else whole[:_WIDE] + '…'}"
    if broken := _broken_list(step.command):
        yield "BrokenJSON", f"{runs}: this is no JSON, so the shell gets it as it stands, and looks for a program called {broken}: use double quotes"
    shell = len(entrypoint) == 3 and entrypoint[0].rpartition("/")[2] in _SHELLS and entrypoint[1] == "-c"
    if isinstance(step, ins.Cmd) and cmd and shell and "$" not in entrypoint[2]:
        yield "EntrypointIgnoresCmd", f"{runs}: the shell takes the one line behind -c, and neither this CMD nor words behind the image's name reach it"


def _of_pairs(step: ins.Instruction, facts: Facts) -> Iterator[tuple[str, str]]:
    if isinstance(step, ins.Env | ins.Label) and "" in step.node.args[2::3]:
        known = dict(word.partition("=")[::2] for word in facts.run.env) if isinstance(step, ins.Env) else facts.run.labels
        name = step.pairs[0][0]
        count = len(known.get(name, ""))  # not the value itself, which may be an argument's
        yield "LegacyKeyValueFormat", f"{name} became all that follows, {count} character{'s' * (count != 1)} to the end of the line: write {step.keyword.upper()} {name}=value"


def _of_sources(step: ins.Instruction, facts: Facts) -> Iterator[tuple[str, str]]:
    if facts.sockets:
        yield "SocketLeftOut", f"{some(facts.sockets)}: a socket, which no image can hold, was left out"


def _of_names(step: ins.Instruction, facts: Facts) -> Iterator[tuple[str, str]]:
    known = {**facts.args, **dict(word.partition("=")[::2] for word in facts.run.env)}
    for name, _ in step.pairs if isinstance(step, ins.Env | ins.Arg) else ():
        if _SECRET.search(name) and not _PUBLIC.search(name) and known.get(name):
            where = "docker inspect" if isinstance(step, ins.Env) else "docker history, once a RUN uses it,"
            yield "SecretsUsedInArgOrEnv", f"{where} shows all {len(known[name])} characters of {name} to whoever has the image: RUN --mount=type=secret leaves nothing"


def _set_ids(facts: Facts) -> Iterator[tuple[str, str]]:
    bits = stat.S_ISUID | stat.S_ISGID
    found = [f"/{entry.path} ({stat.filemode(entry.mode)[1:]}, {entry.uid}:{entry.gid}, {entry.size:,} bytes)" for entry in facts.added if entry.kind == "file" and entry.mode & bits]
    if found:
        yield "SetIdLeft", f"{some(found)} will run with the rights of their owner or group, whoever starts them: docker scan says what that gives"


_JUDGES: Mapping[type[ins.Instruction], Sequence[Callable[[ins.Instruction, Facts], Iterator[tuple[str, str]]]]] = {
    ins.From: [_of_from], ins.Run: [_of_run], ins.Workdir: [_of_workdir], ins.Add: [_of_add, _of_sources], ins.Copy: [_of_sources], ins.Env: [_of_names, _of_pairs], ins.Arg: [_of_names],
    ins.Label: [_of_pairs], ins.Maintainer: [_of_maintainer], ins.Cmd: [_of_command], ins.Entrypoint: [_of_command],
}  # fmt: skip
