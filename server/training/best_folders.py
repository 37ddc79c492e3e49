"""The folders of a run's best weights so far, and the name that the last of them gets."""

import re
from collections.abc import Mapping, Set
from contextlib import suppress
from pathlib import Path
from typing import Any

from ...errors import TrainingError
from ..folder import remove_folder
from ..model_folder import MODEL_FOLDER
from .position import CHECKPOINTS, check_config, position_of
from .state import all_states, load_record, newest

_BEST = "best"
_NAME = re.compile(rf"{_BEST}-(\d{{9}})")


class BestFolders:
    """``best-000000120`` while a run goes on, ``model`` once it has ended.

    Args:
        folder: Of the run.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def ended(self) -> bool:
        """Whether the run came to its end."""
        return (self.folder / MODEL_FOLDER).exists()

    def make_room(self, step: int) -> Path:
        """Return the folder for weights of a step; what is there is of an attempt that was cut off, and goes."""
        target = self._path(step)
        remove_folder(target)
        return target

    def remove_old(self, step: int) -> None:
        """Remove all weights but those of a step and of those that a checkpoint notes as the best."""
        self._remove_but({step} | self._noted())

    def settle(self, config: Mapping[str, Any], *, main: bool) -> None:
        """Drop weights that no checkpoint up to the newest knows: an attempt that was cut off had kept them.

        Args:
            config: Settings and data of the run; with others nothing is dropped.
            main: Whether this process removes them; all look whether those that it knows are there.

        Raises:
            TrainingError: If they are not, or the checkpoint is damaged, or of another run.
        """
        path = newest(self.folder / CHECKPOINTS)
        if path is None:
            best = None
        else:
            record = load_record(path)
            check_config(record.get("config"), config, path)
            found = position_of(record, path).best
            best = None if found.score is None else found.step
        if main:
            # Whoever removes the newest checkpoint resumes from an earlier one, with the best that this one notes.
            self._remove_but({step for step in self._noted() if step <= (best or 0)})
        if best is not None and best not in self._found():
            raise TrainingError(
                f"expected the best weights so far at {self._path(best)}, as {path} notes, found none. Put that folder "
                f"back, or begin anew in another one."
            )

    def finish(self) -> None:
        """Give the best weights their final name.

        Raises:
            TrainingError: If somebody removed them.
        """
        found = self._found()
        if not found:
            raise TrainingError(
                f"expected the best weights of the run in {self.folder}, found none. Begin anew in another folder."
            )
        last = max(found)
        self._remove_but({last})
        found[last].rename(self.folder / MODEL_FOLDER)

    def _path(self, step: int) -> Path:
        return self.folder / f"{_BEST}-{step:09d}"

    def _noted(self) -> set[int]:
        """Return the steps of the best weights that checkpoints note."""
        noted = set()
        for path in all_states(self.folder / CHECKPOINTS):
            # From a damaged one nobody resumes.
            with suppress(TrainingError):
                noted.add(position_of(load_record(path), path).best.step)
        return noted

    def _found(self) -> dict[int, Path]:
        paths = {path: _NAME.fullmatch(path.name) for path in self.folder.glob(f"{_BEST}-*")}
        return {int(match[1]): path for path, match in paths.items() if match}

    def _remove_but(self, steps: Set[int]) -> None:
        for step, path in self._found().items():
            if step not in steps:
                remove_folder(path)
