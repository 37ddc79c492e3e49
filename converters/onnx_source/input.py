"""What goes into an ONNX file: one raw sample, and the preprocessing that the file's input asks for."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import nn

from ...errors import CalibrationError, InputError
from ..arguments import require_channels
from ..preprocess import FramePreprocess
from ..raw_input import RawInput, describe_input
from .file import OnnxFile
from .preprocess import AsTheyAre, LastChannels

_CHANNELS = (1, 3, 4)


@dataclass(frozen=True, eq=False)
class OnnxInput:
    """What goes into an ONNX file.

    Args:
        raw: What one raw sample is, and its preprocessing.
        shape: Shape of one sample as the network takes it.
    """

    raw: RawInput
    shape: tuple[int, ...]


def describe_onnx_input(
    file: OnnxFile,
    calibration: NDArray[Any],
    *,
    resize: tuple[int, int] | None = None,
    mean: ArrayLike = 0.0,
    std: ArrayLike = 1.0,
    axes: Sequence[str] | None = None,
) -> OnnxInput:
    """Read from calibration data and file what one raw sample is.

    Args:
        file: The file.
        calibration: Calibration data as for `convert`.
        resize: See `convert`; by default the size that the file takes.
        mean: See `convert`.
        std: See `convert`.
        axes: See `convert`.

    Returns:
        The description.

    Raises:
        CalibrationError: If the data does not fit the file.
        InputError: If another argument does not.
    """
    wanted = file.shape[1:]
    frames = isinstance(calibration, np.ndarray) and calibration.dtype == np.uint8 and calibration.ndim == 4
    if not frames:
        raw = describe_input(calibration, nn.Identity(), resize=resize, mean=mean, std=std, axes=axes)
        _check_fits(file, raw.spec.shape, raw.spec.dtype)
        return OnnxInput(raw, raw.spec.shape)
    if file.dtype == "uint8":
        if resize is not None or np.any(np.asarray(mean) != 0) or np.any(np.asarray(std) != 1):
            raise InputError(
                f"expected no resize, mean or std for {file.name}, which takes raw uint8 frames, found some. "
                f"Leave them out."
            )
        raw = describe_input(calibration, nn.Identity())
        _check_fits(file, raw.spec.shape, "uint8")
        return OnnxInput(RawInput(raw.spec, AsTheyAre()), raw.spec.shape)
    if len(wanted) != 3:
        raise CalibrationError(
            f"expected calibration samples as {file.name} takes them, {wanted} float32, found frames "
            f"{calibration.shape[1:]} uint8. Pass float32 samples of that shape."
        )
    last = wanted[2] in _CHANNELS and wanted[0] not in _CHANNELS
    height, width = wanted[:2] if last else wanted[1:]
    frame = calibration.shape[1:3]
    size = resize or (height or frame[0], width or frame[1])
    channels = wanted[2] if last else wanted[0]
    if channels is not None:
        require_channels(calibration.shape[1:], channels)
    if any(own not in (None, given) for own, given in zip((height, width), size, strict=True)):
        raise InputError(
            f"expected resize {height}x{width}, the size that {file.name} takes, found {size[0]}x{size[1]}. "
            f"Leave it out."
        )
    first_layer = nn.Conv2d(channels or calibration.shape[3], 1, 1)
    raw = describe_input(calibration, first_layer, resize=size, mean=mean, std=std)
    channels = first_layer.in_channels
    if not last:
        return OnnxInput(raw, (channels, *size))
    prepare = LastChannels(cast(FramePreprocess, raw.preprocess))
    return OnnxInput(RawInput(raw.spec, prepare), (*size, channels))


def _check_fits(file: OnnxFile, shape: tuple[int, ...], dtype: str) -> None:
    wanted = file.shape[1:]
    fits = len(wanted) == len(shape) and all(w in (None, s) for w, s in zip(wanted, shape, strict=True))
    if not fits or file.dtype != dtype:
        raise CalibrationError(
            f"expected calibration samples as {file.name} takes them, {wanted} {file.dtype}, found {shape} {dtype}. "
            f"Pass what the file's input {file.source.name!r} is."
        )
