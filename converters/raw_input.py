"""What one raw sample is, and the preprocessing of torch models that follows from it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import nn

from ..errors import InputError
from ..manifest import InputSpec
from .preprocess import FramePreprocess, SamplePreprocess
from .samples import LEAST_CALIBRATION, check_calibration, check_samples, frame_spec, made_samples, sample_spec

__all__ = ["LEAST_CALIBRATION", "RawInput", "check_samples", "describe_input", "synthetic_samples"]

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
        calibration: ``(n, height, width, channels) uint8`` frames as the sensor gives them, or ``(n, ...) float32``
            samples of any other kind; at least 8.
        model: The model; frames of one channel are repeated to the channels of its first convolution.
        resize: Height and width that the model takes, for frames.
        mean: Subtracted first; per channel with pixel values in 0 to 1 for frames, anything that broadcasts to a sample
            otherwise.
        std: Divided by afterwards; likewise.
        axes: What each axis of a sample is, for samples that are not frames.

    Returns:
        The description.

    Raises:
        CalibrationError: If the calibration data is no such thing, too little, or all the same.
        InputError: If an option does not fit.
    """
    check_calibration(calibration)
    shape = tuple(calibration.shape[1:])
    if calibration.dtype != np.uint8:
        if resize is not None:
            raise InputError("expected resize=None for float32 samples: only uint8 frames are resized.")
        return RawInput(sample_spec(shape, axes), SamplePreprocess(shape, mean, std))
    # What is no module at all is refused where it is split.
    layers = model.modules() if isinstance(model, nn.Module) else ()
    channels = next((m.in_channels for m in layers if isinstance(m, _CONVOLUTIONS) and m.in_channels), shape[2])
    means, stds = np.atleast_1d(np.asarray(mean, np.float64)), np.atleast_1d(np.asarray(std, np.float64))
    frame = (shape[0], shape[1], shape[2])
    return RawInput(frame_spec(shape), FramePreprocess(frame, resize, channels, means.tolist(), stds.tolist()))


def synthetic_samples(raw: RawInput, n: int = 4, seed: int = 0) -> NDArray[np.generic]:
    """Make samples that no sensor ever gave (`made_samples`) for a torch model's input."""
    if raw.spec.dtype != "float32":
        return made_samples(raw.spec, None, None, n, seed)
    scale, shift = (np.asarray(getattr(raw.preprocess, name)) for name in ("scale", "shift"))
    return made_samples(raw.spec, scale, shift, n, seed)
