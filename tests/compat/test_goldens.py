"""The recorded transcripts of real docker, played again without it: the same words, columns and exit codes, ids and times aside."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.compat.conftest import IMPORT, ROOT, Said, rootfs
from tests.compat.test_docker import plain

GOLDENS = ROOT.parent / "shared" / "golden" / "docker-transcripts.md"
# Verbs that dockerlab does not have yet: their lines are left out, with what only they lead to.
_LATER = re.compile(r"^docker (cp|exec|port|top|stop|volume|network|wait|version|push|pull|save|load)\b|localhost:|^docker ps -a --filter name=web$")
_PORT = re.compile(r"-p 127\.0\.0\.1:18099:80 |127\.0\.0\.1:18099->80/tcp")


def recorded() -> list[Said]:
    """Gives the command lines of the transcripts with what docker said."""
    found = []
    for block in re.findall(r"```\n(.*?)```", GOLDENS.read_text(), re.S):
        for line, output, code in re.findall(r"^\$ (.*)\n((?:(?!\[\d+\]$).*\n)*)\[(\d+)\]$", block, re.M):
            found.append(Said(line, output, int(code)))
    return found


def facts(output: str) -> dict[str, object]:
    """Gives of an `inspect` what both sides have and no id or time stands in."""
    value = json.loads(output)[0]
    config = {name: fact for name, fact in value["Config"].items() if name not in ("Hostname", "Image", "ExposedPorts")}
    kept = ("RepoTags", "Comment", "Author", "Architecture", "Os", "Path", "Args", "Name", "RestartCount", "Platform", "Mounts")
    state = {name: fact for name, fact in value.get("State", {}).items() if name not in ("Pid", "StartedAt")}
    return {**{name: value[name] for name in kept if name in value}, "Config": config, "State": state}


@pytest.mark.timeout(180)
def test_the_transcripts_are_played_again(tmp_path: Path, runtime: Path) -> None:
    if not GOLDENS.exists():
        pytest.skip(f"no recorded transcripts beside the project ({GOLDENS.parent.name}/{GOLDENS.name})")
    env = {**os.environ, "LC_ALL": "C", "DOCKERLAB_HOME": str(tmp_path / "home"), "XDG_RUNTIME_DIR": str(runtime), "PYTHONPATH": str(ROOT)}
    program = f"{shlex.quote(sys.executable)} -m dockerlab.cli"
    folder = tmp_path / "class"
    folder.mkdir()
    made = subprocess.run([*shlex.split(program), *IMPORT], env=env, input=rootfs(), capture_output=True, timeout=60, check=False)
    if b"lets nobody start a container" in made.stderr:
        pytest.skip(made.stderr.decode())
    theirs, ours, web = [], [], 0
    for said in recorded():
        if _LATER.search(said.line):
            continue
        line = _PORT.sub("", said.line)
        web += line == "docker rm web"
        if line == "docker rm web" and web == 2:  # docker had stopped it
            line = "docker rm -f web"
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", f'docker() {{ {program} "$@"; }}\n{line}'],
            cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60, check=False,
        )  # fmt: skip
        output = done.stdout.decode(errors="replace").replace(str(folder), "/class")
        if re.fullmatch(r"docker inspect (golden:auto|web)", line):
            assert facts(output) == facts(said.output)
            continue
        theirs.append(Said(line, _PORT.sub("", said.output), said.code))
        ours.append(Said(line, output, done.returncode))
    subprocess.run([*shlex.split(program), "rm", "-f", "cp1", "web"], env=env, capture_output=True, timeout=60, check=False)
    assert len(theirs) > 60
    for mine, wanted in zip(plain(ours, theirs=False), plain(theirs, theirs=True), strict=True):
        assert _sizes(mine) == _sizes(wanted)


def _sizes(text: str) -> str:
    # The busybox of another Debian has another size.
    return re.sub(r"\b\d\.\d+MB", "<size>", text)
