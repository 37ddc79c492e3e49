"""The command `acclimate`. It parses, shows progress and prints; each command imports its side when it runs."""

__all__ = ["main"]


def main() -> None:
    """Run the command line."""
    from .app import run

    run()
