"""Interrupts while a container is watched."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator

from dockerlab.runtime.world import Session

__all__ = ["interrupts_for"]


@contextlib.contextmanager
def interrupts_for(session: Session) -> Iterator[list[int]]:
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
