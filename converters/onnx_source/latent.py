"""What the latent of an ONNX network consists of: taps without repeats, with maxima if wanted, and the head's input."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ...errors import CutError
from ..splitting.examine import Taps
from ..tap_pooling import Pooling, require_maxima
from .file import OnnxFile
from .graph import Network
from .head import OnnxHead
from .reference import OnnxReference
from .taps import OnnxTap, choose_taps, with_maxima

_SAMPLES = 4


def latent_parts(
    network: Network, file: OnnxFile, end: OnnxTap, prepare: nn.Module, few: Tensor, taps: Taps, pooling: Pooling
) -> list[OnnxTap]:
    """Choose what is pooled into a latent.

    Args:
        network: The network, its batch axis free.
        file: Its file.
        end: What goes into the head.
        prepare: From raw samples to what the file takes.
        few: ``(n, ...)`` raw samples; taps that give the same on them are taken once.
        taps: As for `split_onnx`.
        pooling: Likewise.

    Returns:
        The taps, the head's input the last.

    Raises:
        CutError: If a tap is not there.
        InputError: If there is no map to take maxima of.
        ConversionError: If the file does not run.
    """
    points = [*choose_taps(network, end.tensor, taps), end]
    if taps == "all":
        points = _without_repeats(points, OnnxReference(prepare, file, points).parts(few))
    if pooling == "mean":
        return points
    chosen = with_maxima(points[:-1])
    require_maxima([point.label for point in points], any(point.pool == "max" for point in chosen))
    return [*chosen, end]


def drawn_samples(file: OnnxFile, shape: Sequence[int]) -> Tensor:
    """Draw samples ``(4, *shape)`` as a file takes them, for where no data is at hand."""
    random = np.random.default_rng(0)
    if file.dtype == "uint8":
        return torch.from_numpy(random.integers(0, 256, (_SAMPLES, *shape), np.uint8))
    return torch.from_numpy(random.standard_normal((_SAMPLES, *shape), np.float32))


def head_input(network: Network, head: OnnxHead, file: OnnxFile) -> OnnxTap:
    """Return what goes into the head, as a tap.

    Raises:
        CutError: If its shape is open.
    """
    shape = tuple(length for length in network.shapes.get(head.cut, ())[1:] if length is not None)
    width = head.weight.shape[1]
    axis = 1 if shape[:1] == (width,) else len(shape)
    if not shape or shape[axis - 1] != width or len(shape) != len(network.shapes[head.cut]) - 1:
        raise CutError(
            f"{file.name}: expected {width} features at {head.label!r}, found {network.shapes.get(head.cut)}. "
            f"Export the file with fixed shapes."
        )
    return OnnxTap(head.cut, axis, shape, head.label)


def _without_repeats(points: list[OnnxTap], parts: list[NDArray[np.float32]]) -> list[OnnxTap]:
    kept: list[int] = []
    for i, part in enumerate(parts):
        last = i == len(parts) - 1
        # The cut comes last and stays; what it repeats in front of it goes.
        if last or not any(_proportional(part, parts[k]) for k in (*kept, len(parts) - 1)):
            kept.append(i)
    return [points[i] for i in kept]


def _proportional(a: NDArray[np.float32], b: NDArray[np.float32]) -> bool:
    """Return whether one is a multiple of the other, as where dropout's factor lies between them."""
    if a.shape != b.shape:
        return False
    factor = float((a * b).sum()) / max(float((a * a).sum()), 1e-30)
    return float(np.abs(factor * a - b).max()) <= 1e-5 * float(np.abs(b).max()) + 1e-12
