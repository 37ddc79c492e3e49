"""Where the model of a checkpoint lies: in the folder that is named, or in the run's folder that is."""

from pathlib import Path

from ..errors import InputError
from .checkpoint import RECORD_FILE

MODEL_FOLDER = "model"


def model_folder(name: str | Path) -> Path | None:
    """Return the folder of the checkpoint that a path names: itself, or ``model`` in the folder of a run.

    Args:
        name: A path, or any other text.

    Returns:
        The folder; None where the path names neither.

    Raises:
        InputError: If it is the folder of a run that has not come to its end.
    """
    path = Path(name)
    for folder in (path, path / MODEL_FOLDER):
        if (folder / RECORD_FILE).is_file():
            return folder
    # Of a run that goes on, or was cut off.
    best = sorted(path.glob(f"best-*/{RECORD_FILE}")) if path.is_dir() else []
    if best:
        raise InputError(
            f"expected the folder of a run that came to its end, found {path} with the best weights so far alone. Let "
            f"it end, with --resume if it was cut off, or name {best[-1].parent}."
        )
    return None


def require_model_folder(name: str | Path) -> Path:
    """Return the folder of the checkpoint that a path names.

    Raises:
        InputError: If it names none, or the folder of a run that has not come to its end.
    """
    folder = model_folder(name)
    if folder is None:
        found = "nothing" if not Path(name).exists() else f"no {RECORD_FILE}"
        raise InputError(
            f"expected a checkpoint or the folder of a run at {name}, found {found} there. Check the path: it is "
            f"RUN or RUN/{MODEL_FOLDER}."
        )
    return folder
