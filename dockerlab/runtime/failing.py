"""Why a program could not be started, in docker's words and with its exit codes."""

from __future__ import annotations

import errno

__all__ = ["InitFailed", "not_executable", "not_started", "told"]


def told(reason: str) -> str:
    """Gives docker's words for what went wrong in here: those of runc, between those of the daemon."""
    return f"failed to create task: {reason}: unknown"


class InitFailed(Exception):
    """A step that did not succeed, in docker's words; `code` is docker's exit code for it."""

    def __init__(self, message: str, code: int = 125) -> None:
        super().__init__(message)
        self.message, self.code = message, code


def not_executable(word: str, error: OSError) -> InitFailed:
    """Gives docker's words and code for an execve(2) that failed."""
    reason = {errno.EACCES: "permission denied", errno.ENOEXEC: "exec format error", errno.ENOENT: "no such file or directory"}
    code = 127 if error.errno == errno.ENOENT else 126
    return not_started(f'exec: "{word}": {reason.get(error.errno or 0, error.strerror)}', code)


def not_started(reason: str, code: int) -> InitFailed:
    """Gives a failure in runc's words."""
    return InitFailed(told(f"unable to start container process: {reason}"), code)
