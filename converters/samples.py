"""Raw samples: what they must be, what of them a bundle says, and some that no sensor gave; torch is not needed."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..edge.checks import check_frames
from ..errors import CalibrationError, InputError
from ..manifest import InputSpec

LEAST_CALIBRATION, MOST_CALIBRATION = 8, 256
_ANY = 3e38
_MOST_ID = 2**31 - 1


def calibrated_on(calibration: NDArray[Any]) -> NDArray[Any]:
    """Return what is calibrated on: all of it, or of more than 256 samples evenly spaced ones."""
    rows = np.linspace(0, len(calibration) - 1, min(len(calibration), MOST_CALIBRATION)).astype(int)
    chosen: NDArray[Any] = calibration[rows]
    return chosen


def check_calibration(calibration: NDArray[Any], *, ids: bool = False) -> None:
    """Refuse calibration data that is none.

    Args:
        calibration: ``(n, height, width, channels) uint8`` frames as the sensor gives them, or ``(n, ...) float32``
            samples of any other kind; at least 8.
        ids: Whether ``(n, ...) int32`` ids will do as well.

    Raises:
        CalibrationError: If it is anything else, too little, or all the same.
    """
    types = [np.uint8, np.float32, *([np.int32] if ids else ())]
    if not isinstance(calibration, np.ndarray) or calibration.dtype not in types or calibration.ndim < 2:
        kind = f"{calibration.shape} {calibration.dtype}" if isinstance(calibration, np.ndarray) else type(calibration)
        more = ", or ids (n, ...) int32" if ids else ""
        raise CalibrationError(
            f"expected calibration data (n, height, width, channels) uint8 or (n, ...) float32{more}, found {kind}. "
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


def frame_spec(shape: tuple[int, ...]) -> InputSpec:
    """Describe frames ``(height, width, channels) uint8``."""
    return InputSpec(shape, "uint8", (0, 255), ("height", "width", "channel"))


def sample_spec(shape: tuple[int, ...], axes: Sequence[str] | None, ids: int | None = None) -> InputSpec:
    """Describe samples that are not frames.

    Args:
        shape: Of one sample.
        axes: What each axis is.
        ids: For int32 samples, how many ids there are; None for float32.

    Raises:
        InputError: If there are not as many names as axes.
    """
    names = tuple(axes) if axes is not None else tuple(f"axis {i}" for i in range(len(shape)))
    if len(names) != len(shape):
        raise InputError(f"expected {len(shape)} names of axes, one per axis of a sample, found {names}.")
    if ids is not None:
        return InputSpec(shape, "int32", (0, ids - 1), names)
    return InputSpec(shape, "float32", (-_ANY, _ANY), names)


def as_ids(samples: NDArray[Any]) -> NDArray[np.int32]:
    """Return whole numbers of any type as int32.

    Raises:
        InputError: If they are not whole, or too great.
    """
    array = np.asarray(samples)
    if array.dtype.kind not in "iuf":
        raise InputError(f"expected ids of tokens as whole numbers, found type {array.dtype}. Run the tokenizer first.")
    # NaN compares with nothing, and is refused with the rest.
    if not (np.abs(array.astype(np.float64)) <= _MOST_ID).all() or (array != array.astype(np.int32)).any():
        raise InputError(
            "expected ids of tokens as whole numbers of 32 bits, found other numbers. Run the tokenizer first."
        )
    return array.astype(np.int32)


def check_samples(samples: NDArray[Any], spec: InputSpec, what: str) -> NDArray[np.generic]:
    """Check raw samples against the description, naming what they are in the message.

    Raises:
        InputError: If they do not fit.
    """
    try:
        return check_frames(samples, spec)
    except InputError as error:
        raise InputError(f"{what}: {error}") from error


def made_samples(
    spec: InputSpec, scale: NDArray[np.generic] | None, shift: NDArray[np.generic] | None, n: int = 2, seed: int = 0
) -> NDArray[np.generic]:
    """Make samples that no sensor ever gave, for conformance tests: a bundle must not carry anybody's data.

    Args:
        spec: What one raw sample is.
        scale: For float32, what samples are multiplied with before the model; broadcasts to one.
        shift: For float32, what is added then; likewise.
        n: How many.
        seed: Fixes them.

    Returns:
        ``(n, *shape)``: blocks of several sizes with noise for frames, any ids for int32, normal numbers otherwise.
    """
    random = np.random.default_rng(seed)
    shape = spec.shape
    if spec.dtype == "int32":
        low, high = map(int, spec.range)
        return random.integers(low, high, (n, *shape), np.int32, endpoint=True)
    if spec.dtype == "float32":
        normal = random.normal(size=(n, *shape))
        add = np.asarray(0.0 if shift is None else shift, np.float64)
        factor = np.asarray(1.0 if scale is None else scale, np.float64)
        return np.asarray((normal - add) / factor, np.float32)
    frames = np.empty((n, *shape), np.uint8)
    for i in range(n):
        block = max(1, min(shape[:2]) // 2 ** (2 * (i % 2) + 1))
        coarse = random.integers(0, 256, (-(-shape[0] // block), -(-shape[1] // block), shape[2]))
        fine = np.kron(coarse, np.ones((block, block, 1)))[: shape[0], : shape[1]]
        frames[i] = np.clip(fine + random.normal(0, 8, shape), 0, 255).astype(np.uint8)
    return frames
