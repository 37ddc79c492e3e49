"""Which function of the user's builds the network of a checkpoint: one that the caller names, never the file alone."""

from pathlib import Path

from ..errors import TrainingError

_HOW = "model.code in settings, --code, or load_model(..., code=...)"


def own_code(known: str, code: str | None, path: str | Path) -> str:
    """Return the function to call.

    Args:
        known: What the checkpoint was made with: ``file.py:function`` or ``module:function``.
        code: What the caller names: the same function, however its file is written; of a file that is not here any
            longer, one of the same name elsewhere.
        path: Of the checkpoint, for messages.

    Raises:
        TrainingError: If the caller names none, or another one.
    """
    if code is None:
        raise TrainingError(
            f"expected a network of a library in {path}, found one that {known[:400]!r} builds. If you know that code, "
            f"name it: {_HOW}."
        )
    if not _same(known, code):
        raise TrainingError(
            f"expected the function that built the network in {path}, {known[:400]!r}, found {code[:400]!r}. Name that "
            f"one, or a function of that name in a file of that name: {_HOW}."
        )
    return code


def _same(known: str, code: str) -> bool:
    if known == code:
        return True
    (was, _, function), (now, _, named) = known.rpartition(":"), code.rpartition(":")
    if function != named or not (was.endswith(".py") and now.endswith(".py")):
        return False
    try:
        first, second = Path(was), Path(now)
        moved = not first.is_file() and first.name == second.name
        return moved or first.resolve() == second.resolve()
    except (OSError, ValueError):
        # A path from elsewhere may be none here.
        return False
