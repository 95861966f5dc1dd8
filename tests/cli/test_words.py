"""Words and templates of docker's that scripts and books use, typed as they use them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dockerlab.engine import Engine
from tests.cli.test_main import Result, docker
from tests.conftest import strongest

__all__ = ["docker"]
Docker = Callable[..., Result]


def test_filters_of_ps(docker: Docker) -> None:
    for name in ("f1", "f11", "web"):
        docker("create", "--name", name, "--label", "a=1", "busybox", "true")
    docker("start", "-a", "web")

    def named(*words: str) -> list[str]:
        code, out, _ = docker("ps", "-a", "--format", "{{.Names}}", *(word for each in words for word in ("--filter", each)))
        assert code == 0
        return sorted(out.split())

    assert named("name=^f1$") == named("name=^/f1$") == ["f1"] and named("name=f1") == ["f1", "f11"]
    assert named("status=created", "status=exited") == ["f1", "f11", "web"] and named("status=created", "name=web", "name=f11") == ["f11"]
    assert named("label=a=1", "label=b") == [] and named("is-task=false", "isolation=default", "exited=0") == ["web"]
    code, _, said = docker("ps", "-a", "--filter", "exited=foo")
    assert code == 1 and 'strconv.Atoi: parsing "foo": invalid syntax' in said


def test_templates_of_inspect(docker: Docker) -> None:
    docker("create", "--name", "one", "--label", "here=1", "--expose", "99", "busybox", "true")

    def told(template: str) -> str:
        code, out, said = docker("inspect", "-f", template, "one")
        assert (code, said) == (0, "")
        return out.removesuffix("\n")

    assert told('{{index .Config.Labels "foo"}}|{{.Config.Labels.foo}}|{{.Config.Labels.here}}') == "|<no value>|1"
    assert told("{{.HostConfig.RestartPolicy}}|{{.Config.Entrypoint}}|{{.State.Health}}|{{.SizeRw}}|{{.Config.ExposedPorts}}") == "{no 0}|[]|<nil>|<nil>|map[99/tcp:{}]"
    assert told("{{.HostConfig.Binds}}{{.HostConfig.Tmpfs}}{{.Config.OnBuild}}{{.Config.Volumes}}{{json .Config.Volumes}}") == "[]map[][]map[]null"
    assert told("{{len .HostConfig.Binds}}{{range .HostConfig.Binds}}x{{end}}{{.Config.StopSignal}}{{.HostConfig.CgroupnsMode}}") == "0private"
    assert Path(told("{{.LogPath}}")).parent == Path(told("{{.HostsPath}}")).parent
    assert isinstance(json.loads(told("json")), list)
    code, _, said = docker("inspect", "-f", "{{.Nope}}", "one")
    assert code == 1 and 'map has no entry for key "Nope"' in said
    assert json.loads(docker("inspect", "one")[1])[0]["HostConfig"]["Binds"] is None


def test_templates_of_lists(docker: Docker) -> None:
    docker("create", "--name", "one", "--label", "com.example.my-key=v", "-v", "data:/d", "busybox", "true")
    assert docker("ps", "-a", "--format", 'table {{.Names}}\\t{{.Label "com.example.my-key"}}\\t{{.Labels}}')[1].split("\n")[0].split() == ["NAMES", "my", "key", "LABELS"]
    assert docker("ps", "-a", "--format", '{{if eq .Names "other"}}x{{end}}')[1] == "\n"
    assert docker("ps", "-a", "--format", "{{.Mounts}}")[1] == "data\n"
    assert docker("ps", "-a", "--format", "raw")[1].splitlines()[1:3] == ["image: busybox", 'command: "true"']
    out = docker("events", "--since", str(int(time.time()) - 60), "--until", str(int(time.time()) + 1), "--format", "{{.Action}} {{.Actor.Attributes.signal}}")
    assert out[0] == 0 and "create <no value>" in out[1]


def test_what_the_engine_says_of_itself(docker: Docker) -> None:
    for words in (("info",), ("system", "info")):
        facts = json.loads(docker(*words, "--format", "json")[1])
        assert {"Containers", "ContainersRunning", "Images", "Driver", "NCPU", "MemTotal", "OSType", "Architecture", "ServerVersion"} <= facts.keys()
    assert docker("info", "-f", "{{.ContainersRunning}} {{.OSType}}")[1] == "0 linux\n"
    assert "Server" in json.loads(docker("version", "--format", "json")[1])
    assert docker("version", "-f", "{{.Server.Arch}}")[1].strip() in ("amd64", "arm64")
    assert docker("--version") == docker("-v") and docker("-v")[1].startswith(("Docker version ", "dockerlab version "))
    code, _, said = docker("-H", "tcp://x", "ps")
    assert code in (1, 125) and "there is no daemon" in said and "Traceback" not in said


def test_a_name_as_inspect_has_it(docker: Docker) -> None:
    assert docker("create", "--name", "/one", "busybox", "true")[0] == 0
    name = docker("inspect", "-f", "{{.Name}}", "/one")[1].strip()
    assert name == "/one" and docker("start", "-a", name)[0] == 0 and docker("rm", name) == (0, "/one\n", "")


def test_what_cannot_start_and_shall_go_goes(docker: Docker) -> None:
    for words in (("--net", "nosuch"), ("--net", "bridge", "--ip", "172.17.0.77"), ("--link", "nobody:x")):
        assert docker("run", "--rm", *words, "busybox", "true")[0] == 125
    assert docker("ps", "-aq")[1] == ""


def test_stop_of_many_takes_as_long_as_of_one(docker: Docker) -> None:
    names = [f"s{number}" for number in range(4)]
    for name in names:
        docker("run", "-d", "--name", name, "--net", "host", "busybox", "sh", "-c", "trap '' TERM; while :; do sleep 1; done")
    began = time.monotonic()
    assert docker("stop", "--time", "2", *names, "nosuch")[:2] == (1, "".join(f"{name}\n" for name in names))
    assert time.monotonic() - began < 7  # one after another would be 8


def test_marks_of_a_container(docker: Docker, tmp_path: Path) -> None:
    assert docker("run", "--name", "one", "busybox", "sh", "-c", "test -f /.dockerenv && readlink /etc/mtab")[:2] == (0, "/proc/mounts\n")
    assert docker("diff", "one")[1] == ""
    able = Engine(tmp_path / "home").capabilities
    if able.overlay:  # a whole copy's size is all of it
        assert docker("ps", "-as", "--format", "{{.Size}}")[1].startswith("0B ")
    if able.mounts:  # else there is no /proc that a link could lead to
        assert docker("run", "--rm", "busybox", "grep", "-c", "^proc /proc ", "/etc/mtab")[1] == "1\n"


def test_odd_volumes(docker: Docker, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    assert docker("run", "--rm", "-v", f"{tmp_path}/folder:/b:cached", "-v", f"{tmp_path}/folder:/b:cached", "busybox", "test", "-d", "/b")[0] == 0
    if Engine(tmp_path / "home").capabilities.mounts:
        code, _, said = docker("run", "--rm", "-v", f"{tmp_path}/folder:/etc/passwd", "busybox", "true")
        assert code == 127 and f'mounting "{tmp_path}/folder" to rootfs at "/etc/passwd"' in said and "Are you trying to mount a directory onto a file" in said
        assert docker("run", "--rm", "--read-only", "busybox", "sh", "-c", "echo >> /etc/hosts")[0] == 1
    assert docker("run", "--rm", "--expose", "80-70", "busybox", "true")[0] == 125


@pytest.mark.skipif(strongest() in ("chroot", "proot"), reason="a copy's mode bits are the host's affair there")
def test_an_export_is_nobody_elses(docker: Docker, tmp_path: Path) -> None:
    docker("create", "--name", "one", "busybox", "true")
    assert docker("export", "-o", "c.tar", "one")[0] == 0 and (tmp_path / "c.tar").stat().st_mode & 0o777 == 0o600
