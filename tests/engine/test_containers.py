from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable

import msgspec
import pytest

from dockerlab.engine import Container, Engine, RunOptions
from dockerlab.errors import AlreadyExists, ContainerError, Interrupted, InUse, InvalidArgument, NotFound, NotSupportedHere
from dockerlab.oci.manifest import CONFIG, Descriptor
from dockerlab.oci.reference import Reference
from dockerlab.store.containers import started_at
from tests.conftest import strongest, until

pytestmark = pytest.mark.files


def run(engine: Engine, *words: str, image: str = "busybox", **options: object) -> tuple[Container, str]:
    out: list[bytes] = []
    container = engine.containers.run(image, words, RunOptions(**options), stdout=out.append, stderr=out.append)  # type: ignore[arg-type]
    return container, "".join(line for line in b"".join(out).decode().splitlines(keepends=True) if "volumes are copied in" not in line)


def test_output_and_exit_code_come_back(engine: Engine) -> None:
    container, text = run(engine, "sh", "-c", "echo out; echo err >&2; exit 7")
    assert container.exit_code == container.state.exit_code == 7
    assert sorted(text.split()) == ["err", "out"]
    assert sorted((stream, data) for _, stream, data in container.logs()) == [(1, b"out\n"), (2, b"err\n")]


@pytest.mark.parametrize(
    ("words", "code", "words_said"),
    [(["/no/such"], 127, "no such file or directory"), (["nosuch"], 127, "executable file not found in $PATH"), (["/etc"], 126, "permission denied")],
)
def test_a_program_that_cannot_be_started_has_dockers_code(engine: Engine, words: list[str], code: int, words_said: str) -> None:
    with pytest.raises(ContainerError, match=words_said.replace("$", r"\$")) as caught:
        run(engine, *words)
    assert caught.value.exit_code == code


def test_a_container_sees_its_own_world(engine: Engine) -> None:
    if not engine.capabilities.mounts:
        pytest.skip("a chroot shares parts of the host's world: README's host table")
    _, text = run(engine, "sh", "-c", "id -u; hostname; echo $$; cat /etc/hostname; ls /; ls /proc 2>/dev/null | grep -c '^[0-9]'", hostname="box")
    lines = text.split()
    assert lines[:4] == ["0", "box", "1", "box"]
    assert set(lines[4:-1]) == {"bin", "dev", "etc", "home", "proc", "root", "sys", "tmp", "usr", "var"}
    if engine.capabilities.fresh_proc:
        assert int(lines[-1]) <= 4


def test_no_descriptor_of_the_host_reaches_the_program(engine: Engine) -> None:
    if not engine.capabilities.mounts:
        pytest.skip("there is no /proc where mount(2) is refused")
    _, text = run(engine, "sh", "-c", "for f in /proc/self/fd/*; do readlink $f; done")
    links = [line for line in text.split() if not line.startswith(("pipe:", "/dev/null", "/proc/"))]
    assert links == []
    assert len(text.split()) <= 5


def test_devices_work_and_are_no_files(engine: Engine) -> None:
    _, text = run(engine, "sh", "-c", "echo x > /dev/null; head -c 3 /dev/zero | wc -c; test -c /dev/null && echo device; mknod /x b 8 0 2>/dev/null; cat /x 2>&1 | head -c 200 | wc -c")
    assert text.split()[:2] == ["3", "device"]


def test_diff_speaks_in_dockers_letters(engine: Engine) -> None:
    container, _ = run(engine, "sh", "-c", "touch /HelloWorld; rm /bin/vi; touch /etc/group; mkdir -p /usr/a/b; echo x > /usr/a/b/c")
    assert [str(change) for change in container.diff()] == [
        "A /HelloWorld", "C /bin", "D /bin/vi", "C /etc", "C /etc/group", "C /usr", "A /usr/a", "A /usr/a/b", "A /usr/a/b/c",
    ]  # fmt: skip


def test_a_change_through_one_name_leaves_the_other_names_alone(engine: Engine) -> None:
    container, _ = run(engine, "touch", "/bin/vi")
    assert [str(change) for change in container.diff()] == ["C /bin", "C /bin/vi"]
    for command in ("echo >> /bin/vi", "chmod 700 /bin/vi", "chown 5 /bin/vi", "ln /bin/vi /bin/new; echo >> /bin/new"):
        container, _ = run(engine, "sh", "-c", command)
        assert [str(change) for change in container.diff()] in (["C /bin", "C /bin/vi"], ["C /bin", "A /bin/new", "C /bin/vi"]), command
    _, text = run(engine, "sh", "-c", "ln /bin/vi /bin/new; echo more >> /bin/new; cmp /bin/vi /bin/new && echo same; cmp /bin/vi /bin/ls 2>&1")
    assert "same" in text and "EOF on /bin/ls" in text


def test_what_changes_nothing_is_no_change(engine: Engine) -> None:
    container, _ = run(engine, "sh", "-c", "cat /bin/vi > /dev/null; chmod 755 /bin/ls; : >> /etc/passwd; ls -R /bin /etc /home /root /tmp /usr /var > /dev/null; ls / > /dev/null")
    assert [str(change) for change in container.diff()] == []


def test_commit_carries_files_and_settings(engine: Engine) -> None:
    container, _ = run(engine, "sh", "-c", "echo first > /note", env={"A": "1"}, workdir="/tmp")
    image = container.commit("mod:1", author="me", message="why")
    assert image.tags == ["mod:1"]
    assert (image.config.author, image.config.history[-1].comment, image.config.config.working_dir) == ("me", "why", "/tmp")
    _, text = run(engine, "sh", "-c", "cat /note; echo $A; pwd", image="mod:1")
    assert text.split() == ["first", "1", "/tmp"]


def test_owners_and_modes_survive_a_commit(engine: Engine) -> None:
    script = "chmod 4755 /bin/busybox; mkdir /d; chmod 1777 /d" + ("; chown 33:44 /d" if engine.capabilities.owners else "")
    container, _ = run(engine, "sh", "-c", script)
    union = engine.images.layers.union(container.commit("owned").record)
    entry = union.get("d")
    assert entry is not None and entry.entry.mode == 0o1777
    assert (entry.entry.uid, entry.entry.gid) == ((33, 44) if engine.capabilities.owners else (0, 0))
    passwd = union.get("etc/shadow")
    assert passwd is not None and passwd.entry.mode == 0o640


def test_another_user_is_really_stopped(engine: Engine) -> None:
    script = (
        "id -u; id -g; grep CapEff /proc/self/status 2>/dev/null | cut -f2; touch /tmp/mine && echo made; cat /etc/passwd | head -c 4; echo; echo x > /dev/null && echo null; "
        "for f in /x /etc/z /root/y /bin/new; do touch $f 2>/dev/null && echo WROTE $f; done; cat /etc/shadow 2>/dev/null && echo READ; rm -f /bin/vi 2>/dev/null; "
        "(echo more >> /etc/passwd) 2>/dev/null; ls /root 2>/dev/null && echo LISTED; ls /bin/vi"
    )
    container, text = run(engine, "sh", "-c", script, user="1000:1000")
    lines = text.splitlines()
    if engine.capabilities.tier == "chroot":  # which has no /proc
        lines[2:2] = ["0000000000000000"]
    assert lines == ["1000", "1000", "0000000000000000", "made", "root", "null", "/bin/vi"]
    entry = engine.images.layers.union(container.commit("mine").record).get("tmp/mine")
    assert entry is not None and (entry.entry.uid, entry.entry.gid) == (1000, 1000)


def test_users_are_looked_up_in_the_container(engine: Engine) -> None:
    _, text = run(engine, "sh", "-c", "id -u; id -g; echo $HOME", user="nobody")
    assert text.split() == ["65534", "65534", "/home"]
    with pytest.raises(ContainerError, match="unable to find user nosuch: no matching entries in passwd file"):
        run(engine, "id", user="nosuch")


def test_a_name_is_taken_once(engine: Engine) -> None:
    run(engine, "true", name="web")
    with pytest.raises(AlreadyExists, match="Conflict"):
        run(engine, "true", name="web")
    replaced, _ = run(engine, "true", name="web", replace=True)
    assert [c.name for c in engine.containers.list(all=True)] == ["web"] and replaced.name == "web"


def test_a_running_container_is_not_removed_unasked(engine: Engine) -> None:
    container = engine.containers.create("busybox", ["sleep", "60"])
    container.start(detach=True).close()
    assert container.state.status == "running"
    with pytest.raises(InUse, match="You cannot remove a running container"):
        container.remove()
    pid = container.state.pid
    container.remove(force=True)
    assert started_at(pid) == 0
    with pytest.raises(NotFound):
        engine.containers.get(container.id)


def test_rm_leaves_nothing(engine: Engine) -> None:
    container, _ = run(engine, "true", rm=True)
    assert engine.containers.list(all=True) == []
    assert engine.snapshotter.keys() == set()
    until(lambda: not engine.container_store.folder(container.id).exists())


def test_an_interrupt_stops_the_container_within_two_seconds(make_engine: Callable[[str], Engine]) -> None:
    engine = make_engine(strongest())
    timer = threading.Timer(0.7, lambda: os.kill(os.getpid(), signal.SIGINT))
    engine.images.resolve("busybox")
    begun = time.monotonic()
    timer.start()
    with pytest.raises(Interrupted):
        run(engine, "sh", "-c", "trap '' TERM; sleep 60 & wait; sleep 60", rm=True)
    assert time.monotonic() - begun < 0.7 + 2.5
    assert engine.containers.list(all=True) == []


@pytest.mark.parametrize("victim", ["monitor", "parent"])
def test_no_single_kill_leaves_a_container_alone(engine: Engine, victim: str) -> None:
    container = engine.containers.create("busybox", ["sleep", "60"])
    container.start(detach=True).close()
    state = container.state
    target = state.monitor
    if victim == "parent":
        with open(f"/proc/{state.pid}/status") as status:
            target = next(int(line.split()[1]) for line in status if line.startswith("PPid"))
    os.kill(target, signal.SIGKILL)
    deadline = time.monotonic() + 4
    while started_at(state.pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert started_at(state.pid) == 0
    deadline = time.monotonic() + 4
    while container.state.status == "running" and time.monotonic() < deadline:
        time.sleep(0.02)
    assert (container.state.status, container.state.exit_code) == ("exited", 137)
    container.remove()
    assert engine.system.check() == []


def test_volumes(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("bound")
    run(engine, "sh", "-c", "echo hi > /data/f", volume=(f"{folder}:/data",))
    assert (folder / "f").read_text() == "hi\n"
    _, text = run(engine, "sh", "-c", "echo no > /data/f", volume=(f"{folder}:/data:ro",))
    assert "Read-only file system" in text or engine.capabilities.tier in ("chroot", "proot")  # where it is a copy that nobody takes back
    assert (folder / "f").read_text() == "hi\n"
    run(engine, "sh", "-c", "echo kept > /v/f", volume=("named:/v",))
    _, text = run(engine, "cat", "/v/f", volume=("named:/v",))
    assert text == "kept\n"
    _, text = run(engine, "ls", "/usr", volume=("fresh:/usr",))
    assert text.split() == ["bin", "sbin"]
    with pytest.raises(InvalidArgument, match="includes invalid characters"):
        run(engine, "true", volume=("a b:/x",))


def test_a_new_volume_takes_nothing_of_the_kernels(engine: Engine) -> None:
    if not engine.capabilities.mounts:
        pytest.skip("there is no /proc where mount(2) is refused")
    run(engine, "ln", "-s", "/", "/all")[0].commit("linked")
    _, text = run(engine, "ls", "/proc", image="linked", volume=("one:/proc",))
    assert text == ""
    container = engine.containers.create("linked", ("true",), RunOptions(volume=("two:/all",)))
    with contextlib.suppress(ContainerError):
        container.start(detach=True)
        container.wait(timeout=10)
    _, text = run(engine, "sh", "-c", "ls /w /w/proc /w/sys", volume=("two:/w",))
    assert "bin" in text and text.endswith("/w/proc:\n\n/w/sys:\n")


def test_read_only_root(engine: Engine) -> None:
    _, text = run(engine, "sh", "-c", "touch /x; echo $?; touch /dev/shm/ok; echo $?", read_only=True)
    assert ("Permission denied" if engine.capabilities.tier in ("chroot", "proot") else "Read-only file system") in text and {"1", "0"} <= set(text.split())


def test_export_holds_what_is_seen(engine: Engine, tmp_path: object) -> None:
    import tarfile

    container, _ = run(engine, "sh", "-c", "rm /bin/vi; echo x > /note")
    path = engine.home / "out.tar"
    with open(path, "wb") as file:
        container.export(file.fileno())
    with tarfile.open(path) as tar:
        names = tar.getnames()
    assert "note" in names and "bin/ls" in names and "bin/vi" not in names and not any(".wh." in name for name in names)
    image = engine.images.import_(path, name="flat")
    assert len(image.manifest.layers) == 1
    _, text = run(engine, "cat", "/note", image="flat")
    assert text == "x\n"


def test_no_network_of_the_host(engine: Engine) -> None:
    if engine.capabilities.tier in ("chroot", "proot"):
        with pytest.raises(NotSupportedHere, match="no network of its own"):
            run(engine, "true", network="none")
        return
    if not engine.capabilities.mounts:
        _, text = run(engine, "ifconfig", "-a", network="none")
        assert [line.split()[0] for line in text.splitlines() if "Link" in line] == ["lo"]
        return
    _, text = run(engine, "sh", "-c", "ls /sys/class/net; cat /proc/net/dev | grep -c :", network="none")
    assert text.split()[0] == "lo"


def test_an_image_for_another_machine_is_refused(engine: Engine) -> None:
    image = engine.images.resolve("busybox")
    foreign = msgspec.structs.replace(image.config, architecture="s390x")
    raw = foreign.encode()
    manifest = msgspec.structs.replace(image.manifest, config=Descriptor(media_type=CONFIG, digest=engine.content.put(raw), size=len(raw)))
    engine.image_store.add(raw, manifest, name=Reference.parse("foreign"))
    with pytest.raises(NotSupportedHere, match="image foreign is for linux/s390x, this machine is "):
        engine.containers.create("foreign", ["true"])
    assert engine.containers.list(all=True) == []
    assert engine.system.check() == []
