"""What a run noted of the samples that its model was trained on, and what the converters make of raw ones by it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..converters.sources.load import Known
from ..errors import InputError, TrainingError
from .checkpoint import read_record
from .model_folder import require_model_folder

# What a raw sample of the data was: pixels ``(h, w, c) uint8``, a log-mel spectrogram, a series ``(t, c)``, a row, or
# what the model takes. Of arrays of three axes, settings do not tell pixels from what the model takes.
Form = Literal["image", "sound", "series", "table", "tensor", "image or tensor"]
KERAS_FILE = "model.keras"
_FORMS: tuple[Form, ...] = ("image", "sound", "series", "table", "tensor")
_LARGEST = 1e300
_ADVICE = "Copy the checkpoint again, or train again."


@dataclass(frozen=True)
class TrainedInput:
    """What a run noted of its samples.

    Args:
        known: Height and width, mean, deviation and classes.
        form: What a raw sample is.
        shape: Shape of what the network was trained on, channels first.
        tasks: Names of the tasks.
        channels_last: Whether the network takes channels last, as those of Keras do.
    """

    known: Known
    form: Form
    shape: tuple[int, ...]
    tasks: tuple[str, ...]
    channels_last: bool = False

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of one raw sample of any kind but pixels."""
        return (*self.shape[1:], self.shape[0]) if self.channels_last or self.form == "series" else self.shape

    def options(
        self,
        samples: NDArray[Any],
        *,
        resize: tuple[int, int] | None = None,
        mean: Sequence[float] | float | None = None,
        std: Sequence[float] | float | None = None,
        classes: Sequence[str] | None = None,
        keeps_head: bool = True,
    ) -> dict[str, Any]:
        """Return the arguments of `acclimate.converters.convert` with which it takes raw samples as training did.

        Args:
            samples: The calibration data, raw: not yet normalised.
            resize: Instead of the size that was trained on.
            mean: Instead of the run's.
            std: Likewise.
            classes: Likewise.
            keeps_head: Whether the model's own head is kept.

        Returns:
            ``resize``, ``mean``, ``std`` and ``classes``.

        Raises:
            InputError: If the samples are not of the kind that was trained on, or the head tells of several tasks.
        """
        frames = samples.ndim == 4 and samples.dtype == np.uint8
        self._check(samples, frames)
        if keeps_head and len(self.tasks) > 1:
            raise InputError(
                f"expected a model of one task, found one of {', '.join(self.tasks)}. Give it another head: "
                f"head='fit' or head=None."
            )
        known = self.known
        size = known.size if frames and tuple(samples.shape[1:3]) != known.size else None
        return {
            "resize": resize if resize is not None else size,
            "mean": mean if mean is not None else known.mean if known.mean is not None else 0.0,
            "std": std if std is not None else known.std if known.std is not None else 1.0,
            "classes": classes if classes is not None else known.classes if keeps_head else None,
        }

    def _check(self, samples: NDArray[Any], frames: bool) -> None:
        """Refuse samples of another kind: means and deviations would not be theirs."""
        found = tuple(samples.shape[1:])
        wanted = self.sample_shape
        if frames and self.form in ("image", "image or tensor"):
            return
        normalised = self.known.mean is not None or self.known.std is not None
        # What the model takes has no mean: a run that notes one had pixels.
        if frames or self.form == "image" or (self.form == "image or tensor" and normalised):
            what = {
                "image": "frames (n, height, width, channels) uint8",
                "image or tensor": "frames (n, height, width, channels) uint8",
                "sound": f"log-mel spectrograms (n, {', '.join(map(str, wanted))}) float32",
            }.get(self.form, f"samples (n, {', '.join(map(str, wanted))}) float32")
            raise InputError(f"expected {what}, as the model was trained on, found {samples.dtype} {samples.shape}.")
        if found != wanted and not (self.form == "series" and wanted[1:] == (1,) and found == wanted[:1]):
            cut = " Cut recordings into windows of that length." if self.form == "series" else ""
            raise InputError(f"expected samples of shape {wanted}, as the model was trained on, found {found}.{cut}")


def read_input(path: str | Path) -> TrainedInput:
    """Read what a run noted of its samples.

    Args:
        path: The folder of a run, or of its checkpoint.

    Raises:
        InputError: If there is no checkpoint.
        TrainingError: If it is damaged, or notes nothing of the data.
    """
    folder = require_model_folder(path)
    notes = read_record(folder).notes
    shape = _shape(notes, folder)
    mean, std = (_numbers(notes, name, folder) for name in ("mean", "std"))
    classes, tasks = _names(notes.get("classes"), folder), _tasks(notes, folder)
    form = form_of(notes, shape)
    remarks: tuple[str, ...] = ()
    if form == "sound":
        # Training takes the first of each alone.
        mean, std = mean[:1], std[:1]
        remarks = (
            f"a sample is a log-mel spectrogram {shape} as acclimate.server.data.log_mel.log_mel gives it, before mean "
            f"and deviation",
        )
    size = (shape[1], shape[2]) if form in ("image", "image or tensor") else None
    known = Known(size, mean or None, std or None, classes if len(tasks) < 2 and classes else None, remarks)
    return TrainedInput(known, form, shape, tasks, (folder / KERAS_FILE).is_file())


def form_of(notes: Mapping[str, Any], shape: tuple[int, ...]) -> Form:
    """Return what a raw sample was, by the settings and the data that a run noted.

    Args:
        notes: Of a checkpoint.
        shape: Shape of what the network was trained on.
    """
    noted = next((form for form in _FORMS if form == notes.get("form")), None)
    if noted is not None:
        return noted
    # Earlier runs did not note it.
    config = notes.get("config")
    data = config.get("data", {}) if isinstance(config, Mapping) else {}
    kind, windowed = (data.get("kind"), data.get("window") is not None) if isinstance(data, Mapping) else ("", False)
    source = str(notes.get("source", ""))
    if len(shape) == 1:
        return "table"
    if len(shape) == 2:
        whole = kind in ("auto", "series") and " shards " not in source
        return "series" if whole or windowed else "tensor"
    if len(shape) != 3:
        return "tensor"
    if kind == "audio" or "WAV files" in source:
        return "sound"
    if kind in ("images", "files") or " images " in f" {source} ":
        return "image"
    return "image or tensor"


def _shape(notes: Mapping[str, Any], folder: Path) -> tuple[int, ...]:
    found = notes.get("shape")
    if not isinstance(found, list) or not found or not all(type(size) is int and size > 0 for size in found):
        raise TrainingError(f"expected the shape of a sample noted in {folder}, found {found!r:.60}. {_ADVICE}")
    return tuple(found)


def _numbers(notes: Mapping[str, Any], name: str, folder: Path) -> tuple[float, ...]:
    found = notes.get(name)
    # Neither NaN nor what no float holds.
    if not isinstance(found, list) or not all(type(n) in (int, float) and abs(n) <= _LARGEST for n in found):
        raise TrainingError(f"expected {name} noted in {folder} as numbers, found {found!r:.60}. {_ADVICE}")
    return tuple(float(number) for number in found)


def _names(found: object, folder: Path) -> tuple[str, ...]:
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
        raise TrainingError(f"expected classes noted in {folder} as texts, found {found!r:.60}. {_ADVICE}")
    return tuple(found)


def _tasks(notes: Mapping[str, Any], folder: Path) -> tuple[str, ...]:
    found = notes.get("tasks")
    if not isinstance(found, list) or not all(isinstance(task, dict) for task in found):
        raise TrainingError(f"expected tasks noted in {folder}, found {found!r:.60}. {_ADVICE}")
    return _names([task.get("name") for task in found], folder)
