"""Files that cannot be written: the error names what, where, and what to do."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import AcclimateError, TrainingError


@contextmanager
def told_if_full(what: str, target: Path) -> Iterator[None]:
    """Tell which file could not be written, as a full disk does not.

    Args:
        what: What the block writes, in words.
        target: Where to.

    Raises:
        TrainingError: If the block raises OSError.
    """
    try:
        yield
    except AcclimateError:
        # Some of them are errors of the system, too.
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        # Files beside the target have names that nobody knows.
        known = error.filename is None or Path(str(error.filename)).is_relative_to(target.parent)
        where = "" if known else f" at {error.filename}"
        raise TrainingError(
            f"expected to write {what} to {target}, found that {reason}{where}. What was written before stays: "
            f"{advice_for(error)}, and go on with --resume or do it again."
        ) from error


def advice_for(error: OSError) -> str:
    """Return what to do about a file that could not be written."""
    return "make room" if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) else "mend that"
