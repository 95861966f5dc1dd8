"""What `docker build` is told beside a Dockerfile: flags with the classic builder, BuildKit's own instructions with BuildKit (both of engine 20.10)."""

from __future__ import annotations

import re
import subprocess

import pytest

from tests.compat.conftest import Both
from tests.compat.saying import plain, same

pytestmark = [pytest.mark.needs_docker, pytest.mark.timeout(240)]


def _build(text: str, options: str = "", verb: str = "docker") -> str:
    return f"printf '{text}' > Some.df; {verb} build {options} -f Some.df ."


def _kit(text: str, options: str = "") -> str:
    return _build(text, f"-t kit {options}", "kit") + " > /dev/null 2>&1; echo $?"


_KEPT = "docker rm $(docker ps -aq) | wc -l"
_ROOM = r'FROM busybox\nRUN grep foo /etc/hosts; df -k /dev/shm | tail -n 1 | tr -s \" \" | cut -d\" \" -f2; ulimit -n; ulimit -Hn\n'
FLAGS = [
    same("labels", _build(r"FROM busybox\nENV A=1\n", """--label b=c --label 'a=x "y" $A z' --label e= --label f -t l"""), "docker inspect -f '{{json .Config.Labels}}' l",
         "docker history --no-trunc --format '{{.CreatedBy}}' l", _build(r"FROM busybox\n", "--label =x"),
         _build(r"FROM busybox AS one\nENV A=1\nFROM busybox\nENV B=1\n", "--target one --label a=b")),
    same("the image's id in a file", _build(r"FROM busybox\nENV A=1\n", "--iidfile id -t i"), "docker inspect -f '{{.Id}}' i | cmp - <(cat id; echo); wc -c id",
         _build(r"FROM busybox\nRUN exit 1\n", "--iidfile id"), "ls id", _build(r"FROM busybox\n", "-q --iidfile /nosuch/x")),
    same("containers that are kept", _build(r"FROM busybox\nRUN exit 3\n"),
         f"docker ps -a --no-trunc --format '{{{{.Command}}}} {{{{.Status}}}}' | sed 's/[0-9]* sec.*//; s/Less.*//'; {_KEPT}",
         _build(r"FROM busybox\nRUN true\nRUN exit 3\n", "--force-rm"), "docker ps -aq | wc -l", _build(r"FROM busybox\nRUN true\n", "--rm=false --no-cache"), f"docker ps -aq | wc -l; {_KEPT}"),
    same("the network of RUN", _build(r"FROM busybox\nRUN ls /sys/class/net\n", "--network none"), _build(r"FROM busybox\nRUN true\n", "--network nosuch"), _KEPT, "docker network create n1 | wc -c",
         _build(r"FROM busybox\nRUN ls /sys/class/net | sort\n", "--network n1 --no-cache"), "docker ps -aq | wc -l; docker network rm n1"),
    same("what RUN may use", _build(_ROOM, "--add-host foo:1.2.3.4 --shm-size 1m --ulimit nofile=100:200"), _build(r"FROM busybox\nRUN true\n", "--memory 1m"), _build(r"FROM busybox\n", "--memory x"),
         _build(r"FROM busybox\n", "--add-host foo"), _build(r"FROM busybox\n", "--shm-size x"), _build(r"FROM busybox\n", "--ulimit x"),
         _build(r"FROM busybox\nRUN true\n", "--memory 100m --memory-swap 50m"), "docker ps -aq | wc -l"),
    same("an address that nobody answers at", "docker build http://127.0.0.1:1/nosuch 2>&1 | grep -c refused",
         _build(r"FROM busybox\nADD http://127.0.0.1:1/x /x\n") + " 2>&1 | grep -c 'ADD failed.*refused'"),
]  # fmt: skip
_OUT = "docker run --rm kit cat /o"
_ALL = (r"FROM busybox\nRUN --mount=type=bind,target=/ctx --mount=type=cache,target=/c --mount=type=secret,id=k --mount=type=tmpfs,target=/t"
        r" cat /ctx/d/x /run/secrets/k > /o; stat -c \"%%a %%u %%n\" /c /run/secrets/k /t >> /o; touch /ctx/n || echo ro >> /o\n")  # fmt: skip
_FROM = (r"FROM busybox AS a\nRUN mkdir /has && echo stage > /has/f\nFROM busybox\nWORKDIR /w\nRUN --mount=source=d,target=rel,rw --mount=from=a,source=/has,target=/e"
         r" sh -c \"cat rel/x /e/f; echo n > rel/new; ls rel\" > /o\n")  # fmt: skip
_CACHES = (r"FROM busybox\nRUN --mount=type=cache,target=/c,id=q touch /c/1\nRUN --mount=type=cache,target=/d,id=q ls /d > /o\n"
           r"RUN --mount=type=cache,target=/d ls /d >> /o\n")  # fmt: skip
_MODE = r"FROM busybox\nRUN --mount=type=secret,id=k,target=/a/k,mode=0444 stat -c %%a /a/k > /o\n"
_PLATFORM = r"FROM --platform=$BUILDPLATFORM busybox\nARG TARGETPLATFORM\nARG TARGETOS\nARG TARGETARCH\nRUN echo $TARGETPLATFORM $TARGETOS $TARGETARCH -$BUILDOS- > /o\n"
_MODES = r"FROM busybox\nCOPY --chmod=755 --chown=5:6 d/x /x\nRUN stat -c \"%%a %%u %%g\" /x > /o\n"
KIT = [
    same("mounts", "mkdir -p d; echo x > d/x; echo s3 > key", _kit(_ALL, "--secret id=k,src=key"), _OUT, "echo another > key", _kit(_ALL, "--secret id=k,src=key"), _OUT,
         _kit(_FROM), f"{_OUT}; ls d", _kit(_CACHES), _OUT,
         _kit(r"FROM busybox\nRUN --mount=type=secret,id=no cat /run/secrets/no || echo none > /o\n"), _OUT, _kit(_MODE, "--secret id=k,env=HOME"), _OUT),
    same("mounts that are wrong", *(_kit(rf"FROM busybox\nRUN --mount={words} true\n") for words in (
         "type=secret,id=no,required", "source=no,target=/x", "type=foo,target=/x", "target=/x,wrong=1", "type=cache", "from=0,target=/x", "type=bind,target"))),
    same("platforms", _kit(_PLATFORM), _OUT),
    same("stages that nobody needs", _kit(r"FROM busybox AS a\nRUN exit 1\nFROM busybox AS b\nRUN echo b > /o\nFROM busybox\nCOPY --from=b /o /o\n"), _OUT,
         _kit(r"FROM busybox AS a\nRUN exit 1\nFROM a\n"), _kit(r"FROM busybox AS a\nRUN echo a > /o\nFROM busybox\nRUN exit 1\n", "--target a"), _OUT,
         _kit(r"FROM busybox AS a\nRUN echo m > /f\nFROM busybox\nRUN --mount=from=a,source=/f,target=/m cat /m > /o\n"), _OUT),
    same("owners and modes", "mkdir -p d; echo x > d/x; chmod 640 d/x", _kit(_MODES), _OUT),
]  # fmt: skip


@pytest.mark.parametrize("lines", FLAGS)
def test_docker_says_the_same(both: Both, lines: tuple[str, ...]) -> None:
    theirs, ours = both(lines)
    assert "\n".join(plain(ours, theirs=False)) == "\n".join(plain(theirs, theirs=True))


@pytest.mark.parametrize("lines", KIT)
def test_buildkit_does_the_same(both: Both, lines: tuple[str, ...]) -> None:
    version = subprocess.run(["/usr/bin/docker", "--version"], capture_output=True, text=True, check=False).stdout
    if not re.search(r"version 20\.", version):
        pytest.skip(f"BuildKit is asked for by a client of its engine's age; here: {version.strip() or 'none'}")
    theirs, ours = both(lines)
    assert "\n".join(plain(ours, theirs=False)) == "\n".join(plain(theirs, theirs=True))


LEFT = [
    same("an empty cache of builds", "docker builder prune -af > /dev/null", "docker builder prune -f", "docker builder prune -af --filter until=24h",
         "docker builder prune < /dev/null", "docker builder prune -a < /dev/null",
         "docker builder prune --keep-storage 1k -f", "docker builder prune --keep-storage x -f"),
]  # fmt: skip


@pytest.mark.parametrize("lines", LEFT)
def test_what_builds_leave(both: Both, lines: tuple[str, ...]) -> None:
    theirs, ours = both(lines)
    assert "\n".join(plain(ours, theirs=False)) == "\n".join(plain(theirs, theirs=True))
