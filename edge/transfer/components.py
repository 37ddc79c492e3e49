"""Transfer component analysis: directions in which two domains agree and that keep the samples' variance.

There are two papers with two meanings of mu. This is the journal's (2011): the components are the leading vectors of
``K H K w = v (K L K + mu I) w``, mu weighs their size against the discrepancy of the domains. The conference's
(2009) mu weighs the discrepancy: it is the inverse of this one.

``(K L K + mu I)^-1 K H K`` is not symmetric, and must not be given to a solver for symmetric matrices. As ``K L K`` has
rank one, the root of ``K L K + mu I`` is known in closed form, and what is left to solve is symmetric.

References:
    Pan, Tsang, Kwok and Yang 2011, "Domain adaptation via transfer component analysis".
    Long, Wang, Ding, Sun and Yu 2013, "Transfer feature learning with joint distribution adaptation", for the
    primal form.
"""

from typing import Literal, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...errors import InputError
from ...record import record
from .checks import check_domains, check_rows
from .kernels import gaussian, median_bandwidth, nystroem

Float64 = NDArray[np.float64]
# Above this many samples of both sides together a Gaussian kernel stands on landmarks, this many at most.
EXACT_ROWS, LANDMARKS = 1_000, 500
# Eigenvalues below this share of the greatest are rounding, and no components.
_RANK = 1e-10
# Times the size of a column: differences from its mean that are below it come from rounding alone.
_ROUNDING = 1e-14


class Features(Protocol):
    """From rows to features."""

    def apply(self, x: Float64) -> Float64:
        """Return ``(n, c)`` features of ``(n, d)`` rows."""


@record(eq=False)
class Anchors:
    """Gaussian kernel values with anchors.

    Args:
        anchors: ``(N, d)``.
        bandwidth: Of the kernel.
    """

    anchors: Float64
    bandwidth: float

    def apply(self, x: Float64) -> Float64:
        """Return ``(n, N)`` values of ``(n, d)`` rows."""
        return gaussian(x, self.anchors, self.bandwidth)


@record(eq=False)
class Components:
    """A projection in which two domains agree.

    Args:
        values: ``(k,)`` eigenvalues, descending: variance kept over size and discrepancy.
        weight: ``(c, k)`` from features to components.
        features: From rows to features; None where rows are features.
        coefficients: ``(N, k)`` eigenvectors: weight of each sample in each component, in the primal form ``(d, k)``
            of each feature.
    """

    values: Float64
    weight: Float64
    features: Features | None
    coefficients: Float64

    def project(self, x: ArrayLike) -> Float64:
        """Return the ``(n, k)`` components of ``(n, d)`` samples, old or new.

        Raises:
            InputError: If they are no such samples.
        """
        rows = check_rows(x, "projected", least=1)
        width = self._width()
        if rows.shape[1] != width:
            raise InputError(f"expected samples of {width} features, found {rows.shape[1]}. Use the same backbone.")
        found: Float64 = (rows if self.features is None else self.features.apply(rows)) @ self.weight
        return found

    def _width(self) -> int:
        held = self.features
        if held is None:
            return len(self.weight)
        place = held.anchors if isinstance(held, Anchors) else getattr(held, "landmarks", self.weight)
        return int(place.shape[1])


def transfer_components(
    source: ArrayLike,
    target: ArrayLike,
    count: int,
    *,
    kernel: Literal["linear", "gaussian"] = "linear",
    mu: float = 1.0,
    bandwidth: float | None = None,
    landmarks: int | None = None,
    scale: Literal["unit", "variance"] = "unit",
    seed: int = 0,
) -> Components:
    """Fit components with a kernel between samples.

    Args:
        source: ``(n, d)``.
        target: ``(m, d)``; n and m may differ.
        count: Components, at least 1; fewer are returned where the kernel has a smaller rank.
        kernel: ``"linear"`` costs what the features cost, ``"gaussian"`` what the samples cost.
        mu: Weight of the components' size, above 0; the 2011 paper's.
        bandwidth: Of the Gaussian kernel; by default the median distance.
        landmarks: Samples that stand for all in the Gaussian kernel; by default all up to `EXACT_ROWS` samples, then
            `LANDMARKS`. Memory and time are then linear in the samples.
        scale: ``"unit"`` for coefficients of length 1, ``"variance"`` for the paper's constraint ``W^T K H K W = I``.
        seed: Fixes the landmarks.

    Returns:
        The components.

    Raises:
        InputError: As `check_domains`; if an argument is out of range, or no direction varies: constant features, or
            rows that are all alike.
    """
    rows, others = check_domains(source, target)
    _check(count, mu, scale)
    pooled = np.concatenate([rows, others])
    contrast = _contrast(len(rows), len(others))
    if kernel == "linear":
        return _dual(pooled, contrast, count, mu, scale, None)
    if kernel != "gaussian":
        raise InputError(f"expected the kernel 'linear' or 'gaussian', found {kernel!r}.")
    if bandwidth is not None and not (np.isfinite(bandwidth) and bandwidth > 0):
        raise InputError(f"expected a bandwidth above 0, found {bandwidth}.")
    width = median_bandwidth(rows, others, seed=seed) if bandwidth is None else bandwidth
    if landmarks is None and len(pooled) <= EXACT_ROWS:
        anchors = Anchors(pooled, width)
        whole = anchors.apply(pooled)
        values, vectors = _solve(whole, _centred(whole), contrast, count, mu, scale)
        return Components(values, vectors, anchors, vectors)
    asked = LANDMARKS if landmarks is None else landmarks
    if asked < 1:
        raise InputError(f"expected at least 1 landmark, found {asked}.")
    chosen = np.sort(np.random.default_rng(seed).permutation(len(pooled))[:asked])
    stand_in = nystroem(pooled[chosen], width)
    return _dual(stand_in.apply(pooled), contrast, count, mu, scale, stand_in)


def primal_components(
    source: ArrayLike,
    target: ArrayLike,
    count: int,
    *,
    mu: float = 1.0,
    normalised: bool = False,
    scale: Literal["unit", "variance"] = "unit",
) -> Components:
    """Fit directions in the space of the features themselves: ``X^T H X w = v (X^T L X + mu I) w``.

    Unlike `transfer_components` with a linear kernel, mu weighs the length of the directions, not of the samples'
    coefficients.

    Args:
        source: ``(n, d)``.
        target: ``(m, d)``; n and m may differ.
        count: Components, at least 1; at most d are returned.
        mu: Weight of the directions' length, above 0.
        normalised: Whether L is divided by its Frobenius norm, as in Long et al. 2013.
        scale: As in `transfer_components`.

    Raises:
        InputError: As `transfer_components`.
    """
    rows, others = check_domains(source, target)
    _check(count, mu, scale)
    pooled = np.concatenate([rows, others])
    contrast = _contrast(len(rows), len(others))
    if normalised:
        # The norm of e e^T is that of e, squared.
        contrast = contrast / np.linalg.norm(contrast)
    apart = _centred(pooled)
    values, vectors = _leading(apart.T @ apart, pooled.T @ contrast, count, mu, scale)
    return Components(values, vectors, None, vectors)


def _check(count: int, mu: float, scale: str) -> None:
    if count < 1:
        raise InputError(f"expected at least 1 component, found {count}.")
    if not (np.isfinite(mu) and mu > 0):
        raise InputError(f"expected mu above 0, found {mu}.")
    if scale not in ("unit", "variance"):
        raise InputError(f"expected the scale 'unit' or 'variance', found {scale!r}.")


def _contrast(n: int, m: int) -> Float64:
    """Return ``(n + m,)`` e with ``L = e e^T``: the discrepancy is ``e^T K e``."""
    return np.concatenate([np.full(n, 1 / n), np.full(m, -1 / m)])


def _dual(features: Float64, contrast: Float64, count: int, mu: float, scale: str, of: Features | None) -> Components:
    """Solve for a kernel that is the product of ``(N, c)`` features."""
    if len(features) <= features.shape[1]:
        kernel = features @ features.T
        values, vectors = _solve(kernel, _centred(features) @ features.T, contrast, count, mu, scale)
        return Components(values, features.T @ vectors, of, vectors)
    # Eigenvectors lie in the span of the features, so that a problem as wide as the features is all there is.
    base, root = np.linalg.qr(features)
    apart = _centred(features)
    values, vectors = _leading(root @ (apart.T @ apart) @ root.T, root @ (features.T @ contrast), count, mu, scale)
    return Components(values, root.T @ vectors, of, base @ vectors)


def _solve(
    kernel: Float64, apart: Float64, contrast: Float64, count: int, mu: float, scale: str
) -> tuple[Float64, Float64]:
    """Solve ``K H K w = v (K L K + mu I) w`` for ``(N, N)`` kernel values K, and H K, the same less their means."""
    return _leading(apart.T @ apart, kernel @ contrast, count, mu, scale)


def _centred(x: Float64) -> Float64:
    """Return rows less their mean; a column that is constant but for the rounding of that mean becomes 0."""
    apart = x - x.mean(axis=0)
    size = np.abs(x).max(axis=0)
    found: Float64 = np.where(np.abs(apart).max(axis=0) <= _ROUNDING * size, 0.0, apart)
    return found


def _leading(kept: Float64, gap: Float64, count: int, mu: float, scale: str) -> tuple[Float64, Float64]:
    """Return the leading eigenvalues and eigenvectors of ``kept w = v (gap gap^T + mu I) w``."""
    square = float(gap @ gap)
    axis = gap / np.sqrt(square) if square > 0 else gap
    # (gap gap^T + mu I)^-1/2 = (I + shrink axis axis^T) / sqrt(mu)
    shrink = np.sqrt(mu / (mu + square)) - 1
    half = kept + np.outer(shrink * axis, axis @ kept)
    whole = (half + np.outer(half @ axis, shrink * axis)) / mu
    values, vectors = np.linalg.eigh((whole + whole.T) / 2)
    most = min(count, int((values > _RANK * max(values[-1], 0.0)).sum()))
    if not most or not values[-1] > 0 or not np.isfinite(values[-1]):
        raise InputError("expected samples that vary, found that they do not: no component can be told. Look at them.")
    values, vectors = values[::-1][:most], vectors[:, ::-1][:, :most]
    found = (vectors + np.outer(shrink * axis, axis @ vectors)) / np.sqrt(mu)
    size = np.sqrt(values) if scale == "variance" else np.linalg.norm(found, axis=0)
    return values, found / size
