"""Docker's own client says the same of the same command lines: what it refuses before it asks its daemon, and its help."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from dataclasses import replace

import pytest

from dockerlab.commands.grammar import find, shown
from dockerlab.commands.help import help_text
from tests.commands.test_grammar import COMMANDS, RUN, refused, understand

CLIENT = shutil.which("docker", path="/usr/local/bin:/usr/bin")
needs_client = pytest.mark.skipif(CLIENT is None, reason="docker's client is not installed")


def ask_docker(argv: list[str]) -> tuple[str, int]:
    """What the real client says, without its notice about the old builder and without the stray S of its `SRun`."""
    env = {**os.environ, "DOCKER_HOST": "unix:///nonexistent", "DOCKER_BUILDKIT": "0", "LC_ALL": "C"}
    done = subprocess.run(
        [str(CLIENT), *argv], env=env, capture_output=True, text=True, errors="surrogateescape", timeout=30, cwd="/", check=False
    )
    words = re.sub(r"\ADEPRECATED: The legacy.*?\n\n", "", done.stdout + done.stderr, flags=re.DOTALL)
    return words.replace("\nSRun ", "\nRun ").removeprefix("Flag shorthand -h has been deprecated, use --help\n"), done.returncode


WRONG = r"""
run
run --nope
run --nope=3 x
run -zz
run -itz x
run --name
run -p
run -ie
run -h
run --rm=maybe x
run --rm= x
run -i=maybe x
run -ti=maybe x
run -i= x
run -iname x
run --=x
run ---x
run -=x x
run --
run --name=
run --entr x
run --RM x
run --help=maybe
run --memory-swappiness foo x
run --memory-swappiness '' x
run --memory-swappiness 99999999999999999999 x
run --memory-swappiness 1__0 x
run --memory-swappiness 08 x
run --health-interval foo x
run --health-interval 5 x
run --health-interval 5min x
run --health-interval 1.5.5s x
run --health-interval . x
run --health-interval .s x
run --health-interval 99999999h x
run --health-interval '' x
run --health-interval 5s5 x
run --health-interval -x x
run --é x
run -é x
run '-"' x
run "-'" x
run -\\ x
run '--rm=a"b\c' x
run --rm=é x
run '- x' y
create
create --nope
create -t=2 x
create --publish
container create
container run -t=zz x
rm
rm -vf
rm -x
rm --force=2 a
rm a -y
rm -v=
container rm
container remove
ps x
ps ''
ps -n
ps -n ''
ps -n x
ps --last=1.5
ps -aqz
ps -a=
ps -a=x
ps --no-trunc=
ps --nO-trunc
ps --all=TrUe
ps -h --nope
ps --help --nope
container ls x
container list x
container ps x
tag
tag a
tag a b c
tag -f a b
image tag a
images a b
images --nope
images -z
image ls a b
image list a b
commit
commit a b c
commit -m
commit --pause=no a
commit -x a
container commit
build
build a b
build --nope .
build -t
build --rm=x .
image build
builder build
cp a
container cp a
rmi
image rm
image remove -x
volume rm
system df x
nosuchverb
'a b'
''
container nosuch
container --nope
container -z run
system nosuch
volume ''
--nope
-z
help nosuch
"""


@needs_client
@pytest.mark.parametrize("line", [line for line in WRONG.splitlines() if line])
def test_wrong_lines_are_refused_in_the_clients_words(line: str) -> None:
    argv = shlex.split(line)
    error = refused(argv)
    assert (f"{shown(error)}\n", error.exit_code) == ask_docker(argv)


RIGHT = """
run -i x
run -eA=1 --env B=2 x -zz --nope
run -e -X x
run --rm=false x
run -t=F x
run -- x
run x -- y
run --memory-swappiness 0x10 x
ps -n -0b11
run --memory-swappiness 1_0 x
run --memory-swappiness +5 x
run --health-interval 1h2m3s4ms5us6ns x
run --health-interval 0 x
run --health-interval +.5s x
create -itp 80 x
rm a -vf b
rm -- -a
ps -n 010
ps -aqn5
ps --filter name=x -f status=exited
tag -- a b
images -q x
images --digests=1 --no-trunc=TRUE
commit -ma b
commit --pause=0 a b
"""


@needs_client
@pytest.mark.parametrize("line", [line for line in RIGHT.splitlines() if line])
def test_right_lines_get_past_the_client(line: str) -> None:
    _, parsed = understand(line.split())
    assert not parsed.help
    assert "Cannot connect to the Docker daemon" in ask_docker(line.split())[0]


@needs_client
@pytest.mark.parametrize(
    "name", ["rm", "container rm", "container ls", "ps", "tag", "images", "image ls", "commit", "cp", "rmi", "image rm"]
)
def test_help_is_laid_out_as_the_client_does(name: str) -> None:
    command, _ = find(COMMANDS, name.split())
    theirs, _ = ask_docker([*name.split(), "--help"])
    assert help_text(command) == theirs


@needs_client
def test_every_option_of_run_reads_as_in_the_clients_help() -> None:
    command = RUN
    theirs, _ = ask_docker(["run", "--help"])
    ours = {flag.name for flag in command.flags if flag.help} | {"help"}
    kept, keep = [], True
    for line in theirs.splitlines():
        option = re.match(r" {2}(?:-\w,|   ) --([\w-]+)", line)
        keep = option[1] in ours if option else keep or not line.startswith(" ")
        if option and keep:
            kept.append(" ".join(line.split()))
        elif keep and kept:
            kept[-1] += f" {line.strip()}"
    explained = replace(command, flags=tuple(flag for flag in command.flags if flag.help))
    mine = re.split(r"\n(?= {2}(?:-\w,|   ) --)", help_text(explained))[1:]
    assert [" ".join(entry.split()) for entry in mine] == kept
