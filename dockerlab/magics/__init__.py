"""The notebook's surface: `%load_ext dockerlab`."""

from __future__ import annotations

from typing import Any

__all__ = ["load", "unload"]


def load(shell: Any) -> None:
    """Registers magics, completion and the way errors are shown; puts the shim first on this kernel's PATH."""
    from dockerlab.magics.extension import Extension

    unload(shell)
    shell.dockerlab_extension = Extension(shell)
    shell.dockerlab_extension.load()


def unload(shell: Any) -> None:
    """Takes back all that `load` did."""
    extension = getattr(shell, "dockerlab_extension", None)
    if extension is not None:
        extension.unload()
        shell.dockerlab_extension = None
