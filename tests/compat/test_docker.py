"""The same command lines give the same words and exit codes as docker's client 28 with engine 20.10 and its classic builder."""

from __future__ import annotations

import re

import pytest

from tests.compat.conftest import Both, Transcript

pytestmark = [pytest.mark.needs_docker, pytest.mark.timeout(180)]

_AGO = re.compile(r"Less than a second|About an? \w+|\d+ (?:second|minute|hour)s?")
_STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z|\b[A-Z][a-z]{2} [ \d]\d \d\d:\d\d\b")
_ID = re.compile(r"\b[0-9a-f]{64}\b|\b[0-9a-f]{12}\b|(?<=file:)[0-9a-f]{16}(?=…)|(?<=dir:)[0-9a-f]{16}(?=…)")

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
    # The line of the Dockerfile, and a mark under the place.
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


def _plain(transcript: Transcript, *, theirs: bool) -> list[str]:
    """Gives each line with its output and exit code; ids become numbers in order of appearance, times a word."""
    seen: dict[str, str] = {}
    told = []
    for said in transcript:
        text = said.output
        for pattern in _ONLY_DOCKER if theirs else _ONLY_OURS:
            text = pattern.sub("", text)
        if theirs:
            # Client 28.2 says `SRun 'docker images --help'`; that is a slip.
            text = _without_metadata_containers(text).replace(_SHIM, "failed to create task:").replace("\nSRun '", "\nRun '")
        text = _ID.sub(lambda found: f"<{seen.setdefault(found[0][:12], str(len(seen)))}:{len(found[0])}>", text)
        text = _STAMP.sub("<time>", _AGO.sub("<span>", text))
        if re.match(r"[A-Z].* (CREATED|STATUS) ", text):
            # The words for a time span differ in length from one second to the next, and the columns with them.
            text = re.sub(r" {2,}", "   ", text)
        told.append(f"$ {said.line}\n{text.rstrip()}\n[{said.code}]")
    return told


def _bug(name: str, *lines: str, reason: str) -> object:
    return pytest.param(lines, id=name, marks=pytest.mark.xfail(strict=True, reason=reason))


def _same(name: str, *lines: str) -> object:
    return pytest.param(lines, id=name)


_GOLDEN = r"""printf 'FROM busybox:latest\nMAINTAINER "me@example.org"\nENV A=1\nRUN echo building && echo x > /x\nCOPY f /f\nCMD ["cat","/x"]\n' > Dockerfile; echo f > f"""
_HELLO = ("docker run --name c1 busybox touch /HelloWorld", 'docker commit -a "@dockerinaction" -m "Added hello" c1 hello:1')


def _build(text: str, options: str = "") -> str:
    return f"printf '{text}' > Some.df; docker build {options} -f Some.df ."


IMAGES_FROM_CONTAINERS = [
    _same(
        "hello world", "docker run --name hw_container busybox:latest touch /HelloWorld", "docker commit hw_container hw_image",
        "docker rm -vf hw_container", "docker run --rm hw_image ls -l /HelloWorld",
    ),
    _same(
        "diff", "docker run --name tweak-a busybox:latest touch /HelloWorld", "docker diff tweak-a",
        "docker run --name tweak-d busybox:latest rm /bin/vi", "docker diff tweak-d",
        "docker run --name tweak-c busybox:latest touch /bin/vi", "docker diff tweak-c", "docker rm -vf tweak-a tweak-d tweak-c",
    ),
    _same(
        "diff of folders", "docker run --name d1 busybox sh -c 'mkdir -p /a/b; echo x > /a/b/c; rm -r /var/spool; mv /etc/group /etc/g; chmod 700 /root; ln -s x /y'",
        "docker diff d1 | sort", "docker commit d1 dd", "docker run --rm dd ls -ld /a/b/c /etc/g /root /y", "docker run --rm dd ls /var/spool",
    ),
    _same("commit and history", *_HELLO, "docker images hello", "docker history hello:1", "docker history -q hello:1"),
    _same("history --no-trunc", *_HELLO, "docker history --no-trunc hello:1"),
    _same("size of a symlink", "docker run --name c1 busybox ln -s target /y", "docker commit c1 s1", "docker history s1"),
    _same(
        "rich image", "docker run --name r1 -e ENV_EXAMPLE1=Rich -e ENV_EXAMPLE2=Example busybox:latest", "docker commit r1 rie",
        'docker run --rm rie /bin/sh -c "echo \\$ENV_EXAMPLE1 \\$ENV_EXAMPLE2"',
        'docker run --name r2 --entrypoint "/bin/sh" rie -c "echo \\$ENV_EXAMPLE1 \\$ENV_EXAMPLE2"', "docker commit r2 rie",
        "docker run --rm rie", "docker images -f dangling=true", "docker images -aq | wc -l", "docker rm r1 r2",
    ),
    _same(
        "commit with changes", "docker create --name c1 busybox true", "docker commit -c 'ENV X=y' -c 'CMD [\"env\"]' -c 'WORKDIR /tmp' -c 'USER nobody' c1 changed",
        "docker inspect -f '{{json .Config.Env}} {{json .Config.Cmd}} {{.Config.WorkingDir}} {{.Config.User}}' changed",
        "docker run --rm changed sh -c 'id -u; pwd; echo $X'",
    ),
    _same(
        "export and import", *_HELLO, "docker export c1 | tar -t | grep -c bin/", "docker export c1 | docker import - flat:1 | cut -c1-7",
        "docker history --format '{{.CreatedBy}}|{{.Comment}}' flat:1", "docker run --rm -e PATH=/bin flat:1 ls /HelloWorld",
    ),
]  # fmt: skip

REFERENCES = [
    _same("tag and filter", *_HELLO, "docker tag hello:1 myuser/hello", "docker images --filter reference=myuser/hello", "docker rmi myuser/hello"),
    _same("upper case", *_HELLO, "docker tag hello:1 Upper/Case"),
    _same("tag of nothing", "docker tag nosuch:1 a:b"),
    _same("tag -f", *_HELLO, "docker tag -f hello:1 myuser/hello:2"),
    _same("rmi of nothing", "docker rmi nosuch"),
    _same("inspect of nothing", "docker inspect nosuch"),
    _same("names of one image", "docker tag busybox a:1", "docker tag busybox b/c:2", "docker images --format '{{.Repository}} {{.Tag}} {{.ID}}' a",
          "docker images --format 'table {{.Repository}}\\t{{.Tag}}' b/c", "docker rmi a:1 b/c:2"),
    _same("a registry's name", "docker tag busybox localhost:5000/b/c:2", "docker images -q localhost:5000/b/c"),
    _same("order of names", "docker tag busybox a:1", "docker inspect -f '{{json .RepoTags}}' busybox"),
    _same("rmi of a committed image", *_HELLO, "docker rm c1", "docker rmi hello:1", "docker rmi hello:1"),
    _same("rmi of one name of a used image", "docker create --name c1 busybox true", "docker tag busybox b2", "docker rmi b2"),
    _same("rmi of a used image", "docker create --name c1 busybox true", "docker rmi busybox"),
]  # fmt: skip

BUILDS = [
    _same("cold, cached, quiet", _GOLDEN, "docker build --tag golden:auto .", "docker build --tag golden:auto .", "docker build -q --tag golden:auto .",
          "docker run --rm golden:auto", "docker history golden:auto", "docker history --no-trunc --format '{{.CreatedBy}}' golden:auto"),
    _same("RUN fails", _build(r"FROM busybox\nRUN exit 3\n")),
    _same("unknown instruction", _build(r"FROM busybox\nFOO bar\n")),
    _same("COPY of nothing", _build(r"FROM busybox\nCOPY nosuch /x\n")),
    _same("COPY from outside", _build(r"FROM busybox\nCOPY ../etc /x\n")),
    _same("COPY with one word", _build(r"FROM busybox\nCOPY a\n")),
    _same("no FROM", _build(r"RUN true\n")),
    _same("empty", ": > Some.df; docker build -f Some.df ."),
    _same("no Dockerfile", "docker build -f nosuch.df .", "docker build nosuchdir"),
    _same("no argument", "docker build"),
    _same("ONBUILD kept", _build(r"FROM busybox\nONBUILD RUN echo trig > /t\n", "-t onb")),
    _same("ONBUILD done", _build(r"FROM busybox\nONBUILD RUN echo trig > /t\n", "-q -t onb"), _build(r"FROM onb\n", "-t child"), "docker run --rm child cat /t"),
    _same("COPY of folders", "mkdir -p tree/sub; echo 1 > tree/one; echo 2 > tree/sub/two; ln -s one tree/link; chmod 640 tree/one",
          _build(r"FROM busybox\nCOPY tree /a\nCOPY tree/one tree/sub/two /b/\nADD tree/one /c/d\nWORKDIR /w/x\nCOPY tree/* ./\n", "-t copied"),
          "docker run --rm copied sh -c 'cd /; find a b c w | sort; ls -l /a/one /a/link; cat /w/x/two /c/d; pwd'"),
    _same("COPY of several to a file", "touch f1 f2", _build(r"FROM busybox\nCOPY f* /x\n")),
    _same("stages and a target", _build(r"FROM busybox AS one\nRUN echo 1 > /f\nFROM one\nRUN echo 2 > /f\n", "--target one -q -t first"), "docker run --rm first cat /f"),
    _same("several stages", _build(r"FROM busybox AS one\nRUN echo 1 > /f\nFROM busybox\nCOPY --from=one /f /g\nCMD cat /g\n", "-t staged"), "docker run --rm staged"),
    _same("arguments", _build(r"ARG BASE=busybox\nFROM $BASE\nARG A=1\nENV B=$A\nRUN echo $A $B > /f\nLABEL a=b c=d\nEXPOSE 80\nVOLUME /v\nUSER nobody\nENTRYPOINT [\"cat\"]\nCMD [\"/f\"]\n",
          "--build-arg A=two -t args"), "docker run --rm args", "docker history --no-trunc --format '{{.CreatedBy}}' args",
          "docker inspect -f '{{json .Config.Labels}} {{json .Config.ExposedPorts}} {{json .Config.Volumes}} {{.Config.User}} {{json .Config.Entrypoint}}' args"),
    _same("changed file breaks the cache", _GOLDEN, "docker build -q -t g . | cut -c1-7", "touch f; docker build -t g .", "echo new > f; docker build -t g .", "docker build --no-cache -t g ."),
    _same(".dockerignore", "mkdir -p d; touch d/a.txt d/b.log top; printf '**/*.log\\ntop\\n' > .dockerignore", _build(r"FROM busybox\nCOPY . /all\n", "-t ign"),
          "docker run --rm ign find /all -name '*.*' -o -name top | sort", _build(r"FROM busybox\nCOPY top /all\n")),
    _same("stderr of RUN", _build(r"FROM busybox\nRUN echo out; echo err >&2\n", "-q -t e")),
    _same("image facts", _GOLDEN, "docker build -q -t g . | cut -c1-7",
          "docker inspect -f '{{json .Config.Env}} {{json .Config.Cmd}} {{.Author}} {{.Architecture}} {{.Os}} {{.Size}} {{len .RootFS.Layers}} {{.RootFS.Type}}' g",
          "docker inspect -f '{{json .RepoTags}} {{json .RepoDigests}} {{json .Comment}} {{.Parent}} {{json .Config.Labels}} {{.Id}}' g"),
    _same("time of the tag", "docker tag busybox b", "docker inspect -f '{{slice .Metadata.LastTagTime.String 0 2}}' b"),
    _same("bad name for -t", "touch Dockerfile; docker build -t Upper ."),
    _same("bad --target", _build(r"FROM busybox\n", "--target nosuch")),
]  # fmt: skip

CONTAINERS = [
    _same("name in use", "docker run -d --name web -e K=v busybox sleep 60", "docker run -d --name web busybox true", "docker ps", "docker rm web",
          "docker ps -a --filter name=web", "docker rm -f web", "docker rm web", "docker rm web"),
    _same("nothing of the name", "docker logs nosuch"),
    _same("start of nothing", "docker start nosuch"),
    _same("no image", "docker run --name nosuch no/such/image:x true"),
    _same("no program", "docker run --rm busybox /no/such", "docker run --rm busybox nosuch", "docker run --rm busybox /etc"),
    _same("no user", "docker run --rm -u nosuchuser busybox true"),
    _same("usage", "docker run --rm --badflag busybox", "docker run", "docker nosuchverb", "docker rm", "docker commit", "docker tag a", "docker ps x", "docker images a b", "docker logs"),
    _same("create, start, rm", "docker create --name cp1 busybox echo hi", "docker start cp1", "docker start -a cp1", "docker logs cp1", "docker rm cp1"),
    _same("exit codes", "docker run --name f1 busybox false", "docker run --name s1 busybox sh -c 'exit 42'", "docker run --name k1 busybox sh -c 'kill -9 $$'",
          "docker ps -a --format '{{.Names}} {{.Image}} {{.State}} {{.Status}}'", "docker inspect -f '{{.State.ExitCode}} {{.State.Status}} {{.State.Running}}' f1 s1 k1"),
    _same("command column", "docker create --name s1 busybox sh -c 'exit 42'", "docker ps -a"),
    _same("out and err", "docker run --name o1 busybox sh -c 'echo out; echo err >&2' 2>/dev/null", "docker logs o1 2>/dev/null", "docker logs o1 2>&1 >/dev/null",
          "docker run --name o2 busybox sh -c 'echo 1; echo 2; echo 3'", "docker logs -n 1 o2", "docker logs --tail 2 o2", "docker logs o2"),
    _same("stdin", "echo typed | docker run --rm -i busybox cat", "echo typed | docker run --rm busybox cat"),
    _same("settings", "docker run --rm -e A=1 -e B -w /tmp -u 1000:1000 -h box busybox sh -c 'echo $A $B; pwd; id -u; id -g; hostname; echo $HOME'",
          "docker run --rm --entrypoint echo busybox a b", "docker run --rm -u nobody busybox id -u"),
    _same("groups", "docker run --rm busybox id", "docker run --rm -u 1000:1000 busybox id", "docker run --rm -u nobody busybox id"),
    _same("environment", "docker run --rm busybox env | sort", "docker run --rm -e PATH=/bin -e HOME=/x busybox env | sort",
          "printf 'A=1\\n#no\\nB=2 3\\n' > e; docker run --rm --env-file e busybox env | sort"),
    _same("read-only", "docker run --rm --read-only busybox touch /x"),
    _same("volumes", "mkdir -p v; echo in > v/f; docker run --rm -v $PWD/v:/v busybox sh -c 'cat /v/f; echo out > /v/g'; cat v/g",
          "docker run --rm -v $PWD/v:/v:ro busybox touch /v/h", "docker run --rm -v data:/d busybox sh -c 'echo kept > /d/f'; docker run --rm -v data:/d busybox cat /d/f"),
    _same("capabilities", "docker run --rm busybox grep Cap /proc/self/status", "docker run --rm --cap-drop ALL --cap-add CHOWN busybox grep Cap /proc/self/status",
          "docker run --rm --security-opt no-new-privileges busybox grep NoNewPrivs /proc/self/status", "docker run --rm -u nobody busybox grep Cap /proc/self/status"),
    _same("what it sees", "docker run --rm busybox sh -c 'ls /dev; ls -d /proc/1; cat /etc/hostname | wc -c; ls -ld / /tmp /root; umask; ls -l /proc/self/fd | wc -l'",
          "docker run --rm busybox sh -c 'echo $$; cat /proc/1/comm; ulimit -n'",
          "docker run --rm busybox cat /proc/self/mounts | grep -E ' /(proc|dev|sys|dev/[mps][a-z]+|proc/sys) ' | cut -d' ' -f2,3 | sort"),
    _same("several at once", "docker create --name a1 busybox", "docker create --name b1 busybox", "docker rm a1 b1", "docker ps -aq"),
    _same("several at once, one missing", "docker create --name a1 busybox", "docker create --name b1 busybox", "docker rm a1 nosuch b1"),
    _same("bad name", "docker run --name -bad busybox true"),
    _same("bad name to create", "docker create --name b busybox true"),
    _same("inspect -f of nothing", "docker inspect -f '{{.Id}}' one two"),
    _same("facts", "docker run --name web -l a=b -e K=v --net host busybox sleep 0",
          "docker inspect -f '{{.Name}} {{.Path}} {{json .Args}} {{.State.Status}} {{.RestartCount}} {{.Platform}} {{.State.FinishedAt}}' web",
          "docker inspect -f '{{json .Config.Env}} {{json .Config.Cmd}} {{json .Config.Labels}} {{.Config.Image}} {{.HostConfig.NetworkMode}} {{json .Mounts}}' web",
          "docker inspect -f '{{json .State.Error}} {{.HostConfig.AutoRemove}} {{json .HostConfig.CapAdd}} {{.HostConfig.ReadonlyRootfs}}' web"),
    _same("host name", "docker create --name web -h box busybox", "docker inspect -f '{{.Config.Hostname}}' web"),
    _same("ps filters", "docker create --name a1 -l k=v busybox true", "docker run --name b1 busybox true", "docker ps -a --filter label=k=v --format '{{.Names}}'",
          "docker ps -a --filter status=exited --format '{{.Names}}'", "docker ps -a --filter ancestor=busybox --format '{{.Names}} {{.Status}}'",
          "docker ps -l --format '{{.Names}}'", "docker ps -n 2 -q"),
]  # fmt: skip


@pytest.mark.parametrize("lines", [*IMAGES_FROM_CONTAINERS, *REFERENCES, *BUILDS, *CONTAINERS])
def test_docker_says_the_same(both: Both, lines: tuple[str, ...]) -> None:
    theirs, ours = both(lines)
    assert "\n".join(_plain(ours, theirs=False)) == "\n".join(_plain(theirs, theirs=True))
