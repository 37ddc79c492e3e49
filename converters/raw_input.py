"""What one raw sample is, and the preprocessing of torch models that follows from it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import nn

from ..errors import CalibrationError, InputError
from ..manifest import InputSpec
from .preprocess import FramePreprocess, IdPreprocess, SamplePreprocess
from .samples import LEAST_CALIBRATION, check_calibration, check_samples, frame_spec, made_samples, sample_spec

__all__ = ["LEAST_CALIBRATION", "RawInput", "check_samples", "describe_input", "synthetic_samples"]

# No picture's mean or spread is near it where pixel values are in 0 to 1.
_MOST_NORMALISATION = 5.0
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


@dataclass(frozen=True)
class RawInput:
    """Raw samples and how the model takes them.

    Args:
        spec: What one raw sample is.
        preprocess: From raw samples to what the model takes.
    """

    spec: InputSpec
    preprocess: nn.Module


def describe_input(
    calibration: NDArray[Any],
    model: nn.Module,
    *,
    resize: tuple[int, int] | None = None,
    mean: ArrayLike = 0.0,
    std: ArrayLike = 1.0,
    axes: Sequence[str] | None = None,
) -> RawInput:
    """Read from the calibration data what one raw sample is.

    Args:
        calibration: ``(n, height, width, channels) uint8`` frames as the sensor gives them, ``(n, ...) float32``
            samples of any other kind, or ``(n, ...) int32`` ids such as those of tokens; at least 8.
        model: The model; frames of one channel are repeated to the channels of its first convolution, and ids are as
            many as its ``vocabulary`` says, or the rows of its first embedding.
        resize: Height and width that the model takes, for frames.
        mean: Subtracted first; per channel with pixel values in 0 to 1 for frames, anything that broadcasts to a sample
            otherwise.
        std: Divided by afterwards; likewise.
        axes: What each axis of a sample is, for samples that are not frames.

    Returns:
        The description.

    Raises:
        CalibrationError: If the calibration data is no such thing, too little, all the same, or has ids that the model
            has no row for.
        InputError: If an option does not fit.
    """
    check_calibration(calibration, ids=True)
    shape = tuple(calibration.shape[1:])
    if calibration.dtype != np.uint8:
        if resize is not None:
            raise InputError("expected resize=None for float32 samples: only uint8 frames are resized.")
        if calibration.dtype == np.int32:
            if np.any(np.asarray(mean) != 0) or np.any(np.asarray(std) != 1):
                raise InputError("expected no mean or std for int32 ids, found some. Leave them out.")
            return RawInput(_id_spec(calibration, model, shape, axes), IdPreprocess())
        return RawInput(sample_spec(shape, axes), SamplePreprocess(shape, mean, std))
    # What is no module at all is refused where it is split.
    layers = model.modules() if isinstance(model, nn.Module) else ()
    channels = next((m.in_channels for m in layers if isinstance(m, _CONVOLUTIONS) and m.in_channels), shape[2])
    means, stds = np.atleast_1d(np.asarray(mean, np.float64)), np.atleast_1d(np.asarray(std, np.float64))
    _refuse_levels(means, stds)
    frame = (shape[0], shape[1], shape[2])
    return RawInput(frame_spec(shape), FramePreprocess(frame, resize, channels, means.tolist(), stds.tolist()))


def _refuse_levels(means: NDArray[np.float64], stds: NDArray[np.float64]) -> None:
    """Refuse a normalisation that is meant for pixel values in 0 to 255."""
    most = max(float(np.abs(means).max(initial=0)), float(stds.max(initial=0)))
    if most > _MOST_NORMALISATION:
        raise InputError(
            f"expected mean and std for pixel values in 0 to 1, found {most:g} among them, as for values in 0 to 255. "
            f"Divide both by 255: mean 127 is 127 / 255 = 0.498."
        )


def _id_spec(
    calibration: NDArray[Any], model: nn.Module, shape: tuple[int, ...], axes: Sequence[str] | None
) -> InputSpec:
    embeddings = (m for m in model.modules() if isinstance(m, nn.Embedding)) if isinstance(model, nn.Module) else ()
    count = getattr(model, "vocabulary", None) or next((m.num_embeddings for m in embeddings), None)
    if count is None:
        raise CalibrationError(
            "expected a torch model with an embedding for int32 samples, found none. "
            "Pass (n, ...) float32 samples, or frames (n, height, width, channels) uint8."
        )
    if axes is None and len(shape) == 1:
        axes = ("token",)
    spec = sample_spec(shape, axes, int(count))
    try:
        check_samples(calibration, spec, "calibration data")
    except InputError as error:
        raise CalibrationError(str(error)) from error
    return spec


def synthetic_samples(raw: RawInput, n: int = 2, seed: int = 0) -> NDArray[np.generic]:
    """Make samples that no sensor ever gave (`made_samples`) for a torch model's input."""
    if raw.spec.dtype != "float32":
        return made_samples(raw.spec, None, None, n, seed)
    scale, shift = (np.asarray(getattr(raw.preprocess, name)) for name in ("scale", "shift"))
    return made_samples(raw.spec, scale, shift, n, seed)
