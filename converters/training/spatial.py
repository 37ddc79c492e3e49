"""Constant matrices that act on the positions of a map, flattened: windows, averages and Winograd's transforms."""

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]

# Winograd's minimal filtering F(4, 3): Lavin and Gray, 2016, "Fast Algorithms for Convolutional Neural Networks".
TILE, POINTS = 4, 6
_INPUT = np.array(
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ],
    np.float64,
)
_KERNEL = np.array(
    [
        [1 / 4, 0, 0],
        [-1 / 6, -1 / 6, -1 / 6],
        [-1 / 6, 1 / 6, -1 / 6],
        [1 / 24, 1 / 12, 1 / 6],
        [1 / 24, -1 / 12, 1 / 6],
        [0, 0, 1],
    ],
    np.float64,
)
_OUTPUT = np.array(
    [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]],
    np.float64,
)


def windows(inputs: int, outputs: int, kernel: int, stride: int, padding: int, dilation: int) -> Float64:
    """Return which input each tap of each window along one axis sees, ``(kernel, inputs, outputs)`` of 0 and 1."""
    found = np.zeros((kernel, inputs, outputs))
    for tap in range(kernel):
        for out in range(outputs):
            place = out * stride - padding + tap * dilation
            if 0 <= place < inputs:
                found[tap, place, out] = 1
    return found


def windows_2d(rows: Float64, columns: Float64) -> Float64:
    """Join two axes: ``(kh, h, oh)`` and ``(kw, w, ow)`` to ``(kh * kw, oh * ow * h * w)``, outputs before inputs."""
    joined = np.einsum("ahp,bwq->abpqhw", rows, columns)
    found: Float64 = joined.reshape(rows.shape[0] * columns.shape[0], -1)
    return found


def averages(inputs: int, outputs: int, kernel: int, stride: int, padding: int, count_padding: bool) -> Float64:
    """Return average pooling along one axis as a matrix ``(inputs, outputs)``."""
    found = np.zeros((inputs, outputs))
    for out in range(outputs):
        start = out * stride - padding
        # A window that the ceiling adds may reach beyond the padding, which then does not count.
        end = min(start + kernel, inputs + padding)
        count = end - start
        start, end = max(start, 0), min(end, inputs)
        found[start:end, out] = 1 / (count if count_padding else end - start)
    return found


def adaptive_averages(inputs: int, outputs: int) -> Float64:
    """Return adaptive average pooling along one axis as a matrix ``(inputs, outputs)``."""
    found = np.zeros((inputs, outputs))
    for out in range(outputs):
        start, end = out * inputs // outputs, -(-(out + 1) * inputs // outputs)
        found[start:end, out] = 1 / (end - start)
    return found


def tiles(outputs: int) -> int:
    """Return how many Winograd tiles cover an axis of outputs."""
    return -(-outputs // TILE)


def winograd_input(inputs: int, outputs: int, padding: int) -> Float64:
    """Return the input transform along one axis, ``(inputs, points, tiles)``."""
    found = np.zeros((inputs, POINTS, tiles(outputs)))
    for tile in range(tiles(outputs)):
        for k in range(POINTS):
            place = tile * TILE - padding + k
            if 0 <= place < inputs:
                found[place, :, tile] = _INPUT[:, k]
    return found


def winograd_output(outputs: int) -> Float64:
    """Return the output transform along one axis, ``(points, tiles, outputs)``."""
    found = np.zeros((POINTS, tiles(outputs), outputs))
    for out in range(outputs):
        found[:, out // TILE, out] = _OUTPUT[out % TILE]
    return found


def winograd_kernel() -> Float64:
    """Return the transform of a 3 x 3 kernel, ``(points * points, 9)``."""
    return np.kron(_KERNEL, _KERNEL).astype(np.float64)
