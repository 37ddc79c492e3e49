"""What stands in front of the backbone, inside the graph: raw input to what the model takes."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  its usual name
from numpy.typing import ArrayLike
from torch import Tensor, nn

from ..errors import InputError
from .arguments import require_channels


class FramePreprocess(nn.Module):
    """Turn raw frames into what an image model takes: resize, scale, normalise, channels first.

    The resize is that of ``torch.nn.functional.interpolate(mode="bilinear", antialias=True)`` without rounding, as two
    constant matrices, so every runtime computes the same.

    Args:
        frame: Height, width and channels of a raw frame.
        size: Height and width that the model takes; None for those of the frame.
        channels: Channels that the model takes. Grayscale frames are repeated.
        mean: Mean per channel of the model's normalisation, with pixel values in 0 to 1.
        std: Standard deviation per channel, likewise.
    """

    def __init__(
        self,
        frame: tuple[int, int, int],
        size: tuple[int, int] | None,
        channels: int,
        mean: Sequence[float],
        std: Sequence[float],
    ) -> None:
        super().__init__()
        _check_frame(frame, size, channels)
        centre, spread = _per_channel("mean", mean, channels), _per_channel("std", std, channels)
        if not bool((spread > 0).all()):
            raise InputError(f"expected std above 0 for every channel, found {list(std)}.")
        size = size or frame[:2]
        self.copies = channels // frame[2]
        self.rows = nn.Buffer(resize_matrix(frame[0], size[0])) if size[0] != frame[0] else None
        self.columns = nn.Buffer(resize_matrix(frame[1], size[1])) if size[1] != frame[1] else None
        self.scale = nn.Buffer((1 / (255 * spread)).float().view(1, channels, 1, 1))
        self.shift = nn.Buffer((-centre / spread).float().view(1, channels, 1, 1))

    def forward(self, frames: Tensor) -> Tensor:
        """Turn ``(n, height, width, channels) uint8`` into ``(n, channels, height, width) float32``."""
        x = frames.permute(0, 3, 1, 2).to(torch.float32)
        # The constant stands on the right, as in a linear layer: that form takes any batch size in TFLite.
        if self.columns is not None:
            x = F.linear(x, self.columns)
        if self.rows is not None:
            x = F.linear(x.transpose(2, 3), self.rows).transpose(2, 3)
        if self.copies > 1:
            # Multiplying by a scale per channel would repeat too, but TFLite fixes the batch size in that form.
            x = torch.cat([x] * self.copies, 1)
        # Frames arrive channels last; a model may call `view`, which needs the strides that it was trained with.
        return (x * self.scale + self.shift).clone(memory_format=torch.contiguous_format)


class SamplePreprocess(nn.Module):
    """Normalise raw samples of any shape: motion, spectra, rows of a table.

    Args:
        shape: Shape of one sample.
        mean: What is subtracted; a number or anything that broadcasts to the shape.
        std: What is divided by afterwards; likewise, above 0.
    """

    def __init__(self, shape: tuple[int, ...], mean: ArrayLike, std: ArrayLike) -> None:
        super().__init__()
        centre, spread = (_broadcast(name, value, shape) for name, value in (("mean", mean), ("std", std)))
        if not bool((spread > 0).all()):
            raise InputError("expected std above 0 everywhere, found 0 or less. Leave constant features at std 1.")
        self.scale = nn.Buffer((1 / spread).float())
        self.shift = nn.Buffer((-centre / spread).float())

    def forward(self, samples: Tensor) -> Tensor:
        """Normalise ``(n, ...) float32``."""
        return samples * self.scale + self.shift


class IdPreprocess(nn.Module):
    """Hand on ids in the type in which models take them."""

    def forward(self, ids: Tensor) -> Tensor:
        """Return ``(n, ...) int32`` as int64."""
        return ids.to(torch.int64)


def resize_matrix(source: int, target: int) -> Tensor:
    """Return the antialiased bilinear resize of one axis as ``(target, source) float32``; rows sum to 1."""
    image = torch.eye(source, dtype=torch.float64)[None, None]
    resized = F.interpolate(image, size=(target, source), mode="bilinear", antialias=True, align_corners=False)
    return resized[0, 0].float()


def _check_frame(frame: tuple[int, int, int], size: tuple[int, int] | None, channels: int) -> None:
    if len(frame) != 3 or min(frame) < 1 or (size is not None and (len(size) != 2 or min(size) < 1)):
        raise InputError(
            f"expected a frame (height, width, channels) and a size (height, width), found {frame}, {size}."
        )
    require_channels(frame, channels)


def _per_channel(name: str, values: Sequence[float], channels: int) -> Tensor:
    array = np.atleast_1d(np.asarray(values, np.float64))
    if array.shape not in ((1,), (channels,)) or not np.isfinite(array).all():
        raise InputError(f"expected {name} as 1 or {channels} finite numbers (pixel values in 0 to 1), found {values}.")
    return torch.from_numpy(np.broadcast_to(array, (channels,)).copy())


def _broadcast(name: str, value: ArrayLike, shape: tuple[int, ...]) -> Tensor:
    array = np.asarray(value, np.float64)
    try:
        np.broadcast_to(array, shape)
    except ValueError as error:
        raise InputError(f"expected {name} to broadcast to one sample {shape}, found {array.shape}.") from error
    if not np.isfinite(array).all():
        raise InputError(f"expected a finite {name}, found NaN or infinity.")
    # Axes in front keep the batch axis apart from the sample's own.
    return torch.from_numpy(array.reshape((1,) * (len(shape) + 1 - array.ndim) + array.shape).copy())
