"""CORAL from covariances of low rank + diagonal: the same as the whole one, without its matrices."""

import tracemalloc

import numpy as np
import pytest

from acclimate.edge.statistics import SourceStatistics, Statistics
from acclimate.edge.transfer.coral import coral_map, moments
from acclimate.edge.transfer.thin_coral import ThinCovariance, thin_coral_map, thin_of_samples, thin_of_statistics
from acclimate.errors import InputError

RNG = np.random.default_rng(0)
D = 12


def whole(of: ThinCovariance) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return of.factor.T @ of.factor + np.diag(of.diagonal)


def test_few_samples_give_the_map_of_whole_covariances() -> None:
    """From fewer samples than features, with a ridge, it is `coral_map` to 1e-10, and folds alike."""
    source, target = RNG.normal(size=(7, D)) + 1, 2 * RNG.normal(size=(9, D))
    thin = thin_coral_map(thin_of_samples(source), thin_of_samples(target), ridge=0.5)
    full = coral_map(*moments(source), *moments(target), ridge=0.5)
    np.testing.assert_allclose(thin.apply(source), full.apply(source), atol=1e-10)
    weight, bias = RNG.normal(size=(3, D)), RNG.normal(size=3)
    for found, expected in zip(thin.fold(weight, bias), full.fold(weight, bias), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-10)


def test_covariance_of_mapped_data_is_the_targets() -> None:
    """With uneven diagonals and no ridge, the covariance is carried over to 1e-12, and folding is exact to 1e-10."""
    source, target = (
        ThinCovariance(RNG.normal(size=D), RNG.normal(size=(3, D)), RNG.uniform(0.2, 2, D)) for _ in range(2)
    )
    found = thin_coral_map(source, target, ridge=0)
    matrix = (found.apply(np.eye(D)) - found.apply(np.zeros((1, D)))).T
    np.testing.assert_allclose(matrix @ whole(source) @ matrix.T, whole(target), atol=1e-12 * whole(target).max() * D)
    np.testing.assert_allclose(found.apply(source.mean[None])[0], target.mean, atol=1e-12)
    weight, bias, x = RNG.normal(size=(3, D)), RNG.normal(size=3), RNG.normal(size=(5, D))
    folded, moved = found.fold(weight, bias)
    np.testing.assert_allclose(x @ folded.T + moved, found.apply(x) @ weight.T + bias, atol=1e-10)


@pytest.mark.parametrize("rank", [None, 4, D])
def test_source_statistics_tell_the_covariance(rank: int | None) -> None:
    """A bundle's statistics give the covariance over all samples: whole, or of low rank with an exact diagonal."""
    codes = RNG.integers(0, 256, (60, D)).astype(np.uint8)
    classes = RNG.integers(0, 3, 60)
    codes[:, 0] //= 1 + classes.astype(np.uint8)
    found = thin_of_statistics(SourceStatistics.compress(Statistics.of(codes, classes, 5), rank))
    expected = np.cov(codes.T.astype(np.float64))
    np.testing.assert_allclose(found.mean, codes.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(np.diag(whole(found)), np.diag(expected), rtol=1e-6)
    if rank != 4:
        np.testing.assert_allclose(whole(found), expected, rtol=1e-5, atol=1e-3 * expected.max())


def test_wide_latents_need_no_square_matrix() -> None:
    """At 4,000 features, 40 samples and a source of rank 8, the peak is below an eighth of one matrix."""
    d = 4_000
    source = ThinCovariance(np.zeros(d), RNG.normal(size=(8, d)), np.ones(d))
    target = RNG.normal(size=(40, d))
    tracemalloc.start()
    found = thin_coral_map(thin_of_samples(target), source, ridge=1.0)
    found.fold(RNG.normal(size=(5, d)), np.zeros(5))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < d * d * 8 / 8


def test_bad_input_is_refused() -> None:
    """Widths that differ, a rest of 0 without a ridge, and what is no covariance."""
    good = ThinCovariance(np.zeros(3), np.ones((1, 3)), np.ones(3))
    flat = ThinCovariance(np.zeros(3), np.ones((1, 3)), np.array([1.0, 0.0, 1.0]))
    with pytest.raises(InputError, match="one width"):
        thin_coral_map(good, thin_of_samples(np.eye(4)))
    with pytest.raises(InputError, match="rest above 0 in every feature of the target, found none in 1 of 3"):
        thin_coral_map(good, flat, ridge=0)
    assert np.isfinite(thin_coral_map(good, flat).apply(np.eye(3))).all()
    with pytest.raises(InputError, match="finite statistics of the source"):
        thin_coral_map(ThinCovariance(np.zeros(3), np.full((1, 3), np.inf), np.ones(3)), good)
    with pytest.raises(InputError, match="at least 2 samples, found 1"):
        thin_of_statistics(SourceStatistics(np.ones(1), np.ones((1, 3)), np.ones((3, 3)), None, None))
