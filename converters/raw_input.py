"""What one raw sample is, and the preprocessing that follows from it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import nn

from ..edge.checks import check_frames
from ..errors import CalibrationError, InputError
from ..manifest import InputSpec
from .preprocess import FramePreprocess, SamplePreprocess

LEAST_CALIBRATION = 8
_ANY = 3e38
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
    if (
        not isinstance(calibration, np.ndarray)
        or calibration.dtype not in (np.uint8, np.float32)
        or calibration.ndim < 2
    ):
        kind = f"{calibration.shape} {calibration.dtype}" if isinstance(calibration, np.ndarray) else type(calibration)
        raise CalibrationError(
            f"expected calibration data (n, height, width, channels) uint8 or (n, ...) float32, found {kind}. "
            f"Pass what the sensor gives, as a numpy array."
        )
    is_frames = calibration.dtype == np.uint8
    if is_frames and calibration.ndim != 4:
        raise CalibrationError(
            f"expected calibration frames (n, height, width, channels) uint8, found {calibration.shape}. "
            f"Grayscale frames have one channel: frames[..., None]."
        )
    if len(calibration) < LEAST_CALIBRATION:
        raise CalibrationError(
            f"expected at least {LEAST_CALIBRATION} calibration samples, found {len(calibration)}. "
            f"A few dozen are usual."
        )
    if not is_frames and not np.isfinite(calibration).all():
        raise CalibrationError("expected finite calibration samples, found NaN or infinity. Leave such samples out.")
    if (calibration == calibration[0]).all():
        raise CalibrationError("expected calibration samples that differ, found that all are the same.")
    shape = tuple(calibration.shape[1:])
    if not is_frames:
        return _describe_samples(shape, resize, mean, std, axes)
    # What is no module at all is refused where it is split.
    layers = model.modules() if isinstance(model, nn.Module) else ()
    channels = next((m.in_channels for m in layers if isinstance(m, _CONVOLUTIONS) and m.in_channels), shape[2])
    means, stds = np.atleast_1d(np.asarray(mean, np.float64)), np.atleast_1d(np.asarray(std, np.float64))
    frame = (shape[0], shape[1], shape[2])
    spec = InputSpec(shape, "uint8", (0, 255), ("height", "width", "channel"))
    return RawInput(spec, FramePreprocess(frame, resize, channels, means.tolist(), stds.tolist()))


def _describe_samples(
    shape: tuple[int, ...],
    resize: tuple[int, int] | None,
    mean: ArrayLike,
    std: ArrayLike,
    axes: Sequence[str] | None,
) -> RawInput:
    if resize is not None:
        raise InputError("expected resize=None for float32 samples: only uint8 frames are resized.")
    names = tuple(axes) if axes is not None else tuple(f"axis {i}" for i in range(len(shape)))
    if len(names) != len(shape):
        raise InputError(f"expected {len(shape)} names of axes, one per axis of a sample, found {names}.")
    return RawInput(InputSpec(shape, "float32", (-_ANY, _ANY), names), SamplePreprocess(shape, mean, std))


def check_samples(samples: NDArray[Any], spec: InputSpec, what: str) -> NDArray[np.generic]:
    """Check raw samples against the description, naming what they are in the message.

    Raises:
        InputError: If they do not fit.
    """
    try:
        return check_frames(samples, spec)
    except InputError as error:
        raise InputError(f"{what}: {error}") from error


def synthetic_samples(raw: RawInput, n: int = 4, seed: int = 0) -> NDArray[np.generic]:
    """Make samples that no sensor ever gave, for conformance tests: a bundle must not carry anybody's data.

    Args:
        raw: What one raw sample is.
        n: How many.
        seed: Fixes them.

    Returns:
        ``(n, *shape)``: blocks of several sizes with noise for frames, normal numbers otherwise.
    """
    random = np.random.default_rng(seed)
    shape = raw.spec.shape
    if raw.spec.dtype == "float32":
        scale, shift = (np.asarray(getattr(raw.preprocess, name)) for name in ("scale", "shift"))
        normal = random.normal(size=(n, *shape))
        return np.asarray((normal - shift) / scale, np.float32)
    frames = np.empty((n, *shape), np.uint8)
    for i in range(n):
        block = max(1, min(shape[:2]) // 2 ** (i % 4 + 1))
        coarse = random.integers(0, 256, (-(-shape[0] // block), -(-shape[1] // block), shape[2]))
        fine = np.kron(coarse, np.ones((block, block, 1)))[: shape[0], : shape[1]]
        frames[i] = np.clip(fine + random.normal(0, 8, shape), 0, 255).astype(np.uint8)
    return frames
