"""The CORAL map against what defines it."""

import numpy as np
import pytest

from acclimate.edge.transfer.coral import coral_map, coral_map_back, coral_samples, moments
from acclimate.errors import InputError

RNG = np.random.default_rng(0)
D = 6
SOURCE = RNG.normal(size=(80, D)) @ RNG.normal(size=(D, D)) + 3
TARGET = RNG.normal(size=(50, D)) @ RNG.normal(size=(D, D)) - 2


def test_mapped_samples_have_the_mean_and_covariance_of_the_target() -> None:
    """Without a ridge both are the target's to 1e-12 of its size."""
    mean, covariance = moments(coral_samples(SOURCE, TARGET, ridge=0).apply(SOURCE))
    there, spread = moments(TARGET)
    np.testing.assert_allclose(mean, there, atol=1e-12 * np.abs(spread).max())
    np.testing.assert_allclose(covariance, spread, atol=1e-12 * np.abs(spread).max())


def test_means_are_no_part_of_the_covariances() -> None:
    """Samples moved far away have the same matrix: the defect measured elsewhere mixes means in."""
    np.testing.assert_allclose(
        coral_samples(SOURCE + 50, TARGET).matrix, coral_samples(SOURCE, TARGET).matrix, atol=1e-9
    )


def test_the_map_is_the_papers() -> None:
    """With a ridge of 1 it is C_s^-1/2 C_t^1/2 with the identity added to both, by another way to take roots."""
    roots = []
    for rows in (SOURCE, TARGET):
        root = whole = np.cov(rows.T) + np.eye(D)
        root, inverse = whole, np.eye(D)
        for _ in range(60):
            # Denman and Beavers: converges to the root and its inverse.
            root, inverse = (root + np.linalg.inv(inverse)) / 2, (inverse + np.linalg.inv(root)) / 2
        roots.append(root)
    expected = np.linalg.inv(roots[0]) @ roots[1]
    np.testing.assert_allclose(coral_samples(SOURCE, TARGET).matrix.T, expected, atol=1e-9)


def test_back_is_the_inverse() -> None:
    """The map of target samples into the source's coordinates undoes the other one, with a ridge too."""
    statistics = (*moments(SOURCE), *moments(TARGET))
    there, back = coral_map(*statistics, ridge=0.3), coral_map_back(*statistics, ridge=0.3)
    np.testing.assert_allclose(back.apply(there.apply(SOURCE)), SOURCE, atol=1e-10)
    np.testing.assert_allclose(
        moments(coral_map_back(*statistics, ridge=0).apply(TARGET))[1], np.cov(SOURCE.T), atol=1e-11
    )


def test_it_folds_into_a_linear_layer() -> None:
    """A layer with the map folded in gives what the layer gives on mapped rows, to 1e-10."""
    found = coral_map_back(*moments(SOURCE), *moments(TARGET))
    weight, bias = RNG.normal(size=(4, D)), RNG.normal(size=4)
    folded, moved = found.fold(weight, bias)
    np.testing.assert_allclose(TARGET @ folded.T + moved, found.apply(TARGET) @ weight.T + bias, atol=1e-10)


def test_domains_alike_are_left_alone() -> None:
    """Statistics that are equal give the identity."""
    found = coral_samples(SOURCE, SOURCE)
    np.testing.assert_allclose(found.matrix, np.eye(D), atol=1e-12)
    np.testing.assert_allclose(found.offset, 0, atol=1e-10)


def test_fewer_samples_than_features_and_constant_ones() -> None:
    """Flat directions need a ridge, and are said; with one they work, also with duplicated rows."""
    few = np.concatenate([SOURCE[:3], SOURCE[:3]])
    flat = np.where(np.arange(D) == 2, 1.0, SOURCE)
    for rows, directions in ((few, 4), (flat, 1)):
        with pytest.raises(InputError, match=f"flat in {directions} of 6 directions"):
            coral_samples(rows, TARGET, ridge=0)
        assert np.isfinite(coral_samples(rows, TARGET).matrix).all()
    # A target may be flat: what is mapped becomes so too.
    assert moments(coral_samples(SOURCE, flat, ridge=0).apply(SOURCE))[1][2] == pytest.approx(np.zeros(D), abs=1e-10)
    with pytest.raises(InputError, match="flat in 6 of 6"):
        coral_samples(np.ones((4, D)), TARGET, ridge=0)


def test_bad_input_is_refused() -> None:
    """Statistics that do not fit, are not finite or are no covariances."""
    mean, covariance = moments(SOURCE)
    with pytest.raises(InputError, match="one width, found 6 features of the source and 2"):
        coral_map(mean, covariance, mean[:2], covariance[:2, :2])
    with pytest.raises(InputError, match=r"a mean .* of the target, found shapes"):
        coral_map(mean, covariance, mean, covariance[:3])
    with pytest.raises(InputError, match="finite statistics of the source"):
        coral_map(mean * np.nan, covariance, mean, covariance)
    with pytest.raises(InputError, match="negative variance"):
        coral_map(mean, covariance, mean, -covariance)
    with pytest.raises(InputError, match="symmetric covariance of the source"):
        coral_map(mean, np.triu(covariance), mean, covariance)
    for ridge in (-1.0, np.nan):
        with pytest.raises(InputError, match="ridge of 0 or more"):
            coral_samples(SOURCE, TARGET, ridge=ridge)
