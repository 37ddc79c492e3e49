"""What is told to whoever reads the log."""

import sys


def note(where: str, message: str, *details: object) -> None:
    """Log at the level INFO.

    A program that has not loaded `logging` shows nothing of that level, and loading it takes milliseconds that a
    device need not spend.

    Args:
        where: Name of the logger, by custom `__name__`.
        message: With a `%s` for each detail.
        details: What to put there; made text only if somebody listens.
    """
    if "logging" in sys.modules:
        import logging

        logging.getLogger(where).info(message, *details)
