"""The folder of a run: it is refused where it is not ours, before anything in it is touched."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import InputError, OutputExistsError, TrainingError
from ..files import write_file
from .checkpoint import read_record
from .config.read import PretrainConfig, as_toml, read_config
from .folder import is_part, remove_parts
from .full_disk import told_if_full
from .model_folder import MODEL_FOLDER
from .run_lock import LOCK_FILE, refuse_held, run_lock
from .training.logs import LOG_FILE
from .training.position import CHECKPOINTS
from .training.state import newest

CONFIG_FILE = "config.toml"
# Tells the settings of a run from a file of the user's under the same name.
_MARK = b"# Settings of a run, written by acclimate pretrain.\n"


def check_folder(folder: Path, *, resume: bool) -> None:
    """Refuse a folder that is in use; to resume, one that holds something and no run.

    Raises:
        OutputExistsError: If it is refused.
        InputError: If another process trains in it.
    """
    if folder.exists() and not folder.is_dir():
        raise OutputExistsError(f"expected a folder at {folder}, found a file. Choose another one with --out.")
    refuse_held(folder)
    _check_content(folder, resume=resume)


@contextmanager
def held_folder(folder: Path, *, resume: bool) -> Iterator[None]:
    """Make the folder of a run, only once there is something to put into it, and hold it for the block.

    Raises:
        OutputExistsError: If something has been put into it since it was checked.
        InputError: If another process trains in it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with run_lock(folder):
        _check_content(folder, resume=resume)
        yield


def open_folder(folder: Path, settings: PretrainConfig) -> None:
    """Write the settings into the folder of a run, which is held.

    Raises:
        TrainingError: If the disk is full.
    """
    remove_parts(folder)
    # Settings may change until there is a checkpoint that was made with them.
    if newest(folder / CHECKPOINTS) is None:
        with told_if_full("the settings", folder / CONFIG_FILE):
            write_file(folder / CONFIG_FILE, _MARK + as_toml(settings).encode(), overwrite=True)


def _check_content(folder: Path, *, resume: bool) -> None:
    # A lock that a killed process left holds nothing.
    found = sorted(path.name for path in folder.iterdir() if path.name != LOCK_FILE) if folder.is_dir() else []
    if found and not resume:
        raise OutputExistsError(
            f"expected an empty folder at {folder}, found something in it. Go on with --resume, or choose another."
        )
    # A run may be killed while it writes its very first file.
    others = [name for name in found if not is_part(name)]
    if others and not _is_run(folder):
        raise OutputExistsError(
            f"expected an empty folder at {folder}, or one of a run to resume, found {others[0]!r} and no "
            f"checkpoint, model or settings that a run wrote. Choose another one with --out."
        )


def _is_run(folder: Path) -> bool:
    return newest(folder / CHECKPOINTS) is not None or _has_model(folder) or _has_settings(folder)


def _has_model(folder: Path) -> bool:
    try:
        read_record(folder / MODEL_FOLDER)
    except TrainingError:
        return False
    return True


def _has_settings(folder: Path) -> bool:
    """Whether the settings there are a run's: as one wrote them, or changed since and with its log beside them."""
    path = folder / CONFIG_FILE
    if not path.is_file():
        return False
    with path.open("rb") as file:
        if file.read(len(_MARK)) == _MARK:
            return True
    if not (folder / LOG_FILE).is_file():
        return False
    try:
        read_config(path)
    except InputError:
        return False
    return True
