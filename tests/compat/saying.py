"""What two engines said, made comparable: ids, times, and what only one of them says by design."""

from __future__ import annotations

import re

import pytest

from tests.compat.conftest import Transcript

__all__ = ["bug", "plain", "same"]

_AGO = re.compile(r"Less than a second|About an? \w+|\d+ (?:second|minute|hour)s?")
_STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z|\b[A-Z][a-z]{2} [ \d]\d \d\d:\d\d\b")
_ID = re.compile(r"\b[0-9a-f]{64}\b|\b[0-9a-f]{12}\b|(?<=file:)[0-9a-f]{16}(?=…)|(?<=dir:)[0-9a-f]{16}(?=…)")
# Which subnets are free differs from one engine to the next: their number, and the same in hexadecimal where an address of the link is made of it.
_SUBNET = re.compile(r"\b172\.(1[6-9]|2\d|3[01])\.(?=\d+\.\d+)|(?<=02:42:ac:)[0-9a-f]{2}(?=:)")

# What only docker says, by design.
_ONLY_DOCKER = (
    # Its client advertises BuildKit.
    re.compile(r"^DEPRECATED: The legacy builder.*\n(?: {12}.*\n)+\n?", re.M),
    # There is no daemon to send a context to.
    re.compile(r"^Sending build context to Docker daemon .*\n\n?", re.M),
    # dockerlab does not pull, so no registry has an error to tell.
    re.compile(r"^docker: Error response from daemon: Get \"https://.*\n\nRun 'docker run --help' for more information\n", re.M),
)
# What only dockerlab says, by design: it is for learners.
_ONLY_OURS = (
    # What to do next.
    re.compile(r"^hint: .*\n", re.M),
    # What is not as docker has it, said once.
    re.compile(r"^note: .*\n", re.M),
    # The place in the Dockerfile, its line, and a mark under it.
    re.compile(r"^  --> .*:\d+:\d+\n", re.M),
    re.compile(r"^ +\d+ \| .*\n +\| +\^+\n", re.M),
)
# containerd's shim and runc stand between docker and the program, and each adds its name.
_SHIM = "failed to create shim task: OCI runtime create failed: runc create failed:"


def _without_metadata_containers(text: str) -> str:
    # Docker makes a container for steps that run nothing; dockerlab writes their config and is done.
    kept, runs = [], True
    for line in text.splitlines(keepends=True):
        if step := re.match(r"Step \d+/\d+ : (\w+)", line):
            runs = step[1].upper() == "RUN"
        elif line.startswith("# Executing"):
            runs = True
        if runs or not line.startswith((" ---> Running in ", "Removing intermediate container ")):
            kept.append(line)
    return "".join(kept)


def plain(transcript: Transcript, *, theirs: bool) -> list[str]:
    """Gives each line with its output and exit code; ids and subnets become numbers in order of appearance, times a word."""
    seen: dict[str, str] = {}
    nets: dict[int, int] = {}
    told = []
    for said in transcript:
        text = said.output
        for pattern in _ONLY_DOCKER if theirs else _ONLY_OURS:
            text = pattern.sub("", text)
        if theirs:
            # Client 28.2 says `SRun 'docker images --help'`; that is a slip.
            text = _without_metadata_containers(text).replace(_SHIM, "failed to create task:").replace("\nSRun '", "\nRun '")
        text = _ID.sub(lambda found: f"<{seen.setdefault(found[0][:12], str(len(seen)))}:{len(found[0])}>", text)
        text = _SUBNET.sub(lambda found: f"172.<{nets.setdefault(int(found[1] or int(found[0], 16)), len(nets))}>.", text)
        text = _STAMP.sub("<time>", _AGO.sub("<span>", text))
        if re.match(r"[A-Z].* (CREATED|STATUS) ", text):
            # The words for a time span differ in length from one second to the next, and the columns with them.
            text = re.sub(r" {2,}", "   ", text)
        told.append(f"$ {said.line}\n{text.rstrip()}\n[{said.code}]")
    return told


def bug(name: str, *lines: str, reason: str) -> object:
    """A case in which the two differ still."""
    return pytest.param(lines, id=name, marks=pytest.mark.xfail(strict=True, reason=reason))


def same(name: str, *lines: str) -> object:
    """A case in which they say the same."""
    return pytest.param(lines, id=name)
