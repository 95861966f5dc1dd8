"""What stands for mounts where there are none."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from dockerlab.oci.runtime import Mount
from dockerlab.runtime.laying import lay_in


@pytest.fixture
def listening(runtime: Path) -> Iterator[Path]:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(runtime / "s"))
        made.listen()
        yield runtime / "s"


def bound(source: Path, *options: str) -> Mount:
    return Mount(destination="/x/there", source=str(source), options=("rbind", *options))


def reached(place: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(str(place))
        except OSError:
            return False
        return True


def test_a_socket_gets_a_second_name_also_by_a_link_to_it(runtime: Path, listening: Path) -> None:
    root = runtime / "root"
    root.mkdir()
    (runtime / "link").symlink_to("s")
    for source in (listening, runtime / "link", listening):  # at a second start the first one's is there
        assert lay_in(str(root), [bound(source)], ()) == {}
        assert (root / "x/there").is_socket() and not (root / "x/there").is_symlink() and reached(root / "x/there")
        assert os.listdir(root / "x") == ["there"]


def test_a_socket_is_not_given_read_only(runtime: Path, listening: Path) -> None:
    root = runtime / "root"
    root.mkdir()
    with pytest.raises(OSError, match="read-only where nothing can be mounted"):
        lay_in(str(root), [bound(listening, "ro")], ())


@pytest.mark.skipif(not os.access("/dev/shm", os.W_OK) or os.stat("/dev/shm").st_dev == os.stat("/tmp").st_dev, reason="one file system is all that there is")
def test_a_socket_of_another_file_system_is_said_not_to_be_given(listening: Path) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as root, pytest.raises(OSError, match="a socket cannot be given here: invalid cross-device link"):
        lay_in(root, [bound(listening)], ())
