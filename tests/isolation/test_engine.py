"""The engine's own processes, which stand outside of a container: what its first process leaves within reach, and what its monitor can be led to."""

from __future__ import annotations

import os
import socket
import struct
import time
from pathlib import Path

import pytest

from dockerlab.engine import Engine, RunOptions
from dockerlab.errors import DockerlabError
from dockerlab.oci.runtime import Mount
from dockerlab.runtime import laying
from tests.isolation.closed import TOKEN, import_tools, outside, perl, said

pytestmark = pytest.mark.files

# Opens for reading what it may only name (O_PATH), by way of /dev/fd.
_NAMED_THEN_READ = "my $n = sys('openat', -100, '/etc/shadow', 0x200000, 0); open(my $f, '<', \"/dev/fd/$n\"); my $t = <$f>; verdict($t =~ /TOKEN/ ? 'open' : 'refused');"
_READ_THEN_WRITTEN = "open(my $r, '<', '/etc/passwd'); my $n = fileno $r; verdict(open(my $f, '>>', \"/dev/fd/$n\") ? 'open' : 'refused');"
# While one process changes a file by its path, another puts a symlink to the host where its folder stands, again and again.
_RACE = """
my $end = time + 3; my $n = 0 + $ENV{EXCHANGE};
if (!fork) { while (time < $end) { syscall($n, -100, "/a\\0", -100, "/b\\0", 2) } exit 0 }
select(undef, undef, undef, 0.3);
while (time < $end) { for my $i (1 .. 60) { chmod 0600 + $i % 2, "/a/shared$i" } }
wait; verdict('done');
"""


def launcher(engine: Engine) -> int:
    """Gives the launcher's process."""
    place = next(engine.settings.runtime.rglob("launcher-*-*"))
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(str(place))
        return int(struct.unpack("3i", line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0])


def test_the_launcher_is_a_copy_that_nobody_can_write(engine: Engine, tmp_path: Path) -> None:
    import_tools(engine, tmp_path)
    said(engine, ["true"])
    found = f"/proc/{launcher(engine)}/exe"
    try:
        assert os.readlink(found).startswith("/memfd:dockerlab")
    except PermissionError:
        # A launcher without capabilities over its own namespace hides even from its own user (PR_SET_DUMPABLE): nothing can be opened through it at all.
        with pytest.raises(PermissionError):
            os.open(found, os.O_PATH)


def test_a_working_folder_is_no_descriptor_of_the_engine(engine: Engine, tmp_path: Path) -> None:
    import_tools(engine, tmp_path)
    with outside(tmp_path) as found:
        for number in range(3, 20):
            try:
                text = said(engine, ["sh", "-c", "for up in . .. ../../../../../../../../../..; do cat $up$SECRET; done"], RunOptions(workdir=f"/proc/self/fd/{number}", env=found.env))
            except DockerlabError:
                continue
            assert TOKEN not in text


@pytest.mark.parametrize("code", [_NAMED_THEN_READ, _READ_THEN_WRITTEN], ids=["named", "read"])
def test_a_descriptor_opened_anew_gives_no_more_rights(engine: Engine, tmp_path: Path, code: str) -> None:
    import_tools(engine, tmp_path)
    assert perl(engine, code, RunOptions(user="1000:1000")) == "refused"


def test_a_pipe_as_a_program_does_not_hold_the_monitor(engine: Engine, tmp_path: Path) -> None:
    if engine.capabilities.tier == "proot":
        pytest.skip("PRoot itself opens a program to look at it: only what it runs waits")
    import_tools(engine, tmp_path)
    began = time.monotonic()
    text = said(engine, ["sh", "-c", "mkfifo /p; chmod 755 /p; su www-data -s /bin/sh -c /p; echo on"])
    assert "on\n" in text
    assert time.monotonic() - began < 20


def test_a_race_with_copies_leads_nowhere(engine: Engine, tmp_path: Path) -> None:
    import_tools(engine, tmp_path)
    target = tmp_path / "target"
    target.mkdir()
    for number in range(1, 61):
        (target / f"shared{number}").write_text(TOKEN)
    before = {name: os.stat(target / name).st_ino for name in sorted(os.listdir(target))}
    said(engine, ["sh", "-c", "mkdir /a; echo x > /one; for i in $(seq 60); do ln /one /a/shared$i; done"], RunOptions(name="first"))
    engine.containers.get("first").commit("linked")
    numbers = {"x86_64": "316", "aarch64": "276"}
    options = RunOptions(env={"EXCHANGE": numbers.get(os.uname().machine, "")})
    engine.containers.run("linked", ["ln", "-s", str(target), "/b"], RunOptions(name="second"))
    engine.containers.get("second").commit("raced")
    assert perl(engine, _RACE, options, image="raced") == "done"
    assert {name: os.stat(target / name).st_ino for name in sorted(os.listdir(target))} == before


def test_a_name_prepared_for_what_is_copied_back_is_not_written_through(tmp_path: Path) -> None:
    root, volume, other = tmp_path / "root", tmp_path / "volume", tmp_path / "other"
    for folder in (root / "v", volume, other):
        folder.mkdir(parents=True)
    (other / "f").write_text("before\n")
    (volume / f"f.dockerlab-{os.getpid()}").symlink_to(other / "f")
    mounts = [Mount(destination="/v", source=str(volume), options=("rbind",))]
    laid = laying.lay_in(str(root), mounts, ())
    (root / "v" / "f").write_text("after\n")
    laying.take_back(str(root), mounts, laid)
    assert (other / "f").read_text() == "before\n"
    assert (volume / "f").read_text() == "after\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes a device")
def test_a_file_is_not_laid_on_a_device(tmp_path: Path) -> None:
    root, hosts = tmp_path / "root", tmp_path / "hosts"
    root.mkdir()
    hosts.write_text("x\n")
    os.mknod(root / "hosts", 0o20666, os.makedev(1, 3))
    with pytest.raises(OSError, match="not an ordinary file"):
        laying.lay_in(str(root), [Mount(destination="/hosts", source=str(hosts), options=("rbind",))], ())
