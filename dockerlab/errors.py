"""Every error that dockerlab raises on purpose.

    DockerlabError                  a message, a hint, an exit code
    ├── NotFound                    no such image, container, volume, blob, path
    ├── AlreadyExists               a name or key is taken
    ├── InUse                       something else still needs it
    ├── InvalidReference            not an image name
    ├── InvalidArgument             not a value that can be used here
    │   └── InvalidRequest          …as the engine sees it, not the command line
    ├── UsageError                  a command line that cannot be understood
    ├── CorruptContent              bytes are not what their name or their format says
    ├── UnsafeArchive               an archive that tries to leave its root, or is a bomb
    ├── StoreError                  the store's folder cannot be used (full, read-only, newer schema)
    ├── DockerfileError             a line of a Dockerfile that cannot be understood
    ├── BuildFailed                 a step of a build that did not succeed
    ├── ContainerError              a container that could not be started
    ├── RegistryError               what a registry refuses, or how it fails
    ├── Interrupted                 the person pressed stop
    └── NotSupportedHere            refused by this host, or not yet done by dockerlab

Facts are attributes; the message is for people: it names the thing and ends without a full stop. The hint is one sentence that begins
with a verb.
"""

from __future__ import annotations

__all__ = [
    "AlreadyExists",
    "BuildFailed",
    "ContainerError", "Detached", "ExecError",
    "CorruptContent",
    "DockerfileError",
    "DockerlabError",
    "InUse",
    "Interrupted",
    "InvalidArgument",
    "InvalidReference",
    "InvalidRequest",
    "NoTerminal",
    "NotFound",
    "NotSupportedHere",
    "RegistryError",
    "StoreError",
    "UnsafeArchive",
    "UsageError",
]


class DockerlabError(Exception):
    """Something that a person can act on.

    `exit_code` is what a command line returns for it, as docker would; `place` are the lines that show where in a file it is, "" where that is not known.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.place = ""

    def __str__(self) -> str:
        return "\n".join(filter(None, (self.message, self.place, f"hint: {self.hint}" if self.hint else "")))


class NotFound(DockerlabError, LookupError):
    """There is no such thing; `kind` and `name` say what was looked for."""

    def __init__(self, message: str, *, kind: str = "", name: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.kind, self.name = kind, name


class AlreadyExists(DockerlabError):
    """The name is taken; `kind` and `name` say which."""

    def __init__(self, message: str, *, kind: str = "", name: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.kind, self.name = kind, name


class InUse(DockerlabError):
    """Another object still needs it; `by` names that object."""

    def __init__(self, message: str, *, by: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.by = by


class InvalidReference(DockerlabError, ValueError):
    """Text that is not an image name."""


class InvalidArgument(DockerlabError, ValueError):
    """A value that cannot be used where it was given."""


class NoTerminal(InvalidArgument):
    """What wants a terminal has none."""


class Detached(InvalidArgument):
    """Somebody typed the keys that let go of a terminal; its program runs on."""


class InvalidRequest(InvalidArgument):
    """A value that the engine refuses: what docker's daemon says, where for an InvalidArgument its client does."""


class UsageError(DockerlabError, ValueError):
    """A command line that cannot be understood; `usage` is docker's closing help text."""

    exit_code = 125

    def __init__(self, message: str, *, usage: str = "", hint: str = "", exit_code: int = 125) -> None:
        super().__init__(message, hint=hint)
        self.usage = usage
        self.exit_code = exit_code


class CorruptContent(DockerlabError):
    """Bytes that are not what their digest, size or format promises."""

    def __init__(self, message: str, *, expected: str = "", actual: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.expected, self.actual = expected, actual


class UnsafeArchive(DockerlabError):
    """An archive entry that would leave its root, or more of them than the stated limit."""

    def __init__(self, message: str, *, entry: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.entry = entry


class StoreError(DockerlabError):
    """The store's folder cannot be used as it is."""


class RegistryError(DockerlabError):
    """What a registry refuses: `code` is one of the distribution-spec's "Error Codes" (or ""), `status` the HTTP status (0 where no answer came), `detail` plain values."""

    def __init__(self, message: str, *, code: str = "", status: int = 0, detail: object = None, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.code, self.status, self.detail = code, status, detail


class DockerfileError(DockerlabError):
    """A line that cannot be understood; `line` counts from 1, `column` from 1 or 0 when the whole line is meant, `file` is its file's name where that is known."""

    def __init__(self, message: str, *, line: int = 0, column: int = 0, text: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.line, self.column, self.text, self.file = line, column, text, ""

    def __str__(self) -> str:
        shown = [f"dockerfile parse error line {self.line}: {self.message}" if self.line else self.message]
        if self.text and self.file:
            shown.append(f"  --> {self.file}:{self.line}:{max(self.column, 1)}")
        if self.text:
            shown += [f"  {self.line:>3} | {self.text}", f"      | {' ' * max(self.column - 1, 0)}^"]
        return "\n".join([*shown, *([f"hint: {self.hint}"] if self.hint else [])])


class BuildFailed(DockerlabError):
    """A step that did not succeed; the exit code is the step's own where it ran a program, `container` the one that is kept to look into, if there is one."""

    def __init__(self, message: str, *, step: int = 0, exit_code: int = 1, hint: str = "", container: str = "") -> None:
        super().__init__(message, hint=hint)
        self.step, self.container = step, container
        self.exit_code = exit_code


class ContainerError(DockerlabError):
    """A container that could not be started: 127 no such program, 126 not executable, 125 anything else."""

    exit_code = 125

    def __init__(self, message: str, *, exit_code: int = 125, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.exit_code = exit_code


class ExecError(ContainerError):
    """A program that could not be started in a container that runs."""

    def __init__(self, message: str, *, exit_code: int = 126, hint: str = "") -> None:
        super().__init__(message, exit_code=exit_code, hint=hint)


class Interrupted(DockerlabError):
    """The person pressed stop, and what ran has been ended."""

    exit_code = 130


class NotSupportedHere(DockerlabError):
    """What this host refuses, or what dockerlab does not do yet: `reason` says which."""

    exit_code = 125

    def __init__(self, message: str, *, reason: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.reason = reason
