"""Owners, users and devices: the same answers in every tier, whether the kernel gives them or the engine."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from dockerlab.engine import Engine, RunOptions
from dockerlab.layers.index import Entry
from dockerlab.recipes import closure

pytestmark = pytest.mark.files


def run(engine: Engine, script: str, *, image: str = "busybox", name: str = "", user: str = "") -> str:
    said: list[bytes] = []
    engine.containers.run(image, ["sh", "-c", f"exec 2>&1; {script}"], RunOptions(name=name, user=user), stdout=said.append, stderr=said.append)
    return b"".join(said).decode()


def top(engine: Engine, image: str) -> dict[str, Entry]:
    return {entry.path: entry for entry in engine.images.layers.tables(engine.images.get(image).record)[-1]}


def test_chown_is_seen_by_stat(engine: Engine) -> None:
    script = "touch f; mkdir d; ln -s f l; chown 33:5 f; chown 7 d; chown -h 8:9 l; stat -c '%u %g %n' f d l; chown :6 f; mv f g; stat -c '%u %g %n' g; test -O g || echo not mine"
    assert run(engine, script).splitlines() == ["33 5 f", "7 0 d", "8 9 l", "33 6 g", "not mine"]


def test_owners_survive_commit_and_a_new_container(engine: Engine) -> None:
    run(engine, "mkdir /srv; echo x > /srv/f; chown -R 33:5 /srv; chmod 2750 /srv; ln -s f /srv/l; chown -h 8:9 /srv/l; chown 12 /bin/busybox; rm /bin/vi; mkfifo /p; chown 4 /p", name="one")
    engine.containers.get("one").commit("owned")
    table = top(engine, "owned")
    assert {path: (table[path].uid, table[path].gid) for path in ("srv", "srv/f", "srv/l", "p", "bin/busybox")} == {
        "srv": (33, 5), "srv/f": (33, 5), "srv/l": (8, 9), "p": (4, 0), "bin/busybox": (12, 0)}  # fmt: skip
    assert table["srv"].mode == 0o2750
    assert not any("user.dockerlab" in key for entry in table.values() for key in entry.xattrs)
    assert run(engine, "stat -c '%u %g %a %n' /srv /srv/f /srv/l /bin/busybox", image="owned").splitlines() == [
        "33 5 2750 /srv", "33 5 644 /srv/f", "8 9 777 /srv/l", "12 0 755 /bin/busybox"]  # fmt: skip


def test_a_file_given_back_to_root_is_roots(engine: Engine) -> None:
    run(engine, "touch /f; chown 5:5 /f", name="one")
    engine.containers.get("one").commit("given")
    run(engine, "chown 0:0 /f", image="given", name="two")
    assert [str(change) for change in engine.containers.get("two").diff()] == ["C /f"]
    engine.containers.get("two").commit("back")
    assert (top(engine, "back")["f"].uid, top(engine, "back")["f"].gid) == (0, 0)
    assert run(engine, "stat -c %u:%g /f", image="back") == "0:0\n"


def test_chown_to_the_same_owner_is_no_change(engine: Engine) -> None:
    run(engine, "chown 0:0 /etc/passwd", name="one")
    assert engine.containers.get("one").diff() == []


def test_owners_are_in_an_export(engine: Engine, tmp_path: Path) -> None:
    run(engine, "touch /f; chown 1234:56 /f", name="one")
    with open(tmp_path / "all.tar", "w+b") as file:
        engine.containers.get("one").export(file.fileno())
        file.seek(0)
        found = tarfile.open(fileobj=io.BytesIO(file.read())).getmember("f")
    assert (found.uid, found.gid) == (1234, 56)


def test_su_is_another_user(engine: Engine) -> None:
    script = "su www-data -s /bin/sh -c 'id -u; touch /tmp/f; touch /root/f; chmod 777 /etc; chown 0 /tmp/f'; stat -c %u:%g /tmp/f; id -u"
    lines = run(engine, script).splitlines()
    assert lines[0] == "33" and lines[-2:] == ["33:33", "0"]
    refused = [line for line in lines if "touch: /root/f: Permission denied" in line or "chmod: /etc: Operation not permitted" in line or "chown: /tmp/f: Operation not permitted" in line]
    assert len(refused) == 3


def test_a_user_that_the_container_starts_as(engine: Engine) -> None:
    script = "id -u; touch /tmp/f; stat -c %u:%g /tmp/f /etc/passwd; chown 0 /tmp/f 2>/dev/null || echo refused; chown 1000:1000 /tmp/f && echo own; chmod 666 /etc/passwd 2>/dev/null || echo kept"
    assert run(engine, script, user="1000:1000").splitlines() == ["1000", "1000:1000", "0:0", "refused", "own", "kept"]


def test_what_a_started_user_makes_is_that_users_in_the_layer(engine: Engine) -> None:
    run(engine, "cd /tmp; touch f; mkdir d; ln -s f l; mkfifo p", user="1000:100", name="one")
    engine.containers.get("one").commit("made")
    table = top(engine, "made")
    assert {(table[path].uid, table[path].gid) for path in ("tmp/f", "tmp/d", "tmp/l", "tmp/p")} == {(1000, 100)}


def test_no_user_goes_past_a_closed_folder(engine: Engine) -> None:
    run(engine, "mkdir -p /a/b; chmod 777 /a/b; chmod 700 /a", name="one")
    engine.containers.get("one").commit("closed")
    assert "Permission denied" in run(engine, "touch /a/b/f", image="closed", user="1000")
    assert "Permission denied" in run(engine, "su nobody -s /bin/sh -c 'touch /a/b/f'", image="closed")


def test_a_device_is_a_device(engine: Engine) -> None:
    if engine.capabilities.tier == "ranged":
        pytest.skip("a user namespace with a range of ids makes no device: mknod(2) is the kernel's there")
    text = run(engine, "mknod /d c 1 3; stat -c '%F %t:%T' /d; mknod /b b 8 1; stat -c '%F' /b", name="one")
    assert text.splitlines() == ["character special file 1:3", "block special file"]
    engine.containers.get("one").commit("node")
    assert [(top(engine, "node")[name].kind, top(engine, "node")[name].device) for name in ("d", "b")] == [("char", (1, 3)), ("block", (8, 1))]
    assert "character special file" in run(engine, "stat -c %F /d", image="node")


def test_a_set_uid_program_acts_or_is_said_to_be_emulated(engine: Engine, tmp_path: Path) -> None:
    with open(tmp_path / "host.tar", "wb") as file:  # busybox itself gives the rights back at once, so the host's whoami it is
        closure.make(file.write, ["sh", "id", "whoami", "chmod", "setpriv"], {"etc/passwd": (b"root:x:0:0::/:/bin/sh\nexample:x:1000:1000::/:/bin/sh\n", 0o644)}, {})
    engine.images.import_(tmp_path / "host.tar", name="host")
    run(engine, "chmod u+s /bin/whoami", image="host", name="one")
    engine.containers.get("one").commit("set")
    if not engine.capabilities.set_uid:
        told: list[str] = []
        engine.say = told.append
        assert run(engine, "id -u; whoami", image="set", user="example").splitlines() == ["1000", "example"]
        assert told == ["no set-uid program acts on this host: /bin/whoami would run as their owner on others"]
        return
    for user, script in (("example", "id -u; whoami"), ("", "setpriv --reuid 1000 --clear-groups sh -c 'id -u; whoami'")):
        lines = run(engine, script, image="set", user=user).splitlines()
        said = [line for line in lines if line.startswith("note: ")]
        assert [line for line in lines if line not in said] == ["1000", "root"]
        assert bool(said) != engine.capabilities.owners
        assert all("/bin/whoami is set-uid: it runs as user 0, emulated" in line for line in said)


def test_groups_are_those_of_the_containers_files(engine: Engine) -> None:
    assert run(engine, "echo 'www-data:x:33:1' >> /etc/group; id -G").split() == ["0"]
    assert run(engine, "id -G", user="1000:5").split() == ["5"]
