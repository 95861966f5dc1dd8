"""Reading another process's memory: whole, up to a page that is not there, and where the quick call is refused."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os

import pytest

from dockerlab.linux import notify, syscalls


def refused(number: int) -> object:
    def call(*_: object) -> bytes:
        raise OSError(number, os.strerror(number))

    return call


@pytest.mark.parametrize("number", [0, errno.EPERM, errno.ENOSYS])
def test_memory_is_read_up_to_the_end_of_the_text(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    if number:
        monkeypatch.setattr(syscalls, "process_vm_readv", refused(number))
    text = b"/usr/bin/" + b"x" * 600
    place = ctypes.create_string_buffer(text + b"\0and more")
    assert notify.read_text(os.getpid(), ctypes.addressof(place)) == text
    assert notify.read_memory(os.getpid(), ctypes.addressof(place), 4) == b"/usr"


def test_a_text_that_ends_with_its_page() -> None:
    with mmap.mmap(-1, 4096) as page:
        page[4090:] = b"/etc/\0"
        place = ctypes.c_char.from_buffer(page)
        address = ctypes.addressof(place)
        assert notify.read_text(os.getpid(), address + 4090) == b"/etc/"
        del place


def test_memory_that_is_not_there() -> None:
    with pytest.raises(OSError, match="Bad address") as caught:
        notify.read_text(os.getpid(), 8)
    assert caught.value.errno == errno.EFAULT
