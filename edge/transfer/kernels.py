"""Kernels between samples, their bandwidths, and maps that stand for them in linear memory."""

import numpy as np
from numpy.typing import NDArray

from ...record import record

Float64 = NDArray[np.float64]
# Eigenvalues of landmarks below this share of the greatest are rounding.
_RANK = 1e-10
# Bandwidths of several kernels lie this factor apart.
_STEP = 2.0


def squared_distances(a: Float64, b: Float64) -> Float64:
    """Return the ``(n, m)`` squared Euclidean distances of ``(n, d)`` and ``(m, d)`` rows, at least 0."""
    # Sums of squares lose their digits where rows lie far from 0.
    centre = b.mean(axis=0) if len(b) else np.zeros(a.shape[1])
    a, b = a - centre, b - centre
    result: Float64 = a @ b.T
    result *= -2
    result += (a * a).sum(axis=1)[:, None]
    result += (b * b).sum(axis=1)
    return np.maximum(result, 0, out=result)


def gaussian(a: Float64, b: Float64, bandwidth: float) -> Float64:
    """Return the ``(n, m)`` Gaussian kernel ``exp(-|a - b|^2 / (2 bandwidth^2))`` of rows, 0 to 1."""
    result = squared_distances(a, b)
    result /= -2 * bandwidth**2
    return np.exp(result, out=result)


def linear(a: Float64, b: Float64) -> Float64:
    """Return the ``(n, m)`` products of rows."""
    result: Float64 = a @ b.T
    return result


def median_bandwidth(a: Float64, b: Float64, *, most: int = 1_000, seed: int = 0) -> float:
    """Return the median distance of different rows of both sides together, for a Gaussian kernel.

    Rows that are alike do not count, so that duplicates do not make it 0; where all are alike it is 1, and every kernel
    value is 1 whatever the bandwidth.

    Args:
        a: ``(n, d)``.
        b: ``(m, d)``.
        most: Rows that are looked at; more are drawn from.
        seed: Fixes the draw.

    References:
        Gretton et al. 2012, "A kernel two-sample test", section 8.
    """
    rows = np.concatenate([a, b])
    if len(rows) > most:
        rows = rows[np.random.default_rng(seed).permutation(len(rows))[:most]]
    square = squared_distances(rows, rows)[np.triu_indices(len(rows), 1)]
    # Below this a squared distance is what rounding left of two rows alike.
    floor = 1e-12 * float(np.square(rows - rows.mean(axis=0)).sum(axis=1).max(initial=0.0))
    apart = square[square > floor]
    return float(np.sqrt(np.median(apart))) if len(apart) else 1.0


def bandwidths(a: Float64, b: Float64, count: int = 5) -> tuple[float, ...]:
    """Return bandwidths around the median distance, each twice the one before, ascending."""
    middle = median_bandwidth(a, b)
    return tuple(middle * _STEP ** (i - (count - 1) / 2) for i in range(count))


@record(eq=False)
class FourierMap:
    """Features whose products approximate a Gaussian kernel.

    Args:
        frequency: ``(d, c)``.
        phase: ``(c,)``.
    """

    frequency: Float64
    phase: Float64

    def apply(self, x: Float64) -> Float64:
        """Return ``(n, c)`` features of ``(n, d)`` rows."""
        result = np.cos(x @ self.frequency + self.phase)
        result *= np.sqrt(2 / len(self.phase))
        return result


def fourier_features(width: int, count: int, bandwidth: float, seed: int = 0) -> FourierMap:
    """Draw random Fourier features of a Gaussian kernel; the error of a product falls as ``1 / sqrt(count)``.

    Args:
        width: d, features of a row.
        count: c, features that stand for the kernel.
        bandwidth: Of the kernel.
        seed: Fixes the draw.

    References:
        Rahimi and Recht 2007, "Random features for large-scale kernel machines".
    """
    draw = np.random.default_rng(seed)
    return FourierMap(draw.standard_normal((width, count)) / bandwidth, draw.uniform(0, 2 * np.pi, count))


@record(eq=False)
class NystroemMap:
    """Features whose products are a Gaussian kernel as far as landmarks can tell.

    Args:
        landmarks: ``(l, d)``.
        bandwidth: Of the kernel.
        root: ``(l, c)``, ``root @ root.T`` is the pseudo-inverse of the landmarks' kernel; c is its rank.
    """

    landmarks: Float64
    bandwidth: float
    root: Float64

    def apply(self, x: Float64) -> Float64:
        """Return ``(n, c)`` features of ``(n, d)`` rows."""
        result: Float64 = gaussian(x, self.landmarks, self.bandwidth) @ self.root
        return result


def nystroem(landmarks: Float64, bandwidth: float) -> NystroemMap:
    """Make a map of landmarks ``(l, d)``: products of its features are exact between landmarks.

    References:
        Williams and Seeger 2001, "Using the Nystroem method to speed up kernel machines".
    """
    values, vectors = np.linalg.eigh(gaussian(landmarks, landmarks, bandwidth))
    kept = values > _RANK * values[-1]
    return NystroemMap(landmarks, bandwidth, vectors[:, kept] / np.sqrt(values[kept]))
