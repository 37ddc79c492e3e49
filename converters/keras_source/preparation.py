"""What stands in front of a Keras model, as constants: resizing, copies of a single channel, scaling."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...errors import InputError
from ..arguments import require_channels

Float32 = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Preparation:
    """From raw samples to what a model takes.

    Args:
        rows: ``(height, raw height) float32`` resize of one axis, or None.
        columns: ``(width, raw width) float32``, or None.
        copies: How often the channels are repeated: 3 for a single one in front of a model of colour.
        scale: Multiplied with; broadcasts to a sample. None where it is for the model to say.
        shift: Added last; likewise.
        mix: ``(channels, channels) float32`` in place of `scale`, for models whose channels are in another order.
    """

    rows: Float32 | None
    columns: Float32 | None
    copies: int
    scale: Float32 | None
    shift: Float32 | None
    mix: Float32 | None = None

    def write(self, path: Path) -> None:
        """Write the constants into an ``.npz`` file."""
        named = {"rows": self.rows, "columns": self.columns, "scale": self.scale, "shift": self.shift}
        named["mix"] = self.mix
        arrays: dict[str, NDArray[np.generic]] = {name: value for name, value in named.items() if value is not None}
        np.savez(path, allow_pickle=False, copies=np.array(self.copies), **arrays)

    @classmethod
    def read(cls, path: Path) -> "Preparation":
        """Read them."""
        with np.load(path, allow_pickle=False) as found:
            given = {name: found[name] for name in found.files}
        rows, columns, scale, shift, mix = (given.get(name) for name in ("rows", "columns", "scale", "shift", "mix"))
        return cls(rows, columns, int(given["copies"]), scale, shift, mix)


def prepare_samples(
    shape: tuple[int, ...],
    *,
    frames: bool,
    resize: tuple[int, int] | None = None,
    mean: ArrayLike | None = None,
    std: ArrayLike | None = None,
) -> Preparation:
    """Prepare samples of either kind.

    Args:
        shape: Of one sample.
        frames: Whether they are uint8 frames ``(height, width, channels)``; else they are float32.
        resize: Height and width that the model takes, for frames.
        mean: As for `convert_keras`.
        std: Likewise.

    Raises:
        InputError: If they do not fit each other.
    """
    if frames:
        return frame_preparation((shape[0], shape[1], shape[2]), resize, mean, std)
    if resize is not None:
        raise InputError("expected resize=None for float32 samples: only uint8 frames are resized.")
    return sample_preparation(shape, mean, std)


def frame_preparation(
    frame: tuple[int, int, int],
    size: tuple[int, int] | None,
    mean: ArrayLike | None,
    std: ArrayLike | None,
) -> Preparation:
    """Prepare frames.

    Args:
        frame: Height, width and channels of a raw frame.
        size: Height and width that the model takes; None for those of the frame.
        mean: Mean per channel, with pixel values in 0 to 1; None with None for the model's own way.
        std: Standard deviation per channel, likewise.

    Raises:
        InputError: If they do not fit each other.
    """
    if size is not None and (len(size) != 2 or min(size) < 1):
        raise InputError(f"expected resize as height and width, found {size}.")
    height, width = size or frame[:2]
    scale = shift = None
    if mean is not None or std is not None:
        centre, spread = _per_channel("mean", mean, 0.0), _per_channel("std", std, 1.0)
        _above_zero(spread)
        if len({len(centre), len(spread)} - {1}) > 1:
            raise InputError(f"expected mean and std for the same channels, found {len(centre)} and {len(spread)}.")
        centre, spread = np.broadcast_arrays(centre, spread)
        scale, shift = (1 / (255 * spread)).astype(np.float32), (-centre / spread).astype(np.float32)
    return Preparation(
        resize_matrix(frame[0], height) if height != frame[0] else None,
        resize_matrix(frame[1], width) if width != frame[1] else None,
        1,
        scale,
        shift,
    )


def for_channels(preparation: Preparation, frame: tuple[int, ...], wanted: int | None) -> Preparation:
    """Repeat a single channel for a model of several.

    Args:
        preparation: Of frames.
        frame: Height, width and channels of a raw frame.
        wanted: Channels that the model takes; None where it leaves them open.

    Raises:
        InputError: If they do not fit.
    """
    given = frame[-1]
    if wanted is not None:
        require_channels(frame, wanted)
    channels = given if wanted is None else wanted
    if preparation.scale is not None and len(preparation.scale) not in (1, channels):
        raise InputError(f"expected mean and std for {channels} channels, found {len(preparation.scale)} numbers.")
    return replace(preparation, copies=channels // given)


def sample_preparation(shape: tuple[int, ...], mean: ArrayLike | None, std: ArrayLike | None) -> Preparation:
    """Prepare float32 samples of any shape: subtract `mean`, divide by `std`, both broadcast to a sample."""
    centre, spread = _numbers("mean", mean, 0.0, shape), _numbers("std", std, 1.0, shape)
    _above_zero(spread)
    return Preparation(None, None, 1, (1 / spread).astype(np.float32), (-centre / spread).astype(np.float32))


def resize_matrix(source: int, target: int) -> Float32:
    """Return the antialiased bilinear resize of one axis as ``(target, source) float32``; rows sum to 1.

    The same as ``torch.nn.functional.interpolate(mode="bilinear", antialias=True)``: a triangle that is as wide as the
    step between samples.
    """
    step = source / target
    width = max(step, 1.0)
    centres = (np.arange(target) + 0.5) * step
    places = np.arange(source) + 0.5
    weights = np.maximum(0.0, 1 - np.abs(places[None] - centres[:, None]) / width)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float32)


def _numbers(name: str, value: ArrayLike | None, usual: float, shape: tuple[int, ...]) -> NDArray[np.float64]:
    array = np.asarray(usual if value is None else value, np.float64)
    try:
        np.broadcast_to(array, shape)
    except ValueError as error:
        raise InputError(f"expected {name} to broadcast to {shape}, found {array.shape}.") from error
    if not np.isfinite(array).all():
        raise InputError(f"expected a finite {name}, found NaN or infinity.")
    return np.atleast_1d(array)


def _per_channel(name: str, value: ArrayLike | None, usual: float) -> NDArray[np.float64]:
    array = np.atleast_1d(np.asarray(usual if value is None else value, np.float64))
    if array.ndim != 1 or not np.isfinite(array).all():
        raise InputError(f"expected {name} as one finite number per channel (pixel values in 0 to 1), found {array}.")
    return array


def _above_zero(std: NDArray[np.float64]) -> None:
    if not (std > 0).all():
        raise InputError("expected std above 0 everywhere, found 0 or less. Leave constant features at std 1.")
