"""`python -m dockerlab.cli`."""

from dockerlab.cli.client import whole
from dockerlab.cli.main import main

whole()
main()
