"""Watching a program from here: what it writes goes where it should, an interrupt goes to it, and its exit code comes back."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
from collections.abc import Callable, Iterator, Mapping

from dockerlab.errors import Interrupted
from dockerlab.runtime.world import Session

__all__ = ["Note", "Sink", "watch"]

Sink = Callable[[bytes], object]
Note = Callable[[str], object]


def watch(session: Session, pipes: Mapping[int, Sink], *, note: Note, interrupted: str) -> int:
    """Carries what the program writes (readable descriptor → where it goes) until it has ended; gives its exit code.

    `note` is told, once for each kind, why this host will refuse something that the program asks for.
    An interrupt stops the program: TERM, one second, KILL; then Interrupted is raised with the words given.
    """
    with contextlib.closing(session), _interrupts(session) as interrupts:
        code = _carried(session, dict(pipes), note)
    if interrupts:
        raise Interrupted(interrupted)
    return code


def _carried(session: Session, waiting: dict[int, Sink], note: Note) -> int:
    code: int | None = None
    ours = session.fileno()
    while code is None or waiting:
        ready, _, _ = select.select([*waiting, *([ours] if code is None else [])], [], [], 0.5 if code is None else 0.05)
        if code is not None and not ready:
            break
        for source in ready:
            if source == ours:
                message = session.next()
                code = message.get("exit", code)
                if "note" in message:
                    note(message["note"])
            elif not (data := os.read(source, 1 << 16)):
                del waiting[source]
            else:
                waiting[source](data)
    return code or 0


@contextlib.contextmanager
def _interrupts(session: Session) -> Iterator[list[int]]:
    """Gives the interrupts of the block: each goes to the container and none cuts a message in two, as KeyboardInterrupt could anywhere.

    The first asks (TERM, a second later KILL), the next one insists. Signals come to the main thread alone; signal(7).
    """
    seen: list[int] = []

    def stop(number: int, _: object) -> None:
        seen.append(number)
        session.signal(signal.SIGTERM if len(seen) == 1 else signal.SIGKILL, grace=1.0 if len(seen) == 1 else None)

    if threading.current_thread() is not threading.main_thread():
        yield seen
        return
    before = signal.signal(signal.SIGINT, stop)
    try:
        yield seen
    finally:
        signal.signal(signal.SIGINT, before or signal.default_int_handler)
