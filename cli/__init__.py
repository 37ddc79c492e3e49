"""The command `acclimate`. It parses, shows progress and prints; each command imports its side when it runs."""

import sys

__all__ = ["main"]

_INTERRUPTED = 130


def main() -> None:
    """Run the command line."""
    try:
        from .app import run
    except KeyboardInterrupt:
        # Nothing that prints nicely may be there yet.
        sys.stderr.write("error: interrupted.\n")
        raise SystemExit(_INTERRUPTED) from None
    run()
