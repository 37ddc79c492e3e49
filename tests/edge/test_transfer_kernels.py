"""Kernels, their bandwidths, and maps that stand for them."""

import numpy as np
import pytest

from acclimate.edge.transfer.kernels import (
    bandwidths,
    fourier_features,
    gaussian,
    linear,
    median_bandwidth,
    nystroem,
    squared_distances,
)

RNG = np.random.default_rng(0)
A, B = RNG.normal(size=(30, 4)), RNG.normal(size=(20, 4)) + 1


def test_distances_are_squared_ones() -> None:
    """Distances equal the sum of squared differences, also far from 0, and are never negative."""
    by_hand = ((A[:, None] - B[None]) ** 2).sum(axis=2)
    np.testing.assert_allclose(squared_distances(A, B), by_hand, rtol=1e-12)
    np.testing.assert_allclose(squared_distances(A + 1e6, B + 1e6), by_hand, rtol=1e-6, atol=1e-6)
    assert squared_distances(A, A).min() >= 0


def test_gaussian_takes_the_squared_distance_as_dan_of_others_does_not() -> None:
    """The kernel is exp(-d^2 / (2 s^2)); the defect measured elsewhere was exp(-d / s)."""
    assert gaussian(np.zeros((1, 1)), np.full((1, 1), 3.0), 2.0)[0, 0] == pytest.approx(np.exp(-9 / 8), rel=1e-14)
    np.testing.assert_allclose(linear(A, B), A @ B.T)


def test_median_bandwidth_is_the_median_distance() -> None:
    """It is the median over all pairs of both sides, whatever the order of the rows."""
    both = np.concatenate([A, B])
    apart = np.sqrt(((both[:, None] - both[None]) ** 2).sum(axis=2))[np.triu_indices(50, 1)]
    assert median_bandwidth(A, B) == pytest.approx(float(np.sqrt(np.median(apart**2))), rel=1e-12)
    assert bandwidths(A, B, 3) == pytest.approx([median_bandwidth(A, B) * f for f in (0.5, 1, 2)])


def test_bandwidth_of_rows_that_are_alike() -> None:
    """Duplicates do not make the bandwidth 0, and where all rows are alike it is 1: a kernel of rank one."""
    same = np.full((5, 3), 1e6 + 0.1)
    assert median_bandwidth(same, same) == 1.0
    mostly = np.concatenate([np.zeros((50, 2)), [[3.0, 4.0]]])
    assert median_bandwidth(mostly, mostly) == pytest.approx(5)


def test_median_of_many_rows_is_drawn_and_seeded() -> None:
    """A subsample gives nearly the same, and one seed always the same."""
    rows = RNG.normal(size=(3000, 4))
    found = median_bandwidth(rows, rows, most=300, seed=1)
    assert found == median_bandwidth(rows, rows, most=300, seed=1)
    assert found == pytest.approx(float(np.sqrt(8 * 0.839)), rel=0.1)


def test_fourier_features_stand_for_the_kernel() -> None:
    """Products of features come near the kernel: four times the features halve the error."""
    exact = gaussian(A, B, 1.5)
    errors = [
        np.sqrt(np.mean([(m.apply(A) @ m.apply(B).T - exact) ** 2 for m in maps]))
        for maps in ([fourier_features(4, c, 1.5, seed=s) for s in range(20)] for c in (256, 1024))
    ]
    assert errors[0] < 0.06
    assert errors[1] / errors[0] == pytest.approx(0.5, abs=0.12)


def test_nystroem_is_exact_between_landmarks() -> None:
    """With all rows as landmarks the kernel is exact; with duplicates among them too."""
    landmarks = np.concatenate([A, A[:3]])
    found = nystroem(landmarks, 1.5)
    np.testing.assert_allclose(found.apply(A) @ found.apply(A).T, gaussian(A, A, 1.5), atol=1e-8)
    assert found.root.shape[1] <= 30
    few = nystroem(A[:10], 1.5)
    assert np.linalg.eigvalsh(gaussian(A, A, 1.5) - few.apply(A) @ few.apply(A).T).min() > -1e-8
