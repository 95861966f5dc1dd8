"""`python -m dockerlab.cli`."""

from dockerlab.cli.main import main

main()
