"""Tells a model whose way depends on values from one that an exporter cannot take for another reason."""

import re
from pathlib import Path

_CALL = re.compile(r'this error:\s+File "(.+)", line (\d+), in (\S+)\n(.+)')


def first_cause(error: BaseException) -> BaseException:
    """Return what an error came from: the last one only says at which step of an export it came."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def depends_on_values(error: BaseException) -> str | None:
    """Recognise that an export failed since the way through a model depends on values.

    Args:
        error: What `torch.export` or an exporter that is built on it raised.

    Returns:
        The line that chooses the way, as the end of a sentence, empty where it is not known; None if the error is
        another one.
    """
    first = first_cause(error)
    # By its name: the class lies in a private module of torch.
    if type(first).__name__ != "GuardOnDataDependentSymNode":
        return None
    found = _CALL.search(str(first))
    return "" if found is None else f" in {Path(found[1]).name}, line {found[2]}: {found[4].strip()[:120]}"
