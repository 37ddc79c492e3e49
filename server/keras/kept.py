"""The Keras files that a run keeps, on disk under their name once they are the best."""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ...errors import TrainingError
from ..checkpoint import RECORD_FILE, Checkpoint, read_record, record_of
from ..config.read import PretrainConfig
from ..data.split import Data
from ..folder import new_folder
from ..full_disk import told_if_full
from ..model_folder import MODEL_FOLDER
from ..training.best_folders import BestFolders
from ..training.breakdown import VALIDATION_FILE, breakdown_of, write_breakdowns
from ..training.kept import KeptNotes, notes_of, read_notes
from ..training.metrics import Counts, metrics_of
from .asked import MODEL_FILE

_KIND = "keras-model"


class KerasKept:
    """The best weights of a run so far, each a whole model in a Keras file.

    Args:
        folder: Of the run.
        settings: Of the run.
        data: What it is trained and validated on.
    """

    def __init__(self, folder: Path, settings: PretrainConfig, data: Data) -> None:
        self.folders, self.settings, self.data = BestFolders(folder), settings, data

    @property
    def file(self) -> Path:
        """The Keras file of a run that came to its end."""
        return self.folders.folder / MODEL_FOLDER / MODEL_FILE

    def keep(
        self, save: Callable[[Path], None], step: int, counts: tuple[Counts, ...], tools: Mapping[str, Any]
    ) -> None:
        """Write the best model so far; those of earlier steps go only then that no checkpoint knows.

        Args:
            save: Writes the Keras file.
            step: Steps taken.
            counts: What its scores are made of, one per task.
            tools: Versions of what trained it.
        """
        target = self.folders.make_room(step)
        notes = notes_of(self.data, self.settings, step, tuple(map(metrics_of, counts)))
        architecture = json.dumps({"kind": _KIND, "name": self.settings.model.name, **trained_with(tools)})
        with told_if_full("the best weights", target), new_folder(target) as folder:
            file = folder / MODEL_FILE
            save(file)
            record = record_of(Checkpoint(architecture, _hash(file), notes))
            (folder / RECORD_FILE).write_bytes(record)
        with told_if_full("what scores are made of", target / VALIDATION_FILE):
            write_breakdowns(target, step, tuple(map(breakdown_of, counts)))
        self.folders.remove_old(step)

    def load(self) -> KeptNotes:
        """Return what was noted of a run that came to its end, once its file is known to be what was written.

        Raises:
            TrainingError: If it is not, or was not kept by a run of a Keras model.
        """
        path = self.folders.folder / MODEL_FOLDER
        checkpoint = read_record(path)
        if not self.file.is_file() or _hash(self.file) != checkpoint.sha256:
            raise TrainingError(
                f"expected {MODEL_FILE} in {path} as it was written, found it changed or gone. Copy the checkpoint "
                f"again, or train again."
            )
        return read_notes(checkpoint.notes, path)


def trained_with(tools: Mapping[str, Any]) -> dict[str, str]:
    """Return the versions of what trains a model, by name.

    Args:
        tools: Of TensorFlow's process.
    """
    return {name: str(tools[name]) for name in ("keras", "tensorflow", "tensorflow-cpu") if name in tools}


def _hash(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
