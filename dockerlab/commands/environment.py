"""`--env` and `--env-file`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from dockerlab.errors import InvalidArgument

__all__ = ["lines", "variables"]


def variables(folder: Path, files: Sequence[str], words: Sequence[str], host: Mapping[str, str]) -> dict[str, str]:
    """Gives the variables of the files, then of the words; one without a value has the host's, or is left out. Raises InvalidArgument."""
    found: dict[str, str] = {}
    for word in (*(line for name in files for line in lines(folder, name)), *words):
        name, equals, value = word.partition("=")
        if equals:
            found[name] = value
        elif name in host:
            found[name] = host[name]
    return found


def lines(folder: Path, name: str) -> Iterator[str]:
    """Yields the lines of a file of variables, or of labels, that say something; raises InvalidArgument."""
    try:
        text = (folder / name).read_text("utf-8-sig")
    except IsADirectoryError:
        raise InvalidArgument(f"invalid env file ({name}): read {name}: is a directory", hint="name a file with a line NAME=value for each variable") from None
    except UnicodeDecodeError as error:
        raise InvalidArgument(f"invalid env file ({name}): {error.reason}", hint="save it as UTF-8") from None
    except OSError as error:
        raise InvalidArgument(f"open {name}: {(error.strerror or '').lower()}", hint="look where you are: pwd") from error
    for line in filter(None, map(str.lstrip, text.splitlines())):
        variable = line.partition("=")[0]
        if line.startswith("#"):
            continue
        if not variable:
            raise InvalidArgument(f"invalid env file ({name}): no variable name on line '{line}'", hint="write NAME=value")
        if any(char in variable for char in " \t"):
            raise InvalidArgument(f"invalid env file ({name}): variable '{variable}' contains whitespaces", hint="write NAME=value, without blanks around the =")
        yield line
