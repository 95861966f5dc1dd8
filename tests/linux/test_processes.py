"""What the kernel tells of a process."""

from __future__ import annotations

import os

from dockerlab.linux import processes


def test_a_process_that_calls_itself_something_is_called_so_until_it_ends() -> None:
    reader, writer = os.pipe()
    held, release = os.pipe()
    child = os.fork()
    if child == 0:
        processes.rename("told")
        os.write(writer, b"x")
        os.close(release)
        os.read(held, 1)
        os._exit(0)
    os.read(reader, 1)
    assert processes.name(child) == "told" != processes.name(os.getpid())
    assert processes.anonymous(child) > 0 and int(processes.stat(child)[1]) == os.getpid()
    os.close(release)
    os.waitpid(child, 0)
    assert processes.name(child) == ""
    for descriptor in (reader, writer, held):
        os.close(descriptor)
