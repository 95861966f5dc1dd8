"""dockerlab: learn how containers work, with an engine of your own inside the notebook.

`Engine` is the Python API; `%load_ext dockerlab` brings the magics; `dockerlab` and its `docker` shim are the command line.
"""

from dockerlab.version import __version__

TYPE_CHECKING = False  # typing's own constant costs the import of typing: six milliseconds of every command line
if TYPE_CHECKING:
    from typing import Any

    from dockerlab.course import lesson
    from dockerlab.engine import Engine
    from dockerlab.engine.scan import scan
    from dockerlab.engine.views import union
    from dockerlab.errors import DockerlabError

__all__ = ["DockerlabError", "Engine", "__version__", "lesson", "load_ipython_extension", "scan", "union", "unload_ipython_extension"]

_LAZY = {"DockerlabError": "dockerlab.errors", "Engine": "dockerlab.engine", "lesson": "dockerlab.course", "scan": "dockerlab.engine.scan", "union": "dockerlab.engine.views"}


def __getattr__(name: str) -> "Any":
    # The rest is imported on first use: `import dockerlab` must cost next to nothing, for it stands before every command line.
    if name not in _LAZY:
        raise AttributeError(f"module 'dockerlab' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_LAZY[name]), name)


def load_ipython_extension(shell: "Any") -> None:
    """Registers the magics: IPython calls this for `%load_ext dockerlab`."""
    from dockerlab.magics import load

    load(shell)


def unload_ipython_extension(shell: "Any") -> None:
    """Takes back all that `load_ipython_extension` did."""
    from dockerlab.magics import unload

    unload(shell)
