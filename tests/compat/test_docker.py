"""The same command lines give the same words and exit codes as docker's client 28 with engine 20.10 and its classic builder."""

from __future__ import annotations

import pytest

from tests.compat.conftest import Both
from tests.compat.saying import plain, same

pytestmark = [pytest.mark.needs_docker, pytest.mark.timeout(180)]

_GOLDEN = r"""printf 'FROM busybox:latest\nMAINTAINER "me@example.org"\nENV A=1\nRUN echo building && echo x > /x\nCOPY f /f\nCMD ["cat","/x"]\n' > Dockerfile; echo f > f"""
_HELLO = ("docker run --name c1 busybox touch /HelloWorld", 'docker commit -a "@dockerinaction" -m "Added hello" c1 hello:1')


def _build(text: str, options: str = "") -> str:
    return f"printf '{text}' > Some.df; docker build {options} -f Some.df ."


IMAGES_FROM_CONTAINERS = [
    same(
        "hello world", "docker run --name hw_container busybox:latest touch /HelloWorld", "docker commit hw_container hw_image",
        "docker rm -vf hw_container", "docker run --rm hw_image ls -l /HelloWorld",
    ),
    same(
        "diff", "docker run --name tweak-a busybox:latest touch /HelloWorld", "docker diff tweak-a",
        "docker run --name tweak-d busybox:latest rm /bin/vi", "docker diff tweak-d",
        "docker run --name tweak-c busybox:latest touch /bin/vi", "docker diff tweak-c", "docker rm -vf tweak-a tweak-d tweak-c",
    ),
    same(
        "diff of folders", "docker run --name d1 busybox sh -c 'mkdir -p /a/b; echo x > /a/b/c; rm -r /var/spool; mv /etc/group /etc/g; chmod 700 /root; ln -s x /y'",
        "docker diff d1 | sort", "docker commit d1 dd", "docker run --rm dd ls -ld /a/b/c /etc/g /root /y", "docker run --rm dd ls /var/spool",
    ),
    same("commit and history", *_HELLO, "docker images hello", "docker history hello:1", "docker history -q hello:1"),
    same("history --no-trunc", *_HELLO, "docker history --no-trunc hello:1"),
    same("size of a symlink", "docker run --name c1 busybox ln -s target /y", "docker commit c1 s1", "docker history s1"),
    same(
        "rich image", "docker run --name r1 -e ENV_EXAMPLE1=Rich -e ENV_EXAMPLE2=Example busybox:latest", "docker commit r1 rie",
        'docker run --rm rie /bin/sh -c "echo \\$ENV_EXAMPLE1 \\$ENV_EXAMPLE2"',
        'docker run --name r2 --entrypoint "/bin/sh" rie -c "echo \\$ENV_EXAMPLE1 \\$ENV_EXAMPLE2"', "docker commit r2 rie",
        "docker run --rm rie", "docker images -f dangling=true", "docker images -aq | wc -l", "docker rm r1 r2",
    ),
    same(
        "commit with changes", "docker create --name c1 busybox true", "docker commit -c 'ENV X=y' -c 'CMD [\"env\"]' -c 'WORKDIR /tmp' -c 'USER nobody' c1 changed",
        "docker inspect -f '{{json .Config.Env}} {{json .Config.Cmd}} {{.Config.WorkingDir}} {{.Config.User}}' changed",
        "docker run --rm changed sh -c 'id -u; pwd; echo $X'",
    ),
    same(
        "export and import", *_HELLO, "docker export c1 | tar -t | grep -c bin/", "docker export c1 | docker import - flat:1 | cut -c1-7",
        "docker history --format '{{.CreatedBy}}|{{.Comment}}' flat:1", "docker run --rm -e PATH=/bin flat:1 ls /HelloWorld",
    ),
]  # fmt: skip

REFERENCES = [
    same("tag and filter", *_HELLO, "docker tag hello:1 myuser/hello", "docker images --filter reference=myuser/hello", "docker rmi myuser/hello"),
    same("upper case", *_HELLO, "docker tag hello:1 Upper/Case"),
    same("tag of nothing", "docker tag nosuch:1 a:b"),
    same("tag -f", *_HELLO, "docker tag -f hello:1 myuser/hello:2"),
    same("rmi of nothing", "docker rmi nosuch"),
    same("inspect of nothing", "docker inspect nosuch"),
    same("names of one image", "docker tag busybox a:1", "docker tag busybox b/c:2", "docker images --format '{{.Repository}} {{.Tag}} {{.ID}}' a",
          "docker images --format 'table {{.Repository}}\\t{{.Tag}}' b/c", "docker rmi a:1 b/c:2"),
    same("a registry's name", "docker tag busybox localhost:5000/b/c:2", "docker images -q localhost:5000/b/c"),
    same("order of names", "docker tag busybox a:1", "docker inspect -f '{{json .RepoTags}}' busybox"),
    same("rmi of a committed image", *_HELLO, "docker rm c1", "docker rmi hello:1", "docker rmi hello:1"),
    same("rmi of one name of a used image", "docker create --name c1 busybox true", "docker tag busybox b2", "docker rmi b2"),
    same("rmi of a used image", "docker create --name c1 busybox true", "docker rmi busybox"),
]  # fmt: skip

BUILDS = [
    same("cold, cached, quiet", _GOLDEN, "docker build --tag golden:auto .", "docker build --tag golden:auto .", "docker build -q --tag golden:auto .",
          "docker run --rm golden:auto", "docker history golden:auto", "docker history --no-trunc --format '{{.CreatedBy}}' golden:auto"),
    same("RUN fails", _build(r"FROM busybox\nRUN exit 3\n")),
    same("unknown instruction", _build(r"FROM busybox\nFOO bar\n")),
    same("COPY of nothing", _build(r"FROM busybox\nCOPY nosuch /x\n")),
    same("COPY from outside", _build(r"FROM busybox\nCOPY ../etc /x\n")),
    same("COPY with one word", _build(r"FROM busybox\nCOPY a\n")),
    same("no FROM", _build(r"RUN true\n")),
    same("empty", ": > Some.df; docker build -f Some.df ."),
    same("no Dockerfile", "docker build -f nosuch.df .", "docker build nosuchdir"),
    same("no argument", "docker build"),
    same("ONBUILD kept", _build(r"FROM busybox\nONBUILD RUN echo trig > /t\n", "-t onb")),
    same("ONBUILD done", _build(r"FROM busybox\nONBUILD RUN echo trig > /t\n", "-q -t onb"), _build(r"FROM onb\n", "-t child"), "docker run --rm child cat /t"),
    same("COPY of folders", "mkdir -p tree/sub; echo 1 > tree/one; echo 2 > tree/sub/two; ln -s one tree/link; chmod 640 tree/one",
          _build(r"FROM busybox\nCOPY tree /a\nCOPY tree/one tree/sub/two /b/\nADD tree/one /c/d\nWORKDIR /w/x\nCOPY tree/* ./\n", "-t copied"),
          "docker run --rm copied sh -c 'cd /; find a b c w | sort; ls -l /a/one /a/link; cat /w/x/two /c/d; pwd'"),
    same("COPY of several to a file", "touch f1 f2", _build(r"FROM busybox\nCOPY f* /x\n")),
    same("stages and a target", _build(r"FROM busybox AS one\nRUN echo 1 > /f\nFROM one\nRUN echo 2 > /f\n", "--target one -q -t first"), "docker run --rm first cat /f"),
    same("several stages", _build(r"FROM busybox AS one\nRUN echo 1 > /f\nFROM busybox\nCOPY --from=one /f /g\nCMD cat /g\n", "-t staged"), "docker run --rm staged"),
    same("arguments", _build(r"ARG BASE=busybox\nFROM $BASE\nARG A=1\nENV B=$A\nRUN echo $A $B > /f\nLABEL a=b c=d\nEXPOSE 80\nVOLUME /v\nUSER nobody\nENTRYPOINT [\"cat\"]\nCMD [\"/f\"]\n",
          "--build-arg A=two -t args"), "docker run --rm args", "docker history --no-trunc --format '{{.CreatedBy}}' args",
          "docker inspect -f '{{json .Config.Labels}} {{json .Config.ExposedPorts}} {{json .Config.Volumes}} {{.Config.User}} {{json .Config.Entrypoint}}' args"),
    same("changed file breaks the cache", _GOLDEN, "docker build -q -t g . | cut -c1-7", "touch f; docker build -t g .", "echo new > f; docker build -t g .", "docker build --no-cache -t g ."),
    same(".dockerignore", "mkdir -p d; touch d/a.txt d/b.log top; printf '**/*.log\\ntop\\n' > .dockerignore", _build(r"FROM busybox\nCOPY . /all\n", "-t ign"),
          "docker run --rm ign find /all -name '*.*' -o -name top | sort", _build(r"FROM busybox\nCOPY top /all\n")),
    same("stderr of RUN", _build(r"FROM busybox\nRUN echo out; echo err >&2\n", "-q -t e")),
    same("image facts", _GOLDEN, "docker build -q -t g . | cut -c1-7",
          "docker inspect -f '{{json .Config.Env}} {{json .Config.Cmd}} {{.Author}} {{.Architecture}} {{.Os}} {{.Size}} {{len .RootFS.Layers}} {{.RootFS.Type}}' g",
          "docker inspect -f '{{json .RepoTags}} {{json .RepoDigests}} {{json .Comment}} {{.Parent}} {{json .Config.Labels}} {{.Id}}' g"),
    same("time of the tag", "docker tag busybox b", "docker inspect -f '{{slice .Metadata.LastTagTime.String 0 2}}' b"),
    same("bad name for -t", "touch Dockerfile; docker build -t Upper ."),
    same("bad --target", _build(r"FROM busybox\n", "--target nosuch")),
]  # fmt: skip

CONTAINERS = [
    same("name in use", "docker run -d --name web -e K=v busybox sleep 60", "docker run -d --name web busybox true", "docker ps", "docker rm web",
          "docker ps -a --filter name=web", "docker rm -f web", "docker rm web", "docker rm web"),
    same("nothing of the name", "docker logs nosuch"),
    same("start of nothing", "docker start nosuch"),
    same("no image", "docker run --name nosuch no/such/image:x true"),
    same("no program", "docker run --rm busybox /no/such", "docker run --rm busybox nosuch", "docker run --rm busybox /etc"),
    same("no user", "docker run --rm -u nosuchuser busybox true"),
    same("usage", "docker run --rm --badflag busybox", "docker run", "docker nosuchverb", "docker rm", "docker commit", "docker tag a", "docker ps x", "docker images a b", "docker logs"),
    same("create, start, rm", "docker create --name cp1 busybox echo hi", "docker start cp1", "docker start -a cp1", "docker logs cp1", "docker rm cp1"),
    same("exit codes", "docker run --name f1 busybox false", "docker run --name s1 busybox sh -c 'exit 42'", "docker run --name k1 busybox sh -c 'kill -9 $$'",
          "docker ps -a --format '{{.Names}} {{.Image}} {{.State}} {{.Status}}'", "docker inspect -f '{{.State.ExitCode}} {{.State.Status}} {{.State.Running}}' f1 s1 k1"),
    same("command column", "docker create --name s1 busybox sh -c 'exit 42'", "docker ps -a"),
    same("out and err", "docker run --name o1 busybox sh -c 'echo out; echo err >&2' 2>/dev/null", "docker logs o1 2>/dev/null", "docker logs o1 2>&1 >/dev/null",
          "docker run --name o2 busybox sh -c 'echo 1; echo 2; echo 3'", "docker logs -n 1 o2", "docker logs --tail 2 o2", "docker logs o2"),
    same("stdin", "echo typed | docker run --rm -i busybox cat", "echo typed | docker run --rm busybox cat"),
    same("settings", "docker run --rm -e A=1 -e B -w /tmp -u 1000:1000 -h box busybox sh -c 'echo $A $B; pwd; id -u; id -g; hostname; echo $HOME'",
          "docker run --rm --entrypoint echo busybox a b", "docker run --rm -u nobody busybox id -u"),
    same("groups", "docker run --rm busybox id", "docker run --rm -u 1000:1000 busybox id", "docker run --rm -u nobody busybox id"),
    same("environment", "docker run --rm busybox env | sort", "docker run --rm -e PATH=/bin -e HOME=/x busybox env | sort",
          "printf 'A=1\\n#no\\nB=2 3\\n' > e; docker run --rm --env-file e busybox env | sort"),
    same("read-only", "docker run --rm --read-only busybox touch /x"),
    same("volumes", "mkdir -p v; echo in > v/f; docker run --rm -v $PWD/v:/v busybox sh -c 'cat /v/f; echo out > /v/g'; cat v/g",
          "docker run --rm -v $PWD/v:/v:ro busybox touch /v/h", "docker run --rm -v data:/d busybox sh -c 'echo kept > /d/f'; docker run --rm -v data:/d busybox cat /d/f"),
    same("capabilities", "docker run --rm busybox grep Cap /proc/self/status", "docker run --rm --cap-drop ALL --cap-add CHOWN busybox grep Cap /proc/self/status",
          "docker run --rm --security-opt no-new-privileges busybox grep NoNewPrivs /proc/self/status", "docker run --rm -u nobody busybox grep Cap /proc/self/status"),
    same("what it sees", "docker run --rm busybox sh -c 'ls /dev; ls -d /proc/1; cat /etc/hostname | wc -c; ls -ld / /tmp /root; umask; ls /proc/self/fd | wc -l'",
          "docker run --rm busybox sh -c 'echo $$; cat /proc/1/comm; ulimit -n'",
          "docker run --rm busybox cat /proc/self/mounts | grep -E ' /(proc|dev|sys|dev/[mps][a-z]+|proc/sys) ' | cut -d' ' -f2,3 | sort"),
    same("several at once", "docker create --name a1 busybox", "docker create --name b1 busybox", "docker rm a1 b1", "docker ps -aq"),
    same("several at once, one missing", "docker create --name a1 busybox", "docker create --name b1 busybox", "docker rm a1 nosuch b1"),
    same("bad name", "docker run --name -bad busybox true"),
    same("bad name to create", "docker create --name b busybox true"),
    same("inspect -f of nothing", "docker inspect -f '{{.Id}}' one two"),
    same("facts", "docker run --name web -l a=b -e K=v --net host busybox sleep 0",
          "docker inspect -f '{{.Name}} {{.Path}} {{json .Args}} {{.State.Status}} {{.RestartCount}} {{.Platform}} {{.State.FinishedAt}}' web",
          "docker inspect -f '{{json .Config.Env}} {{json .Config.Cmd}} {{json .Config.Labels}} {{.Config.Image}} {{.HostConfig.NetworkMode}} {{json .Mounts}}' web",
          "docker inspect -f '{{json .State.Error}} {{.HostConfig.AutoRemove}} {{json .HostConfig.CapAdd}} {{.HostConfig.ReadonlyRootfs}}' web"),
    same("host name", "docker create --name web -h box busybox", "docker inspect -f '{{.Config.Hostname}}' web"),
    same("ps filters", "docker create --name a1 -l k=v busybox true", "docker run --name b1 busybox true", "docker ps -a --filter label=k=v --format '{{.Names}}'",
          "docker ps -a --filter status=exited --format '{{.Names}}'", "docker ps -a --filter ancestor=busybox --format '{{.Names}} {{.Status}}'",
          "docker ps -l --format '{{.Names}}'", "docker ps -n 2 -q"),
]  # fmt: skip


_STAGE = r"FROM busybox AS one\nRUN mkdir /d; echo 1 > /d/f; chown 7:8 /d/f; chmod 640 /d/f; ln -s f /d/l; ln -s /d /dl; ln -s /etc/group /d/g; ln /d/f /d/h\nFROM busybox\n"

SOURCES = [
    same("COPY --from of a stage", _build(_STAGE + r"COPY --from=one /d /e\nCOPY --from=0 /dl /e2\nCOPY --from=one /d/l /g\nCOPY --from=one /d/f /d/g /h/\nCOPY --from=one /d/* /w/\n", "-t x"),
          "docker run --rm x sh -c 'ls -lnR /e /e2 /h /w; ls -ln /g; cat /g'", "docker build -t x -f Some.df .", "docker history --format '{{.Size}}' x"),
    same("COPY --from of an image, with an owner", _build(_STAGE + r"COPY --from=busybox:latest /etc/group /g\nCOPY --from=one --chown=3:4 /d/ /c/\n", "-t x"),
          "docker run --rm x sh -c 'ls -ln /g; ls -ln /c'", "docker history --no-trunc --format '{{.CreatedBy}}' x | grep -c -- '--chown=3:4dir:'"),
    same("owners by name", "echo f > f", _build(r"FROM busybox\nCOPY --chown=nobody f /a\nCOPY --chown=daemon:nobody f /b\nCOPY --chown=5:daemon f /c\nCOPY --chown=9 f /d\n", "-t x"),
          "docker run --rm x ls -ln /a /b /c /d", *(_build(rf"FROM busybox\nCOPY --chown={who} f /\n") for who in ("nosuch", "0:nosuch"))),
    same("COPY --from of all", _build(r"FROM busybox AS one\nFROM scratch\nCOPY --from=one / /\nCOPY --from=one . /all\nRUN ls /all\n", "-t x"), "docker run --rm x ls /"),
    same("COPY --from depends on content", _build(r"FROM busybox AS one\nRUN echo 1 > /f\nFROM busybox\nCOPY --from=one /f /g\n", "-q -t x"),
          _build(r"FROM busybox AS one\nRUN echo 2 > /other; echo 1 > /f\nFROM busybox\nCOPY --from=one /f /g\n"),
          _build(r"FROM busybox AS one\nRUN echo 2 > /f\nFROM busybox\nCOPY --from=one /f /g\n", "-t x"), "docker run --rm x cat /g"),
    same("COPY --from of nothing", *(_build(rf"FROM busybox AS one\nFROM busybox\nCOPY --from=one /bin/true /t\nCOPY --from={words}\n") for words in (
        "one /nosuch /e", "one /nosuch* /e", "5 /etc /e", "1 /etc /e", "one ../../etc/passwd /e", "one bin etc /e")), _build(r"FROM busybox\nCOPY --from= /x /e\n")),
    same("a Dockerfile from a pipe", "printf 'FROM busybox\\nCOPY . /x\\nRUN ls -a /x\\n' | docker build -t p -", "printf 'FROM busybox\\nCOPY f /y\\n' | docker build -",
          "echo f > f; printf 'FROM busybox\\nCOPY f /y\\n' | docker build -t p2 -f - .", "docker run --rm p2 cat /y", "docker build - < /dev/null", "printf 'FOO\\n' | docker build -",
          "printf 'FROM busybox\\n' | docker build -f - -", "printf 'FROM busybox\\n' | docker build -f other -"),
    same("a context from a pipe", "echo hi > f; printf '.dockerignore\\nDockerfile\\nf\\n' > .dockerignore; printf 'FROM busybox\\nCOPY . /x\\n' > Dockerfile; cp Dockerfile D2",
          "tar -c Dockerfile f .dockerignore | docker build -t t -", "docker run --rm t ls -a /x", "tar -cz Dockerfile f | docker build -t t -", "docker run --rm t ls -a /x",
          "tar -c f D2 | docker build -q -t t -f D2 - | cut -c1-7", "tar -c f D2 | docker build -", "tar -c f D2 | docker build -f nosuch -"),
    same("contexts that are none", "touch f; docker build f", "mkdir d; docker build d", "docker build -f ./d/../nosuch d"),
    same("two files of one name", "mkdir a b; echo A > a/x; echo B > b/x; ln -s x a/l", _build(r"FROM busybox\nCOPY a/x b/x /d/\nCOPY a b /e/\nCOPY a/l /m\nADD a/x b /q/\nCOPY a/x nosuch* /n/\n",
          "-t c"),
          "docker run --rm c sh -c 'cat /d/x /e/x /m /q/x /n/x; ls /e'", _build(r"FROM busybox\nCOPY nosuch* /x\n")),
    same("archives", "mkdir a; echo A > a/x; tar -czf t.tgz a", _build(r"FROM busybox\nADD t.tgz /t\nADD t.tgz a /t2/\nCOPY t.tgz /t3\n", "-t t"),
          "docker run --rm t sh -c 'find /t /t2 | sort; ls /t3'"),
]  # fmt: skip

STEPS = [
    same("an argument that nobody asks for", _build(r"FROM busybox\nARG YES\nRUN echo $YES\n", "--build-arg NO=1 --build-arg YES=2 --build-arg HTTP_PROXY=x"), "docker build --build-arg =1 ."),
    same("variables and folders", _build(
        r"FROM busybox\nARG V=1\nARG W\nENV A=$V B=${W:-none} C=\"two words\"\nENV D $A-$B and more\nWORKDIR rel\nWORKDIR sub/../deep\nWORKDIR $A\n"
        r"RUN pwd; echo $A $B $C $D\nLABEL k=\"v $A\"\nUSER 5:6\nRUN id -u\n",
        "--build-arg W=w -t env"), "docker run --rm env sh -c 'pwd; env | sort | grep ^[A-D]='", "docker history --no-trunc --format '{{.CreatedBy}}' env",
        "docker inspect -f '{{json .Config.Labels}}{{.Config.WorkingDir}}{{.Config.User}}' env"),
    same("entrypoints", _build(r"FROM busybox\nENTRYPOINT [\"echo\",\"hi\"]\nCMD [\"x\"]\n", "-t d"), "docker run --rm d", "docker run --rm d y z",
          "docker run --rm --entrypoint sh d -c 'echo no'",
          _build(r"FROM busybox\nENTRYPOINT echo shell\nCMD [\"x\"]\n", "-q -t d"), "docker run --rm d", _build(r"FROM busybox\nCMD [\"a\", b]\n", "-t c"),
          "docker inspect -f '{{json .Config.Cmd}}' c"),
    same("steps that cannot be done", *(_build(rf"FROM busybox\n{line}\n") for line in ("EXPOSE abc", "EXPOSE 80/foo", "STOPSIGNAL SIGFOO", "COPY --bad=x a /b", "ONBUILD FROM x",
          "ONBUILD ONBUILD RUN true", 'RUN [\\"nosuch\\"]')), _build(r"FROM $X\n"), _build(r"FROM busybox AS 1x\n"), _build(r"FROM busybox a b\n"), _build("# only a comment"),
          _build(r"FROM scratch\n")),
    same("ports and volumes", _build(r"FROM busybox\nVOLUME /v\nRUN echo x > /v/f\nEXPOSE 80 53/udp 90-91\n", "-q -t v"), "docker run --rm v ls /v",
          "docker inspect -f '{{json .Config.ExposedPorts}}{{json .Config.Volumes}}' v"),
    same("from nothing", "echo d > D", _build(r"FROM scratch\nCOPY D /D\n", "-t s"), "docker history s", "docker run --rm s"),
    same("several triggers", _build(r"FROM busybox\nONBUILD RUN echo 1 > /1\nONBUILD RUN echo 2 > /2\n", "-q -t onb"), _build(r"FROM onb\nRUN cat /1 /2\n", "-t child"),
          "docker build -t child -f Some.df .",
          "docker inspect -f '{{json .Config.OnBuild}}' onb child"),
    same("quiet tells what went wrong", _build(r"FROM busybox\nRUN echo hi; exit 4\n", "-q")),
    same("the steps of a target", _build(r"FROM busybox AS one\nRUN echo 1\nFROM busybox\nRUN echo 2\n", "--target one"), "docker build --target ONE -f Some.df -q ."),
]  # fmt: skip

MANAGEMENT = [
    same("management words", "sleep 1", "docker container run --name c1 busybox echo hi", "docker container ls", "docker container ls -a --format '{{.Names}}'", "docker container ps -aq",
          "docker container logs c1",
          "docker container diff c1", "docker container commit c1 m:1", "docker image ls", "docker image tag m:1 m:2", "docker image history -q m:2", "docker image rm m:1 m:2",
          "docker container rm c1",
          "docker container run --rm nosuch true", "docker container run --rm busybox nosuch", "docker container nosuch", "docker image nosuch", "docker system nosuch"),
    same("inspect of one kind", "docker create --name c1 busybox true", "docker container inspect -f '{{.Name}}' c1", "docker image inspect -f '{{.Os}}' busybox nosuch",
          "docker container inspect nosuch c2",
          "docker image inspect nosuch", "docker inspect --type image nosuch", "docker inspect --type container busybox", "docker inspect --type foo busybox", "docker inspect -f '{{.Id' busybox",
          "docker inspect -f '{{.Nosuch}}' busybox", "docker inspect nosuch c1 -f '{{.Name}}'", "docker inspect Upper/Case", "docker inspect -f '{{.Config.User}}' busybox"),
    same("names that are none", "docker history Upper/Case", "docker rmi Upper/Case", "docker run --rm Upper/Case", "docker create Upper/Case", "docker run --rm '' true",
          "docker commit nosuch Upper", "docker images Upper"),
    same("disk usage", _build(r"FROM busybox AS a\nRUN echo 12345 > /a\nFROM busybox\nCOPY --from=a /a /a\nRUN echo 123456789 > /b; ln -s abc /l\n", "-q -t x:1"), "docker create --name c0 x:1 true",
          "docker run --name c1 -v vv:/v -v /anon busybox sh -c 'echo 123 > /v/x; echo 123456 > /y; ln -s yy /z; echo 1 > /anon/k'", "docker system df", "docker rm -v c1", "docker system df",
          "docker system df --format '{{.Type}} {{.TotalCount}} {{.Active}}'", "docker system prune -f | tail -1", "docker system df"),
    same("disk usage in full", _build(r"FROM busybox\nRUN echo 12345 > /a\n", "-q -t own:1"), _build(r"FROM own:1\nRUN dd if=/dev/zero of=/b bs=1k count=4321 2>/dev/null\n", "-q -t own:2"),
          "docker run --name c1 -v vv:/v own:1 sh -c 'echo 123 > /v/x; echo 123456 > /y'", "docker volume create alone", "docker create --name c2 own:2 true", "docker tag own:2 twice",
          "docker system df -v | grep -e : -e '^[A-Z]' | tr -s ' '", "docker system df -v | grep -e own -e busybox | grep -v ' c[12]$' | tr -s ' ' | sort",
          "docker system df -v | grep -e '^vv' -e '^alone' | sort",
          "docker system df -v | grep c1$ | tr -s ' '", "docker system df --verbose --format table | grep ' c2$' | tr -s ' '",
          "docker system df -v --format '{{range .Images}}{{.Repository}} {{.Tag}} {{.Size}} {{.VirtualSize}} {{.SharedSize}} {{.UniqueSize}} {{.Containers}};{{end}}' | tr ';' '\\n' | sort",
          "docker system df -v --format '{{range .Containers}}{{.Names}} {{.Image}} {{.Size}} {{.LocalVolumes}} {{.Mounts}} {{.State}};{{end}}{{len .Volumes}} {{len .BuildCache}}'",
          "docker system df -v --format json | grep -o '\"[A-Za-z]*\":' | sort | uniq -c", "docker system df --help",
          "docker ps -a --format json --filter name=c2 | sed 's/\"CreatedAt\":\"[^\"]*\",//;s/\"Labels\":\"[^\"]*\",//'", "docker ps -a --format '{{.Platform}}' --filter name=c2"),
    same("prune by label and time", "docker create --name c1 -l a=b -l k=v busybox", "docker create --name c2 -l a=c busybox", "docker create --name c3 busybox",
          "docker container prune -f --filter label=a=x", "docker container prune -f --filter foo=bar", "docker container prune -f --filter until=x", "docker container prune -f --filter until=10m",
          "docker container prune -f --filter label!=a | grep -vc :", "docker ps -aq | wc -l", "docker container prune -f --filter label=a=b --filter label=k", "docker ps -a --format '{{.Names}}'",
          "echo n | docker container prune --filter label=a", "docker ps -aq | wc -l", "echo y | docker container prune", "docker container prune --help", "docker system prune --help",
          "echo n | docker image prune", "docker commit $(docker create -l a=b busybox) one; docker tag one two", "docker image prune -af --filter label=nosuch", "docker container prune -f",
          "docker run --rm -v /anon --name c4 busybox true", "docker create -v /anon --name c5 busybox", "docker volume prune -f", "docker rm c5", "docker volume prune -f | wc -l",
          "docker volume prune -f --filter x=y", "docker volume prune -f --filter label=x", "docker create -v /anon --name c6 busybox", "docker rm c6", "docker system prune -f --volumes | sed -n 1p",
          "docker system prune -f --volumes --filter until=1h"),
    same("prune", "docker create --name c1 busybox true", "docker commit c1 a", "docker commit c1 a", "docker container prune -f", "docker container prune -f", "docker images -qf dangling=true",
          "docker image prune -f",
          "docker create --name c2 busybox true", "docker commit c2 a", "docker system prune -f", "docker system prune -f",
          "docker images --format '{{.Repository}}' | sort"),
    same("containers listed", "docker run --name c1 -l app=web busybox sh -c 'echo out'", "docker create --name c2 busybox true",
          "docker ps -a --format '{{.ID}}|{{.Names}}|{{.Command}}|{{.Labels}}|{{.Label \"app\"}}|{{.Status}}|{{.Ports}}|{{.LocalVolumes}}|{{.Mounts}}'",
          "docker ps -a --format 'table {{.Names}}\\t{{.Image}}'",
          "docker ps -a --filter before=c2 --format '{{.Names}}'", "docker ps -a --filter since=c1 --format '{{.Names}}'", "docker ps -a --filter since=c3", "docker ps -f nosuch=1",
          "docker ps -f status=nosuch", "docker ps -f label",
          "docker ps -n x", "docker ps -a --no-trunc --format '{{.Command}}'"),
    same("images listed", _build(r"FROM busybox\nLABEL course=yes v=1\nRUN echo hi > /x\n", "-q -t l:1"), "docker images -f label=course", "docker images -f label=course=no",
          "docker images -f label=course=yes --format '{{.Repository}}:{{.Tag}} {{.Size}} {{.Digest}} {{.CreatedSince}}'", "docker images --digests", "docker images --no-trunc",
          "docker images -q l",
          "docker images -f before=l:1 -q", "docker images -f since=busybox -q", "docker images 'busy*'", "docker images busybox:latest", "docker images -f nosuch=1",
          "docker images -f dangling=maybe", "docker images -f label"),
    same("history for machines", _build(r"FROM busybox\nRUN echo hi > /x\n", "-q -t l:1"), "docker history --human=false --format '{{.Size}} {{.CreatedBy}}' l:1", "docker history -H=false l:1",
          "docker history --no-trunc -q l:1", "docker history --format 'table {{.ID}}\\t{{.Size}}' l:1", "docker history l:2", "docker history"),
    same("rmi by id and with several names", _build(r"FROM busybox\nRUN touch /a\nENV B=1\n", "-q -t x:1"), "docker tag x:1 x:2", "docker tag x:1 y", "docker rmi x:1",
          "docker rmi $(docker images -q y)", "docker rmi busybox",
          "docker run --name c1 x:2 true", "docker rmi y", "docker rmi x:2", "docker rmi $(docker images -q x:2)", "docker rmi -f x:2", "docker images", "docker rm c1", "docker rmi -f busybox",
          "docker images -aq"),
    same("rmi of what runs", "docker run -d --name c1 busybox sleep 50", "docker rmi busybox", "docker rmi -f busybox", "docker rmi $(docker images -q busybox)", "docker images",
          "docker rm -f c1", "docker images -a"),
    same("rmi of some, one missing", "docker tag busybox x", "docker tag busybox y:1", "docker rmi x nosuch y:1", "docker rmi -f nosuch", "docker rmi $(docker images -q busybox | cut -c1-6)",
          "docker images -a"),
    same("rm of what is not there", "docker rm -f nosuch", "docker rm -f nosuch nosuch2", "docker start nosuch nosuch2", "docker start -a nosuch", "docker commit nosuch a", "docker diff nosuch",
          "docker export nosuch"),
    same("logs", "docker run --name c1 busybox sh -c 'echo 1; echo 2; echo 3'", "docker logs -t c1 | wc -l", "docker logs --tail -1 c1", "docker logs --tail abc c1", "docker logs --tail=0 c1",
          "docker logs --tail 9 c1"),
    same("export and import of files", "docker create --name c1 busybox sh -c 'echo a > /a'", "docker start -a c1", "docker export -o c1.tar c1", "tar -tf c1.tar | grep -c ^bin/",
          "docker import c1.tar i:1 | cut -c1-7", "docker history i:1",
          "docker import -m 'my message' -c 'CMD [\"cat\",\"/a\"]' -c 'ENV PATH=/bin' c1.tar i:2 | cut -c1-7", "docker run --rm i:2", "docker history i:2", "docker run --rm i:1",
          "docker import -c 'FOO bar' c1.tar",
          "docker import -c 'RUN true' c1.tar", "docker import c1.tar Upper", "docker import nosuch.tar", "docker export -o nosuch/dir.tar c1", "docker commit -c 'RUN x' c1",
          "docker commit c1 Upper:1"),
    same("volumes that are none", *(f"docker run --rm -v {word} busybox true" for word in ("a:b:c:d", ":/x", "/x:", "$PWD:rel", "$PWD:/", "$PWD:/x:xx", "b@d:/x", "rel/path:/x")),
          "docker create -v $PWD:rel busybox"),
    same("variables that are none", "docker run --rm --env-file nosuch busybox", "docker run --rm --env-file $PWD busybox", "docker run --rm -e =x busybox", "docker run --rm -l =x busybox",
          "printf 'A B=1\\n' > e; docker run --rm --env-file e busybox", "printf '=1\\n' > e; docker run --rm --env-file e busybox",
          "printf '  A=1 \\n\\n #x\\n' > e; docker run --rm --env-file e busybox env | grep ^A"),
    same("settings that are none", "docker run --rm --cap-add nosuch busybox", "docker create --cap-drop nosuch busybox", "docker run --rm -u 99999999999 busybox",
          "docker run --rm -u nobody:nosuch busybox",
          "docker run --rm -w rel busybox", "docker run --rm --read-only=maybe busybox", "docker run --rm --entrypoint '' busybox echo hi", "docker run --rm -w /new/folder busybox pwd",
          "docker run --rm -w /etc/passwd busybox pwd"),
]  # fmt: skip


@pytest.mark.parametrize("lines", [*IMAGES_FROM_CONTAINERS, *REFERENCES, *BUILDS, *SOURCES, *STEPS, *CONTAINERS, *MANAGEMENT])
def test_docker_says_thesame(both: Both, lines: tuple[str, ...]) -> None:
    theirs, ours = both(lines)
    assert "\n".join(plain(ours, theirs=False)) == "\n".join(plain(theirs, theirs=True))
