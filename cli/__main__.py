"""`python -m acclimate.cli` is the command `acclimate`."""

from . import main

main()
