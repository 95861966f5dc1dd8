"""Whether a container that has ended begins again, and when: docker's restart policies and its back-off."""

from __future__ import annotations

__all__ = ["Restarts", "again"]

_FIRST, _LONGEST = 0.1, 60.0  # seconds
_SETTLED = 10.0


def again(policy: str, code: int, *, count: int = 0, stopped: bool = False) -> bool:
    """Tells whether a policy (`no`, `always`, `unless-stopped`, `on-failure[:most]`) wants another start.

    `count` starts were made by the policy before; `stopped` tells that a person has sent a signal.
    """
    name, _, most = policy.partition(":")
    if name == "on-failure":
        return code != 0 and (int(most or 0) == 0 or count < int(most))
    return name == "always" or (name == "unless-stopped" and not stopped)


class Restarts:
    """The restarts of one container since a person started it."""

    def __init__(self) -> None:
        self.count = 0
        self.stopped = False
        self.cancelled = False
        self._delay = 0.0

    def after(self, policy: str, code: int, lasted: float) -> float | None:
        """Gives the seconds to wait before the next start of a program that ended with `code` after so many seconds, None where there is none."""
        if self.cancelled or not again(policy, code, count=self.count, stopped=self.stopped):
            return None
        self._delay = min(self._delay * 2, _LONGEST) if self._delay and lasted < _SETTLED else _FIRST
        return self._delay
