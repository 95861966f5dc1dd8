"""What a program has written, as it came: the file `log`, and `log.1`, `log.2`, … before it where its size is limited."""

from __future__ import annotations

import contextlib
import os
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path

__all__ = ["Log", "read_log"]

_FRAME = struct.Struct("<QBI")  # time in nanoseconds, stream (1 out, 2 err), length


class Log:
    """The log of one program. A file that holds `most` bytes or more is put aside, and `files` of them are kept; 0 for no limit."""

    def __init__(self, path: Path, *, most: int = 0, files: int = 1) -> None:
        self._path, self._most, self._files = path, most, files
        self._open()

    def _open(self) -> None:
        self._file = open(self._path, "ab", buffering=0)
        self._size = os.fstat(self._file.fileno()).st_size

    def fileno(self) -> int:
        """Gives the descriptor of the file that is written to."""
        return self._file.fileno()

    def write(self, stream: int, data: bytes) -> None:
        """Adds what was written this moment; raises OSError on a full disk."""
        for piece in data.splitlines(keepends=True) if self._most else [data]:
            if self._most and self._size >= self._most:
                self._put_aside()
            chunk = _FRAME.pack(time.time_ns(), stream, len(piece)) + piece
            while chunk:
                written = self._file.write(chunk)
                self._size += written
                chunk = chunk[written:]

    def _put_aside(self) -> None:
        self._file.close()
        with contextlib.suppress(FileNotFoundError):
            held = max((int(file.name.rpartition(".")[2]) for file in _older(Path(self._path))), default=0)
            for number in range(min(self._files - 1, held + 1), 1, -1):
                with contextlib.suppress(FileNotFoundError):
                    os.rename(f"{self._path}.{number - 1}", f"{self._path}.{number}")
            if self._files > 1:
                os.rename(self._path, f"{self._path}.1")
            else:
                os.unlink(self._path)
        self._open()

    def close(self) -> None:
        """Writes no more."""
        self._file.close()


def _older(path: Path) -> Iterator[Path]:
    return path.parent.glob(f"{path.name}.[0-9]*")


def read_log(path: Path, more: Callable[[], bool] = lambda: False) -> Iterator[tuple[int, int, bytes]]:
    """Yields a log's chunks, oldest first, as (time in nanoseconds, stream, bytes); a last chunk that was cut by a kill is left out.

    At its end `more` is asked, which may wait, whether to look again.
    """
    older = sorted((int(file.name.rpartition(".")[2]) for file in _older(path)), reverse=True)
    with contextlib.ExitStack() as held:
        # While it is open nothing else gets its inode number, so a file that was put aside is known again.
        files = [held.enter_context(open(file, "rb")) for file in (*(path.with_name(f"{path.name}.{number}") for number in older), path) if file.exists()]
        for file in files:
            yield from _chunks(file.fileno())
        last = files[-1].fileno() if files else -1
        while more():
            if last >= 0:
                yield from _chunks(last)
            with contextlib.suppress(FileNotFoundError):
                if last < 0 or os.stat(path).st_ino != os.fstat(last).st_ino:
                    if last >= 0:
                        yield from _chunks(last)  # what was added just before it was put aside
                    last = held.enter_context(open(path, "rb")).fileno()
                    yield from _chunks(last)


def _chunks(descriptor: int) -> Iterator[tuple[int, int, bytes]]:
    """Yields the whole chunks from where the descriptor stands, and leaves it behind the last one."""
    while True:
        begin = os.lseek(descriptor, 0, os.SEEK_CUR)
        head = os.read(descriptor, _FRAME.size)
        size = _FRAME.unpack(head)[2] if len(head) == _FRAME.size else 0
        data = b""
        while len(data) < size and (piece := os.read(descriptor, min(size - len(data), 1 << 20))):  # a length that is noise asks for no memory
            data += piece
        if len(head) < _FRAME.size or len(data) < size:
            os.lseek(descriptor, begin, os.SEEK_SET)
            return
        when, stream, _ = _FRAME.unpack(head)
        yield when, stream, data
