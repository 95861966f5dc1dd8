"""`python -m dockerlab`: the command line."""

import dockerlab.cli.__main__  # noqa: F401
